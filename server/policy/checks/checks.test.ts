/** Every check of a stage, as tables over the whole chain: the verdict and the check that gave it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LiveConfig } from "../../config/schema.ts";
import { aConfig, aDomain, aListener, aMailbox } from "../../listen/inbound-fixture.ts";
import { atMail, atRcpt, certificate, type Client, publicKey } from "../facts-fixture.ts";

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
