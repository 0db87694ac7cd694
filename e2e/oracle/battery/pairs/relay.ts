/** Setup a: the relay MX of the first reference setup. Strict envelopes, relay domains with their recipients, access tables, a client that relays by its certificate. */
import { object } from "../../../integration/manifests.ts";
import {
  colons,
  crossed,
  domain,
  fingerprint,
  mail,
  mailbox,
  mailServer,
  message,
  type Pair,
  serverTls,
  stranger,
  texthash,
  trusted,
} from "../pair.ts";
import { relayForms } from "./relay-forms.ts";
import { helos, senders, sequences } from "./relay-lines.ts";

const clients = { stranger, trusted };
const rcpt = (to: string, helo = "EHLO client.example.com", from = "MAIL FROM:<bob@sender.example>") => [
  helo,
  from,
  `RCPT TO:${to}`,
  message,
  "QUIT",
];

const access = [
  ["spammer@sender.example", "REJECT", { exact: "spammer@sender.example" }, { reject: {} }],
  ["good@bad.example", "OK", { exact: "good@bad.example" }, { permit: {} }],
  ["bad.example", "REJECT bad company", { domain: "bad.example" }, { reject: { text: "bad company" } }],
  ["later@sender.example", "DEFER", { exact: "later@sender.example" }, { defer: {} }],
  ["quiet@sender.example", "DISCARD", { exact: "quiet@sender.example" }, { discard: {} }],
  [
    "coded@sender.example",
    "521 5.3.2 no mail from you",
    { exact: "coded@sender.example" },
    { reject: { code: 521, enhancedCode: "5.3.2", text: "no mail from you" } },
  ],
  ["unsure@sender.example", "DEFER_IF_PERMIT", { exact: "unsure@sender.example" }, { deferIfPermit: {} }],
  ["newsletter@", "REJECT", { exact: "newsletter@" }, { reject: {} }],
] as const;
const recipientAccess = [
  ["closed@example.org", "REJECT closed", { exact: "closed@example.org" }, { reject: { text: "closed" } }],
  ["wait@example.org", "DEFER", { exact: "wait@example.org" }, { defer: {} }],
  [
    "moved@example.org",
    "REDIRECT alice@example.org",
    { exact: "moved@example.org" },
    { redirect: { address: "alice@example.org" } },
  ],
  ["dropped@example.org", "DISCARD", { exact: "dropped@example.org" }, { discard: {} }],
  ["held@example.org", "HOLD", { exact: "held@example.org" }, { hold: {} }],
  [
    "copied@example.org",
    "BCC carol@example.org",
    { exact: "copied@example.org" },
    { bcc: { address: "carol@example.org" } },
  ],
  ["warned@example.org", "WARN look", { exact: "warned@example.org" }, { warn: { text: "look" } }],
  ["open@elsewhere.example", "OK", { exact: "open@elsewhere.example" }, { permit: {} }],
  ["shut.example", "REJECT", { domain: "shut.example" }, { reject: {} }],
] as const;
const clientAccess = [
  ["127.0.0.21/32", "REJECT", { reject: {} }],
  ["127.0.0.22/32", "DEFER", { defer: {} }],
  ["127.0.0.23/32", "OK", { permit: {} }],
  ["127.0.0.24/32", "DISCARD", { discard: {} }],
  ["127.0.0.25/32", "521 5.7.1 go", { reject: { code: 521, enhancedCode: "5.7.1", text: "go" } }],
  ["127.0.0.26/32", "DEFER_IF_REJECT", { deferIfReject: {} }],
  ["127.0.0.27/32", "DUNNO", { dunno: {} }],
  ["127.0.0.16/30", "REJECT", { reject: {} }],
] as const;
const listed = {
  rejected: { address: "127.0.0.21" },
  deferred: { address: "127.0.0.22" },
  permitted: { address: "127.0.0.23" },
  discarded: { address: "127.0.0.24" },
  "own-code": { address: "127.0.0.25" },
  "defer-if-reject": { address: "127.0.0.26" },
  dunno: { address: "127.0.0.27" },
  network: { address: "127.0.0.18" },
};
const recipients = ["alice", "bob", "carol", "closed", "wait", "moved", "dropped", "held", "copied", "warned"];
const rule = (scope: string, priority: number, match: object, action: object): string =>
  object("AccessRule", `${scope.toLowerCase()}-${priority}`, {
    scope,
    serverRef: { name: "mx" },
    priority,
    match: [match],
    action,
  });
const certificateTo = (to: string, from = "<bob@sender.example>") => [
  "EHLO client.example.com",
  "STARTTLS",
  ...rcpt(to, "EHLO client.example.com", `MAIL FROM:${from}`),
];

export const relay: Pair = {
  name: "a",
  title: "relay MX",
  certificates: ["known", "unknown"],
  postfix: ({ certificates }) => ({
    main: `mydomain = example.net
myhostname = maeve.example.net
recipient_delimiter = +-
strict_rfc821_envelopes = yes
message_size_limit = 26214400
relay_domains = texthash:\${config_directory}/relay_domains
relay_recipient_maps = texthash:\${config_directory}/relay_recipients
virtual_alias_maps = texthash:\${config_directory}/virtual
relay_clientcerts = texthash:\${config_directory}/relay_clientcerts
smtpd_tls_fingerprint_digest = sha256
smtpd_tls_ask_ccert = yes
smtpd_relay_restrictions = permit_mynetworks, permit_tls_clientcerts, reject_unauth_destination
smtpd_client_restrictions = permit_mynetworks, check_client_access cidr:\${config_directory}/client_access
smtpd_helo_required = yes
smtpd_helo_restrictions = permit_mynetworks, check_helo_access texthash:\${config_directory}/helo_access, reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname
smtpd_sender_restrictions = permit_mynetworks, check_sender_access texthash:\${config_directory}/sender_access, reject_unlisted_sender
smtpd_recipient_restrictions = permit_mynetworks, check_recipient_access texthash:\${config_directory}/recipient_access, reject_non_fqdn_recipient
smtpd_data_restrictions = reject_unauth_pipelining
${serverTls}`,
    files: {
      relay_domains: texthash(["example.org", "open.example", "shut.example"].map((each) => [each, "x"])),
      relay_recipients: texthash([
        ...recipients.map((each) => [`${each}@example.org`, "x"] as const),
        ["@open.example", "x"],
        ["@shut.example", "x"],
      ]),
      virtual: texthash([
        ["postmaster@example.net", "alice@example.org"],
        ["postmaster@maeve.example.net", "alice@example.org"],
      ]),
      relay_clientcerts: texthash([[colons(fingerprint(certificates["known"])), "known"]]),
      client_access: texthash(clientAccess.map(([key, value]) => [key, value])),
      helo_access: texthash([
        ["spam.example", "REJECT"],
        ["maeve.example.net", "REJECT you are not me"],
      ]),
      sender_access: texthash(access.map(([key, value]) => [key, value])),
      recipient_access: texthash(recipientAccess.map(([key, value]) => [key, value])),
    },
  }),
  packetboat: (around) =>
    [
      mailServer(around, {
        hostname: "maeve.example.net",
        addresses: { recipientDelimiters: "+-", complete: { origin: "maeve.example.net" } },
        listeners: [
          { name: "mx", role: "MX", port: 25, etrn: true, tls: { mode: "StartTLS", clientCertificates: "Ask" } },
        ],
        limits: { messageSize: "25Mi" },
        postmaster: ["alice@example.org"],
        restrictions: {
          strictEnvelopes: true,
          client: ["PermitMynetworks", "CheckClientAccess"],
          helo: ["PermitMynetworks", "CheckHeloAccess", "RejectInvalidHelo", "RejectNonFQDNHelo"],
          sender: ["PermitMynetworks", "CheckSenderAccess", "RejectUnlistedSender"],
          recipient: ["PermitMynetworks", "CheckRecipientAccess", "RejectNonFQDNRecipient"],
          data: ["RejectUnauthPipelining"],
        },
      }),
      domain(around, "example.org", { class: "Relay" }),
      ...recipients.map((each) => mailbox(`${each}@example.org`)),
      ...["open.example", "shut.example"].map((each) =>
        domain(around, each, { class: "Relay", recipients: { from: "Any" } }),
      ),
      object("RelayClientCert", "known", {
        serverRef: { name: "mx" },
        fingerprints: [{ algorithm: "SHA256", of: "Certificate", value: fingerprint(around.certificates["known"]) }],
      }),
      ...clientAccess.map(([cidr, , action], number) => rule("Client", number + 1, { cidr }, action)),
      rule("Helo", 1, { domain: "spam.example" }, { reject: {} }),
      rule("Helo", 2, { exact: "maeve.example.net" }, { reject: { text: "you are not me" } }),
      ...access.map(([, , match, action], number) => rule("Sender", number + 1, match, action)),
      ...recipientAccess.map(([, , match, action], number) => rule("Recipient", number + 1, match, action)),
    ].join(""),
  dialogues: [
    ...crossed(
      "relay",
      clients,
      Object.fromEntries(
        Object.entries(relayForms("example.org", "elsewhere.example")).map(([name, to]) => [name, rcpt(to)]),
      ),
    ),
    ...crossed(
      "helo",
      clients,
      Object.fromEntries(Object.entries(helos).map(([name, helo]) => [name, rcpt("<alice@example.org>", helo)])),
    ),
    ...crossed(
      "sender",
      clients,
      Object.fromEntries(
        Object.entries(senders).map(([name, from]) => [
          name,
          rcpt("<alice@example.org>", "EHLO client.example.com", `MAIL FROM:${from}`),
        ]),
      ),
    ),
    ...crossed("sequence", { stranger }, sequences),
    ...crossed("client", listed, {
      ours: rcpt("<alice@example.org>"),
      unknown: rcpt("<nobody@example.org>"),
      foreign: rcpt("<victim@elsewhere.example>"),
      postmaster: rcpt("<postmaster>"),
    }),
    ...crossed(
      "recipient",
      clients,
      Object.fromEntries([
        ...recipientAccess.map(([key]) => [
          key.includes("@") ? key : `any@${key}`,
          rcpt(key.includes("@") ? `<${key}>` : `<any@${key}>`),
        ]),
        ["open-domain", rcpt("<whoever@open.example>")],
        ["two", mail(["alice@example.org", "carol@example.org"])],
        ["one-of-two", mail(["alice@example.org", "nobody@example.org"])],
        ["twice-the-same", mail(["alice@example.org", "ALICE@example.org"])],
        ["one-dropped", mail(["alice@example.org", "dropped@example.org"])],
        ["one-redirected", mail(["carol@example.org", "moved@example.org"])],
        ["one-copied", mail(["alice@example.org", "copied@example.org"])],
      ]),
    ),
    ...crossed(
      "certificate",
      {
        known: { ...stranger, certificate: "known" },
        unknown: { ...stranger, certificate: "unknown" },
        none: stranger,
      },
      {
        ours: certificateTo("<alice@example.org>"),
        foreign: certificateTo("<victim@elsewhere.example>"),
        unknown: certificateTo("<nobody@example.org>"),
        spammer: certificateTo("<victim@elsewhere.example>", "<spammer@sender.example>"),
      },
    ),
  ],
};
