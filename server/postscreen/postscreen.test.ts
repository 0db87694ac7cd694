/** Postscreen from outside: transcripts of clients that wait, talk, are listed, known or trusted; against real sockets and a real DNS server with zones. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { aDnsServer, type Zone } from "../dns/dns-fixture.ts";
import { createResolver } from "../dns/resolver.ts";
import {
  aCertificate,
  aConfig,
  aListener,
  aServer,
  play,
  TestClient,
  type TestServer,
} from "../listen/inbound-fixture.ts";
import type { LiveConfig } from "../config/schema.ts";
import { registry } from "../observe/metrics.ts";
import { MemorySharedState } from "../session/shared-state.ts";
import { aPostscreen, deadSharedState } from "./postscreen-fixture.ts";

const timeout = 10_000;
type Settings = Parameters<typeof aPostscreen>[0];

const configOf = (settings: Settings, server: Parameters<typeof aConfig>[1] = {}): LiveConfig =>
  aConfig({}, { postscreen: aPostscreen(settings), ...server });

async function withZones(
  t: TestContext,
  records: Zone["records"],
  settings: Settings,
  server: Parameters<typeof aConfig>[1] = {},
): Promise<TestServer> {
  const dns = await aDnsServer(t, { records });
  const resolver = createResolver({ servers: () => [dns.server], timeoutMs: 2000, rounds: 1 });
  const started = await aServer(configOf(settings, server), {
    resolver: { ...resolver, reverse: () => Promise.resolve({ kind: "none" }) },
  });
  t.after(() => started.stop());
  return started;
}

const screened = ({ lines }: TestServer): Record<string, unknown>[] =>
  lines.filter(({ event }) => event === "postscreen");
const found = (server: TestServer): (readonly unknown[])[] =>
  screened(server).map(({ result, test: name, action }) => [result, name, action]);

/** Time enough to be early also on a busy machine; whoever is early ends the wait. */
const unhurried = { greetWaitMs: 1000 } as const;

/** The client is 127.0.0.1. */
const listed = (zone: string): string => `1.0.0.127.${zone} A`;

const patient = `
  S: 220-mx.example.org ESMTP Packetboat
  S: 220 mx.example.org ESMTP Packetboat
  C: EHLO client.example.net
  S: 250-mx.example.org`;
const known = `
  S: 220 mx.example.org ESMTP Packetboat
  C: HELO client.example.net
  S: 250 mx.example.org
  C: QUIT
  S: 221 *`;

test("who waits for the greeting passes, and is not asked to wait again", { timeout }, async () => {
  await using server = await aServer(configOf({}));
  (await play(server.port(), patient)).close();
  (await play(server.port(), known)).close();
  assert.deepEqual(found(server), [
    ["pass", undefined, undefined],
    ["remembered", undefined, undefined],
  ]);
  assert.deepEqual(screened(server)[0]?.["tests"], ["preGreet"]);
});

test("who passed at one shard is known at the others", { timeout }, async () => {
  const shared = new MemorySharedState();
  await using one = await aServer(configOf({}), { shared });
  await using other = await aServer(configOf({}), { shared });
  (await play(one.port(), patient)).close();
  (await play(other.port(), known)).close();
});

test("a passed test is made again when its time is over", { timeout }, async () => {
  const cacheMs = { ...aPostscreen().cacheMs, preGreet: 1 };
  await using server = await aServer(configOf({ cacheMs }));
  (await play(server.port(), patient)).close();
  await sleep(5);
  (await play(server.port(), patient)).close();
});

test("an early talker, enforced: every recipient is refused, and the log names who wrote to whom", {
  timeout,
}, async () => {
  await using server = await aServer(configOf(unhurried));
  const client = await TestClient.connect(server.port());
  client.send("EHLO early.example\r\n");
  assert.equal(await client.reply(), "220-mx.example.org ESMTP Packetboat\n220 mx.example.org ESMTP Packetboat");
  assert.match(await client.reply(), /^250-mx/);
  assert.match(await client.say("MAIL FROM:<spam@example.com>"), /^250 /);
  assert.equal(await client.say("RCPT TO:<alice@example.org>"), "550 5.5.1 Protocol error");
  assert.equal(await client.say("RCPT TO:<nobody@example.org>"), "550 5.5.1 Protocol error");
  assert.match(await client.say("DATA"), /^554 5\.5\.1 /);
  client.close();
  const refused = server.lines.filter(({ event }) => event === "rcpt-refused");
  assert.deepEqual(
    refused.map(({ helo, from, to, check, reason }) => [helo, from, to, check, reason]),
    ["alice", "nobody"].map((to) => [
      "early.example",
      "spam@example.com",
      `${to}@example.org`,
      "failedPostscreen",
      "postscreen",
    ]),
  );
  assert.deepEqual(
    screened(server).map(({ result, test: name, action, octets, said, client: address }) => ({
      result,
      name,
      action,
      octets,
      said,
      address,
    })),
    [
      {
        result: "fail",
        name: "pregreet",
        action: "enforce",
        octets: 20,
        said: "EHLO early.example\r\n",
        address: "127.0.0.1",
      },
    ],
  );
  // Its failure is not forgotten by coming again: it is tested again.
  await server.reconfigure(configOf({}));
  (await play(server.port(), patient)).close();
});

test("an early talker, dropped", { timeout }, async () => {
  await using server = await aServer(configOf({ greetAction: "Drop", greetWaitMs: 5000 }));
  const client = await TestClient.connect(server.port());
  client.send("EHLO early.example\r\nMAIL FROM:<spam@example.com>\r\n");
  assert.equal(await client.reply(), "220-mx.example.org ESMTP Packetboat\n521 5.5.1 Protocol error");
  assert.equal(await client.closed(), true);
  assert.deepEqual(found(server), [["fail", "pregreet", "drop"]]);
});

test("an early talker, ignored: it is let in, logged, and tested again", { timeout }, async () => {
  await using server = await aServer(configOf({ ...unhurried, greetAction: "Ignore" }));
  for (let time = 0; time < 2; time++) {
    const client = await TestClient.connect(server.port());
    client.send("HELO early.example\r\n");
    assert.match(await client.reply(), /^220-/);
    assert.match(await client.reply(), /^250 /);
    assert.match(await client.say("MAIL FROM:<bob@example.com>"), /^250 /);
    assert.match(await client.say("RCPT TO:<alice@example.org>"), /^250 /);
    client.close();
  }
  assert.deepEqual(found(server), [
    ["fail", "pregreet", "ignore"],
    ["fail", "pregreet", "ignore"],
  ]);
});

test("one octet is enough to be early", { timeout }, async () => {
  await using server = await aServer(configOf({ greetAction: "Drop", greetWaitMs: 5000 }));
  const client = await TestClient.connect(server.port());
  client.send("E");
  assert.match(await client.reply(), /521 5\.5\.1/);
  client.close();
});

test("octets that came before anybody could greet are early as well", { timeout }, async () => {
  const primary = Promise.withResolvers<boolean>();
  const shared = new MemorySharedState();
  shared.acquire = () => primary.promise;
  await using server = await aServer(configOf({ greetAction: "Drop", greetWaitMs: 5000 }), { shared });
  const client = await TestClient.connect(server.port());
  await new Promise<void>((resolve) => client.socket.write("EHLO early.example\r\n", () => resolve()));
  // Some turns of the event loop, in which this process reads what it sent itself.
  for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  primary.resolve(true);
  assert.match(await client.reply(), /521 5\.5\.1/);
  client.close();
});

const sites = [
  { zone: "zen.example", filter: "127.0.0.[2..11]", weight: 2 },
  { zone: "bl.example", weight: 1 },
  { zone: "list.dnswl.example", filter: "127.0.[0..255].[1..3]", weight: -2 },
];

test("a listed client, enforced", { timeout }, async (t) => {
  const server = await withZones(
    t,
    { [listed("zen.example")]: ["127.0.0.4"], [listed("bl.example")]: ["127.0.0.2"] },
    { dnsbl: { sites, threshold: 2 } },
  );
  await play(
    server.port(),
    `${patient}
  S: *
  S: *
  S: *
  S: *
  S: *
  S: *
  S: 250 SMTPUTF8
  C: MAIL FROM:<spam@example.com>
  S: 250 *
  C: RCPT TO:<alice@example.org>
  S: 550 5.7.1 Service unavailable; client [127.0.0.1] blocked using zen.example
  C: QUIT
  S: 221 *`,
  );
  assert.deepEqual(
    screened(server).map(({ result, test: name, action, score, lists }) => ({ result, name, action, score, lists })),
    [{ result: "fail", name: "dnsbl", action: "enforce", score: 3, lists: ["zen.example", "bl.example"] }],
  );
});

test("a listed client, dropped", { timeout }, async (t) => {
  const server = await withZones(
    t,
    { [listed("zen.example")]: ["127.0.0.4"] },
    { dnsbl: { sites, threshold: 2, action: "Drop" } },
  );
  await play(
    server.port(),
    `
  S: 220-*
  S: 521 5.7.1 Service unavailable; client [127.0.0.1] blocked using zen.example
  CLOSED`,
  );
});

const sums: readonly (readonly [string, Zone["records"], Settings, readonly unknown[]])[] = [
  [
    "below the threshold",
    { [listed("bl.example")]: ["127.0.0.2"] },
    { dnsbl: { sites, threshold: 2 } },
    ["pass", undefined],
  ],
  [
    "a listing that is filtered away",
    { [listed("zen.example")]: ["127.255.255.254"] },
    { dnsbl: { sites } },
    ["pass", undefined],
  ],
  ["a hijacked list", { [listed("bl.example")]: ["203.0.113.5"] }, { dnsbl: { sites } }, ["pass", undefined]],
  [
    "an allow-list that outweighs",
    { [listed("bl.example")]: ["127.0.0.2"], [listed("list.dnswl.example")]: ["127.0.5.1"] },
    { dnsbl: { sites } },
    ["pass", undefined],
  ],
  [
    "listed, ignored",
    { [listed("bl.example")]: ["127.0.0.2"] },
    { dnsbl: { sites, action: "Ignore" } },
    ["fail", "dnsbl"],
  ],
];
for (const [name, records, settings, expected] of sums)
  test(`DNS lists: ${name}`, { timeout }, async (t) => {
    const server = await withZones(t, records, settings);
    const client = await play(server.port(), patient);
    const first = screened(server)[0];
    assert.deepEqual([first?.["result"], first?.["test"]], expected);
    client.close();
  });

test("whom an allow-list vouches for does not wait", { timeout }, async (t) => {
  const server = await withZones(
    t,
    { [listed("list.dnswl.example")]: ["127.0.5.3"] },
    { greetWaitMs: 60_000, dnsbl: { sites, allowlistThreshold: -1 } },
  );
  (await play(server.port(), patient)).close();
  assert.deepEqual(found(server)[0], ["allowlisted", undefined, undefined]);
});

test("lists that do not answer list nobody", { timeout }, async (t) => {
  const dns = await aDnsServer(t, { records: {} });
  dns.mangle = () => Buffer.alloc(0);
  const resolver = createResolver({ servers: () => [dns.server], timeoutMs: 300, rounds: 1 });
  await using server = await aServer(configOf({ dnsbl: { sites, timeoutMs: 60 } }), {
    resolver: { ...resolver, reverse: () => Promise.resolve({ kind: "none" }) },
  });
  (await play(server.port(), patient)).close();
  assert.equal(found(server)[0]?.[0], "pass");
});

test("trusted networks, permitted ones and other listeners do not wait; rejected ones are told why not", {
  timeout,
}, async () => {
  const access = [
    { network: "127.0.0.1/32", action: "Permit" },
    { network: "127.0.0.0/8", action: "Reject" },
  ] as const;
  const long = { greetWaitMs: 60_000, access: [...access] };
  await using server = await aServer(configOf(long));
  (await play(server.port(), known)).close();
  const refused = await play(server.port(), "S: 220 *\nC: HELO a.example\nS: 250 *", { localAddress: "127.0.0.2" });
  assert.match(await refused.say("MAIL FROM:<bob@example.com>"), /^250 /);
  assert.equal(await refused.say("RCPT TO:<alice@example.org>"), "550 5.3.2 Service currently unavailable");
  refused.close();
  await server.reconfigure(configOf({ ...long, accessAction: "Drop" }));
  await play(server.port(), "S: 521 5.3.2 Service currently unavailable\nCLOSED", { localAddress: "127.0.0.2" });
  await server.reconfigure(configOf({ greetWaitMs: 60_000 }, { trustedNetworks: ["127.0.0.0/8"] }));
  (await play(server.port(), known, { localAddress: "127.0.0.3" })).close();
  await server.reconfigure(
    configOf({ greetWaitMs: 60_000 }, { listeners: [aListener({ trustedProxies: ["127.0.0.4/32"] })] }),
  );
  (await play(server.port(), known, { localAddress: "127.0.0.4" })).close();
  await using submission = await aServer(
    configOf({ greetWaitMs: 60_000 }, { listeners: [aListener({ role: "Submission" })] }),
  );
  (await play(submission.port(), "S: 220 mx*\nC: QUIT\nS: 221 *")).close();
});

test("a client that hangs up while it waits is forgotten", { timeout }, async () => {
  await using server = await aServer(configOf({ greetWaitMs: 60_000 }));
  const client = await TestClient.connect(server.port());
  assert.match((await client.line()) ?? "", /^220-/);
  client.close();
  const again = await TestClient.connect(server.port());
  assert.match((await again.line()) ?? "", /^220-/);
  await server.stop();
  assert.deepEqual(found(server)[0], ["gone", undefined, undefined]);
});

test("a shared state that does not answer costs a wait, no mail", { timeout }, async () => {
  await using server = await aServer(configOf({}), {
    shared: deadSharedState,
  });
  (await play(server.port(), patient)).close();
  (await play(server.port(), patient)).close();
});

const deep = { pipelining: "Enforce", nonSmtpCommand: "Drop", bareNewline: "Enforce" } as const;
const message = "Subject: a\r\n\r\n..\nb: c\r\n.\r\n";

test("tests after the greeting: passed by a message, and not made again", { timeout }, async () => {
  await using server = await aServer(configOf({ deepTests: deep }));
  const client = await TestClient.connect(server.port());
  await client.reply();
  const first = await client.say("EHLO client.example.net");
  assert.ok(!first.includes("PIPELINING") && !first.includes("CHUNKING"), first);
  for (const command of ["MAIL FROM:<bob@example.com>", "RCPT TO:<alice@example.org>", "DATA"])
    assert.match(await client.say(command), /^[23]5/);
  client.send("Subject: a\r\n\r\n");
  client.send("b: c\r\nd: e\r\n.\r\n");
  assert.match(await client.reply(), /^250 /);
  const second = await client.say("EHLO client.example.net");
  assert.ok(second.includes("PIPELINING") && second.includes("CHUNKING"), second);
  client.close();
  assert.deepEqual(screened(server)[1]?.["tests"], ["pipelining", "nonSmtpCommand", "bareNewline"]);
  const again = await TestClient.connect(server.port());
  await again.reply();
  assert.match(await again.say("EHLO client.example.net"), /PIPELINING/);
  again.close();
});

const breaches: readonly (readonly [string, string, string, RegExp])[] = [
  [
    "commands sent ahead",
    "MAIL FROM:<bob@example.com>\r\nRCPT TO:<alice@example.org>\r\n",
    "pipelining",
    /550 5\.5\.1/,
  ],
  ["LF alone", "NOOP\nMAIL FROM:<bob@example.com>\r\n", "newline", /^250/],
  ["a header field as a command", "Subject: hello\r\n", "command", /521 5\.7\.0/],
  ["a web page", "POST / HTTP/1.1\r\n", "command", /521 5\.7\.0/],
];
for (const [name, octets, expected, reply] of breaches)
  test(`tests after the greeting: ${name}`, { timeout }, async () => {
    await using server = await aServer(configOf({ deepTests: deep }));
    const client = await play(server.port(), "S: 220-*\nS: 220 *\nC: HELO a.example\nS: 250 *");
    client.send(octets);
    const first = await client.reply();
    const told = first.startsWith("250") && expected === "pipelining" ? await client.reply() : first;
    assert.match(told, reply);
    const failures = screened(server).filter(({ result }) => result === "fail");
    assert.equal(failures[0]?.["test"], expected);
    client.close();
  });

test("tests after the greeting: STARTTLS is part of the dialogue", { timeout }, async () => {
  const pair = await aCertificate(["mx.example.org"]);
  const tls = { certificates: new Map([["mx", pair]]), serverCertificates: ["mx"] };
  await using server = await aServer(aConfig(tls, { postscreen: aPostscreen({ deepTests: deep }) }));
  const client = await TestClient.connect(server.port());
  await client.reply();
  assert.match(await client.say("EHLO client.example.net"), /STARTTLS/);
  assert.match(await client.say("STARTTLS"), /^220 /);
  await client.startTls();
  assert.ok(!(await client.say("EHLO client.example.net")).includes("PIPELINING"));
  for (const command of ["MAIL FROM:<bob@example.com>", "RCPT TO:<alice@example.org>", "DATA"])
    assert.match(await client.say(command), /^[23]5/);
  client.send("Subject: a\r\n\r\nb\r\n.\r\n");
  assert.match(await client.reply(), /^250 /);
  client.close();
  assert.deepEqual(
    screened(server).map(({ result }) => result),
    ["pass", "pass"],
  );
});

test("BDAT brings its message with it: that is no pipelining", { timeout }, async () => {
  await using server = await aServer(configOf({ deepTests: { bareNewline: "Drop" } }));
  const client = await play(
    server.port(),
    "S: 220-*\nS: 220 *\nC: HELO a.example\nS: 250 *\nC: MAIL FROM:<bob@example.com>\nS: 250 *\nC: RCPT TO:<alice@example.org>\nS: 250 *",
  );
  client.send(`BDAT ${Buffer.byteLength(message)} LAST\r\n${message}`);
  await client.reply();
  assert.equal(screened(server).filter(({ result }) => result === "fail").length, 0);
  client.close();
});

test("what happened is counted", { timeout }, async () => {
  const text = await registry.metrics();
  for (const line of [
    'packetboat_postscreen_tests_total{listener="mx",test="pregreet",result="drop"}',
    'packetboat_postscreen_tests_total{listener="mx",test="dnsbl",result="enforce"}',
    'packetboat_postscreen_clients_total{listener="mx",result="trusted"}',
    'packetboat_postscreen_clients_total{listener="mx",result="gone"}',
    'packetboat_rejected_total{listener="mx",stage="rcpt",reason="postscreen",class="permanent"}',
    'packetboat_rejected_total{listener="mx",stage="connect",reason="postscreen",class="permanent"}',
  ])
    assert.ok(text.includes(line), line);
});
