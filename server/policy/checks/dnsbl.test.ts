/** restrictions.dnsbl from outside: zones as data, replies as Postfix gives them. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { DnsblRule } from "../../config/postscreen.ts";
import { aDnsServer, type TestDns, type Zone } from "../../dns/dns-fixture.ts";
import { createResolver } from "../../dns/resolver.ts";
import type { ClientName } from "../../dns/reverse.ts";
import { aConfig, aRule, aServer, play, type TestServer } from "../../listen/inbound-fixture.ts";
import { aGreylisting } from "../../postscreen/postscreen-fixture.ts";

const timeout = 10_000;

interface Given {
  readonly rules: readonly Partial<DnsblRule>[];
  readonly records: Zone["records"];
  readonly server?: Parameters<typeof aConfig>[1];
  readonly name?: ClientName;
  /** How long a list may be silent. */
  readonly timeoutMs?: number;
}

async function started(
  t: TestContext,
  { rules, records, server, name = { kind: "none" }, timeoutMs = 2000 }: Given,
): Promise<{ server: TestServer; dns: TestDns }> {
  const dns = await aDnsServer(t, { records });
  const resolver = createResolver({ servers: () => [dns.server], timeoutMs, rounds: 1 });
  const dnsbl = rules.map((rule): DnsblRule => ({ zone: "bl.example", kind: "Client", action: "Reject", ...rule }));
  const running = await aServer(aConfig({}, { dnsbl, ...server }), {
    resolver: { ...resolver, reverse: () => Promise.resolve(name) },
  });
  t.after(() => running.stop());
  return { server: running, dns };
}

const client = "1.0.0.127.bl.example";
const listed = { [`${client} A`]: ["127.0.0.2"], [`${client} TXT`]: ["See https://bl.example/?ip=127.0.0.1"] };

async function rcpt(
  server: TestServer,
  { helo = "helo.example", sender = "bob@sender.example", recipient = "alice@example.org" } = {},
): Promise<string> {
  const session = await play(server.port(), `S: 220 *\nC: HELO ${helo}\nS: 250 *\nC: MAIL FROM:<${sender}>\nS: 250 *`);
  const reply = await session.say(`RCPT TO:<${recipient}>`);
  session.close();
  return reply;
}

const unavailable = "554 5.7.1 Service unavailable;";
const table: readonly (readonly [string, Given, string])[] = [
  [
    "a listed client",
    { rules: [{}], records: listed },
    `${unavailable} Client host [127.0.0.1] blocked using bl.example; See https://bl.example/?ip=127.0.0.1`,
  ],
  [
    "a list without words",
    { rules: [{}], records: { [`${client} A`]: ["127.0.0.2"] } },
    `${unavailable} Client host [127.0.0.1] blocked using bl.example`,
  ],
  ["a text of our own", { rules: [{ text: "No." }], records: listed }, "554 5.7.1 No."],
  [
    "a zone with a key in it",
    { rules: [{ shownAs: "dq.example" }], records: { [`${client} A`]: ["127.0.0.2"] } },
    `${unavailable} Client host [127.0.0.1] blocked using dq.example`,
  ],
  ["not in the list", { rules: [{}], records: {} }, "250 2.1.5 Ok"],
  ["not what is wanted of the list", { rules: [{ filter: "127.0.0.[3..9]" }], records: listed }, "250 2.1.5 Ok"],
  ["a hijacked list", { rules: [{}], records: { [`${client} A`]: ["192.0.2.1"] } }, "250 2.1.5 Ok"],
  [
    "the name in HELO",
    { rules: [{ kind: "Helo" }], records: { "helo.example.bl.example A": ["127.0.0.2"] } },
    `${unavailable} Helo command [helo.example] blocked using bl.example`,
  ],
  [
    "the sender's domain",
    { rules: [{ kind: "Sender" }], records: { "sender.example.bl.example A": ["127.0.0.2"] } },
    `${unavailable} Sender address [bob@sender.example] blocked using bl.example`,
  ],
  [
    "the recipient's domain",
    { rules: [{ kind: "Recipient" }], records: { "example.org.bl.example A": ["127.0.0.2"] } },
    `${unavailable} Recipient address [alice@example.org] blocked using bl.example`,
  ],
  [
    "the client's confirmed name",
    {
      rules: [{ kind: "ClientName" }],
      records: { "dyn.isp.example.bl.example A": ["127.0.0.2"] },
      name: { kind: "named", name: "dyn.isp.example" },
    },
    `${unavailable} Client host [dyn.isp.example] blocked using bl.example`,
  ],
  [
    "an unconfirmed name is no ClientName",
    {
      rules: [{ kind: "ClientName" }],
      records: { "dyn.isp.example.bl.example A": ["127.0.0.2"] },
      name: { kind: "unconfirmed", name: "dyn.isp.example" },
    },
    "250 2.1.5 Ok",
  ],
  [
    "an unconfirmed name is a ReverseClient",
    {
      rules: [{ kind: "ReverseClient" }],
      records: { "dyn.isp.example.bl.example A": ["127.0.0.2"] },
      name: { kind: "unconfirmed", name: "dyn.isp.example" },
    },
    `${unavailable} Unverified Client host [dyn.isp.example] blocked using bl.example`,
  ],
  [
    "an allow-list in front",
    {
      rules: [{ zone: "wl.example", action: "Permit", filter: "127.0.[0..255].[1..3]" }, {}],
      records: { ...listed, "1.0.0.127.wl.example A": ["127.0.3.2"] },
    },
    "250 2.1.5 Ok",
  ],
  [
    "an allow-list behind",
    {
      rules: [{}, { zone: "wl.example", action: "Permit" }],
      records: { ...listed, "1.0.0.127.wl.example A": ["127.0.3.2"] },
    },
    `${unavailable} *`,
  ],
  [
    "an allow-list spares greylisting",
    { rules: [{ action: "Permit" }], records: listed, server: { greylisting: aGreylisting() } },
    "250 2.1.5 Ok",
  ],
  [
    "on no list: greylisted",
    { rules: [{ action: "Permit" }], records: {}, server: { greylisting: aGreylisting() } },
    "451 4.7.1 *",
  ],
  ["a trusted network", { rules: [{}], records: listed, server: { trustedNetworks: ["127.0.0.0/8"] } }, "250 2.1.5 Ok"],
  [
    "an access rule that permits",
    {
      rules: [{}],
      records: listed,
      server: { accessRules: [aRule("Client", [{ kind: "exact", value: "127.0.0.1" }], { kind: "Permit" })] },
    },
    "250 2.1.5 Ok",
  ],
  [
    "an access rule that says nothing",
    {
      rules: [{}],
      records: listed,
      server: { accessRules: [aRule("Client", [{ kind: "exact", value: "127.0.0.1" }], { kind: "Dunno" })] },
    },
    `${unavailable} *`,
  ],
];
for (const [name, given, expected] of table)
  test(`DNS lists: ${name}`, { timeout }, async (t) => {
    const { server } = await started(t, given);
    const reply = await rcpt(server);
    if (expected.endsWith("*")) assert.ok(reply.startsWith(expected.slice(0, -1)), reply);
    else assert.equal(reply, expected);
  });

test("the null sender and an address literal are not looked up", { timeout }, async (t) => {
  const { server, dns } = await started(t, { rules: [{ kind: "Sender" }, { kind: "Helo" }], records: {} });
  assert.match(await rcpt(server, { helo: "[192.0.2.1]", sender: "" }), /^250 /);
  assert.deepEqual(dns.questions, []);
});

test("an unknown user is refused for that, and no list is asked", { timeout }, async (t) => {
  const { server, dns } = await started(t, { rules: [{}], records: listed });
  assert.match(await rcpt(server, { recipient: "nobody@example.org" }), /^550 5\.1\.1 /);
  assert.deepEqual(dns.questions, []);
});

test("a block list that does not answer lists nobody; an allow-list makes a no one for now", { timeout }, async (t) => {
  const rules = [{ zone: "wl.example", action: "Permit" }, {}] as const;
  const { server, dns } = await started(t, { rules, records: listed, timeoutMs: 600 });
  dns.mangle = (answer) => (answer.includes("wl") ? Buffer.alloc(0) : answer);
  assert.match(await rcpt(server), /^450 4\.7\.1 /);
  dns.mangle = () => Buffer.alloc(0);
  const { server: other, dns: dead } = await started(t, { rules: [{}], records: listed, timeoutMs: 150 });
  dead.mangle = () => Buffer.alloc(0);
  assert.match(await rcpt(other), /^250 /);
});

test("many recipients cost one question", { timeout }, async (t) => {
  const { server, dns } = await started(t, { rules: [{}], records: {} });
  const session = await play(
    server.port(),
    "S: 220 *\nC: HELO a.example\nS: 250 *\nC: MAIL FROM:<bob@example.com>\nS: 250 *",
  );
  for (let count = 0; count < 5; count++)
    assert.match(await session.say(`RCPT TO:<alice+${count}@example.org>`), /^250 /);
  session.close();
  assert.equal(dns.questions.length, 1);
});
