/**
 * Broken configuration, missing Secret, expired certificate, wrong hash, unreadable spool, full disk: a clear line in log, status and metric, the last good state
 * kept, nothing lost. Each against the whole server; what a pod would be handed by the operator is put into its folder by the test.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { canonicalJson, sha256 } from "../../server/config/canonical.ts";
import type { RenderedConfig } from "../../server/config/schema.ts";
import { selfSigned } from "../peers/certificates.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { freePort, until } from "../peers/ports.ts";
import { ServerAlone } from "../peers/server.ts";
import { Sink } from "../peers/sink.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, quickstart, secret } from "./manifests.ts";

const plain = (user: string, password: string): string => Buffer.from(`\0${user}\0${password}`).toString("base64");

async function greeted(port: number): Promise<SmtpDialogue> {
  const client = await SmtpDialogue.open(port);
  await client.reply();
  await client.command("EHLO client.example.net");
  return client;
}

async function send(server: { readonly mx: number }, to: string, subject: string): Promise<string> {
  await using client = await greeted(server.mx);
  const content = `Subject: ${subject}\n\nx\n`;
  return (await client.send({ from: "bob@example.net", to: [to], content })).at(-1) ?? "";
}

/** The reply to AUTH PLAIN over TLS. */
async function login(server: { readonly submission: number }, user: string, password: string): Promise<string> {
  await using client = await greeted(server.submission);
  await client.startTls();
  await client.command("EHLO laptop.example.org");
  return await client.command(`AUTH PLAIN ${plain(user, password)}`);
}

interface Asked {
  admin(path: string): Promise<Response>;
}

const metric = async (server: Asked, line: RegExp): Promise<boolean> =>
  line.test(await (await server.admin("/metrics")).text());

const mailbox = (name: string, spec: object): string =>
  object("Mailbox", name, { address: `${name}@example.org`, domainRef: { name: "example-org" }, ...spec });

interface ConfigAnswer {
  readonly hash: string | null;
  readonly shards: readonly { readonly hash: string | null; readonly notReady: string | null }[];
  readonly pending: { readonly kind: string; readonly message: string } | null;
}

const config = async (server: Asked): Promise<ConfigAnswer> =>
  (await (await server.admin("/config")).json()) as ConfigAnswer;

const text = (value: unknown): string => (typeof value === "string" ? value : "");
const said = (log: readonly Record<string, unknown>[], event: RegExp, reason = /./): boolean =>
  log.some((line) => event.test(text(line["event"])) && reason.test(text(line["reason"])));
/** Which of the numbered messages came, in order. */
const numbersIn = (messages: readonly { readonly content: string }[]): number[] =>
  messages.map(({ content }) => Number(/queued (\d);/.exec(content)?.[1])).sort((a, b) => a - b);

/** One more mailbox at example.org. */
const withMailbox =
  (name: string) =>
  (sample: RenderedConfig): RenderedConfig => ({
    ...sample,
    tables: {
      ...sample.tables,
      addresses: {
        ...sample.tables.addresses,
        [`${name}@example.org`]: {
          mailbox: { authentication: false, suspended: false, forwardTo: [], keepCopy: true, sendAs: [] },
        },
      },
    },
  });

/** A set whose hashes are right and whose server.json is what `spoil` makes of it: written by an operator with a bug. */
function sealed(folder: string, spoil: (server: Record<string, unknown>) => unknown): void {
  const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8")) as { files: Record<string, string> };
  const server = JSON.parse(readFileSync(join(folder, "server.json"), "utf8")) as Record<string, unknown>;
  const text = canonicalJson(spoil(server));
  const files = { ...manifest.files, "server.json": sha256(text) };
  writeFileSync(join(folder, "server.json"), text);
  writeFileSync(
    join(folder, "manifest.json"),
    canonicalJson({ ...manifest, files, hash: sha256(canonicalJson(files)) }),
  );
}

test("a broken configuration volume: mail goes on by the last good set, a killed shard comes back with it, a good one is taken", async () => {
  await using server = await ServerAlone.start(2);
  const { hash } = await config(server);
  assert.match(hash ?? "", /^[0-9a-f]{64}$/);
  const at = (name: string): string => join(server.config, name);
  const spoilings: readonly { readonly name: string; readonly spoil: () => void; readonly says: RegExp }[] = [
    {
      name: "a slice of garbage",
      spoil: () => writeFileSync(at("table-01.json"), Buffer.from([0xff, 0, 0x7b, 0x80])),
      says: /^table-01\.json is not yet the version that the manifest names/,
    },
    {
      name: "a slice gone",
      spoil: () => rmSync(at("secret-02.json")),
      says: /^secret-02\.json cannot be read: ENOENT/,
    },
    {
      name: "a manifest of a newer version",
      spoil: () => writeFileSync(at("manifest.json"), '{"version":99,"files":{},"hash":""}'),
      says: /^manifest\.json has version 99; this server reads version 1$/,
    },
    {
      name: "a manifest that is no JSON",
      spoil: () => writeFileSync(at("manifest.json"), '{"version":1,'),
      says: /^manifest\.json is not JSON$/,
    },
    {
      name: "a manifest whose hash is not that of its list",
      spoil: () => {
        const text = readFileSync(at("manifest.json"), "utf8");
        writeFileSync(at("manifest.json"), text.replace(/"hash":"[0-9a-f]{64}"/, `"hash":"${"0".repeat(64)}"`));
      },
      says: /^manifest\.json does not carry the hash of its own list of files$/,
    },
    {
      name: "a field that this server does not know",
      spoil: () => sealed(server.config, (section) => ({ ...section, teleport: true })),
      says: /^server\.json: .*teleport/,
    },
    {
      name: "a value out of bounds",
      spoil: () =>
        sealed(server.config, (section) => ({
          ...section,
          limits: { ...(section["limits"] as object), recipients: 1 },
        })),
      says: /^server\.json: limits\.recipients: /,
    },
    {
      name: "no manifest",
      spoil: () => rmSync(at("manifest.json")),
      says: /^manifest\.json cannot be read: ENOENT/,
    },
  ];
  let sent = 0;
  const mailFlows = async (): Promise<void> => {
    assert.match(await send(server, "alice@example.org", `while broken ${sent};`), /^250 /);
    sent += 1;
  };
  for (const { name, spoil, says } of spoilings) {
    await server.render();
    await until(`nothing pending before ${name}`, 5000, async () => (await config(server)).pending === null);
    spoil();
    await until(`/config to say ${says.source} of ${name}`, 5000, async () =>
      says.test((await config(server)).pending?.message ?? ""),
    );
    assert.equal((await config(server)).hash, hash, name);
    assert.ok(await metric(server, /^packetboat_config_pending 1$/m), name);
    assert.equal(await server.ready(), "ok", name);
    await mailFlows();
  }
  for (const says of [/version 99/, /is not JSON/, /teleport/, /limits\.recipients/])
    assert.ok(said(server.log(), /^configuration refused, the last good one stays$/, says), String(says));

  // Still without a manifest: a shard that dies now must come back, and with what the others run.
  const [victim] = server.shards();
  assert.ok(victim !== undefined);
  process.kill(victim, "SIGKILL");
  await until("another shard in its place", 10_000, async () => {
    const answer = await config(server).catch(() => undefined);
    const shards = answer?.shards ?? [];
    return (
      server.shards().length === 2 &&
      !server.shards().includes(victim) &&
      shards.every((shard) => shard.hash === hash && shard.notReady === null)
    );
  });
  await until("the new shard's line in the log", 5000, () =>
    said(server.log(), /^the configuration on disk is refused, the last good one is used$/),
  );
  for (let count = 0; count < 4; count++) await mailFlows();
  // The moment between two file updates is no news; what stays incomplete is.
  await until("a line about what stays incomplete", 10_000, () =>
    said(server.log(), /^configuration refused: it stays incomplete/, /manifest\.json cannot be read/),
  );

  assert.match(await send(server, "carol@example.org", "too early"), /^550 5\.1\.1 /);
  await server.render(withMailbox("carol"));
  await until("the good set", 5000, async () => {
    const answer = await config(server);
    return answer.pending === null && answer.hash !== null && answer.hash !== hash;
  });
  assert.ok(await metric(server, /^packetboat_config_pending 0$/m));
  assert.match(await send(server, "carol@example.org", "in time"), /^250 /);
  await until("all of alice's mail", 10_000, () => server.maildir("mail/example.org/alice").length === sent);
  await until("carol's mail", 10_000, () => server.maildir("mail/example.org/carol").length === 1);
});

test("no usable configuration at all: not ready and says why; ready by itself when there is one", async () => {
  await using server = await ServerAlone.prepare();
  const manifest = join(server.config, "manifest.json");
  writeFileSync(manifest, '{"version":99}');
  server.run();
  await until("the reason", 10_000, async () => (await server.ready()) !== "");
  await until("the sentence", 5000, async () => /version 99; this server reads version 1/.test(await server.ready()));
  assert.match(await server.ready(), /^503 no configuration yet: /);
  assert.equal((await server.admin("/healthz")).status, 200);
  await server.render();
  await until("ready", 10_000, async () => (await server.ready()) === "ok");
});

test("a missing Secret and a wrong hash lock out their own mailbox only; its mail still arrives", async () => {
  await using boat = await Packetboat.start({
    ...quickstart(),
    "z.yaml":
      mailbox("missing", { passwordSecretRef: { name: "no-such-secret" } }) +
      mailbox("empty", { passwordSecretRef: { name: "empty" } }) +
      mailbox("odd", { passwordSecretRef: { name: "odd" } }) +
      mailbox("cut", { passwordSecretRef: { name: "cut" } }) +
      secret("empty", { unrelated: "x" }) +
      secret("odd", { password: "{ROT13}cnffjbeq" }) +
      secret("cut", { hash: "$argon2id$v=19$m=65536,t=3" }),
  });
  // The object, what is wrong, and what to change.
  assert.match(boat.output, /Mailbox default\/missing\b.*no-such-secret.*\b(create|name|correct)/i);
  assert.match(boat.output, /Mailbox default\/empty\b.*\bempty\b.*\b(hash|password)\b/);
  assert.match(boat.output, /Secret default\/odd is not a hash in an accepted format/);
  assert.match(boat.output, /Secret default\/cut is not a hash in an accepted format/);
  assert.doesNotMatch(boat.output + JSON.stringify(boat.log()), /cnffjbeq|m=65536,t=3/);
  for (const name of ["missing", "empty", "odd", "cut"]) {
    assert.match(await send(boat, `${name}@example.org`, `to ${name}`), /^250 /);
    await until(`mail of ${name}`, 5000, () => boat.maildir(`mail/example.org/${name}`).length === 1);
    assert.match(await login(boat, `${name}@example.org`, "password"), /^535 5\.7\.8 /);
    // Neither the odd text itself nor nothing opens the door.
    assert.match(await login(boat, `${name}@example.org`, "{ROT13}cnffjbeq"), /^535 5\.7\.8 /);
    assert.match(await login(boat, `${name}@example.org`, ""), /^5\d\d /);
  }
  assert.match(await login(boat, "alice@example.org", "test-password-change-me"), /^235 /);
  // Mended while it runs.
  boat.write("zz.yaml", secret("no-such-secret", { password: "found-again" }));
  await until("the missing one to log in", 10_000, async () =>
    (await login(boat, "missing@example.org", "found-again")).startsWith("235"),
  );
});

test("a hash that the server itself cannot check is its own trouble: 454, never 535; the others log in", async () => {
  await using server = await ServerAlone.prepare();
  const salted = (password: string): string => {
    const salt = Buffer.from("8 octets");
    return `{SSHA}${Buffer.concat([createHash("sha1").update(password).update(salt).digest(), salt]).toString("base64")}`;
  };
  await server.render((sample) => {
    const { "alice@example.org": alice } = sample.tables.addresses;
    assert.ok(alice !== undefined);
    const addresses = { "alice@example.org": alice, "odd@example.org": alice, "cut@example.org": alice };
    const passwords = {
      "alice@example.org": salted("right"),
      "odd@example.org": "{ROT13}cnffjbeq",
      "cut@example.org": "$argon2id$v=19$m=65536,t=3",
    };
    return { ...sample, tables: { ...sample.tables, addresses }, secrets: { ...sample.secrets, passwords } };
  });
  server.run();
  await until("ready", 20_000, async () => (await server.ready()) === "ok");
  for (const name of ["odd", "cut"]) {
    assert.match(await login(server, `${name}@example.org`, "password"), /^454 4\.7\.0 /);
    assert.match(await send(server, `${name}@example.org`, "x"), /^250 /);
    await until(`mail of ${name}`, 5000, () => server.maildir(`mail/example.org/${name}`).length === 1);
  }
  assert.match(await login(server, "alice@example.org", "wrong"), /^535 5\.7\.8 /);
  assert.match(await login(server, "alice@example.org", "right"), /^235 /);
  assert.ok(await metric(server, /^packetboat_authentications_total\{.*result="unavailable".*\} 2$/m));
  assert.ok(
    server.log().some((line) => /hash/.test(JSON.stringify(line)) && /odd@example\.org/.test(JSON.stringify(line))),
  );
  assert.doesNotMatch(server.output, /cnffjbeq|m=65536/);
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
  await until("the line in the log", 5000, () => said(boat.log(), /^tls-certificate-expired$/, /.*/));
  {
    await using client = await greeted(boat.mx);
    assert.equal((await client.startTls()).authorized, false);
  }
  // Renewed while it runs: nothing is left to say.
  const renewed = await selfSigned("mx.example.org");
  boat.write(
    "server.yaml",
    object("MailServer", "mx", { hostname: "mx.example.org", tls: { certificates: [{ secretName: "old" }] } }) +
      secret("old", { "tls.crt": renewed.certificate, "tls.key": renewed.privateKey }),
  );
  await until(
    "no problem any more",
    5000,
    async () => !(await metric(boat, /^packetboat_certificate_problems\{.*\} [1-9]/m)),
  );
});

test("an unreadable spool is never touched: its shard stays down and says what to do, the other one takes mail", async () => {
  await using server = await ServerAlone.start(2);
  assert.equal(await server.stop(), 0);
  const spool = join(server.data, "queue/0.sqlite");
  const garbage = Buffer.concat([Buffer.from("this is not a database"), readFileSync(spool).subarray(22)]);
  writeFileSync(spool, garbage);
  server.run();
  await until("the reason in /config", 20_000, async () => {
    const answer = await config(server).catch(() => undefined);
    return answer?.shards.some(({ notReady }) => /0\.sqlite is damaged/.test(notReady ?? "")) === true;
  });
  await until("the other shard", 20_000, async () => (await server.ready()) === "ok");
  assert.ok(await metric(server, /^packetboat_shards_ready 1$/m));
  for (let count = 0; count < 5; count++)
    assert.match(await send(server, "alice@example.org", `by one shard ${count};`), /^250 /);
  await until("them", 10_000, () => server.maildir("mail/example.org/alice").length === 5);
  assert.ok(
    said(server.log(), /./, /0\.sqlite is damaged.*nothing was changed\. Copy .*0\.sqlite-wal to a safe place/),
  );
  assert.deepEqual(readFileSync(spool), garbage);
});

const damages: readonly { readonly name: string; readonly spoil: (spool: string) => void; readonly says: RegExp }[] = [
  {
    name: "damaged",
    spoil: (spool) => writeFileSync(spool, Buffer.concat([Buffer.alloc(100, 0x5a), readFileSync(spool).subarray(100)])),
    says: /^503 shard 0 cannot start: the queue database .*0\.sqlite is damaged: .*Copy /,
  },
  {
    name: "of a newer version",
    spoil: (spool) => {
      const database = new DatabaseSync(spool);
      database.exec("UPDATE meta SET value = '99' WHERE name = 'schema'");
      database.close();
    },
    says: /^503 shard 0 cannot start: the queue database .*0\.sqlite was written by a newer version .*schema is 99, this program knows \d+\); start the newer version$/,
  },
  {
    name: "of another program",
    spoil: (spool) => {
      rmSync(spool);
      const database = new DatabaseSync(spool);
      database.exec("CREATE TABLE recipes (title TEXT)");
      database.close();
    },
    says: /^503 shard 0 cannot start: .*0\.sqlite is a database, but not a queue of this program; it was left as it is$/,
  },
];
for (const { name, spoil, says } of damages) {
  test(`the only spool ${name}: not ready with that sentence, the file untouched; the good one put back, it goes on with its mail`, async () => {
    await using server = await ServerAlone.prepare();
    const port = await freePort();
    await server.render((sample) => ({
      ...sample,
      server: { ...sample.server, queue: { ...sample.server.queue, minBackoffMs: 500, maxBackoffMs: 500 } },
      tables: {
        ...sample.tables,
        domains: {
          "away.example": {
            class: "Relay",
            recipients: "Any",
            catchAll: [],
            delivery: { kind: "smtp", host: "127.0.0.1", port, lookupMX: false, implicitTLS: false },
          },
        },
      },
    }));
    server.run();
    await until("ready", 20_000, async () => (await server.ready()) === "ok");
    for (let count = 0; count < 5; count++)
      assert.match(await send(server, "x@away.example", `queued ${count};`), /^250 /);
    assert.equal(await server.stop(), 0);

    const spool = join(server.data, "queue/0.sqlite");
    const good = readFileSync(spool);
    assert.equal(existsSync(`${spool}-wal`), false, "a clean end leaves one file");
    spoil(spool);
    const spoilt = readFileSync(spool);
    server.run();
    await until("the sentence", 20_000, async () => says.test(await server.ready()));
    assert.match((await config(server)).shards[0]?.notReady ?? "", /0\.sqlite/);
    await until("the same in the log", 5000, () => said(server.log(), /^cannot start$/, /0\.sqlite/));
    assert.equal((await server.admin("/healthz")).status, 200);
    assert.ok(await metric(server, /^packetboat_shards_ready 0$/m));
    assert.deepEqual(readFileSync(spool), spoilt);

    await using sink = await Sink.start(port);
    // Whole at once: the shard looks for it again and again.
    writeFileSync(`${spool}.new`, good);
    renameSync(`${spool}.new`, spool);
    await until("ready by itself", 30_000, async () => (await server.ready()) === "ok");
    await until("what had been queued", 15_000, () => sink.messages.length >= 5);
    await until("an empty queue", 5000, async () => {
      const { recipients } = (await (await server.admin("/queue")).json()) as { recipients: number };
      return recipients === 0;
    });
    assert.deepEqual(numbersIn(sink.messages), [0, 1, 2, 3, 4]);
  });
}

const mountable = (): string | undefined => {
  if (process.getuid?.() !== 0) return "needs root to mount a small file system";
  const folder = mkdtempSync(join(tmpdir(), "packetboat-mount-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "packetboat-test", folder]).status === 0;
  if (mounted) execFileSync("umount", [folder]);
  rmSync(folder, { recursive: true });
  return mounted ? undefined : "this machine does not let us mount a small file system";
};

test("a full disk: 452 before it hurts, what is queued still leaves, nothing accepted is lost, over by itself when there is room", {
  skip: mountable() ?? false,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), "packetboat-full-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=160m", "packetboat-test", folder]);
  try {
    const port = await freePort();
    const domain = (name: string, spec: object): string =>
      object("MailDomain", name, { domain: `${name}.example`, serverRef: { name: "mx" }, ...spec });
    await using boat = await Packetboat.start(
      {
        "all.yaml":
          object("MailServer", "mx", {
            hostname: "mx.example.org",
            limits: { minFree: "48Mi" },
            queue: { minBackoff: "1s", maxBackoff: "1s" },
          }) +
          domain("full", { class: "Mailbox", delivery: { maildir: {} } }) +
          domain("away", {
            class: "Relay",
            recipients: { from: "Any" },
            delivery: { smtp: { host: "127.0.0.1", port } },
          }) +
          object("Mailbox", "b", { address: "b@full.example", domainRef: { name: "full" } }),
      },
      join(folder, "data"),
    );
    assert.match(await send(boat, "b@full.example", "before;"), /^250 /);
    for (let count = 0; count < 10; count++)
      assert.match(await send(boat, "x@away.example", `queued ${count};`), /^250 /);

    const ballast = join(folder, "ballast");
    // Its own word for it: a moment later the server may have given some room back.
    const dd = ["if=/dev/zero", `of=${ballast}`, "bs=1M", "count=200"];
    const { stderr } = spawnSync("dd", dd, { encoding: "utf8", env: { ...process.env, LC_ALL: "C" } });
    assert.match(stderr, /No space left on device/);
    // Every shard says so, and goes on saying so.
    let refusals = 0;
    let taken = 0;
    await until("452 ten times in a row", 15_000, async () => {
      const reply = await send(boat, "b@full.example", "during;");
      assert.match(reply, /^(250 2|452 4\.3\.1) ?/);
      if (reply.startsWith("250")) taken += 1;
      refusals = reply.startsWith("452 4.3.1 ") ? refusals + 1 : 0;
      return refusals === 10;
    });
    await until("503 from /readyz", 5000, async () => (await boat.admin("/readyz")).status === 503);
    assert.match(
      await (await boat.admin("/readyz")).text(),
      /bytes are free for the queue|no space left for the queue/,
    );
    assert.ok(await metric(boat, /^packetboat_queue_unavailable\{reason="full"\} [1-9]/m));
    // The log lies on the same disk, where lines are torn: the person at the terminal hears it instead, or as well.
    assert.match(boat.output + readFileSync(join(boat.data, "server.log"), "utf8"), /"event":"queue-full"/);

    {
      await using sink = await Sink.start(port);
      await until("what was queued to leave while the disk is full", 20_000, () => sink.messages.length >= 10);
      rmSync(ballast);
      const since = performance.now();
      await until("mail to be taken again", 10_000, async () =>
        (await send(boat, "b@full.example", "after;")).startsWith("250"),
      );
      assert.ok(performance.now() - since < 10_000);
      await until("an empty queue", 15_000, async () => {
        const { recipients } = await boat.json<{ recipients: number }>("/queue");
        return recipients === 0;
      });
      assert.deepEqual(numbersIn(sink.messages), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    // Also what was taken before the shards had noticed; its delivery may have had to wait for room.
    for (const [subject, count] of Object.entries({ "before;": 1, "during;": taken, "after;": 1 }))
      assert.equal(
        boat.maildir("mail/full.example/b").filter((message) => message.includes(subject)).length,
        count,
        subject,
      );
    await until("no shard to be full", 5000, () => metric(boat, /^packetboat_queue_unavailable\{reason="full"\} 0$/m));
    assert.ok(await metric(boat, /^packetboat_shard_restarts_total 0$/m));
  } finally {
    execFileSync("umount", ["-l", folder]);
    rmSync(folder, { recursive: true, force: true });
  }
});
