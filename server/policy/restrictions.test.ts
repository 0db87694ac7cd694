/** Each named check, alone in its list, over the whole stage RCPT (or DATA): what Postfix says to the same client. DNS is a server on loopback. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { checkPattern, noRestrictions, plainChecks, type RestrictionStage } from "../config/restrictions.ts";
import type { LiveConfig } from "../config/schema.ts";
import { aDnsServer } from "../dns/dns-fixture.ts";
import { createResolver, type Dns } from "../dns/resolver.ts";
import { aConfig, aDomain, aListener, aMailbox } from "../listen/inbound-fixture.ts";
import { decide } from "./chain.ts";
import { atData, atMail, atRcpt, certificate, type Client, clientFacts, decidedAtRcpt, told } from "./facts-fixture.ts";
import { checksOf } from "./restrictions.ts";
import { stages } from "./stages.ts";

const relay = {
  class: "Relay",
  recipients: "Any",
  delivery: { kind: "smtp", host: "next.example", port: 25, lookupMX: false, implicitTLS: false },
} as const;

type Lists = Partial<Record<RestrictionStage, string[]>>;
const withLists = (lists: Lists, delayReject = true): LiveConfig =>
  aConfig(
    {
      domains: new Map([
        ["example.org", aDomain()],
        ["relay.example", aDomain(relay)],
        ["gone.example", aDomain(relay)],
      ]),
      addresses: new Map([
        ["alice@example.org", aMailbox({ sendAs: ["sales@partner.example"] })],
        ["shared@example.org", aMailbox({ authentication: false })],
        ["old@example.org", aMailbox({ suspended: true })],
        ["team@example.org", { alias: { destinations: ["alice@example.org"], senders: ["alice@example.org"] } }],
        ["open@example.org", { alias: { destinations: ["alice@example.org"], senders: [] } }],
      ]),
      relayClientCerts: new Map([[`certificate:${certificate}`, { name: "c", senders: [], recipients: [] }]]),
    },
    { restrictions: { ...noRestrictions, ...lists, delayReject }, trustedNetworks: ["203.0.113.0/24"] },
  );

const zone = {
  "mail.example.net A": ["192.0.2.1"],
  "mxonly.example MX": [{ preference: 10, exchange: "mail.example.net" }],
  "null.example MX": [{ preference: 0, exchange: "." }],
  "six.example AAAA": ["2001:db8::1"],
  "relay.example A": ["192.0.2.9"],
  "text.example TXT": ["neither address nor MX"],
};

const named = { naming: { kind: "named", name: "mail.example.net" } } as const;
const unconfirmed = { naming: { kind: "unconfirmed", name: "liar.example" } } as const;
const unnamed = { naming: { kind: "none" } } as const;
const unanswered = { naming: { kind: "temporary" } } as const;
const halfAnswered = { naming: { kind: "temporary", name: "liar.example" } } as const;
const alice = { tls: true, user: "alice@example.org" };

/** The list, the check, and what clients hear. */
const table: readonly (readonly [
  RestrictionStage,
  string,
  readonly (readonly [string, Client & { readonly broken?: true }, string])[],
])[] = [
  [
    "client",
    "RejectUnknownClientHostname",
    [
      ["named", named, "yes"],
      ["unconfirmed", unconfirmed, "450 4.7.25"],
      ["none", unnamed, "450 4.7.25"],
      ["nobody could say", unanswered, "450 4.7.25"],
      [
        "nobody could say, and refused for good anyway",
        { ...unanswered, recipient: "nobody@example.org" },
        "550 5.1.1 recipientRefused",
      ],
    ],
  ],
  [
    "client",
    "RejectUnknownReverseClientHostname",
    [
      ["named", named, "yes"],
      ["unconfirmed", unconfirmed, "yes"],
      ["none", unnamed, "450 4.7.1"],
      ["nobody could say", unanswered, "450 4.7.1"],
      ["nobody could say whether it leads back", halfAnswered, "yes"],
    ],
  ],
  [
    "client",
    "RejectUnknownForwardClientHostname",
    [
      ["named", named, "yes"],
      ["unconfirmed", unconfirmed, "450 4.7.25"],
      ["none", unnamed, "yes"],
      ["nobody could say", halfAnswered, "450 4.7.25"],
    ],
  ],
  [
    "client",
    "RejectPlaintextSession",
    [
      ["in the clear", {}, "450 4.7.1"],
      ["encrypted", { tls: true }, "yes"],
    ],
  ],
  [
    "helo",
    "RejectInvalidHelo",
    [
      ["a name", { helo: "mail.example.net" }, "yes"],
      ["one label", { helo: "localhost" }, "yes"],
      ["an underscore", { helo: "my_host.example" }, "yes"],
      ["a trailing dot", { helo: "mail.example.net." }, "yes"],
      ["two trailing dots", { helo: "mail.example.net.." }, "501 5.5.2"],
      ["an address without brackets", { helo: "192.0.2.1" }, "yes"],
      ["numbers alone", { helo: "12345" }, "501 5.5.2"],
      ["a label that begins with a hyphen", { helo: "-mail.example.net" }, "501 5.5.2"],
      ["characters no host has", { helo: "mail!example" }, "501 5.5.2"],
      ["an empty label", { helo: "mail..example" }, "501 5.5.2"],
      ["a label of 64", { helo: `${"a".repeat(64)}.example` }, "501 5.5.2"],
      ["a name in letters beyond ASCII", { helo: "bücher.example" }, "501 5.5.2"],
      ["a literal", { helo: "[192.0.2.1]" }, "yes"],
      ["an IPv6 literal", { helo: "[IPv6:2001:db8::1]" }, "yes"],
      ["a broken literal", { helo: "[192.0.2.300]" }, "501 5.5.2"],
      ["an open literal", { helo: "[192.0.2.1" }, "501 5.5.2"],
    ],
  ],
  [
    "helo",
    "RejectNonFQDNHelo",
    [
      ["a name", { helo: "mail.example.net" }, "yes"],
      ["one label", { helo: "localhost" }, "504 5.5.2"],
      ["an address without brackets", { helo: "192.0.2.1" }, "504 5.5.2"],
      ["a literal", { helo: "[192.0.2.1]" }, "yes"],
      ["a broken literal", { helo: "[x]" }, "501 5.5.2"],
    ],
  ],
  [
    "helo",
    "RejectUnknownHelo",
    [
      ["has an address", { helo: "mail.example.net" }, "yes"],
      ["has an IPv6 address", { helo: "six.example" }, "yes"],
      ["has an MX", { helo: "mxonly.example" }, "yes"],
      ["does not exist", { helo: "nowhere.example" }, "450 4.7.1"],
      ["exists without either", { helo: "text.example" }, "450 4.7.1"],
      ["nobody could say", { helo: "mail.example.net", broken: true }, "450 4.7.1"],
      [
        "nobody could say, and refused for good anyway",
        { helo: "mail.example.net", broken: true, recipient: "nobody@example.org" },
        "550 5.1.1 recipientRefused",
      ],
      ["a literal", { helo: "[192.0.2.1]" }, "yes"],
    ],
  ],
  [
    "sender",
    "RejectNonFQDNSender",
    [
      ["whole", { sender: "bob@example.com" }, "yes"],
      ["one label", { sender: "bob@localhost" }, "504 5.5.2"],
      ["the null sender", { sender: "" }, "yes"],
      ["a literal", { sender: "bob@[192.0.2.1]" }, "yes"],
    ],
  ],
  [
    "sender",
    "RejectUnknownSenderDomain",
    [
      ["has an MX", { sender: "bob@mxonly.example" }, "yes"],
      ["has an address", { sender: "bob@mail.example.net" }, "yes"],
      ["has an IPv6 address", { sender: "bob@six.example" }, "yes"],
      ["does not exist", { sender: "bob@nowhere.example" }, "450 4.1.8"],
      ["exists without either", { sender: "bob@text.example" }, "450 4.1.8"],
      ["takes no mail (RFC 7505)", { sender: "bob@null.example" }, "550 5.7.27"],
      ["nobody could say", { sender: "bob@mxonly.example", broken: true }, "450 4.1.8"],
      ["ours is not looked up", { sender: "alice@example.org", broken: true }, "yes"],
      ["ours to relay is looked up", { sender: "x@gone.example" }, "450 4.1.8"],
      ["the null sender", { sender: "", broken: true }, "yes"],
      ["a literal", { sender: "bob@[192.0.2.1]", broken: true }, "yes"],
    ],
  ],
  [
    "sender",
    "RejectUnlistedSender",
    [
      ["a mailbox", { sender: "alice@example.org" }, "yes"],
      ["nobody of ours", { sender: "nobody@example.org" }, "550 5.1.0"],
      ["a suspended mailbox exists", { sender: "old@example.org" }, "yes"],
      ["of elsewhere", { sender: "nobody@elsewhere.example" }, "yes"],
      ["the null sender", { sender: "" }, "yes"],
    ],
  ],
  [
    "sender",
    "RejectSenderLoginMismatch",
    [
      ["a stranger as himself", {}, "yes"],
      ["a stranger as a user", { sender: "alice@example.org" }, "553 5.7.1"],
      ["a stranger as a user, extended", { sender: "alice+x@example.org" }, "553 5.7.1"],
      ["a stranger as a group with senders", { sender: "team@example.org" }, "553 5.7.1"],
      ["a stranger as a group that is nobody's", { sender: "open@example.org" }, "yes"],
      ["a stranger as an address of sendAs", { sender: "sales@partner.example" }, "553 5.7.1"],
      ["a stranger as a mailbox that cannot log in", { sender: "shared@example.org" }, "yes"],
      ["the null sender", { sender: "" }, "yes"],
      ["a user as herself", { ...alice, sender: "alice@example.org" }, "yes"],
      ["a user as another", { ...alice, sender: "bob@example.com" }, "553 5.7.1"],
    ],
  ],
  [
    "sender",
    "RejectAuthenticatedSenderLoginMismatch",
    [
      ["a stranger as a user", { sender: "alice@example.org" }, "yes"],
      ["a user as another", { ...alice, sender: "bob@example.com" }, "553 5.7.1"],
    ],
  ],
  [
    "sender",
    "RejectKnownSenderLoginMismatch",
    [
      ["a stranger as a user", { sender: "alice@example.org" }, "553 5.7.1"],
      ["a user as somebody of elsewhere", { ...alice, sender: "bob@example.com" }, "yes"],
      ["a user as a group of hers", { ...alice, sender: "team@example.org" }, "yes"],
    ],
  ],
  [
    "sender",
    "RejectUnauthenticatedSenderLoginMismatch",
    [
      ["a stranger as a user", { sender: "alice@example.org" }, "553 5.7.1"],
      ["a user as another", { ...alice, sender: "bob@example.com" }, "yes"],
    ],
  ],
  [
    "recipient",
    "RejectNonFQDNRecipient",
    [
      ["whole", {}, "yes"],
      ["one label", { user: "alice@example.org", recipient: "bob@localhost" }, "504 5.5.2"],
      ["postmaster needs no domain", { recipient: "postmaster" }, "yes"],
    ],
  ],
  [
    "recipient",
    "RejectUnknownRecipientDomain",
    [
      ["ours", { broken: true }, "yes"],
      ["ours to relay, exists", { recipient: "x@relay.example" }, "yes"],
      ["ours to relay, does not exist", { recipient: "x@gone.example" }, "450 4.1.2"],
      ["elsewhere, does not exist", { user: "alice@example.org", recipient: "x@nowhere.example" }, "450 4.1.2"],
      ["elsewhere, takes no mail", { user: "alice@example.org", recipient: "x@null.example" }, "556 5.1.10"],
      ["postmaster", { recipient: "postmaster" }, "yes"],
    ],
  ],
  ["recipient", "RejectUnlistedRecipient", [["nobody of ours", { recipient: "nobody@example.org" }, "550 5.1.1"]]],
  [
    "client",
    "RejectUnauthDestination",
    [
      ["to elsewhere", { recipient: "x@elsewhere.example" }, "554 5.7.1"],
      ["to us", {}, "yes"],
    ],
  ],
  [
    "client",
    "DeferUnauthDestination",
    [
      ["to elsewhere", { recipient: "x@elsewhere.example" }, "454 4.7.1"],
      ["to elsewhere, from a trusted network", { address: "203.0.113.1", recipient: "x@elsewhere.example" }, "yes"],
    ],
  ],
  [
    "client",
    "RejectUnauthPipelining",
    [
      ["in turn", {}, "yes"],
      ["too early", { pipelined: true }, "503 5.5.0"],
    ],
  ],
  ["client", "Reject", [["anybody", {}, "554 5.7.1"]]],
  ["client", "Defer", [["anybody", {}, "450 4.3.2"]]],
  [
    "client",
    "DeferIfPermit",
    [
      ["a yes", {}, "450 4.7.0"],
      ["a no", { recipient: "nobody@example.org" }, "550 5.1.1 recipientRefused"],
    ],
  ],
  [
    "recipient",
    "DeferIfReject",
    [
      ["a yes", {}, "yes"],
      ["a no", { recipient: "nobody@example.org" }, "450 4.7.0"],
    ],
  ],
];

/** Behind a permit stands Reject: yes means that it was exempt. */
const permits: readonly (readonly [string, Client, boolean])[] = [
  ["PermitMynetworks", { address: "203.0.113.7" }, true],
  ["PermitMynetworks", {}, false],
  ["PermitSASLAuthenticated", alice, true],
  ["PermitSASLAuthenticated", {}, false],
  ["PermitTLSClientCerts", { tls: true, shows: true }, true],
  ["PermitTLSClientCerts", { tls: true }, false],
  ["PermitInetInterfaces", { address: "127.0.0.1" }, true],
  ["PermitInetInterfaces", {}, false],
  ["PermitAuthDestination", {}, true],
  ["PermitAuthDestination", { user: "alice@example.org", recipient: "x@elsewhere.example" }, false],
  ["Permit", {}, true],
];

suite("named checks", async () => {
  for (const [stage, name, clients] of table) {
    for (const [who, given, expected] of clients) {
      test(`${name}: ${who}: ${expected}`, async (t) => {
        const { broken, ...client } = given;
        const server = await aDnsServer(t, { records: zone, ...(broken === true ? { rcode: 2 } : {}) });
        const dns: Dns = createResolver({ servers: () => [server.server], timeoutMs: 500, rounds: 1 });
        const heard = await atRcpt({ ...client, dns, config: withLists({ [stage]: [name] }) });
        // Without a check in the expectation it is the one on trial.
        assert.equal(heard, expected === "yes" || expected.split(" ").length === 3 ? expected : `${expected} ${name}`);
      });
    }
  }
  for (const [name, given, isExempt] of permits) {
    test(`${name}: ${JSON.stringify(given)}: ${isExempt ? "exempt" : "not exempt"}`, async () =>
      assert.equal(
        await atRcpt({ ...given, config: withLists({ client: [name, "Reject"] }) }),
        isExempt ? "yes" : "554 5.7.1 Reject",
      ));
  }

  test("PermitAuthDestination asks for the domain, not for the address", async () => {
    const config = withLists({ client: ["PermitAuthDestination", "Reject"] });
    assert.equal(await atRcpt({ config, recipient: "nobody@example.org" }), "550 5.1.1 recipientRefused");
  });

  test("RejectMultiRecipientBounce, at DATA", async () => {
    const config = withLists({ data: ["RejectMultiRecipientBounce"] });
    assert.equal(await atData({ config, sender: "", recipients: 2 }), "550 5.5.3 RejectMultiRecipientBounce");
    assert.equal(await atData({ config, sender: "", recipients: 1 }), "yes");
    assert.equal(await atData({ config, recipients: 2 }), "yes");
    const sooner = withLists({ recipient: ["RejectMultiRecipientBounce"] });
    assert.equal(await atRcpt({ config: sooner, sender: "", recipients: 0 }), "yes");
    assert.equal(await atRcpt({ config: sooner, sender: "", recipients: 1 }), "550 5.5.3 RejectMultiRecipientBounce");
  });

  test("every name has been tried here", () => {
    const tried = new Set([...table.map(([, name]) => name), ...permits.map(([name]) => name)]);
    tried.add("RejectMultiRecipientBounce").add("WarnIfReject");
    // A dialogue with another server; see their own tests.
    tried.add("RejectUnverifiedSender").add("RejectUnverifiedRecipient");
    assert.deepEqual(
      plainChecks.filter((name) => !tried.has(name)),
      [],
    );
    for (const name of plainChecks) assert.match(name, checkPattern);
  });
});

suite("lists", () => {
  test("they are asked in the order in which they are written, client, helo, sender, recipient", async () => {
    const given = { ...unnamed, helo: "x", sender: "bob@localhost", recipient: "nobody@example.org" };
    const all: Lists = {
      client: ["RejectUnknownClientHostname"],
      helo: ["RejectNonFQDNHelo"],
      sender: ["RejectNonFQDNSender"],
      recipient: ["Defer"],
    };
    const heard: string[] = [];
    for (const stage of ["client", "helo", "sender", "recipient"] as const) {
      heard.push((await atRcpt({ ...given, config: withLists(all) })).split(" ")[2] ?? "");
      all[stage] = [];
    }
    heard.push(await atRcpt({ ...given, config: withLists(all) }));
    assert.deepEqual(heard, [
      "RejectUnknownClientHostname",
      "RejectNonFQDNHelo",
      "RejectNonFQDNSender",
      "Defer",
      "550 5.1.1 recipientRefused",
    ]);
    const two = { client: ["RejectPlaintextSession", "Reject"] };
    assert.equal(await atRcpt({ config: withLists(two) }), "450 4.7.1 RejectPlaintextSession");
    assert.equal(await atRcpt({ config: withLists({ client: two.client.toReversed() }) }), "554 5.7.1 Reject");
  });

  test("a permit ends its own list only, and never relays", async () => {
    const config = withLists({ client: ["Permit", "Reject"], recipient: ["Permit", "Reject"] });
    assert.equal(await atRcpt({ config }), "yes");
    assert.equal(await atRcpt({ config, recipient: "x@elsewhere.example" }), "554 5.7.1 relayDenied");
    assert.equal(await atRcpt({ config: withLists({ client: ["Permit"], helo: ["Reject"] }) }), "554 5.7.1 Reject");
  });

  test("WarnIfReject is about the next check only", async () => {
    const config = withLists({
      client: ["WarnIfReject", "RejectPlaintextSession", "WarnIfReject", "RejectUnknownClientHostname"],
    });
    assert.deepEqual(await decidedAtRcpt({ config, ...unnamed }), {
      kind: "pass",
      notes: [
        {
          check: "RejectPlaintextSession",
          level: "warn",
          text: "would be refused: 450 4.7.1 Session encryption is required",
        },
        {
          check: "RejectUnknownClientHostname",
          level: "warn",
          text: "would be refused: 450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]",
        },
      ],
    });
    const one = withLists({ client: ["WarnIfReject", "RejectPlaintextSession", "Reject"] });
    assert.equal(await atRcpt({ config: one }), "554 5.7.1 Reject");
  });

  test("postmaster without a domain is refused by no list", async () => {
    const config = withLists({ client: ["Reject"], recipient: ["Reject"] });
    assert.equal(await atRcpt({ config, recipient: "PostMaster" }), "yes");
    assert.equal(await atRcpt({ config, recipient: "postmaster@example.org" }), "554 5.7.1 Reject");
  });

  test("mercy is for refusals of the same list, and with doubt it is later for sure", async () => {
    const nobody = "nobody@example.org";
    const config = (lists: Lists) => withLists(lists);
    assert.equal(await atRcpt({ config: config({ client: ["DeferIfReject", "Reject"] }) }), "450 4.7.0 DeferIfReject");
    assert.equal(await atRcpt({ config: config({ client: ["DeferIfReject"], helo: ["Reject"] }) }), "554 5.7.1 Reject");
    assert.equal(
      await atRcpt({ config: config({ client: ["DeferIfReject"] }), recipient: nobody }),
      "550 5.1.1 recipientRefused",
    );
    assert.equal(
      await atRcpt({ config: config({ recipient: ["DeferIfReject"] }), recipient: nobody }),
      "450 4.7.0 DeferIfReject",
    );
    const both = config({ client: ["DeferIfPermit", "DeferIfReject", "RejectPlaintextSession"] });
    assert.equal(await atRcpt({ config: both }), "450 4.7.0 DeferIfPermit");
  });

  test("a check that is not known is an error of the configuration, not a hole", () => {
    assert.throws(() => checksOf(["RejectEverything"]), TypeError);
    assert.throws(() => checksOf(["toString"]), TypeError);
  });
});

suite("delayReject", () => {
  const lists: Lists = {
    client: ["RejectUnknownClientHostname"],
    helo: ["RejectNonFQDNHelo"],
    sender: ["RejectNonFQDNSender"],
  };
  const bad = { ...unnamed, helo: "x", sender: "bob@localhost" };
  const early = async (given: Client): Promise<readonly string[]> => {
    const client = clientFacts(given);
    return [told(await decide(stages.greeting, client)), told(await decide(stages.helo, client)), await atMail(given)];
  };

  test("on: nothing before RCPT", async () => {
    assert.deepEqual(await early({ ...bad, config: withLists(lists) }), ["yes", "yes", "yes"]);
    assert.equal(await atRcpt({ ...bad, config: withLists(lists) }), "450 4.7.25 RejectUnknownClientHostname");
  });

  test("off: each as soon as it is known", async () => {
    assert.deepEqual(await early({ ...bad, config: withLists(lists, false) }), [
      "450 4.7.25 RejectUnknownClientHostname",
      "504 5.5.2 RejectNonFQDNHelo",
      "504 5.5.2 RejectNonFQDNSender",
    ]);
  });

  test("off: doubt is no refusal before RCPT, and effects are not lost", async () => {
    const given = { ...unanswered, config: withLists({ client: ["RejectUnknownClientHostname"] }, false) };
    assert.deepEqual(await early(given), ["yes", "yes", "yes"]);
    assert.equal(await atRcpt(given), "450 4.7.25 RejectUnknownClientHostname");
    const { server, ...rest } = given.config;
    const hold = {
      name: "r",
      scope: "Client",
      match: [{ kind: "cidr", value: "0.0.0.0/0" }],
      action: { kind: "Hold" },
    } as const;
    const holding: LiveConfig = {
      ...rest,
      server: {
        ...server,
        accessRules: [{ ...hold, match: [...hold.match] }],
        restrictions: { ...noRestrictions, delayReject: false },
      },
    };
    assert.deepEqual(await early({ config: holding }), ["yes", "yes", "yes"]);
    assert.deepEqual((await decidedAtRcpt({ config: holding })).effects, [{ kind: "hold" }]);
  });

  test("what must be said at MAIL is said at MAIL always", async () => {
    const listener = aListener({ tls: { required: true } });
    for (const delayReject of [true, false]) {
      const config = aConfig({}, { listeners: [listener], restrictions: { ...noRestrictions, delayReject } });
      assert.equal(await atMail({ config }), "530 5.7.0 tlsMissing");
      assert.equal(await atMail({ config, tls: true, parameters: "SIZE=100001" }), "552 5.3.4 declaredSizeTooLarge");
    }
  });
});
