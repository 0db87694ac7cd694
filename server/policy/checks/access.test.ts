/** Access rules, as tables over the whole stage RCPT: what the client is told, which rule said it, and what is to happen to the message. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AccessAction, AccessRule } from "../../config/access-rules.ts";
import type { LiveConfig } from "../../config/schema.ts";
import { noRestrictions } from "../../config/restrictions.ts";
import { aConfig, aRule } from "../../listen/inbound-fixture.ts";
import { decide } from "../chain.ts";
import { atRcpt, type Client, clientFacts, decidedAtRcpt, told } from "../facts-fixture.ts";
import { stages } from "../stages.ts";

const rules = (...accessRules: AccessRule[]): LiveConfig => aConfig({}, { accessRules });
const no: AccessAction = { kind: "Reject", text: "go away" };
const ok: AccessAction = { kind: "Permit" };
type Match = AccessRule["match"];
const exact = (value: string): Match => [{ kind: "exact", value }];
const domain = (value: string): Match => [{ kind: "domain", value }];
const cidr = (value: string): Match => [{ kind: "cidr", value }];
const regexp = (value: string): Match => [{ kind: "regexp", value }];
const dnsName = (value: string): Match => [{ kind: "dnsName", value }];
const refused = (scope: AccessRule["scope"]): string => `554 5.7.1 Check${scope}Access rule`;

/** What is matched: a rule that refuses, a client, whether it is refused. */
const matches: readonly (readonly [AccessRule["scope"], string, Match, Client, boolean])[] = [
  ["Client", "by address", exact("192.0.2.1"), {}, true],
  ["Client", "by network", cidr("192.0.2.0/24"), {}, true],
  ["Client", "outside the network", cidr("198.51.100.0/24"), {}, false],
  ["Client", "by IPv6 network", cidr("2001:db8::/32"), { address: "2001:db8::5" }, true],
  ["Client", "by name", exact("bad.example"), { name: "Bad.example." }, true],
  ["Client", "by domain", domain("example"), { name: "a.bad.example" }, true],
  ["Client", "the end of a label is none", domain("ad.example"), { name: "bad.example" }, false],
  ["Client", "without a name", domain("example"), {}, false],
  ["Client", "without a name it is called unknown", exact("unknown"), {}, true],
  [
    "Client",
    "a name that does not lead back is none",
    domain("example"),
    { naming: { kind: "unconfirmed", name: "a.bad.example" } },
    false,
  ],
  ["Client", "whose name cannot be found", domain("example"), { name: new Error("SERVFAIL") }, false],
  ["Client", "with a forged name", domain("example"), { name: "x\r\n.bad.example" }, false],
  ["Client", "by a pattern of its name", regexp("^DSL-[0-9]+\\."), { name: "dsl-17.pool.example" }, true],
  ["Client", "by a pattern of its address", regexp("^192\\.0\\.2\\."), { name: "dsl-17.pool.example" }, true],
  ["Client", "by a pattern that does not hold", regexp("^dsl-[0-9]+\\."), { name: "mail.example" }, false],
  ["Client", "by a name with a star", dnsName("dsl-*.pool.example"), { name: "dsl-17.pool.example" }, true],
  ["Client", "a star stands for no dot", dnsName("*.example"), { name: "a.pool.example" }, false],
  ["Client", "a dot is a dot", dnsName("*.pool.example"), { name: "a.poolxexample" }, false],
  ["Helo", "exactly", exact("client.example.net"), {}, true],
  ["Helo", "by domain", domain("example.net"), { helo: "Client.Example.NET" }, true],
  ["Helo", "by a literal's network", cidr("192.0.2.0/24"), { helo: "[192.0.2.5]" }, true],
  ["Helo", "by an IPv6 literal's network", cidr("2001:db8::/32"), { helo: "[IPv6:2001:db8::5]" }, true],
  ["Helo", "by pattern", regexp("^localhost$"), { helo: "LOCALHOST" }, true],
  ["Sender", "exactly", exact("Bob@example.com"), {}, true],
  ["Sender", "another", exact("bo@example.com"), {}, false],
  ["Sender", "without its extension", exact("bob@example.com"), { sender: "bob+lists@example.com" }, true],
  ["Sender", "a rule for the extension is not for others", exact("bob+lists@example.com"), {}, false],
  ["Sender", "by local part", exact("bob@"), {}, true],
  ["Sender", "by parent domain", domain("com"), {}, true],
  ["Sender", "the null sender", exact("<>"), { sender: "" }, true],
  ["Sender", "the null sender has no domain", domain("com"), { sender: "" }, false],
  ["Sender", "by pattern", regexp("@EXAMPLE\\.(com|net)$"), {}, true],
  ["Recipient", "exactly", exact("alice@example.org"), {}, true],
  ["Recipient", "by domain", domain("example.org"), {}, true],
  ["Recipient", "by pattern", regexp("^alice[+-]"), { recipient: "alice+x@example.org" }, true],
];
for (const [scope, name, match, given, isRefused] of matches) {
  test(`${scope} ${name}`, async () =>
    assert.equal(
      await atRcpt({ config: rules(aRule(scope, match, no)), ...given }),
      isRefused ? refused(scope) : "yes",
    ));
}

const decisions: readonly (readonly [string, Client, string])[] = [
  [
    "the first rule wins",
    { config: rules(aRule("Client", exact("192.0.2.1"), ok), aRule("Client", cidr("192.0.2.0/24"), no)) },
    "yes",
  ],
  [
    "the first rule wins, the other way round",
    { config: rules(aRule("Client", cidr("192.0.2.0/24"), no), aRule("Client", exact("192.0.2.1"), ok)) },
    refused("Client"),
  ],
  [
    "a pattern before an exact rule",
    { config: rules(aRule("Sender", regexp("bob"), ok), aRule("Sender", exact("bob@example.com"), no)) },
    "yes",
  ],
  [
    "Dunno ends its scope",
    {
      config: rules(aRule("Client", exact("192.0.2.1"), { kind: "Dunno" }), aRule("Client", cidr("192.0.2.0/24"), no)),
    },
    "yes",
  ],
  [
    "a permitted client does not permit its sender",
    { config: rules(aRule("Client", cidr("192.0.2.0/24"), ok), aRule("Sender", domain("example.com"), no)) },
    refused("Sender"),
  ],
  [
    "trusted networks are not exempt",
    {
      config: aConfig(
        {},
        { trustedNetworks: ["192.0.2.0/24"], accessRules: [aRule("Client", exact("192.0.2.1"), no)] },
      ),
    },
    refused("Client"),
  ],
  [
    "a permit does not relay",
    {
      config: rules(aRule("Recipient", domain("elsewhere.example"), ok), aRule("Client", cidr("0.0.0.0/0"), ok)),
      recipient: "x@elsewhere.example",
    },
    "554 5.7.1 relayDenied",
  ],
  [
    "a permit does not make users",
    { config: rules(aRule("Recipient", domain("example.org"), ok)), recipient: "nobody@example.org" },
    "550 5.1.1 recipientRefused",
  ],
  [
    "a reply of the rule's own",
    {
      config: rules(
        aRule("Client", cidr("0.0.0.0/0"), { kind: "Reject", code: 521, enhanced: "5.3.2", text: "No mail here" }),
      ),
    },
    "521 5.3.2 CheckClientAccess rule",
  ],
  [
    "the class of the enhanced code is that of the code",
    { config: rules(aRule("Client", cidr("0.0.0.0/0"), { kind: "Defer", enhanced: "5.2.1" })) },
    "450 4.2.1 CheckClientAccess rule",
  ],
  [
    "deferred",
    { config: rules(aRule("Recipient", domain("example.org"), { kind: "Defer", text: "not now" })) },
    "450 4.7.1 CheckRecipientAccess rule",
  ],
  [
    "thrown away",
    { config: rules(aRule("Recipient", exact("alice@example.org"), { kind: "Discard" })) },
    "discard by CheckRecipientAccess rule",
  ],
  [
    "thrown away by its sender",
    { config: rules(aRule("Sender", exact("bob@example.com"), { kind: "Discard" })) },
    "discard by CheckSenderAccess rule",
  ],
  [
    "what is thrown away is asked nothing more",
    { config: rules(aRule("Sender", exact("bob@example.com"), { kind: "Discard" })), recipient: "x@elsewhere.example" },
    "discard by CheckSenderAccess rule",
  ],
  [
    "DeferIfPermit makes later of a yes",
    { config: rules(aRule("Client", cidr("0.0.0.0/0"), { kind: "DeferIfPermit" })) },
    "450 4.7.1 CheckClientAccess rule",
  ],
  [
    "DeferIfPermit leaves a no",
    { config: rules(aRule("Client", cidr("0.0.0.0/0"), { kind: "DeferIfPermit" })), recipient: "nobody@example.org" },
    "550 5.1.1 recipientRefused",
  ],
  [
    "DeferIfReject makes later of a no",
    {
      config: rules(aRule("Recipient", domain("example.org"), { kind: "DeferIfReject" })),
      recipient: "nobody@example.org",
    },
    "450 4.7.1 CheckRecipientAccess rule",
  ],
  [
    "DeferIfReject leaves a yes",
    { config: rules(aRule("Client", cidr("0.0.0.0/0"), { kind: "DeferIfReject" })) },
    "yes",
  ],
];
for (const [name, given, expected] of decisions)
  test(`${name}: ${expected}`, async () => assert.equal(await atRcpt(given), expected));

const everybody = cidr("0.0.0.0/0");
const effects: readonly (readonly [AccessAction, object])[] = [
  [{ kind: "Hold" }, { kind: "hold" }],
  [
    { kind: "Redirect", address: "boss@example.org" },
    { kind: "redirect", address: "boss@example.org" },
  ],
  [
    { kind: "Bcc", address: "archive@example.org" },
    { kind: "bcc", address: "archive@example.org" },
  ],
  [
    { kind: "Prepend", field: "X-Seen: yes" },
    { kind: "prepend", field: "X-Seen: yes" },
  ],
];
for (const [action, effect] of effects) {
  test(`${action.kind} is kept for a yes, and the rest is asked`, async () => {
    const config = rules(aRule("Client", everybody, action));
    assert.deepEqual(await decidedAtRcpt({ config }), { kind: "pass", effects: [effect] });
    assert.equal((await decidedAtRcpt({ config, recipient: "nobody@example.org" })).effects, undefined);
  });
}

test("Warn, and the text of Hold, are read whatever is decided", async () => {
  const config = rules(
    aRule("Client", everybody, { kind: "Warn", text: "look" }),
    aRule("Sender", domain("example.com"), { kind: "Hold", text: "suspicious" }),
  );
  const notes = [
    { check: "CheckClientAccess rule", level: "warn", text: "look" },
    { check: "CheckSenderAccess rule", level: "info", text: "suspicious" },
  ];
  assert.deepEqual((await decidedAtRcpt({ config })).notes, notes);
  assert.deepEqual((await decidedAtRcpt({ config, recipient: "nobody@example.org" })).notes, notes);
});

test("restriction classes: a rule asks other checks, and other tables", async () => {
  // Postfix' RESTRICTION_CLASS_README: an address that only insiders may write to.
  const insidersOnly: AccessAction = { kind: "Checks", checks: ["CheckSenderAccess insiders", "Reject"] };
  const config = rules(aRule("Recipient", exact("alice@example.org"), insidersOnly), {
    ...aRule("Sender", domain("example.com"), ok),
    table: "insiders",
  });
  assert.equal(await atRcpt({ config, sender: "bob@example.com" }), "yes");
  assert.equal(await atRcpt({ config, sender: "eve@elsewhere.example" }), "554 5.7.1 Reject");
  assert.equal(await atRcpt({ config, sender: "eve@elsewhere.example", recipient: "postmaster" }), "yes");
});

test("a permit of a class ends the list that asked it", async () => {
  const config = aConfig(
    {},
    {
      accessRules: [aRule("Client", everybody, { kind: "Checks", checks: ["Permit"] })],
      restrictions: { ...noRestrictions, client: ["CheckClientAccess", "Reject"] },
    },
  );
  assert.equal(await atRcpt({ config }), "yes");
});

test("a table of its own is asked only where it is named", async () => {
  const config = rules({ ...aRule("Client", everybody, no), table: "partners" });
  assert.equal(await atRcpt({ config }), "yes");
  const named = {
    ...config,
    server: { ...config.server, restrictions: { ...noRestrictions, client: ["CheckClientAccess partners"] } },
  };
  assert.equal(await atRcpt({ config: named }), refused("Client"));
});

test("rules that name each other in a circle are our trouble, and temporary", async () => {
  const config = rules(aRule("Client", everybody, { kind: "Checks", checks: ["CheckClientAccess"] }));
  const decision = await decidedAtRcpt({ config });
  assert.equal(told(decision), "451 4.3.0 CheckClientAccess");
  assert.ok(decision.cause instanceof Error);
});

test("ETRN has a scope of its own", async () => {
  const config = rules(aRule("Etrn", domain("example.org"), no));
  const ask = async (about: string): Promise<string> =>
    told(await decide(stages.etrn, { client: clientFacts({ config }), domain: about }));
  assert.equal(await ask("sub.example.org"), refused("Etrn"));
  assert.equal(await ask("example.net"), "yes");
});

test("a pattern takes linear time, whoever chose the text", async () => {
  const config = rules(aRule("Helo", regexp("^(a+)+$"), no));
  const started = performance.now();
  assert.equal(await atRcpt({ config, helo: `${"a".repeat(250)}!` }), "yes");
  assert.ok(performance.now() - started < 1000);
});

test("the client's name is asked for once, and not at all where no rule is about names", async () => {
  let asked = 0;
  const counted = (config: LiveConfig) => {
    const facts = clientFacts({ config, name: "a.example" });
    const naming = facts.naming.bind(facts);
    facts.naming = () => {
      asked += 1;
      return naming();
    };
    return facts;
  };
  const ask = (client: ReturnType<typeof clientFacts>) => decide(stages.etrn, { client, domain: "example.org" });
  await ask(counted(rules(aRule("Client", cidr("10.0.0.0/8"), no))));
  assert.equal(asked, 0);
  await ask(counted(rules(aRule("Client", domain("example.com"), no))));
  assert.equal(asked, 1);
});
