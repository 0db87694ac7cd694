/** The small verbs, and the forms of an address that mean more than they say: what each is answered, whoever asks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, aDomain, aListener, aMailbox, aServer, TestClient } from "../listen/inbound-fixture.ts";

const verify = /^252 2\.1\.5 Cannot VRFY user, but will accept message and attempt delivery$/;
const verbs: readonly (readonly [line: string, reply: RegExp])[] = [
  // RFC 5321 §7.3: who exists is nobody's business, so all are the same.
  ["VRFY alice", verify],
  ["VRFY alice@example.org", verify],
  ["VRFY <nobody@example.org>", verify],
  ["vrfy victim@foreign.example", verify],
  ["VRFY", /^501 5\.5\.4 Syntax: VRFY address$/],
  ["EXPN staff", /^502 5\.5\.1 /],
  ["EXPN", /^502 5\.5\.1 /],
  ["HELP", /^214 2\.0\.0 /],
  ["HELP MAIL", /^214 2\.0\.0 /],
  ["NOOP", /^250 2\.0\.0 /],
  ["NOOP of whatever kind", /^250 2\.0\.0 /],
  ["RSET", /^250 2\.0\.0 /],
  ["RSET now", /^501 5\.5\.4 /],
  ["ETRN example.org", /^502 5\.5\.1 /],
  ["TURN", /^500 5\.5\.2 /],
  ["SEND FROM:<a@example.org>", /^500 5\.5\.2 /],
  ["XYZZY", /^500 5\.5\.2 /],
  ["XCLIENT NAME=x", /^550 5\.7\.0 /],
  ["XFORWARD NAME=x", /^550 5\.7\.0 /],
  ["PROXY TCP4 10.0.0.1 10.0.0.2 1 25", /^500 5\.5\.2 /],
];

const local = /^250 2\.1\.5 /;
const denied = /^554 5\.7\.1 /;
const unknown = /^550 5\.1\.1 /;
const broken = /^501 5\.1\.3 /;
/** As a stranger, and as somebody who may relay: the latter may send anywhere, and nothing else is different. */
const addresses: readonly (readonly [path: string, stranger: RegExp, trusted: RegExp])[] = [
  ["<alice@example.org>", local, local],
  ["<postmaster>", local, local],
  ["<PostMaster>", local, local],
  ["<postmaster@example.org>", local, local],
  // Percent and bang are letters of a local part, not routes.
  ["<victim%foreign.example@example.org>", unknown, unknown],
  ["<foreign.example!victim@example.org>", unknown, unknown],
  ["<victim%foreign.example@relayed.example>", denied, local],
  ["<foreign.example!victim@relayed.example>", denied, local],
  ['<"victim@foreign.example"@relayed.example>', denied, local],
  ["<user@relayed.example>", local, local],
  ["<victim%foreign.example@foreign.example>", denied, local],
  ["<foreign.example!victim>", broken, broken],
  // RFC 5321 §4.1.1.3, appendix C: the route is dropped, the mailbox behind it counts.
  ["<@foreign.example:alice@example.org>", local, local],
  ["<@foreign.example,@other.example:alice@example.org>", local, local],
  ["<@example.org:victim@foreign.example>", denied, local],
  ["<@example.org:>", broken, broken],
  // RFC 5321 §4.1.3.
  ["<alice@[127.0.0.1]>", denied, local],
  ["<victim@[192.0.2.1]>", denied, local],
  ["<victim@[IPv6:2001:db8::1]>", denied, local],
  ["<victim@[2001:db8::1]>", broken, broken],
  ["<victim@[foreign.example]>", broken, broken],
  ["<victim@[192.0.2.1>", broken, broken],
];

const config = aConfig(
  {
    domains: new Map([
      ["example.org", aDomain()],
      ["relayed.example", aDomain({ class: "Relay", recipients: "Any" })],
    ]),
    addresses: new Map([["alice@example.org", aMailbox()]]),
  },
  { listeners: [aListener()], trustedNetworks: ["127.0.0.1/32"], limits: { hardErrors: 1000, softErrors: 1000 } },
);

for (const [who, localAddress] of [
  ["a stranger", "127.0.0.9"],
  ["a client that may relay", "127.0.0.1"],
] as const) {
  test(`verbs, to ${who}`, async () => {
    await using server = await aServer(config);
    const client = await TestClient.connect(server.port(), { localAddress });
    await client.reply();
    for (const state of ["before a hello", "after it", "in a transaction"]) {
      if (state === "after it") assert.match(await client.say("EHLO client.example.net"), /^250-/);
      for (const [line, reply] of verbs) {
        if (state === "in a transaction") assert.match(await client.say("MAIL FROM:<bob@example.net>"), /^250 /);
        assert.match(await client.say(line), reply, `${line} ${state}`);
        if (state === "in a transaction") assert.match(await client.say("RSET"), /^250 /);
      }
    }
  });

  test(`addresses, from ${who}`, async () => {
    await using server = await aServer(config);
    const client = await TestClient.connect(server.port(), { localAddress });
    await client.reply();
    await client.say("EHLO client.example.net");
    await client.say("MAIL FROM:<bob@example.net>");
    for (const [path, stranger, trusted] of addresses)
      assert.match(await client.say(`RCPT TO:${path}`), who === "a stranger" ? stranger : trusted, path);
  });
}
