/** Every check of a stage, as tables over the whole chain: the verdict and the check that gave it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AccessRule, LiveConfig } from "../../config/schema.ts";
import { aConfig, aDomain, aListener, aMailbox, aRule } from "../../listen/inbound-fixture.ts";
import { standingOf } from "../../route/standing.ts";
import { parseMailParameters } from "../../session/parameters.ts";
import { parsePath } from "../../session/path.ts";
import { decide } from "../chain.ts";
import { ClientFacts, type TlsFacts } from "../facts.ts";
import { stages } from "../stages.ts";

const certificate = "a".repeat(64);
const publicKey = "b".repeat(64);
const plainTls: TlsFacts = {
  protocol: "TLSv1.3",
  cipher: "TLS_AES_256_GCM_SHA384",
  bits: 256,
  servername: undefined,
  clientCertificate: undefined,
};

interface Client {
  readonly config?: LiveConfig;
  readonly address?: string;
  readonly name?: string | Error;
  readonly helo?: string;
  readonly tls?: boolean;
  readonly shows?: boolean;
  readonly user?: string;
  readonly sender?: string;
  readonly parameters?: string;
  readonly queue?: "full" | "failed";
  readonly recipient?: string;
  readonly recipients?: number;
  readonly repeated?: boolean;
}

function clientFacts({
  config = aConfig(),
  address = "192.0.2.1",
  name,
  helo = "client.example.net",
  tls,
  shows,
  user,
}: Client): ClientFacts {
  const client = new ClientFacts({
    address,
    config: () => config,
    listener: () => config.server.listeners[0] ?? aListener(),
    reverse: () => (name instanceof Error ? Promise.reject(name) : Promise.resolve(name)),
  });
  client.helo = helo === "" ? undefined : { name: helo, extended: true };
  if (tls === true)
    client.tls = shows === true ? { ...plainTls, clientCertificate: { certificate, publicKey } } : plainTls;
  client.user = user;
  return client;
}

async function atMail(given: Client): Promise<string> {
  const parsed = parsePath(`FROM:<${given.sender ?? "bob@example.com"}>`, "FROM", { strict: false });
  const mail = parseMailParameters(given.parameters ?? "");
  assert.ok(parsed !== undefined && mail.kind === "ok");
  const decision = await decide(stages.mail, {
    client: clientFacts(given),
    sender: parsed.path,
    mail: mail.value,
    queueUnavailable: given.queue,
  });
  return told(decision);
}

async function atRcpt(given: Client): Promise<string> {
  const config = given.config ?? aConfig();
  const parsed = parsePath(`TO:<${given.recipient ?? "alice@example.org"}>`, "TO", { strict: false });
  assert.ok(parsed !== undefined);
  const decision = await decide(stages.rcpt, {
    client: clientFacts(given),
    sender: given.sender ?? "bob@example.com",
    recipient: parsed.path,
    rcpt: { notify: undefined, originalRecipient: undefined },
    recipients: given.recipients ?? 0,
    repeated: given.repeated ?? false,
    smtpUtf8: false,
    standing: () => standingOf(config, parsed.path.address),
  });
  return told(decision);
}

/** `yes`, `discard by …`, or the reply's codes and who gave it. */
function told(decision: Awaited<ReturnType<typeof decide>>): string {
  if (decision.kind === "pass") return "yes";
  if (decision.kind === "discard") return `discard by ${decision.check}`;
  return `${decision.reply.code} ${decision.reply.enhanced} ${decision.check}`;
}

const submission = (settings: Partial<Parameters<typeof aConfig>[0]> = {}): LiveConfig =>
  aConfig(
    {
      addresses: new Map([
        ["alice@example.org", aMailbox({ sendAs: ["sales@example.org", "@example.com"] })],
        ["gone@example.org", aMailbox({ suspended: true })],
        ["team@example.org", { alias: { destinations: ["alice@example.org"], senders: ["alice@example.org"] } }],
        ["other@example.org", { alias: { destinations: ["alice@example.org"], senders: ["bob@example.org"] } }],
        ["bob+vip@example.org", aMailbox()],
        ["@catch.example", { alias: { destinations: ["alice@example.org"], senders: ["alice@example.org"] } }],
        ["ceo@catch.example", aMailbox()],
      ]),
      ...settings,
    },
    { listeners: [aListener({ role: "Submission" })] },
  );
const alice = { config: submission(), tls: true, user: "alice@example.org" };

const mailTable: readonly (readonly [string, Client, string])[] = [
  ["anybody on MX", {}, "yes"],
  ["the null sender", { sender: "" }, "yes"],
  ["without HELO", { helo: "" }, "503 5.5.1 heloMissing"],
  [
    "without TLS where it is required",
    { config: aConfig({}, { listeners: [aListener({ tls: { required: true } })] }) },
    "530 5.7.0 tlsMissing",
  ],
  [
    "with TLS where it is required",
    { config: aConfig({}, { listeners: [aListener({ tls: { required: true } })] }), tls: true },
    "yes",
  ],
  [
    "without certificate where one is required",
    { config: aConfig({}, { listeners: [aListener({ tls: { clientCertificates: "Require" } })] }), tls: true },
    "530 5.7.0 clientCertificateMissing",
  ],
  [
    "with a certificate where one is required",
    {
      config: aConfig({}, { listeners: [aListener({ tls: { clientCertificates: "Require" } })] }),
      tls: true,
      shows: true,
    },
    "yes",
  ],
  [
    "without a certificate where one is asked for",
    { config: aConfig({}, { listeners: [aListener({ tls: { clientCertificates: "Ask" } })] }), tls: true },
    "yes",
  ],
  ["submission without AUTH", { config: submission(), tls: true }, "530 5.7.0 authenticationMissing"],
  [
    "submission without AUTH, from a trusted network",
    { config: { ...submission(), server: { ...submission().server, trustedNetworks: ["192.0.2.0/24"] } }, tls: true },
    "530 5.7.0 authenticationMissing",
  ],
  ["a user suspended while connected", { ...alice, user: "gone@example.org" }, "530 5.7.0 userIsGone"],
  ["a user deleted while connected", { ...alice, user: "nobody@example.org" }, "530 5.7.0 userIsGone"],
  ["a UTF-8 sender without SMTPUTF8", { sender: "ä@example.com" }, "553 5.6.7 senderNeedsUtf8"],
  ["a UTF-8 sender with SMTPUTF8", { sender: "ä@example.com", parameters: "SMTPUTF8" }, "yes"],
  ["SIZE at the limit", { parameters: "SIZE=100000" }, "yes"],
  ["SIZE above it", { parameters: "SIZE=100001" }, "552 5.3.4 declaredSizeTooLarge"],
  [
    "SIZE where there is no limit",
    { config: aConfig({}, { limits: { messageSizeBytes: 0 } }), parameters: "SIZE=99999999999" },
    "yes",
  ],
  ["a full queue", { queue: "full" }, "452 4.3.1 queueTakesNothing"],
  ["a failed queue", { queue: "failed" }, "421 4.3.0 queueTakesNothing"],
  ["own address", { ...alice, sender: "Alice@Example.org" }, "yes"],
  ["own address with an extension", { ...alice, sender: "alice+news@example.org" }, "yes"],
  ["own address with the other delimiter", { ...alice, sender: "alice-news@example.org" }, "yes"],
  ["own address with no delimiter at all", { ...alice, sender: "alice_news@example.org" }, "553 5.7.1 senderNotOwned"],
  ["sendAs an address", { ...alice, sender: "sales@example.org" }, "yes"],
  ["sendAs an address, extended", { ...alice, sender: "sales+de@example.org" }, "yes"],
  ["sendAs a domain", { ...alice, sender: "anyone@example.com" }, "yes"],
  ["sendAs is not for its children", { ...alice, sender: "anyone@sub.example.com" }, "553 5.7.1 senderNotOwned"],
  ["an alias that names the user", { ...alice, sender: "team@example.org" }, "yes"],
  ["an alias that names another", { ...alice, sender: "other@example.org" }, "553 5.7.1 senderNotOwned"],
  ["another's mailbox", { ...alice, sender: "gone@example.org" }, "553 5.7.1 senderNotOwned"],
  [
    "another's mailbox that looks like an extension",
    { ...alice, sender: "bob+vip@example.org" },
    "553 5.7.1 senderNotOwned",
  ],
  ["a catch-all alias that names the user", { ...alice, sender: "x@catch.example" }, "yes"],
  [
    "an address of its own within that catch-all",
    { ...alice, sender: "ceo@catch.example" },
    "553 5.7.1 senderNotOwned",
  ],
  ["a stranger's address", { ...alice, sender: "someone@elsewhere.example" }, "553 5.7.1 senderNotOwned"],
  ["the null sender, authenticated", { ...alice, sender: "" }, "yes"],
];
for (const [name, given, expected] of mailTable)
  test(`MAIL: ${name}: ${expected}`, async () => assert.equal(await atMail(given), expected));

const relayCert = (
  entry: { senders?: string[]; recipients?: string[]; expires?: string } = {},
  key = `certificate:${certificate}`,
): Client => ({
  config: aConfig({
    relayClientCerts: new Map([[key, { name: "default/partner", senders: [], recipients: [], ...entry }]]),
  }),
  tls: true,
  shows: true,
  recipient: "x@elsewhere.example",
});
const served = aConfig({
  domains: new Map([
    ["example.org", aDomain()],
    [
      "relay.example",
      aDomain({
        class: "Relay",
        recipients: "Any",
        delivery: { kind: "smtp", host: "next.example", port: 25, lookupMX: false, implicitTLS: false },
      }),
    ],
  ]),
  addresses: new Map([
    ["alice@example.org", aMailbox()],
    ["gone@example.org", aMailbox({ suspended: true })],
    ["moved@example.org", { relocatedTo: "new@elsewhere.example" }],
  ]),
});

const rcptTable: readonly (readonly [string, Client, string])[] = [
  ["a mailbox", {}, "yes"],
  ["a mailbox with extension", { recipient: "alice+x@example.org" }, "yes"],
  ["nobody of ours", { recipient: "nobody@example.org" }, "550 5.1.1 recipientRefused"],
  ["a suspended mailbox", { config: served, recipient: "gone@example.org" }, "550 5.2.1 recipientRefused"],
  ["somebody who moved", { config: served, recipient: "moved@example.org" }, "551 5.1.6 recipientRefused"],
  ["postmaster", { recipient: "postmaster" }, "yes"],
  ["PostMaster of our domain", { recipient: "PostMaster@example.org" }, "yes"],
  ["a UTF-8 address without SMTPUTF8", { recipient: "ä@example.org" }, "553 5.6.7 recipientNeedsUtf8"],
  ["the hundredth", { recipients: 99 }, "yes"],
  ["the hundred and first", { recipients: 100 }, "452 4.5.3 tooManyRecipients"],
  ["one of the hundred again", { recipients: 100, repeated: true }, "yes"],
  ["a stranger to elsewhere", { recipient: "x@elsewhere.example" }, "554 5.7.1 relayDenied"],
  ["a stranger to an address literal", { recipient: "x@[192.0.2.9]" }, "554 5.7.1 relayDenied"],
  [
    "loopback to elsewhere is a stranger",
    { address: "127.0.0.1", recipient: "x@elsewhere.example" },
    "554 5.7.1 relayDenied",
  ],
  [
    "a trusted network to elsewhere",
    { config: aConfig({}, { trustedNetworks: ["192.0.2.0/24"] }), recipient: "x@elsewhere.example" },
    "yes",
  ],
  ["a user to elsewhere", { user: "alice@example.org", recipient: "x@elsewhere.example" }, "yes"],
  ["a certificate to elsewhere", relayCert(), "yes"],
  ["a public key to elsewhere", relayCert({}, `publickey:${publicKey}`), "yes"],
  ["another certificate", relayCert({}, `certificate:${"c".repeat(64)}`), "554 5.7.1 relayDenied"],
  ["a certificate that is not shown", { ...relayCert(), shows: false }, "554 5.7.1 relayDenied"],
  ["a certificate not yet expired", relayCert({ expires: "2099-01-01T00:00:00Z" }), "yes"],
  ["an expired certificate", relayCert({ expires: "2020-01-01T00:00:00Z" }), "554 5.7.1 relayDenied"],
  ["a certificate with an unreadable expiry", relayCert({ expires: "soon" }), "554 5.7.1 relayDenied"],
  ["a certificate for this sender", relayCert({ senders: ["bob@example.com"] }), "yes"],
  ["a certificate for this sender's domain", relayCert({ senders: ["@example.com"] }), "yes"],
  ["a certificate for other senders", relayCert({ senders: ["@example.net"] }), "554 5.7.1 relayDenied"],
  ["a certificate for this recipient's domain", relayCert({ recipients: ["@elsewhere.example"] }), "yes"],
  ["a certificate for other recipients", relayCert({ recipients: ["y@elsewhere.example"] }), "554 5.7.1 relayDenied"],
  ["a relay domain", { config: served, recipient: "x@relay.example" }, "yes"],
  [
    "a route hidden by percent",
    { config: served, recipient: "x%elsewhere.example@relay.example" },
    "554 5.7.1 hiddenRoute",
  ],
  [
    "a route hidden by a bang",
    { config: served, recipient: "elsewhere.example!x@relay.example" },
    "554 5.7.1 hiddenRoute",
  ],
  [
    "a route hidden in quotes",
    { config: served, recipient: '"x@elsewhere.example"@relay.example' },
    "554 5.7.1 hiddenRoute",
  ],
  ["a hidden route from a user", { config: served, user: "alice@example.org", recipient: "x%y@relay.example" }, "yes"],
];
for (const [name, given, expected] of rcptTable)
  test(`RCPT: ${name}: ${expected}`, async () => assert.equal(await atRcpt(given), expected));

const rules = (...accessRules: AccessRule[]): LiveConfig => aConfig({}, { accessRules });
const no = { kind: "Reject", text: "go away" } as const;
const exact = (value: string): AccessRule["match"] => [{ kind: "exact", value }];
const domain = (value: string): AccessRule["match"] => [{ kind: "domain", value }];
const cidr = (value: string): AccessRule["match"] => [{ kind: "cidr", value }];

const accessTable: readonly (readonly ["MAIL" | "RCPT", string, Client, string])[] = [
  ["MAIL", "client by address", { config: rules(aRule("Client", exact("192.0.2.1"), no)) }, "554 5.7.1 clientAccess"],
  ["MAIL", "client by network", { config: rules(aRule("Client", cidr("192.0.2.0/24"), no)) }, "554 5.7.1 clientAccess"],
  ["MAIL", "client outside the network", { config: rules(aRule("Client", cidr("198.51.100.0/24"), no)) }, "yes"],
  [
    "MAIL",
    "client by name",
    { config: rules(aRule("Client", exact("bad.example"), no)), name: "Bad.example." },
    "554 5.7.1 clientAccess",
  ],
  [
    "MAIL",
    "client by domain",
    { config: rules(aRule("Client", domain("example"), no)), name: "a.bad.example" },
    "554 5.7.1 clientAccess",
  ],
  [
    "MAIL",
    "client by the end of a label is none",
    { config: rules(aRule("Client", domain("ad.example"), no)), name: "bad.example" },
    "yes",
  ],
  ["MAIL", "client without a name", { config: rules(aRule("Client", domain("example"), no)) }, "yes"],
  [
    "MAIL",
    "client whose name cannot be found",
    { config: rules(aRule("Client", domain("example"), no)), name: new Error("SERVFAIL") },
    "yes",
  ],
  [
    "MAIL",
    "client with a forged name",
    { config: rules(aRule("Client", domain("example"), no)), name: "x\r\n.bad.example" },
    "yes",
  ],
  [
    "MAIL",
    "the first rule wins",
    {
      config: rules(aRule("Client", exact("192.0.2.1"), { kind: "Permit" }), aRule("Client", cidr("192.0.2.0/24"), no)),
    },
    "yes",
  ],
  [
    "MAIL",
    "the first rule wins, the other way round",
    {
      config: rules(aRule("Client", cidr("192.0.2.0/24"), no), aRule("Client", exact("192.0.2.1"), { kind: "Permit" })),
    },
    "554 5.7.1 clientAccess",
  ],
  [
    "MAIL",
    "Dunno ends its scope",
    {
      config: rules(aRule("Client", exact("192.0.2.1"), { kind: "Dunno" }), aRule("Client", cidr("192.0.2.0/24"), no)),
    },
    "yes",
  ],
  [
    "MAIL",
    "a permitted client does not permit its sender",
    {
      config: rules(
        aRule("Client", cidr("192.0.2.0/24"), { kind: "Permit" }),
        aRule("Sender", domain("example.com"), no),
      ),
    },
    "554 5.7.1 senderAccess",
  ],
  ["MAIL", "helo", { config: rules(aRule("Helo", exact("client.example.net"), no)) }, "554 5.7.1 heloAccess"],
  [
    "MAIL",
    "helo by domain",
    { config: rules(aRule("Helo", domain("example.net"), no)), helo: "Client.Example.NET" },
    "554 5.7.1 heloAccess",
  ],
  [
    "MAIL",
    "helo by literal",
    { config: rules(aRule("Helo", cidr("192.0.2.0/24"), no)), helo: "[192.0.2.5]" },
    "554 5.7.1 heloAccess",
  ],
  ["MAIL", "sender", { config: rules(aRule("Sender", exact("Bob@example.com"), no)) }, "554 5.7.1 senderAccess"],
  ["MAIL", "sender by parent domain", { config: rules(aRule("Sender", domain("com"), no)) }, "554 5.7.1 senderAccess"],
  [
    "MAIL",
    "the null sender",
    { config: rules(aRule("Sender", exact("<>"), { kind: "Defer" })), sender: "" },
    "450 4.7.1 senderAccess",
  ],
  [
    "MAIL",
    "a sender thrown away",
    { config: rules(aRule("Sender", exact("bob@example.com"), { kind: "Discard" })) },
    "discard by senderAccess",
  ],
  [
    "RCPT",
    "recipient",
    { config: rules(aRule("Recipient", exact("alice@example.org"), no)) },
    "554 5.7.1 recipientAccess",
  ],
  [
    "RCPT",
    "recipient deferred",
    { config: rules(aRule("Recipient", domain("example.org"), { kind: "Defer", text: "not now" })) },
    "450 4.7.1 recipientAccess",
  ],
  [
    "RCPT",
    "recipient thrown away",
    { config: rules(aRule("Recipient", exact("alice@example.org"), { kind: "Discard" })) },
    "discard by recipientAccess",
  ],
  [
    "RCPT",
    "a permit does not relay",
    {
      config: rules(
        aRule("Recipient", domain("elsewhere.example"), { kind: "Permit" }),
        aRule("Client", cidr("0.0.0.0/0"), { kind: "Permit" }),
      ),
      recipient: "x@elsewhere.example",
    },
    "554 5.7.1 relayDenied",
  ],
  [
    "RCPT",
    "a permit does not make users",
    { config: rules(aRule("Recipient", domain("example.org"), { kind: "Permit" })), recipient: "nobody@example.org" },
    "550 5.1.1 recipientRefused",
  ],
];
for (const [stage, name, given, expected] of accessTable) {
  test(`${stage}, access: ${name}: ${expected}`, async () =>
    assert.equal(await (stage === "MAIL" ? atMail(given) : atRcpt(given)), expected));
}

test("the client's name is asked for once, and not at all where no rule is about names", async () => {
  let asked = 0;
  const factsFor = (config: LiveConfig): ClientFacts => {
    const facts = new ClientFacts({
      address: "192.0.2.1",
      config: () => config,
      listener: () => aListener(),
      reverse: async () => {
        asked += 1;
        return "a.example";
      },
    });
    facts.helo = { name: "x", extended: true };
    return facts;
  };
  const mail = parseMailParameters("");
  assert.ok(mail.kind === "ok");
  const sender = { address: "", international: false };
  const ask = (client: ClientFacts): unknown =>
    decide(stages.mail, { client, sender, mail: mail.value, queueUnavailable: undefined });
  ask(factsFor(rules(aRule("Client", cidr("10.0.0.0/8"), no))));
  assert.equal(asked, 0);
  const client = factsFor(rules(aRule("Client", domain("example.com"), no)));
  await ask(client);
  await ask(client);
  assert.equal(asked, 1);
});
