/** The order of back ends, and that an answer costs the same work whatever it is. */
import assert from "node:assert/strict";
import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { test } from "node:test";
import { pino } from "pino";
import type { AuthenticationSettings, LiveConfig } from "../config/schema.ts";
import { aConfig, aMailbox } from "../listen/inbound-fixture.ts";
import { Authenticator } from "./authenticator.ts";
import { PasswordVerifier } from "./verifier.ts";

const log = pino({ level: "silent" });
const argon2 = "$argon2id$v=19$m=256,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$0CUPvSealRO6hhNZEKwrvKKRV3txZJhLCQ+/ZkQFl7g";
const bcrypt = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const client = { address: "192.0.2.1", port: 1 };

function configOf(settings: Partial<AuthenticationSettings> = {}): LiveConfig {
  const config = aConfig({
    addresses: new Map([
      ["alice@example.org", aMailbox()],
      ["bob@example.org", aMailbox()],
      ["suspended@example.org", aMailbox({ suspended: true })],
    ]),
    passwords: new Map([
      ["alice@example.org", argon2],
      ["bob@example.org", bcrypt],
      ["suspended@example.org", argon2],
    ]),
  });
  return { ...config, server: { ...config.server, authentication: { ...config.server.authentication, ...settings } } };
}

/** Ten times each: what a verification costs must not tell which of them exists. */
test("a wrong password, an unknown user and a suspended one cost one hash each", { timeout: 20_000 }, async () => {
  const verifier = new PasswordVerifier(log);
  const authenticator = new Authenticator(log, verifier);
  const config = configOf();
  authenticator.apply(config);
  for (const [name, kind] of [
    ["alice@example.org", "mismatch"],
    ["bob@example.org", "mismatch"],
    ["nobody@example.org", "mismatch"],
    ["suspended@example.org", "mismatch"],
    ["not an address", "mismatch"],
    ["", "mismatch"],
  ] as const) {
    const before = verifier.computed;
    for (let times = 0; times < 10; times += 1) {
      const result = await authenticator.check({ config, username: name, password: "wrong", client });
      assert.equal(result.kind, kind, name);
    }
    assert.equal(verifier.computed - before, 10, `${name} costs as much as the others`);
  }
  assert.equal(
    (await authenticator.check({ config, username: "alice@example.org", password: "secret", client })).kind,
    "match",
  );
  await authenticator.close();
});

/** A peer that speaks the auth client protocol as the test says: its answer to each request. */
async function aDovecot(
  answer: (request: string, socket: Socket) => string | undefined,
): Promise<{ server: Server; port: number; requests: string[] }> {
  const requests: string[] = [];
  const server = createServer((socket) => {
    socket.setEncoding("utf8");
    socket.write("VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tXOAUTH2\nSPID\t1\nCUID\t1\nCOOKIE\tabc\nDONE\n");
    let buffer = "";
    socket.on("data", (text: string) => {
      buffer += text;
      const lines = buffer.split("\n");
      buffer = lines.pop() ?? "";
      for (const line of lines) {
        if (!/^(AUTH|CONT)/.test(line)) continue;
        requests.push(line);
        const said = answer(line, socket);
        if (said !== undefined) socket.write(said);
      }
    });
    socket.on("error", () => undefined);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { server, port: address.port, requests };
}
const idOf = (request: string): string => request.split("\t")[1] ?? "";

test("back ends are asked in order until one says yes, and none is spared", { timeout: 20_000 }, async () => {
  const dovecot = await aDovecot((request) => {
    const [, name, password] = Buffer.from(/resp=(\S+)$/.exec(request)?.[1] ?? "", "base64")
      .toString()
      .split("\0");
    if (password === "broken") return `FAIL\t${idOf(request)}\tuser=${name}\ttemp\n`;
    return password === "dovecot" ? `OK\t${idOf(request)}\tuser=${name}\n` : `FAIL\t${idOf(request)}\tuser=${name}\n`;
  });
  const config = configOf({
    dovecot: { target: { kind: "tcp", host: "127.0.0.1", port: dovecot.port }, timeoutMs: 5000 },
  });
  const authenticator = new Authenticator(log);
  authenticator.apply(config);
  const check = async (username: string, password: string): Promise<string> => {
    const result = await authenticator.check({ config, username, password, client });
    return result.kind === "match" ? `${result.source}: ${result.user}` : result.kind;
  };
  assert.equal(await check("alice@example.org", "secret"), "mailboxes: alice@example.org");
  assert.equal(dovecot.requests.length, 0);
  assert.equal(await check("alice@example.org", "dovecot"), "dovecot: alice@example.org");
  assert.equal(await check("Dora@Example.org", "dovecot"), "dovecot: dora@example.org");
  assert.equal(await check("dora", "dovecot"), "dovecot: dora");
  assert.equal(await check("suspended@example.org", "dovecot"), "mismatch", "the Mailbox object has the last word");
  assert.equal(await check("dora@example.org", "broken"), "unavailable");
  const before = dovecot.requests.length;
  assert.equal(await check("alice@example.org", "wrong"), "mismatch");
  assert.equal(await check("nobody@example.org", "wrong"), "mismatch");
  assert.equal(dovecot.requests.length - before, 2, "known here or not, Dovecot is asked");
  for (const request of dovecot.requests)
    assert.match(request, /^AUTH\t\d+\tPLAIN\tservice=smtp\tnologin\trip=192\.0\.2\.1\trport=1\tsecured\tresp=\S+$/);
  await authenticator.close();
  dovecot.server.close();
});

test("Dovecot: silence, a closed connection, and a peer that is none", { timeout: 20_000 }, async () => {
  const answers: ((request: string, socket: Socket) => string | undefined)[] = [];
  const dovecot = await aDovecot((request, socket) => answers.shift()?.(request, socket));
  const waiting = (timeoutMs: number): LiveConfig => {
    const target = { kind: "tcp" as const, host: "127.0.0.1", port: dovecot.port };
    return configOf({ mailboxes: false, dovecot: { target, timeoutMs } });
  };
  let config = waiting(300);
  const authenticator = new Authenticator(log);
  authenticator.apply(config);
  const check = async (): Promise<string> =>
    (await authenticator.check({ config, username: "dora@example.org", password: "x", client })).kind;
  const ok = (request: string): string => `OK\t${idOf(request)}\tuser=dora@example.org\n`;
  const hangUp = (_: string, socket: Socket): undefined => void socket.destroy();
  assert.equal(await check(), "unavailable", "silence");
  // Whoever answers has its time; it is not waited for in vain.
  config = waiting(5000);
  authenticator.apply(config);
  answers.push(hangUp, ok);
  assert.equal(await check(), "match", "asked again on a new connection");
  answers.push(hangUp, hangUp);
  assert.equal(await check(), "unavailable", "not for ever");
  answers.push((request) => `garbage\nOK\tx\nOK\t999999\tuser=eve\n${ok(request)}`);
  assert.equal(await check(), "match", "what it does not know it ignores");
  answers.push(
    () => "x".repeat(20_000),
    () => "x".repeat(20_000),
  );
  assert.equal(await check(), "unavailable", "a line without end");
  await authenticator.close();
  dovecot.server.close();
});

test("Dovecot: its own mechanisms are passed through", { timeout: 20_000 }, async () => {
  const dovecot = await aDovecot((request) =>
    request.startsWith("AUTH")
      ? `CONT\t${idOf(request)}\tY2hhbGxlbmdl\n`
      : `OK\t${idOf(request)}\tuser=dora@example.org\n`,
  );
  const target = { kind: "tcp" as const, host: "127.0.0.1", port: dovecot.port };
  const config = configOf({ mechanisms: ["PLAIN", "XOAUTH2", "OAUTHBEARER"], dovecot: { target, timeoutMs: 5000 } });
  const authenticator = new Authenticator(log);
  authenticator.apply(config);
  // Once asked, it has shaken hands.
  await authenticator.check({ config, username: "x", password: "x", client });
  const offered = authenticator.mechanisms({ config, client, tls: undefined, certificateUser: undefined });
  assert.deepEqual([...offered.keys()], ["PLAIN", "XOAUTH2"]);
  const start = offered.get("XOAUTH2");
  assert.ok(start !== undefined);
  const step = await start("dXNlcg==");
  assert.ok(step.kind === "challenge");
  assert.equal(step.data, "Y2hhbGxlbmdl");
  assert.deepEqual(await step.next("eA=="), { kind: "authenticated", user: "dora@example.org" });
  const again = await start(undefined);
  assert.ok(again.kind === "challenge");
  assert.deepEqual(await again.next("*"), { kind: "cancelled" });
  assert.deepEqual(await start("nonsense\t"), { kind: "syntax" });
  assert.equal(dovecot.requests.filter((line) => line.includes("XOAUTH2")).length, 2);
  await authenticator.close();
  dovecot.server.close();
});
