/**
 * Setup r: every restriction by itself and in company. The client's address chooses the list (a restriction class of Postfix, the `checks` of an AccessRule), once asked among
 * the restrictions of the client and once among those of the recipient.
 */
import { object } from "../../../integration/manifests.ts";
import { Nsd, nsdMissing } from "../../../peers/nsd.ts";
import { startDns } from "../../world.ts";
import { crossed, domain, mail, mailbox, mailServer, type Pair, texthash } from "../pair.ts";
import type { Step } from "../transcript.ts";

/** Name → Postfix's list, ours. */
const lists: Readonly<Record<string, readonly [postfix: string, packetboat: readonly string[]]>> = {
  permit: ["permit", ["Permit"]],
  reject: ["reject", ["Reject"]],
  defer: ["defer", ["Defer"]],
  "defer-if-permit": ["defer_if_permit", ["DeferIfPermit"]],
  "defer-if-reject": ["defer_if_reject", ["DeferIfReject"]],
  "defer-if-reject-reject": ["defer_if_reject, reject", ["DeferIfReject", "Reject"]],
  "defer-both-reject": ["defer_if_permit, defer_if_reject, reject", ["DeferIfPermit", "DeferIfReject", "Reject"]],
  "defer-if-permit-permit": ["defer_if_permit, permit", ["DeferIfPermit", "Permit"]],
  "warn-if-reject": ["warn_if_reject, reject", ["WarnIfReject", "Reject"]],
  "warn-if-reject-then-reject": ["warn_if_reject, reject, reject", ["WarnIfReject", "Reject", "Reject"]],
  "permit-then-reject": ["permit, reject", ["Permit", "Reject"]],
  mynetworks: ["permit_mynetworks, reject", ["PermitMynetworks", "Reject"]],
  sasl: ["permit_sasl_authenticated, reject", ["PermitSASLAuthenticated", "Reject"]],
  "tls-clientcerts": ["permit_tls_clientcerts, reject", ["PermitTLSClientCerts", "Reject"]],
  "inet-interfaces": ["permit_inet_interfaces, reject", ["PermitInetInterfaces", "Reject"]],
  "auth-destination": ["permit_auth_destination, reject", ["PermitAuthDestination", "Reject"]],
  "unauth-destination": ["reject_unauth_destination", ["RejectUnauthDestination"]],
  "defer-unauth-destination": ["defer_unauth_destination", ["DeferUnauthDestination"]],
  "plaintext-session": ["reject_plaintext_session", ["RejectPlaintextSession"]],
  "unknown-client": ["reject_unknown_client_hostname", ["RejectUnknownClientHostname"]],
  "unknown-reverse": ["reject_unknown_reverse_client_hostname", ["RejectUnknownReverseClientHostname"]],
  "invalid-helo": ["reject_invalid_helo_hostname", ["RejectInvalidHelo"]],
  "non-fqdn-helo": ["reject_non_fqdn_helo_hostname", ["RejectNonFQDNHelo"]],
  "unknown-helo": ["reject_unknown_helo_hostname", ["RejectUnknownHelo"]],
  "non-fqdn-sender": ["reject_non_fqdn_sender", ["RejectNonFQDNSender"]],
  "unknown-sender-domain": ["reject_unknown_sender_domain", ["RejectUnknownSenderDomain"]],
  "unlisted-sender": ["reject_unlisted_sender", ["RejectUnlistedSender"]],
  "non-fqdn-recipient": ["reject_non_fqdn_recipient", ["RejectNonFQDNRecipient"]],
  "unknown-recipient-domain": ["reject_unknown_recipient_domain", ["RejectUnknownRecipientDomain"]],
  "unlisted-recipient": ["reject_unlisted_recipient", ["RejectUnlistedRecipient"]],
  pipelining: ["reject_unauth_pipelining", ["RejectUnauthPipelining"]],
  "multi-recipient-bounce": ["reject_multi_recipient_bounce", ["RejectMultiRecipientBounce"]],
  "sender-login-mismatch": ["reject_sender_login_mismatch", ["RejectSenderLoginMismatch"]],
};
const names = Object.keys(lists);
/** None of them has a name in DNS. */
const addressOf = (stage: "client" | "recipient", name: string): string =>
  `127.0.${stage === "client" ? 3 : 4}.${names.indexOf(name) + 1}`;
const className = (name: string): string => `class_${name.replaceAll("-", "_")}`;

const helo = "EHLO mail.client.test";
const to = (recipient: string, from = "bob@client.test", hello = helo): readonly Step[] =>
  mail(recipient, { from, helo: hello });
const visits: Readonly<Record<string, readonly Step[]>> = {
  ours: to("alice@example.org"),
  unknown: to("nobody@example.org"),
  foreign: to("victim@foreign.example"),
  postmaster: to("<postmaster>"),
};
/** What a list about names is there for. */
const special: Readonly<Record<string, Readonly<Record<string, readonly Step[]>>>> = {
  "invalid-helo": {
    "bad-name": to("alice@example.org", undefined, "EHLO a!b.client.test"),
    "bad-address": to("alice@example.org", undefined, "EHLO [192.0.2.300]"),
    address: to("alice@example.org", undefined, "EHLO [192.0.2.1]"),
    "one-label": to("alice@example.org", undefined, "EHLO client"),
  },
  "non-fqdn-helo": {
    "one-label": to("alice@example.org", undefined, "EHLO client"),
    address: to("alice@example.org", undefined, "EHLO [192.0.2.1]"),
    "bare-address": to("alice@example.org", undefined, "EHLO 192.0.2.1"),
  },
  "unknown-helo": {
    nowhere: to("alice@example.org", undefined, "EHLO nowhere.client.test"),
    "address-only": to("alice@example.org", undefined, "EHLO aonly.client.test"),
    "mx-only": to("alice@example.org", undefined, "EHLO client.test"),
    address: to("alice@example.org", undefined, "EHLO [192.0.2.1]"),
  },
  "non-fqdn-sender": {
    "one-label": to("alice@example.org", "bob@localhost"),
    literal: to("alice@example.org", "bob@[192.0.2.1]"),
    null: to("alice@example.org", ""),
  },
  "unknown-sender-domain": {
    nowhere: to("alice@example.org", "bob@nowhere.test"),
    "address-only": to("alice@example.org", "bob@aonly.client.test"),
    "null-mx": to("alice@example.org", "bob@null.client.test"),
    cname: to("alice@example.org", "bob@cname.client.test"),
    literal: to("alice@example.org", "bob@[192.0.2.1]"),
    null: to("alice@example.org", ""),
    "from-ours": to("alice@example.org", "alice@example.org"),
  },
  "unlisted-sender": {
    "from-ours": to("alice@example.org", "alice@example.org"),
    "from-ours-unknown": to("alice@example.org", "nobody@example.org"),
    "from-ours-extension": to("alice@example.org", "alice+x@example.org"),
    null: to("alice@example.org", ""),
  },
  "non-fqdn-recipient": { "one-label": to("x@localhost"), literal: to("x@[192.0.2.1]") },
  "unknown-recipient-domain": {
    nowhere: to("x@nowhere.test"),
    "null-mx": to("x@null.client.test"),
    "address-only": to("x@aonly.client.test"),
  },
  pipelining: {
    helo: [
      "HELO mail.client.test",
      { raw: "MAIL FROM:<bob@client.test>\r\nRCPT TO:<alice@example.org>\r\n", replies: 2 },
      "QUIT",
    ],
    ehlo: [helo, { raw: "MAIL FROM:<bob@client.test>\r\nRCPT TO:<alice@example.org>\r\n", replies: 2 }, "QUIT"],
  },
  "multi-recipient-bounce": {
    two: mail(["alice@example.org", "bob@example.org"], { from: "", helo }),
    "two-of-somebody": mail(["alice@example.org", "bob@example.org"], { from: "bob@client.test", helo }),
  },
  "sender-login-mismatch": {
    owned: to("bob@example.org", "alice@example.org"),
    unowned: to("bob@example.org", "bob@example.org"),
  },
  "plaintext-session": { tls: [helo, "STARTTLS", ...to("alice@example.org")] },
};
const rule = (table: string, address: string, checks: readonly string[]): string =>
  object("AccessRule", `${table}-${address.replaceAll(".", "-")}`, {
    scope: "Client",
    table,
    serverRef: { name: "mx" },
    match: [{ cidr: `${address}/32` }],
    action: { checks },
  });

export const restrictions: Pair = {
  name: "r",
  title: "restrictions by name",
  missing: nsdMissing,
  peers: { dns: startDns },
  nameserver: ({ dns }) => (dns instanceof Nsd ? dns.address : ""),
  postfix: ({ sink }) => ({
    main: `mydomain = example.net
myhostname = mta.example.net
mynetworks = 127.0.3.${names.indexOf("mynetworks") + 1}/32
recipient_delimiter = +
virtual_mailbox_domains = example.org
virtual_mailbox_maps = inline:{ {alice@example.org=x} {bob@example.org=x} }
virtual_alias_maps = inline:{ {postmaster@mta.example.net=alice@example.org} }
virtual_transport = smtp:[127.0.0.1]:${sink}
smtpd_sender_login_maps = inline:{ {alice@example.org=alice@example.org} }
smtpd_helo_required = yes
smtpd_forbid_unauth_pipelining = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = \${config_directory}/server.crt
smtpd_tls_key_file = \${config_directory}/server.key
smtpd_restriction_classes = ${names.map(className).join(", ")}
${names.map((name) => `${className(name)} = ${lists[name]?.[0] ?? ""}`).join("\n")}
smtpd_client_restrictions = check_client_access cidr:\${config_directory}/client_classes
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = check_client_access cidr:\${config_directory}/recipient_classes
`,
    files: {
      client_classes: texthash(names.map((name) => [`${addressOf("client", name)}/32`, className(name)])),
      recipient_classes: texthash(names.map((name) => [`${addressOf("recipient", name)}/32`, className(name)])),
    },
  }),
  packetboat: (around) =>
    [
      mailServer(around, {
        hostname: "mta.example.net",
        networks: { trusted: [`${addressOf("client", "mynetworks")}/32`] },
        addresses: { complete: { origin: "mta.example.net" } },
        postmaster: ["alice@example.org"],
        restrictions: {
          exempt: [],
          client: ["CheckClientAccess clients"],
          recipient: ["CheckClientAccess recipients"],
        },
        outbound: { dns: { resolvers: [`${around.nameserver}:53`] } },
      }),
      domain(around, "example.org", { class: "Mailbox" }),
      mailbox("alice@example.org"),
      mailbox("bob@example.org"),
      ...names.map((name) => rule("clients", addressOf("client", name), lists[name]?.[1] ?? [])),
      ...names.map((name) => rule("recipients", addressOf("recipient", name), lists[name]?.[1] ?? [])),
    ].join(""),
  dialogues: names.flatMap((name) => {
    const clients = {
      client: { address: addressOf("client", name) },
      recipient: { address: addressOf("recipient", name) },
    };
    return [...crossed(name, clients, visits), ...crossed(name, clients, special[name] ?? {})].filter(
      // Outside the lists of sender and recipient Postfix sometimes skips this one: it remembers of the transaction before that it was asked.
      ({ id }) => id !== "unlisted-sender/from-ours-unknown/client",
    );
  }),
};
