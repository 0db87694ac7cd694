import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientName } from "../dns/reverse.ts";
import { aCertificate, aConfig, aListener, aServer, noDns, play, type TestServer } from "../listen/inbound-fixture.ts";
import { namesPeer } from "./debug-peers.ts";
import { shownLine } from "./shown-line.ts";

const dialogueOf = (server: TestServer): string[] =>
  server.lines
    .filter(({ event }) => event === "debug-peer")
    .map(({ direction, text }) => `${direction === "in" ? ">" : "<"} ${String(text)}`);

const ended = async (server: TestServer): Promise<void> => {
  while (!server.lines.some(({ event }) => event === "disconnect")) await new Promise(setImmediate);
};

const short = `S: 220 *
   C: HELO x
   S: 250 *
   C: QUIT
   S: 221 *
   CLOSED`;
const shortLines = [
  "< 220 mx.example.org ESMTP Packetboat",
  "> HELO x",
  "< 250 mx.example.org",
  "> QUIT",
  "< 221 2.0.0 Bye",
];

test("the whole dialogue of a peer, without its message", async () => {
  await using server = await aServer(aConfig({}, { debugPeers: ["127.0.0.1/32"] }));
  await play(
    server.port(),
    `S: 220 *
     C: HELO x
     S: 250 *
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: RCPT TO:<alice@example.org>
     S: 250 *
     C: DATA
     S: 354 *
     C: Subject: nobody's business
     C:
     C: .
     S: 250 *
     C: QUIT
     S: 221 *
     CLOSED`,
  );
  await ended(server);
  assert.deepEqual(dialogueOf(server), [
    "< 220 mx.example.org ESMTP Packetboat",
    "> HELO x",
    "< 250 mx.example.org",
    "> MAIL FROM:<bob@example.net>",
    "< 250 2.1.0 Ok",
    "> RCPT TO:<alice@example.org>",
    "< 250 2.1.5 Ok",
    "> DATA",
    "> (message)",
    "< 354 End data with <CR><LF>.<CR><LF>",
    `< 250 2.0.0 Ok: queued as ${server.queue.stored[0]?.id}`,
    "> QUIT",
    "< 221 2.0.0 Bye",
  ]);
  assert.doesNotMatch(JSON.stringify(server.lines), /nobody's business/);
});

test("nobody else's", async () => {
  await using server = await aServer(aConfig({}, { debugPeers: ["127.0.0.1/32"] }));
  await play(server.port(), short, { localAddress: "127.0.0.9" });
  await ended(server);
  assert.deepEqual(dialogueOf(server), []);
});

const names: readonly (readonly [peer: string, naming: ClientName, heard: boolean])[] = [
  ["client.example.net", { kind: "named", name: "client.example.net" }, true],
  [".example.net", { kind: "named", name: "client.example.net" }, true],
  ["example.net", { kind: "named", name: "client.example.net" }, false],
  // A name that does not lead back is anybody's.
  ["client.example.net", { kind: "unconfirmed", name: "client.example.net" }, false],
  ["client.example.net", { kind: "none" }, false],
];
for (const [peer, naming, heard] of names)
  test(`by name: ${peer}, ${naming.kind}`, async () => {
    const answer = Promise.withResolvers<ClientName>();
    await using server = await aServer(aConfig({}, { debugPeers: [peer] }), {
      resolver: { ...noDns, reverse: () => answer.promise },
    });
    // What was said before the name was known is in it too.
    await play(server.port(), short);
    answer.resolve(naming);
    await ended(server);
    await new Promise(setImmediate);
    assert.deepEqual(dialogueOf(server), heard ? shortLines : []);
  });

test("a peer that speaks for a client: that client's", async () => {
  await using server = await aServer(
    aConfig({}, { debugPeers: ["192.0.2.7/32"], listeners: [aListener({ trustedProxies: ["127.0.0.1/32"] })] }),
  );
  await play(
    server.port(),
    `S: 220 *
     C: XCLIENT ADDR=192.0.2.7
     S: 220 *
     C: XCLIENT LOGIN=alice@example.org NAME=x.example
     S: 550 *
     C: QUIT
     S: 221 *
     CLOSED`,
  );
  await ended(server);
  assert.deepEqual(dialogueOf(server), [
    "< 220 mx.example.org ESMTP Packetboat",
    "> XCLIENT LOGIN=(hidden) NAME=x.example",
    "< 550 5.7.0 Insufficient authorization",
    "> QUIT",
    "< 221 2.0.0 Bye",
  ]);
});

test("bounded", async () => {
  await using server = await aServer(
    aConfig({}, { debugPeers: ["127.0.0.1/32"], limits: { softErrors: 100_000, hardErrors: 100_000 } }),
  );
  await play(
    server.port(),
    `S: 220 *
     C! "${"NOOP x\\r\\n".repeat(1500)}${"N".repeat(4000)}\\r\\nQUIT\\r\\n"
     ${"S: 250 *\n".repeat(1500)}
     S: 500 *
     S: 221 *
     CLOSED`,
  );
  await ended(server);
  const lines = dialogueOf(server);
  assert.equal(lines.length, 2000);
  assert.equal(lines.at(-1), "> (the rest of this session is left out)".replace(">", lines.at(-1)?.[0] ?? ""));
  assert.ok(lines.every((line) => line.length < 1100));
});

test("secrets", () => {
  const verbs = { has: (verb: string) => ["NOOP", "QUIT", "AUTH"].includes(verb) };
  const cases: readonly (readonly [line: string, afterAuth: boolean, shown: string])[] = [
    ["AUTH PLAIN AGFsaWNlAHNlY3JldA==", false, "AUTH PLAIN"],
    ["auth  login  YWxpY2U=", false, "AUTH login"],
    [" AUTH PLAIN c2VjcmV0", false, "AUTH PLAIN"],
    ["AUTH\tPLAIN\tc2VjcmV0", false, "AUTH PLAIN"],
    ["AUTHPLAIN c2VjcmV0", false, "(authentication)"],
    ["AUTH", false, "AUTH"],
    ["xclient addr=192.0.2.1 login=alice", false, "xclient addr=192.0.2.1 LOGIN=(hidden)"],
    ["c2VjcmV0", true, "(authentication)"],
    ["c2VjcmV0", false, "c2VjcmV0"],
    ["NOOP", true, "NOOP"],
    ["MAIL FROM:<a@example.org>", false, "MAIL FROM:<a@example.org>"],
  ];
  for (const [line, afterAuth, shown] of cases)
    assert.equal(shownLine(Buffer.from(line), 1000, afterAuth ? verbs : undefined), shown, line);
});

test("names", () => {
  assert.equal(namesPeer([".example.net"], "a.b.example.net"), true);
  assert.equal(namesPeer([".example.net"], "example.net"), false);
  assert.equal(namesPeer([".example.net"], "evilexample.net"), false);
});

test("an authentication: the mechanism and what came of it, and nothing that anybody could log in with", async () => {
  const own = await aCertificate(["mx.example.org"]);
  await using server = await aServer(
    aConfig(
      {
        certificates: new Map([["own", own]]),
        serverCertificates: ["own"],
        passwords: new Map([
          [
            "alice@example.org",
            "$argon2id$v=19$m=256,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$0CUPvSealRO6hhNZEKwrvKKRV3txZJhLCQ+/ZkQFl7g",
          ],
        ]),
      },
      {
        debugPeers: ["127.0.0.1/32"],
        listeners: [aListener({ name: "submissions", role: "Submission", tls: { mode: "Implicit" } })],
      },
    ),
  );
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  await play(
    server.port("submissions"),
    `S: 220 *
     C: AUTH CRAM-MD5
     S: 503 *
     C: HELO x
     S: 250 *
     C: AUTH CRAM-MD5
     S: 504 *
     who did not wait for the answer
     C: ${base64("alice 0123456789abcdef")}
     S: 500 *
     C: AUTH PLAIN ${base64("\0alice@example.org\0wrong-password")}
     S: 535 *
     C: AUTH LOGIN
     S: 334 *
     C: ${base64("alice@example.org")}
     S: 334 *
     C: ${base64("secret")}
     S: 235 *
     C: QUIT
     S: 221 *
     CLOSED`,
    { tls: {} },
  );
  await ended(server);
  assert.deepEqual(dialogueOf(server), [
    "< 220 mx.example.org ESMTP Packetboat",
    "> AUTH CRAM-MD5",
    "< 503 5.5.1 Send HELO or EHLO first",
    "> HELO x",
    "< 250 mx.example.org",
    "> AUTH CRAM-MD5",
    "< 504 5.5.4 Mechanism is not offered here; see EHLO",
    "> (authentication)",
    "< 500 5.5.2 Command not recognized",
    "> AUTH PLAIN",
    "< 535 5.7.8 Authentication credentials invalid",
    "> AUTH LOGIN",
    "< 334 (authentication)",
    "> (authentication)",
    "< 334 (authentication)",
    "> (authentication)",
    "< 235 2.7.0 Authentication successful",
    "> QUIT",
    "< 221 2.0.0 Bye",
  ]);
});
