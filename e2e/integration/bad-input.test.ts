/**
 * Broken configuration, missing Secret, expired certificate, wrong hash, unreadable spool, full disk: a clear line in log, status and metric, the last good state
 * kept, nothing lost. Each against the whole server.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { selfSigned } from "../peers/certificates.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, quickstart, secret } from "./manifests.ts";

const plain = (user: string, password: string): string => Buffer.from(`\0${user}\0${password}`).toString("base64");

async function greeted(port: number): Promise<SmtpDialogue> {
  const client = await SmtpDialogue.open(port);
  await client.reply();
  await client.command("EHLO client.example.net");
  return client;
}

async function send(boat: Packetboat, to: string, subject: string): Promise<string> {
  await using client = await greeted(boat.mx);
  const content = `Subject: ${subject}\n\nx\n`;
  return (await client.send({ from: "bob@example.net", to: [to], content })).at(-1) ?? "";
}

/** The reply to AUTH PLAIN over TLS. */
async function login(boat: Packetboat, user: string, password: string): Promise<string> {
  await using client = await greeted(boat.submission);
  await client.startTls();
  await client.command("EHLO laptop.example.org");
  return await client.command(`AUTH PLAIN ${plain(user, password)}`);
}

const metric = async (boat: Packetboat, line: RegExp): Promise<boolean> =>
  line.test(await (await boat.admin("/metrics")).text());

const mailbox = (name: string, spec: object): string =>
  object("Mailbox", name, { address: `${name}@example.org`, domainRef: { name: "example-org" }, ...spec });

interface ConfigAnswer {
  readonly hash: string;
  readonly shards: readonly { readonly notReady: string | null }[];
  readonly pending: { readonly kind: string; readonly message: string } | null;
}

test("a broken configuration on disk: mail goes on by the last good one, and everybody who asks hears why", async () => {
  await using boat = await Packetboat.start(quickstart());
  const { hash } = await boat.json<ConfigAnswer>("/config");
  const manifest = join(boat.data, "config/manifest.json");
  const good = readFileSync(manifest, "utf8");
  const spoilings = [
    { content: '{"version":99}', says: /version 99; this server reads version 1/ },
    { content: "{", says: /manifest\.json is not JSON/ },
  ];
  for (const { content, says } of spoilings) {
    writeFileSync(manifest, content);
    await until("the refusal in /config", 5000, async () =>
      says.test((await boat.json<ConfigAnswer>("/config")).pending?.message ?? ""),
    );
    assert.equal((await boat.json<ConfigAnswer>("/config")).hash, hash);
    assert.ok(await metric(boat, /^packetboat_config_pending 1$/m));
    assert.match(await send(boat, "alice@example.org", "under a broken configuration"), /^250 /);
  }
  assert.ok(boat.log().some((line) => String(line["event"]).startsWith("configuration refused")));
  writeFileSync(manifest, good);
  await until("nothing pending", 5000, async () => (await boat.json<ConfigAnswer>("/config")).pending === null);
  assert.ok(await metric(boat, /^packetboat_config_pending 0$/m));
});

test("a missing Secret and a wrong hash lock out their own mailbox only; its mail still arrives", async () => {
  await using boat = await Packetboat.start({
    ...quickstart(),
    "z.yaml":
      mailbox("missing", { passwordSecretRef: { name: "no-such-secret" } }) +
      mailbox("odd", { passwordSecretRef: { name: "odd" } }) +
      secret("odd", { password: "{ROT13}cnffjbeq" }),
  });
  assert.match(boat.output, /missing[\s\S]*no-such-secret/);
  assert.match(boat.output, /Secret default\/odd is not a hash in an accepted format/);
  assert.doesNotMatch(boat.output, /cnffjbeq/);
  for (const name of ["missing", "odd"]) {
    assert.match(await send(boat, `${name}@example.org`, `to ${name}`), /^250 /);
    await until(`mail of ${name}`, 5000, () => boat.maildir(`mail/example.org/${name}`).length === 1);
    assert.match(await login(boat, `${name}@example.org`, "password"), /^(535 5\.7\.8|454 4\.7\.0) /);
  }
  assert.match(await login(boat, "alice@example.org", "test-password-change-me"), /^235 /);
});

test("an expired certificate is served rather than none, and said to be expired in words and in a metric", async () => {
  const expired = await selfSigned("mx.example.org", -3_600_000);
  const manifests = Object.fromEntries(
    Object.entries(quickstart()).map(([name, text]) => [
      name,
      text
        .split(/^---$/m)
        .filter((document) => !/^kind: MailServer$/m.test(document))
        .join("---\n"),
    ]),
  );
  await using boat = await Packetboat.start({
    ...manifests,
    "server.yaml":
      object("MailServer", "mx", { hostname: "mx.example.org", tls: { certificates: [{ secretName: "old" }] } }) +
      secret("old", { "tls.crt": expired.certificate, "tls.key": expired.privateKey }),
  });
  assert.match(boat.output, /old[\s\S]*expired/);
  assert.ok(await metric(boat, /^packetboat_certificate_problems\{reason="expired"\} [1-9]/m));
  assert.ok(boat.log().some((line) => line["event"] === "tls-certificate-expired"));
  await using client = await greeted(boat.mx);
  await client.startTls();
});

test("an unreadable spool is never touched: its shard stays down and says what to do, the other one takes mail", async () => {
  await using boat = await Packetboat.start(quickstart());
  if (boat.shards().length < 2) return;
  assert.equal(await boat.stop(), 0);
  const spool = join(boat.data, "queue/0.sqlite");
  const garbage = Buffer.concat([Buffer.from("this is not a database"), readFileSync(spool).subarray(22)]);
  writeFileSync(spool, garbage);
  await boat.run();
  await until("the reason in /config", 20_000, async () =>
    (await boat.json<ConfigAnswer>("/config")).shards.some(({ notReady }) =>
      /0\.sqlite is damaged/.test(notReady ?? ""),
    ),
  );
  assert.ok(await metric(boat, /^packetboat_shards_ready 1$/m));
  await until("mail through the other shard", 20_000, async () =>
    (await send(boat, "alice@example.org", "one shard").catch(() => "")).startsWith("250"),
  );
  assert.deepEqual(readFileSync(spool), garbage);
  assert.ok(boat.log().some((line) => /0\.sqlite is damaged.*Copy/.test(String(line["reason"]))));
});

const mountable = (): string | undefined => {
  if (process.getuid?.() !== 0) return "needs root to mount a small file system";
  const folder = mkdtempSync(join(tmpdir(), "packetboat-mount-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "packetboat-test", folder]).status === 0;
  if (mounted) execFileSync("umount", [folder]);
  rmSync(folder, { recursive: true });
  return mounted ? undefined : "this machine does not let us mount a small file system";
};

test("a full disk: 452 before it hurts, nothing accepted is lost, over by itself when there is room", {
  skip: mountable(),
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), "packetboat-full-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=48m", "packetboat-test", folder]);
  try {
    const server = object("MailServer", "mx", { hostname: "mx.example.org", limits: { minFree: "8Mi" } });
    const domain = object("MailDomain", "d", {
      domain: "full.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: { maildir: {} },
    });
    const box = object("Mailbox", "b", { address: "b@full.example", domainRef: { name: "d" } });
    await using boat = await Packetboat.start({ "all.yaml": server + domain + box }, join(folder, "data"));
    assert.match(await send(boat, "b@full.example", "before;"), /^250 /);
    const ballast = join(folder, "ballast");
    mkdirSync(folder, { recursive: true });
    // Again and again: a queue that finds the disk full gives its reserve up, and something else takes that too.
    const fill = (): void => {
      const parameters = ["if=/dev/zero", `of=${ballast}`, "bs=64k", "oflag=append", "conv=notrunc"];
      spawnSync("dd", parameters, { stdio: "ignore" });
    };
    let refusal = "";
    await until("452", 10_000, async () => {
      fill();
      refusal = await send(boat, "b@full.example", "during;");
      return refusal.startsWith("452 4.3.1 ");
    });
    await until("503 from /readyz", 10_000, async () => {
      fill();
      return (await boat.admin("/readyz")).status === 503;
    });
    assert.ok(await metric(boat, /^packetboat_queue_unavailable\{reason="full"\} [1-9]/m));
    rmSync(ballast);
    await until("mail to be taken again", 10_000, async () =>
      (await send(boat, "b@full.example", "after;")).startsWith("250"),
    );
    await until("both messages", 10_000, () =>
      ["before;", "after;"].every((subject) =>
        boat.maildir("mail/full.example/b").some((message) => message.includes(subject)),
      ),
    );
  } finally {
    execFileSync("umount", ["-l", folder]);
    rmSync(folder, { recursive: true, force: true });
  }
});
