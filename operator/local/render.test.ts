import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, suite, test } from "node:test";
import { loadConfig } from "../../server/config/load.ts";
import { readyText } from "./ready-text.ts";
import { type Built, configFolder, type Refused, renderManifests } from "./render.ts";
import { submitterOf } from "./submitter.ts";

const examples = resolve(import.meta.dirname, "../../examples");

function good<B extends Built>(rendered: B | Refused): B {
  assert.ok(rendered.kind === "rendered", rendered.kind === "refused" ? rendered.explanation : "");
  return rendered;
}

suite("from a folder of manifests to a configuration", () => {
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "packetboat-render-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));
  const data = (name: string): string => join(folder, name);

  test("every example renders, and the server reads it", async () => {
    for (const name of (await readdir(examples, { withFileTypes: true }))
      // from-postfix has folders of its own, and a test: from-postfix.test.ts.
      .filter((entry) => entry.isDirectory() && entry.name !== "from-postfix")
      .map((entry) => entry.name)) {
      const rendered = good(
        await renderManifests({ manifests: join(examples, name), data: data(name), running: false }),
      );
      // The certificate of cert-manager is the one thing that a folder of examples cannot hold.
      const refused = [...rendered.desired.verdicts].filter(([, verdict]) => !verdict.accepted);
      assert.deepEqual(
        refused.map(([key]) => key),
        name === "dovecot-lmtp" ? ["MailServer/default/mx"] : [],
        name,
      );
      const loaded = await loadConfig(configFolder(data(name)));
      assert.ok(loaded.kind === "loaded" && loaded.config.hash === rendered.hash, name);
    }
  });

  test("the quickstart is what its readers rely on", async () => {
    const { desired } = good(
      await renderManifests({ manifests: join(examples, "quickstart"), data: data("quick"), running: false }),
    );
    const { server, tables } = desired.config;
    assert.deepEqual(
      server.listeners.map(({ port, role }) => [port, role]),
      [
        [2525, "MX"],
        [2587, "Submission"],
        [2465, "Submission"],
      ],
    );
    assert.deepEqual(server.trustedNetworks, [], "loopback is not trusted");
    assert.equal(tables.domains["example.org"]?.delivery?.kind, "maildir");
    assert.equal(tables.addresses["alice@example.org"]?.mailbox?.authentication, true);
    assert.deepEqual(server.postmaster, ["postmaster@example.org"]);
  });

  test("the same manifests, the same bytes: in another process's place, split over other files, through a symbolic link", async () => {
    const first = good(
      await renderManifests({ manifests: join(examples, "quickstart"), data: data("one"), running: false }),
    );
    await cp(join(examples, "quickstart"), join(folder, "copy"), { recursive: true });
    await symlink(join(folder, "copy"), join(folder, "link"));
    const second = good(await renderManifests({ manifests: join(folder, "link"), data: data("two"), running: false }));
    assert.equal(first.hash, second.hash);
    for (const name of await readdir(configFolder(data("one"))))
      assert.equal(
        await readFile(join(configFolder(data("one")), name), "utf8"),
        await readFile(join(configFolder(data("two")), name), "utf8"),
        name,
      );
    assert.deepEqual(
      good(await renderManifests({ manifests: join(folder, "link"), data: data("two"), running: true })).written,
      [],
      "nothing to write the second time",
    );
  });

  test("a bad manifest is explained and changes nothing; a bad object is left out and explained", async () => {
    const manifests = join(folder, "edited");
    await cp(join(examples, "quickstart"), manifests, { recursive: true });
    const first = good(await renderManifests({ manifests, data: data("edited-data"), running: false }));
    const config = configFolder(data("edited-data"));
    const manifest = await readFile(join(config, "manifest.json"), "utf8");

    await writeFile(
      join(manifests, "zz.yaml"),
      "apiVersion: mail.packetboat.io/v1alpha1\nkind: Alias\nmetadata: {name: x}\nspec: {domainRef: {name: example-org}, addreses: [a]}\n",
    );
    const refused = await renderManifests({ manifests, data: data("edited-data"), running: true });
    assert.ok(refused.kind === "refused");
    assert.match(
      refused.explanation,
      /goes on with the last good ones:\n {2}zz\.yaml, document 1 \(line 1\): Alias x: spec\.addreses is not a field/,
    );
    assert.equal(await readFile(join(config, "manifest.json"), "utf8"), manifest);

    await writeFile(
      join(manifests, "zz.yaml"),
      "apiVersion: mail.packetboat.io/v1alpha1\nkind: Alias\nmetadata: {name: x}\nspec: {domainRef: {name: nowhere}, addresses: [a], destinations: [b@example.org]}\n",
    );
    const partly = good(await renderManifests({ manifests, data: data("edited-data"), running: true }));
    assert.equal(partly.hash, first.hash);
    assert.match(
      partly.remarks ?? "",
      /zz\.yaml, document 1 \(line 1\): Alias default\/x is not accepted \(InvalidReference\): MailDomain default\/nowhere does not exist/,
    );
  });

  test("a folder that is not there, or empty, is explained", async () => {
    for (const manifests of [join(folder, "nowhere"), await mkdtemp(join(folder, "empty-"))]) {
      const refused = await renderManifests({ manifests, data: data("none"), running: false });
      assert.ok(refused.kind === "refused");
      assert.match(refused.explanation, /cannot be read \(ENOENT\)|holds no file/);
    }
  });

  test("the text at the start names ports, folders and lines to type, and no password", async () => {
    const { desired, world } = good(
      await renderManifests({ manifests: join(examples, "quickstart"), data: data("text"), running: false }),
    );
    const submitter = submitterOf(world, desired.config);
    assert.deepEqual(submitter, { address: "alice@example.org", secretName: "default/alice" });
    const text = readyText(desired.config, {
      offset: 100,
      dataFolder: ".data",
      manifestsFolder: "examples/quickstart",
      logFile: ".data/server.log",
      submitter,
    });
    for (const part of [
      "127.0.0.1:2625",
      "[::1]:2687",
      "127.0.0.1:2565",
      "http://127.0.0.1:9225/metrics",
      "swaks --server 127.0.0.1:2625 ",
      "curl -sS smtp://127.0.0.1:2625",
      "cat .data/mail/example.org/alice/new/*",
      "curl -sSk smtps://127.0.0.1:2565 -u alice@example.org",
    ]) {
      assert.ok(text.includes(part), part);
    }
    assert.doesNotMatch(text, /test-password/);
  });
});
