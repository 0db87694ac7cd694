/** Access tables and owners of senders from look-ups: objects go first, a source that a list names is asked there alone, an outage is 451. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LookupSource } from "../../config/lookups.ts";
import { noRestrictions } from "../../config/restrictions.ts";
import type { LiveConfig, ServerSection } from "../../config/schema.ts";
import { aConfig, aListener, aMailbox, aRule } from "../../listen/inbound-fixture.ts";
import { createLookups, type Lookups } from "../../lookup/lookups.ts";
import { createLog } from "../../observe/log.ts";
import { atMail, atRcpt, type Client } from "../facts-fixture.ts";

const log = createLog("test", "silent");
const lookupsOf = (...sources: LookupSource[]): Lookups =>
  createLookups(
    { server: { lookups: sources }, credentials: new Map(), authorities: new Map(), certificates: new Map() },
    log,
  );
const access = (text: string, more: Partial<Extract<LookupSource, { kind: "table" }>> = {}): LookupSource => ({
  kind: "table",
  name: "db",
  type: "Hash",
  text,
  roles: ["access"],
  ...more,
});
const rows = access(
  [
    "spam.example REJECT go away",
    "later@example.net DEFER",
    "quiet@ DISCARD",
    "192.0.2 450 4.7.1 slowly",
    "bad.client.example 521 no",
    "helo.example REJECT",
    "alice@example.org DEFER_IF_PERMIT",
    "friend@spam.example OK",
    "<> REJECT no bounces",
    "odd@example.net SOMETHING else",
    "1234@example.net 1234",
  ].join("\n"),
);
const down: LookupSource = { kind: "unusable", name: "db", roles: ["access", "senders"], reason: "a test" };
const restricted = (restrictions: Partial<ServerSection["restrictions"]>): LiveConfig =>
  aConfig({}, { restrictions: { ...noRestrictions, ...restrictions } });

test("access tables: clients, HELO names, senders and recipients by Postfix's keys and actions", async () => {
  const lookups = lookupsOf(rows);
  const bob = {
    recipient: "bob@example.org",
    config: aConfig({ addresses: new Map([["bob@example.org", aMailbox()]]) }),
  };
  const cases: [why: string, client: Client, expected: string][] = [
    ["nothing matches", { ...bob, address: "198.51.100.1" }, "yes"],
    [
      "a sender's parent domain",
      { ...bob, address: "198.51.100.1", sender: "x@deep.spam.example" },
      "554 5.7.1 CheckSenderAccess db",
    ],
    ["the more special key first", { ...bob, address: "198.51.100.1", sender: "friend@spam.example" }, "yes"],
    ["DEFER", { ...bob, address: "198.51.100.1", sender: "Later+x@example.net" }, "450 4.7.1 CheckSenderAccess db"],
    ["DISCARD", { ...bob, address: "198.51.100.1", sender: "quiet@any.example" }, "discard by CheckSenderAccess db"],
    ["a network", { ...bob }, "450 4.7.1 CheckClientAccess db"],
    [
      "a client's name",
      { ...bob, address: "198.51.100.1", name: "bad.client.example" },
      "521 5.7.1 CheckClientAccess db",
    ],
    ["a HELO name", { ...bob, address: "198.51.100.1", helo: "x.helo.example" }, "554 5.7.1 CheckHeloAccess db"],
    ["the null sender", { ...bob, address: "198.51.100.1", sender: "" }, "554 5.7.1 CheckSenderAccess db"],
    ["only digits are OK", { ...bob, address: "198.51.100.1", sender: "1234@example.net" }, "yes"],
    ["DEFER_IF_PERMIT", { address: "198.51.100.1" }, "450 4.7.1 CheckRecipientAccess db"],
    [
      "no action at all waits for a person",
      { ...bob, address: "198.51.100.1", sender: "odd@example.net" },
      "451 4.3.5 CheckSenderAccess db",
    ],
    [
      "OK opens no relay",
      { address: "198.51.100.1", sender: "friend@spam.example", recipient: "x@elsewhere.example" },
      "554 5.7.1 relayDenied",
    ],
  ];
  for (const [why, client, expected] of cases) assert.equal(await atRcpt({ ...client, lookups }), expected, why);
});

test("AccessRules go before look-ups; a source that a list names is asked there alone; tables without a role too", async () => {
  const spam = { sender: "x@spam.example", address: "198.51.100.1" };
  const permitted = aConfig(
    {},
    {
      accessRules: [aRule("Sender", [{ kind: "exact", value: "x@spam.example" }], { kind: "Permit" })],
    },
  );
  assert.equal(
    await atRcpt({ ...spam, lookups: lookupsOf(access("spam.example REJECT\n")), config: permitted }),
    "yes",
  );
  const named = restricted({ recipient: ["CheckRecipientAccess db"] });
  assert.equal(await atRcpt({ ...spam, lookups: lookupsOf(access("spam.example REJECT\n")), config: named }), "yes");
  const other = restricted({ sender: ["CheckSenderAccess db"] });
  assert.match(await atRcpt({ ...spam, lookups: lookupsOf(access("spam.example REJECT\n")), config: other }), /^554/);
  const networks = access("198.51.100.0/24 REJECT\n", { name: "nets", type: "CIDR", roles: [] });
  const byNetwork = restricted({ client: ["CheckClientAccess nets"] });
  assert.match(await atRcpt({ ...spam, lookups: lookupsOf(networks), config: byNetwork }), /^554 .* nets$/);
  assert.equal(await atRcpt({ ...spam, lookups: lookupsOf(networks) }), "yes");
});

test("an outage of an access table makes 451 of a yes, and leaves a no as it is", async () => {
  const lookups = lookupsOf(down);
  assert.match(await atRcpt({ lookups }), /^451 4\.3\.0 /);
  assert.match(await atRcpt({ lookups, recipient: "nobody@example.org" }), /^550 5\.1\.1 /);
  assert.match(await atRcpt({ lookups, recipient: "x@elsewhere.example" }), /^554 5\.7\.1 /);
});

test("owners: objects first, then look-ups by user+ext@domain, user@domain, @domain; an outage is 451 where objects do not decide", async () => {
  const config = aConfig(
    {
      addresses: new Map([
        ["alice@example.org", aMailbox({ sendAs: ["sales@example.org"] })],
        ["bob@example.org", aMailbox()],
      ]),
    },
    { listeners: [aListener({ role: "Submission" })] },
  );
  const senders = access(
    "team@example.org bob@example.org, Alice@Example.org\nbob@example.org alice@example.org\n@whole.example alice@example.org\nnot@whole.example bob@example.org\n",
    { roles: ["senders"] },
  );
  const alice = { config, tls: true, user: "alice@example.org" };
  for (const [sender, expected, without] of [
    ["alice+x@example.org", "yes", "yes"],
    ["sales@example.org", "yes", "yes"],
    ["team@example.org", "yes", "451 4.3.0 senderNotOwned"],
    ["team+x@example.org", "yes", "451 4.3.0 senderNotOwned"],
    ["any@whole.example", "yes", "451 4.3.0 senderNotOwned"],
    ["not@whole.example", "553 5.7.1 senderNotOwned", "451 4.3.0 senderNotOwned"],
    ["nobody@example.org", "553 5.7.1 senderNotOwned", "451 4.3.0 senderNotOwned"],
    // His by an object, whatever a look-up says.
    ["bob@example.org", "553 5.7.1 senderNotOwned", "553 5.7.1 senderNotOwned"],
    ["", "yes", "yes"],
  ] as const) {
    assert.equal(await atMail({ ...alice, sender, lookups: lookupsOf(senders) }), expected, sender);
    assert.equal(
      await atMail({ ...alice, sender, lookups: lookupsOf(down) }),
      without,
      `${sender} while nobody can say`,
    );
  }
});

test("RejectSenderLoginMismatch: a stranger under an address that a look-up gives an owner is told to log in", async () => {
  const config = restricted({ sender: ["RejectSenderLoginMismatch"] });
  const senders = access("team@example.org bob@example.org\n", { roles: ["senders"] });
  assert.equal(
    await atRcpt({ config, sender: "team@example.org", lookups: lookupsOf(senders) }),
    "553 5.7.1 RejectSenderLoginMismatch",
  );
  assert.equal(await atRcpt({ config, sender: "free@example.org", lookups: lookupsOf(senders) }), "yes");
  assert.match(await atRcpt({ config, sender: "team@example.org", lookups: lookupsOf(down) }), /^451 4\.3\.0 /);
});
