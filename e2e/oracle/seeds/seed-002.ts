/** The third reference setup: one domain with a catch-all, Dovecot for passwords, submission with controlled senders; examples/from-postfix/002 against main.cf and master.cf of the text. */
import { DovecotAuth, dovecotAuthMissing } from "../../peers/dovecot-auth.ts";
import { type Nsd, nsdMissing } from "../../peers/nsd.ts";
import { authPlain, type Pair, serverTls } from "../battery/pair.ts";
import { relayForms } from "../battery/pairs/relay-forms.ts";
import type { Client, Step } from "../battery/transcript.ts";
import { here, manifestsOf } from "../examples.ts";
import { from, inside, known, letter, letters, startDns, VICTIM } from "../world.ts";

const PASSWORD = "a-test-password";
const users = { "yrt127@example.com": PASSWORD, "foo@example.com": PASSWORD };
const submitter: Client = { address: known.address, port: "submission" };
/** Behind TLS and a login. */
const loggedIn = (user: string, steps: readonly Step[]): readonly Step[] => [
  "EHLO laptop",
  "STARTTLS",
  "EHLO laptop",
  authPlain(user, PASSWORD),
  ...steps,
];
const sends = (user: string, sender: string, to = `<${VICTIM}>`): readonly Step[] =>
  loggedIn(user, letter(to, { helo: "laptop", from: sender }));

let dns: Nsd;

export const seed002: Pair = {
  name: "002",
  title: "one domain with Dovecot, from the seed's text",
  missing: () => dovecotAuthMissing() ?? nsdMissing(),
  peers: { dns: async () => (dns = await startDns()), dovecot: () => DovecotAuth.start(users) },
  nameserver: () => dns.address,
  postfix: ({ sink, peers: { dovecot = 0 } }) => ({
    files: {
      controlled_envelope_senders: "@example.com yrt127@example.com\nfoo@example.com foo@example.com\n",
      vmailbox: "@example.com OK\n",
      virtual: `@example.com yrt127@example.com
foo@example.com foo@example.com
bar@example.com bar@externaladdress.com
`,
      recipient_blacklist: "recipient@example.com REJECT\n",
    },
    // Without example.com in mydestination, where the text also has it: Postfix warns, and would deliver to Unix users.
    main: `myhostname = smtp.example.com
mydomain = example.com
append_dot_mydomain = no
mynetworks = ${inside.address}/32
${serverTls}smtpd_sender_login_maps = texthash:\${config_directory}/controlled_envelope_senders
smtpd_client_connection_rate_limit = 0
header_size_limit = 51200
message_size_limit = 10485760
smtpd_recipient_limit = 100
smtpd_recipient_restrictions = reject_invalid_hostname, reject_unknown_recipient_domain, check_recipient_access texthash:\${config_directory}/recipient_blacklist, reject_unauth_destination, permit
smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname, reject_unknown_helo_hostname
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
virtual_mailbox_domains = example.com
virtual_mailbox_maps = texthash:\${config_directory}/vmailbox
virtual_alias_maps = texthash:\${config_directory}/virtual
recipient_delimiter = +
relay_domains =
virtual_transport = smtp:[127.0.0.1]:${sink}
`,
    submission: {
      smtpd_tls_security_level: "encrypt",
      smtpd_sasl_auth_enable: "yes",
      smtpd_sasl_type: "dovecot",
      smtpd_sasl_path: `inet:127.0.0.1:${dovecot}`,
      smtpd_sasl_security_options: "noanonymous",
      smtpd_client_restrictions: "permit_sasl_authenticated,reject",
      smtpd_sender_restrictions: "reject_sender_login_mismatch",
      smtpd_recipient_restrictions:
        "reject_non_fqdn_recipient,reject_unknown_recipient_domain,permit_sasl_authenticated,reject",
      smtpd_helo_restrictions: "",
    },
  }),
  packetboat: ({ sink, peers: { dovecot = 0 } }) =>
    manifestsOf("002", { sink, dovecot }, ({ kind, spec }) =>
      kind === "MailServer"
        ? {
            ...here(spec, { sink }, dns.resolver),
            networks: { trusted: [`${inside.address}/32`] },
            // All dialogues come from one address.
            limits: { ...(spec["limits"] as object), connectionRatePerClient: { count: 100_000 } },
          }
        : spec,
    ),
  dialogues: [
    ...from(known, "relay", letters(relayForms("example.com", "foreign.example"))),
    ...from(
      known,
      "to",
      letters({
        user: "<yrt127@example.com>",
        "user-beside-catch-all": "<foo@example.com>",
        "catch-all": "<anybody@example.com>",
        "catch-all-extension": "<anybody+x@example.com>",
        "user-extension": "<foo+x@example.com>",
        forward: "<bar@example.com>",
        "forward-extension": "<bar+x@example.com>",
        blacklisted: "<recipient@example.com>",
        "blacklisted-capitals": "<RECIPIENT@Example.com>",
        "blacklisted-extension": "<recipient+x@example.com>",
        several: ["<foo@example.com>", "<bar@example.com>", "<anybody@example.com>", "<yrt127@example.com>"],
        "several-one-blacklisted": ["<foo@example.com>", "<recipient@example.com>"],
        missing: "<x@nowhere.test>",
        "null-mx": "<x@null.client.test>",
      }),
    ),
    ...from(known, "helo", {
      "one-label": letter("<foo@example.com>", { helo: "laptop" }),
      missing: letter("<foo@example.com>", { helo: "nowhere.client.test" }),
      invalid: letter("<foo@example.com>", { helo: "what!ever.test" }),
      literal: letter("<foo@example.com>", { helo: "[127.0.0.1]" }),
    }),
    ...from(inside, "inside", {
      relays: letter(`<${VICTIM}>`),
      "helo-counts-for-all": letter(`<${VICTIM}>`, { helo: "laptop" }),
      missing: letter("<x@nowhere.test>"),
      blacklisted: letter("<recipient@example.com>"),
    }),
    ...from(known, "limits", {
      "recipients-100": [
        "EHLO mail.client.test",
        "MAIL FROM:<bob@client.test>",
        ...Array.from({ length: 100 }, (_, number) => `RCPT TO:<user${number}@example.com>`),
        "RSET",
      ],
      "recipients-101": [
        "EHLO mail.client.test",
        "MAIL FROM:<bob@client.test>",
        ...Array.from({ length: 101 }, (_, number) => `RCPT TO:<user${number}@example.com>`),
        "RSET",
      ],
      "size-at-limit": ["EHLO mail.client.test", "MAIL FROM:<bob@client.test> SIZE=10485760", "RSET"],
      "size-beyond": ["EHLO mail.client.test", "MAIL FROM:<bob@client.test> SIZE=10485761", "RSET"],
      "auth-on-port-25": [
        "EHLO mail.client.test",
        "STARTTLS",
        "EHLO mail.client.test",
        authPlain("foo@example.com", PASSWORD),
      ],
    }),
    ...from(submitter, "submission", {
      "auth-before-tls": ["EHLO laptop", authPlain("foo@example.com", PASSWORD)],
      "mail-before-tls": ["EHLO laptop", "MAIL FROM:<foo@example.com>"],
      "mail-before-auth": ["EHLO laptop", "STARTTLS", ...letter("<foo@example.com>", { helo: "laptop" })],
      "wrong-password": ["EHLO laptop", "STARTTLS", "EHLO laptop", authPlain("foo@example.com", "wrong")],
      own: sends("foo@example.com", "<foo@example.com>"),
      "own-extension": sends("foo@example.com", "<foo+x@example.com>"),
      another: sends("foo@example.com", "<yrt127@example.com>"),
      nobody: sends("foo@example.com", "<anybody@example.com>"),
      foreign: sends("foo@example.com", "<bob@client.test>"),
      null: sends("foo@example.com", "<>"),
      "domain-owner": sends("yrt127@example.com", "<anybody@example.com>"),
      "domain-owner-foo": sends("yrt127@example.com", "<foo@example.com>"),
      "domain-owner-own": sends("yrt127@example.com", "<yrt127@example.com>"),
      "domain-owner-foreign": sends("yrt127@example.com", "<bob@client.test>"),
      "to-ours": sends("foo@example.com", "<foo@example.com>", "<anybody@example.com>"),
      "to-missing": sends("foo@example.com", "<foo@example.com>", "<x@nowhere.test>"),
      "to-not-fqdn": sends("foo@example.com", "<foo@example.com>", "<x@host>"),
    }),
  ],
};
