/** AUTH from outside: mechanisms and whom they let in, what strangers can learn, and what guessing leads to. */
import assert from "node:assert/strict";
import { createHash, pbkdf2Sync, X509Certificate } from "node:crypto";
import { before, test } from "node:test";
import type { ConnectionOptions } from "node:tls";
import { TLSSocket } from "node:tls";
import { ScramClient } from "../config/scram-client-fixture.ts";
import { scramText } from "../config/saslprep.ts";
import type { AuthenticationSettings, LiveConfig } from "../config/schema.ts";
import {
  aCertificate,
  aConfig,
  aListener,
  aMailbox,
  aServer,
  play,
  type TestCertificate,
  type TestClient,
  type TestServer,
} from "../listen/inbound-fixture.ts";
import { registry } from "../observe/metrics.ts";

let own: TestCertificate;
let machine: TestCertificate;
before(async () => {
  own = await aCertificate(["mx.example.org"]);
  machine = await aCertificate(["machine.example"]);
});

/** The password of alice is `secret`, that of carol `pencil`. */
const argon2 = "$argon2id$v=19$m=256,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$0CUPvSealRO6hhNZEKwrvKKRV3txZJhLCQ+/ZkQFl7g";
const salt = Buffer.from("0123456789abcdef");
const verifier = scramText(4096, salt, pbkdf2Sync("pencil", salt, 4096, 32, "sha256"));
const timeout = 20_000;

const plain = (user: string, password: string): string =>
  `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}`;

function configOf(settings: Partial<AuthenticationSettings> = {}, more: Partial<LiveConfig> = {}): LiveConfig {
  const config = aConfig(
    {
      certificates: new Map([["own", own]]),
      serverCertificates: ["own"],
      addresses: new Map([
        ["alice@example.org", aMailbox()],
        ["carol@example.org", aMailbox()],
        ["disabled@example.org", aMailbox({ authentication: false })],
        ["suspended@example.org", aMailbox({ suspended: true })],
        ["sales@example.org", { alias: { destinations: ["alice@example.org"], senders: ["alice@example.org"] } }],
      ]),
      passwords: new Map([
        ["alice@example.org", argon2],
        ["carol@example.org", verifier],
        ["disabled@example.org", argon2],
        ["suspended@example.org", verifier],
      ]),
      ...more,
    },
    {
      limits: { hardErrors: 1000, softErrors: 1000 },
      listeners: [
        aListener(),
        aListener({
          name: "submissions",
          role: "Submission",
          tls: { mode: "Implicit", clientCertificates: "Ask" },
          authenticatedHeader: true,
        }),
      ],
    },
  );
  const { authentication } = config.server;
  return {
    ...config,
    server: {
      ...config.server,
      authentication: { ...authentication, mechanisms: ["PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL"], ...settings },
    },
  };
}

async function greeted(
  server: TestServer,
  tls: ConnectionOptions = {},
  localAddress = "127.0.0.1",
): Promise<{ client: TestClient; offered: string }> {
  const client = await play(server.port("submissions"), "S: 220 *", { tls, localAddress });
  const hello = await client.say("EHLO x");
  return { client, offered: /AUTH ([^\n]*)/.exec(hello)?.[1] ?? "" };
}

async function scramLogin(
  client: TestClient,
  attempt: ConstructorParameters<typeof ScramClient>[0],
  mechanism = "SCRAM-SHA-256",
): Promise<string> {
  const scram = new ScramClient(attempt);
  const first = await client.say(`AUTH ${mechanism} ${scram.first()}`);
  if (!first.startsWith("334 ")) return first;
  const final = await client.say(scram.final(first.slice(4)));
  if (!final.startsWith("334 ")) return final;
  assert.ok(scram.trusts(final.slice(4)));
  return client.say("");
}

test("what is offered is what can succeed", { timeout }, async () => {
  await using server = await aServer(configOf());
  const tls12: ConnectionOptions = { maxVersion: "TLSv1.2" };
  for (const [config, tls, expected] of [
    [configOf(), {}, "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS"],
    // RFC 9266 §3: no tls-exporter of which we could be sure.
    [configOf(), tls12, "PLAIN LOGIN SCRAM-SHA-256"],
    [configOf({}, { passwords: new Map([["alice@example.org", argon2]]) }), {}, "PLAIN LOGIN"],
    [configOf({ mechanisms: ["SCRAM-SHA-256", "EXTERNAL"] }), tls12, "SCRAM-SHA-256"],
    [configOf({ mechanisms: ["LOGIN"] }), {}, "LOGIN"],
    [configOf({ mailboxes: false }), {}, ""],
  ] as const) {
    await server.reconfigure(config);
    const { client, offered } = await greeted(server, tls);
    assert.equal(offered, expected);
    if (!expected.includes("PLAIN"))
      assert.match(await client.say(plain("alice@example.org", "secret")), /^504 5\.5\.4 /);
    client.close();
  }
});

test("SCRAM-SHA-256: in, out, and bound to the channel", { timeout }, async () => {
  await using server = await aServer(configOf());
  const carol = { username: "Carol@Example.org", password: "pencil" };
  const binding = (client: TestClient): Buffer => {
    assert.ok(client.socket instanceof TLSSocket);
    return client.socket.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", Buffer.alloc(0));
  };
  {
    const { client } = await greeted(server);
    for (const [attempt, why] of [
      [{ ...carol, password: "pencils" }, "wrong"],
      [{ username: "nobody@example.org", password: "pencil" }, "nobody"],
      [{ username: "suspended@example.org", password: "pencil" }, "suspended"],
      [{ username: "alice@example.org", password: "secret" }, "argon2id has no verifier"],
      [{ ...carol, gs2Header: "y,," }, "downgraded"],
    ] as const)
      assert.equal(await scramLogin(client, attempt), "535 5.7.8 Authentication credentials invalid", why);
    assert.match(await scramLogin(client, carol), /^235 2\.7\.0 /);
    assert.match(await client.say("MAIL FROM:<carol@example.org>"), /^250 /);
    client.close();
  }
  {
    const { client } = await greeted(server);
    const bound = { ...carol, gs2Header: "p=tls-exporter,,", binding: binding(client) };
    assert.match(await scramLogin(client, { ...bound, binding: Buffer.alloc(32) }, "SCRAM-SHA-256-PLUS"), /^535 /);
    assert.match(await scramLogin(client, bound, "SCRAM-SHA-256-PLUS"), /^235 /);
    client.close();
  }
  {
    // A verifier is enough for PLAIN, and without an initial response the client is asked for one.
    const { client } = await greeted(server);
    assert.equal(await client.say("AUTH SCRAM-SHA-256"), "334 ");
    assert.match(await client.say("*"), /^501 5\.7\.0 /);
    assert.match(await client.say(plain("carol@example.org", "pencil")), /^235 /);
    client.close();
  }
});

test("nobody can tell who exists: PLAIN, LOGIN and SCRAM answer the same, the challenge too", { timeout }, async () => {
  await using server = await aServer(configOf());
  const { client } = await greeted(server);
  const users = ["carol@example.org", "alice@example.org", "disabled@example.org", "suspended@example.org"];
  const strangers = ["nobody@example.org", "x@elsewhere.example", "no-address", "sales@example.org", "ü@example.org"];
  const answers = new Set<string>();
  const challenges = new Set<string>();
  for (const name of [...users, ...strangers]) {
    answers.add(await client.say(plain(name, "wrong")));
    for (let twice = 0; twice < 2; twice += 1) {
      const scram = new ScramClient({ username: name, password: "wrong" });
      const challenge = await client.say(`AUTH SCRAM-SHA-256 ${scram.first()}`);
      const fields = Buffer.from(challenge.slice(4), "base64").toString().split(",");
      // Two exchanges differ in the nonce and in nothing else.
      challenges.add(`${name} ${fields[1]} ${fields[2]} ${fields[1]?.length}`);
      answers.add(await client.say(scram.final(challenge.slice(4))));
    }
  }
  assert.deepEqual([...answers], ["535 5.7.8 Authentication credentials invalid"]);
  assert.equal(challenges.size, users.length + strangers.length);
  for (const challenge of challenges) assert.match(challenge, / s=\S{24} i=4096 26$/);
  client.close();
});

test("EXTERNAL: the mailbox that the certificate is mapped to, and nobody else", { timeout }, async () => {
  const fingerprint = createHash("sha256").update(new X509Certificate(machine.certificate).raw).digest("hex");
  const entry = { name: "default/machine", senders: [], recipients: [], authenticatesAs: "alice@example.org" };
  const withEntry = (change: object = {}): LiveConfig =>
    configOf({}, { relayClientCerts: new Map([[`certificate:${fingerprint}`, { ...entry, ...change }]]) });
  await using server = await aServer(withEntry());
  const shown = { cert: machine.certificate, key: machine.privateKey };
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  {
    const { client, offered } = await greeted(server);
    assert.doesNotMatch(offered, /EXTERNAL/);
    assert.match(await client.say("AUTH EXTERNAL ="), /^504 /);
    client.close();
  }
  for (const [lines, reply] of [
    [["AUTH EXTERNAL ="], /^235 /],
    [["AUTH EXTERNAL", ""], /^235 /],
    [[`AUTH EXTERNAL ${base64("Alice@example.org")}`], /^235 /],
    [[`AUTH EXTERNAL ${base64("carol@example.org")}`], /^535 /],
  ] as const) {
    const { client, offered } = await greeted(server, shown);
    assert.match(offered, /EXTERNAL/);
    let answer = "";
    for (const line of lines) answer = await client.say(line);
    assert.match(answer, reply);
    if (answer.startsWith("235")) {
      assert.match(await client.say("MAIL FROM:<carol@example.org>"), /^553 5\.7\.1 /);
      assert.match(await client.say("MAIL FROM:<alice@example.org>"), /^250 /);
    }
    client.close();
  }
  for (const [change, why] of [
    [{ expires: "2020-01-01T00:00:00.000Z" }, "expired"],
    [{ authenticatesAs: undefined }, "not mapped"],
  ] as const) {
    await server.reconfigure(withEntry(change));
    const { client, offered } = await greeted(server, shown);
    assert.doesNotMatch(offered, /EXTERNAL/, why);
    client.close();
  }
  await server.reconfigure(withEntry({ authenticatesAs: "suspended@example.org" }));
  const { client } = await greeted(server, shown);
  assert.match(await client.say("AUTH EXTERNAL ="), /^535 /);
  client.close();
});

test("an Alias lets its senders write as it; the Received field names the user where the listener says so", {
  timeout,
}, async () => {
  await using server = await aServer(configOf({ defaultDomain: "example.org" }));
  const { client } = await greeted(server);
  assert.match(await client.say(plain("alice", "secret")), /^235 /);
  assert.match(await client.say("MAIL FROM:<carol@example.org>"), /^553 5\.7\.1 /);
  for (const line of ["MAIL FROM:<sales@example.org>", "RCPT TO:<carol@example.org>"])
    assert.match(await client.say(line), /^250 /);
  assert.match(await client.say("DATA"), /^354 /);
  assert.match(await client.say("Subject: x\r\n\r\nx\r\n."), /^250 /);
  assert.match(
    server.queue.stored[0]?.content.toString() ?? "",
    /^Received: [^;]*\(Authenticated sender: alice@example\.org\)/,
  );
  client.close();
});

test("guessing: a client is stopped; a user is closed to strangers only; the window ends it", { timeout }, async () => {
  const failures = { perClient: 3, perUser: 5, windowMs: 600_000 };
  await using server = await aServer(configOf({ failures }));
  const tries = async (from: string, user: string, password: string): Promise<string> => {
    const { client } = await greeted(server, {}, from);
    const answer = await client.say(plain(user, password));
    client.close();
    return answer.slice(0, 9);
  };
  // Alice has logged in from home.
  assert.equal(await tries("127.0.0.9", "alice@example.org", "secret"), "235 2.7.0");
  for (let failed = 0; failed < 3; failed += 1)
    assert.equal(await tries("127.0.0.2", "alice@example.org", "x"), "535 5.7.8");
  assert.equal(await tries("127.0.0.2", "alice@example.org", "secret"), "454 4.7.0");
  assert.equal(
    await tries("127.0.0.2", "carol@example.org", "pencil"),
    "454 4.7.0",
    "it is the client that is stopped",
  );
  for (let failed = 0; failed < 2; failed += 1)
    assert.equal(await tries("127.0.0.3", "ALICE@example.org", "x"), "535 5.7.8");
  assert.equal(await tries("127.0.0.4", "alice@example.org", "x"), "454 4.7.0", "closed to strangers");
  assert.equal(await tries("127.0.0.4", "alice@example.org", "secret"), "454 4.7.0", "whatever they know");
  assert.equal(await tries("127.0.0.9", "alice@example.org", "secret"), "235 2.7.0", "not to alice at home");
  assert.equal(await tries("127.0.0.4", "carol@example.org", "pencil"), "235 2.7.0");
  // Names that nobody has are counted alike.
  for (let failed = 0; failed < 5; failed += 1) await tries(`127.0.1.${failed + 1}`, "nobody@example.org", "x");
  assert.equal(await tries("127.0.0.5", "nobody@example.org", "x"), "454 4.7.0");
  assert.match(await registry.metrics(), /packetboat_authentications_total\{[^}]*result="limited"\} [1-9]/);
});

test("a shared state that does not answer lets everybody try", { timeout }, async () => {
  const broken = {
    acquire: () => Promise.reject(new Error("gone")),
    release: () => Promise.reject(new Error("gone")),
    add: () => Promise.reject(new Error("gone")),
    remember: () => Promise.reject(new Error("gone")),
    recall: () => Promise.reject(new Error("gone")),
  };
  await using server = await aServer(configOf({ failures: { perClient: 1, perUser: 1, windowMs: 1000 } }), {
    shared: broken,
  });
  const { client } = await greeted(server);
  for (let failed = 0; failed < 3; failed += 1)
    assert.match(await client.say(plain("alice@example.org", "x")), /^535 /);
  assert.match(await client.say(plain("alice@example.org", "secret")), /^235 /);
  client.close();
});
