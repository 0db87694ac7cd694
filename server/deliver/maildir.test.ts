import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { createResolver } from "../dns/resolver.ts";
import type { Transport } from "../route/resolve.ts";
import { createDeliver } from "./create.ts";
import { withoutCr } from "./maildir.ts";
import { maildirPath, pathComponent } from "./maildir-path.ts";
import { aJob, aLiveConfig, aLog, aMessage, aRecipient, contentOf, text } from "./outbound-fixture.ts";

const config = aLiveConfig();
const into = (mailbox: string, base = "mail"): Transport => ({
  delivery: { kind: "maildir", base },
  destination: `maildir:${mailbox}`,
  tlsPolicyKey: "",
  mailbox,
});

async function aFolder(
  t: TestContext,
): Promise<{ readonly dataDir: string; readonly deliver: ReturnType<typeof createDeliver>["deliver"] }> {
  const dataDir = await mkdtemp(join(tmpdir(), "packetboat-maildir-"));
  const { deliver, close } = createDeliver({
    dataDir,
    resolver: createResolver(),
    log: aLog().log,
    hostname: "mx.example.org",
  });
  t.after(async () => {
    close();
    await rm(dataDir, { recursive: true, force: true });
  });
  return { dataDir, deliver };
}

test("a message becomes one file in new, with the envelope on top and LF line ends; tmp is empty", async (t) => {
  const { dataDir, deliver } = await aFolder(t);
  const message = aMessage([aRecipient("Alice+tag@Example.org")], { receivedMs: 1_700_000_000_123 });
  const { outcomes } = await deliver(aJob(config, into("alice@example.org"), message));
  assert.equal(outcomes[0]?.kind, "delivered");
  const folder = join(dataDir, "mail", "example.org", "alice");
  assert.deepEqual((await readdir(folder)).toSorted(), ["cur", "new", "tmp"]);
  assert.deepEqual(await readdir(join(folder, "tmp")), []);
  assert.deepEqual(await readdir(join(folder, "new")), ["1700000000.Q0TestQueueId1R0.mx.example.org"]);
  const written = await readFile(join(folder, "new", "1700000000.Q0TestQueueId1R0.mx.example.org"), "latin1");
  assert.equal(
    written,
    `Return-Path: <sender@example.org>\nDelivered-To: Alice+tag@Example.org\n${text.replaceAll("\r\n", "\n")}`,
  );
});

test("the same delivery again replaces its file; another recipient gets its own", async (t) => {
  const { dataDir, deliver } = await aFolder(t);
  const job = aJob(config, into("alice@example.org"), aMessage(["alice@example.org", "alice+b@example.org"]));
  await deliver(job);
  await deliver({ ...job, recipients: job.recipients.slice(0, 1) });
  assert.equal((await readdir(join(dataDir, "mail", "example.org", "alice", "new"))).length, 2);
});

test("what cannot be written is temporary, says why, and leaves nothing behind", async (t) => {
  const { dataDir, deliver } = await aFolder(t);
  await writeFile(join(dataDir, "mail"), "a file where the base should be");
  const blocked = await deliver(aJob(config, into("alice@example.org"), aMessage(["alice@example.org"])));
  assert.deepEqual(
    blocked.outcomes[0]?.kind === "failed" && [blocked.outcomes[0].reply.code, blocked.outcomes[0].scope],
    [451, "recipient"],
  );
  const outside = await deliver(
    aJob(config, into("alice@example.org", "../elsewhere"), aMessage(["alice@example.org"])),
  );
  assert.equal(outside.outcomes[0]?.reply.code, 451);

  async function* corrupt(): AsyncGenerator<Buffer> {
    yield await Promise.resolve(Buffer.from("Subject: half\r\n"));
    throw Object.assign(new Error("checksum"), { name: "CorruptMessage" });
  }
  const folder = join(dataDir, "other", "example.org", "alice");
  const torn = await deliver({
    ...aJob(config, into("alice@example.org", "other"), aMessage(["alice@example.org"])),
    content: corrupt,
  });
  assert.equal(torn.outcomes[0]?.reply.text, "Queued message could not be read");
  assert.deepEqual(await readdir(join(folder, "tmp")), []);
  assert.deepEqual(await readdir(join(folder, "new")), []);
});

test("a folder that may not be written", {
  skip: process.getuid?.() === 0 ? "root may write everywhere" : false,
}, async (t) => {
  const { dataDir, deliver } = await aFolder(t);
  await mkdir(join(dataDir, "mail"));
  await chmod(join(dataDir, "mail"), 0o500);
  const { outcomes } = await deliver(aJob(config, into("a@b.test"), aMessage(["a@b.test"])));
  assert.match(outcomes[0]?.reply.text ?? "", /EACCES/);
});

const components: readonly [string, string][] = [
  ["alice", "alice"],
  ["a.b-c_d+e=f", "a.b-c_d+e=f"],
  [".", "%2E"],
  ["..", "%2E."],
  ["../../etc", "%2E.%2F..%2Fetc"],
  ["a/b\0c%", "a%2Fb%00c%25"],
  ["jürgen", "j%C3%BCrgen"],
];
for (const [name, expected] of components)
  test(`local part ${JSON.stringify(name)} is the folder ${expected}`, () =>
    assert.equal(pathComponent(name), expected));

test("no local part leaves its domain's folder, and no two share one", () => {
  fc.assert(
    fc.property(
      fc.string({ minLength: 1, maxLength: 300, unit: "binary" }),
      fc.string({ minLength: 1, maxLength: 300, unit: "binary" }),
      (one, other) => {
        const path = maildirPath("/data", "mail", `${one}@d.test`);
        assert.ok(path !== undefined && path.startsWith(`/data/mail/d.test${sep}`));
        const name = path.slice("/data/mail/d.test/".length);
        assert.ok(name !== "" && name.length <= 255 && !name.includes("/") && !name.startsWith("."));
        // Lone surrogates are not text: they all become U+FFFD in UTF-8.
        if (one.isWellFormed() && other.isWellFormed() && one !== other)
          assert.notEqual(pathComponent(one), pathComponent(other));
      },
    ),
  );
});

test("CRLF becomes LF wherever the chunks are cut", async () => {
  const cut = async (...chunks: string[]): Promise<string> => {
    let held = false;
    let out = "";
    for await (const chunk of contentOf(...chunks)) {
      const { data, endsInCr } = withoutCr(chunk, held);
      held = endsInCr;
      out += data.toString();
    }
    return out + (held ? "\r" : "");
  };
  assert.equal(await cut("a\r\nb\r", "\nc"), "a\nb\nc");
  assert.equal(await cut("a\r", "b\r\n", "", "\r\n"), "a\rb\n\n");
  assert.equal(await cut("a\r", "\r\n"), "a\r\n");
});
