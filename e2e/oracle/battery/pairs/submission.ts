/** Setup s: submission. AUTH by all mechanisms, good and bad, before and behind TLS; who may write as whom; what a login allows. RFC 4954, RFC 6409. */
import { secret } from "../../../integration/manifests.ts";
import { DovecotAuth, dovecotAuthMissing } from "../../../peers/dovecot-auth.ts";
import {
  authPlain,
  crossed,
  domain,
  mail,
  mailbox,
  mailServer,
  message,
  type Pair,
  serverTls,
  texthash,
} from "../pair.ts";
import type { Dialogue, Step } from "../transcript.ts";

const PASSWORD = "a-test-password";
const users = { "alice@example.org": PASSWORD, "bob@example.org": "another one, longer" };
const base64 = (text: string): string => Buffer.from(text).toString("base64");
const hello = "EHLO client.example.com";
const tls: readonly Step[] = [hello, "STARTTLS", hello];
const alice = authPlain("alice@example.org", PASSWORD);
const bob = authPlain("bob@example.org", users["bob@example.org"]);

const clear: Dialogue["client"] = { address: "127.0.0.9", port: "submission" };
const implicit: Dialogue["client"] = { address: "127.0.0.9", port: "submissions" };
const mx: Dialogue["client"] = { address: "127.0.0.9" };

/** Behind TLS, whichever way it began. */
const logins: Readonly<Record<string, readonly Step[]>> = {
  plain: [alice, "QUIT"],
  "plain-lower-case": [alice.replace("AUTH PLAIN", "auth plain"), "QUIT"],
  "plain-in-two-steps": ["AUTH PLAIN", base64(`\0alice@example.org\0${PASSWORD}`), "QUIT"],
  "plain-with-authzid": [`AUTH PLAIN ${base64(`alice@example.org\0alice@example.org\0${PASSWORD}`)}`, "QUIT"],
  "plain-for-somebody-else": [`AUTH PLAIN ${base64(`bob@example.org\0alice@example.org\0${PASSWORD}`)}`, "QUIT"],
  "plain-wrong-password": [authPlain("alice@example.org", "wrong"), "QUIT"],
  "plain-password-of-another": [authPlain("alice@example.org", users["bob@example.org"]), "QUIT"],
  "plain-unknown-user": [authPlain("nobody@example.org", PASSWORD), "QUIT"],
  "plain-foreign-user": [authPlain("victim@elsewhere.example", PASSWORD), "QUIT"],
  "plain-empty-password": [authPlain("alice@example.org", ""), "QUIT"],
  "plain-empty-user": [authPlain("", PASSWORD), "QUIT"],
  "plain-not-base64": ["AUTH PLAIN !!!!", "QUIT"],
  "plain-without-nul": [`AUTH PLAIN ${base64("alice")}`, "QUIT"],
  "plain-empty-response": ["AUTH PLAIN =", "QUIT"],
  "plain-cancelled": ["AUTH PLAIN", "*", "QUIT"],
  "plain-words": ["AUTH PLAIN abc def", "QUIT"],
  "plain-then-again": [alice, alice, "QUIT"],
  "plain-wrong-then-right": [authPlain("alice@example.org", "wrong"), alice, "QUIT"],
  "plain-wrong-then-mail": [authPlain("alice@example.org", "wrong"), "MAIL FROM:<alice@example.org>", "QUIT"],
  login: ["AUTH LOGIN", base64("alice@example.org"), base64(PASSWORD), "QUIT"],
  "login-with-user": [`AUTH LOGIN ${base64("alice@example.org")}`, base64(PASSWORD), "QUIT"],
  "login-wrong": ["AUTH LOGIN", base64("alice@example.org"), base64("wrong"), "QUIT"],
  "login-unknown": ["AUTH LOGIN", base64("nobody@example.org"), base64(PASSWORD), "QUIT"],
  "login-not-base64": ["AUTH LOGIN", "!!!!", "QUIT"],
  "login-cancelled": ["AUTH LOGIN", "*", "QUIT"],
  "login-cancelled-late": ["AUTH LOGIN", base64("alice@example.org"), "*", "QUIT"],
  "mechanism-unknown": ["AUTH NTLM", "QUIT"],
  "mechanism-nonsense": ["AUTH XYZZY abc", "QUIT"],
  "mechanism-anonymous": ["AUTH ANONYMOUS", "QUIT"],
  "mechanism-external": ["AUTH EXTERNAL =", "QUIT"],
  "mechanism-none": ["AUTH", "QUIT"],
  "mechanism-scram-cancelled": ["AUTH SCRAM-SHA-256", "*", "QUIT"],
  "mechanism-scram-nonsense": [`AUTH SCRAM-SHA-256 ${base64("nonsense")}`, "QUIT"],
  "not-logged-in-mail": ["MAIL FROM:<alice@example.org>", "QUIT"],
  "not-logged-in-rcpt": ["RCPT TO:<alice@example.org>", "QUIT"],
  "not-logged-in-noop": ["NOOP", "RSET", "QUIT"],
  "auth-in-transaction": [alice, "MAIL FROM:<alice@example.org>", alice, "QUIT"],
  "auth-in-transaction-at-first": ["MAIL FROM:<alice@example.org>", alice, "MAIL FROM:<alice@example.org>", "QUIT"],
  "rset-keeps-the-login": [
    alice,
    "RSET",
    "MAIL FROM:<alice@example.org>",
    "RCPT TO:<friend@away.example>",
    message,
    "QUIT",
  ],
  "helo-keeps-the-login": [
    alice,
    hello,
    "MAIL FROM:<alice@example.org>",
    "RCPT TO:<friend@away.example>",
    message,
    "QUIT",
  ],
};

const as = (from: string, login = alice, to: string | readonly string[] = "friend@away.example"): readonly Step[] => [
  login,
  ...mail(to, { from }).slice(1),
];
/** Who writes as whom, to whom. */
const letters: Readonly<Record<string, readonly Step[]>> = {
  "as-herself": as("alice@example.org"),
  "as-herself-capitals": as("Alice@Example.ORG"),
  "as-herself-plus": as("alice+tag@example.org"),
  "as-her-other-address": as("sales@example.org"),
  "as-her-domain": as("anything@alice.example"),
  "as-another": as("bob@example.org"),
  "as-another-plus": as("bob+tag@example.org"),
  "as-nobody-of-ours": as("nobody@example.org"),
  "as-a-stranger": as("someone@elsewhere.example"),
  "as-null": as(""),
  "as-nothing": [alice, "MAIL FROM:", "QUIT"],
  "bob-as-himself": as("bob@example.org", bob),
  "bob-as-alice": as("alice@example.org", bob),
  "bob-as-sales": as("sales@example.org", bob),
  "bob-as-team": as("team@example.org", bob),
  "alice-as-team": as("team@example.org"),
  "to-ours": as("alice@example.org", alice, "bob@example.org"),
  "to-ours-unknown": as("alice@example.org", alice, "nobody@example.org"),
  "to-alias": as("alice@example.org", alice, "team@example.org"),
  "to-several": as("alice@example.org", alice, ["bob@example.org", "friend@away.example", "nobody@example.org"]),
  "to-postmaster": as("alice@example.org", alice, "<postmaster>"),
  "to-percent": as("alice@example.org", alice, "<friend%away.example@elsewhere.example>"),
  "to-route": as("alice@example.org", alice, "<@elsewhere.example:friend@away.example>"),
  "to-one-label": as("alice@example.org", alice, "<friend@localhost>"),
  "with-auth-parameter": [
    alice,
    "MAIL FROM:<alice@example.org> AUTH=<>",
    "RCPT TO:<friend@away.example>",
    message,
    "QUIT",
  ],
  "with-auth-parameter-named": [
    alice,
    "MAIL FROM:<alice@example.org> AUTH=alice@example.org",
    "RCPT TO:<friend@away.example>",
    message,
    "QUIT",
  ],
};

export const submission: Pair = {
  name: "s",
  title: "submission",
  missing: dovecotAuthMissing,
  peers: { dovecot: () => DovecotAuth.start(users) },
  postfix: ({ sink, peers }) => ({
    main: `mydomain = example.net
myhostname = mta.example.net
recipient_delimiter = +
virtual_mailbox_domains = example.org
virtual_mailbox_maps = texthash:\${config_directory}/mailboxes
virtual_alias_maps = texthash:\${config_directory}/virtual
virtual_transport = smtp:[127.0.0.1]:${sink}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:${peers["dovecot"]}
smtpd_sasl_security_options = noanonymous
smtpd_sender_login_maps = texthash:\${config_directory}/owners
${serverTls}`,
    files: {
      mailboxes: texthash([
        ["alice@example.org", "x"],
        ["bob@example.org", "x"],
      ]),
      virtual: texthash([
        ["team@example.org", "alice@example.org, bob@example.org"],
        ["postmaster@mta.example.net", "alice@example.org"],
      ]),
      owners: texthash([
        ["alice@example.org", "alice@example.org"],
        ["bob@example.org", "bob@example.org"],
        ["sales@example.org", "alice@example.org"],
        ["@alice.example", "alice@example.org"],
        ["team@example.org", "bob@example.org"],
      ]),
    },
    submission: {
      smtpd_tls_security_level: "encrypt",
      smtpd_sasl_auth_enable: "yes",
      smtpd_client_restrictions: "permit_sasl_authenticated, reject",
      smtpd_relay_restrictions: "permit_sasl_authenticated, reject",
      smtpd_sender_restrictions: "reject_sender_login_mismatch",
    },
  }),
  packetboat: (around) =>
    [
      mailServer(around, {
        hostname: "mta.example.net",
        addresses: { complete: { origin: "mta.example.net" } },
        postmaster: ["alice@example.org"],
        authentication: { mechanisms: ["PLAIN", "LOGIN", "SCRAM-SHA-256"], failures: { perClient: 0, perUser: 0 } },
      }),
      domain(around, "example.org", { class: "Mailbox" }),
      mailbox("alice@example.org", {
        passwordSecretRef: { name: "alice" },
        sendAs: ["sales@example.org", "@alice.example"],
      }),
      mailbox("bob@example.org", { passwordSecretRef: { name: "bob" } }),
      secret("alice", { password: PASSWORD }),
      secret("bob", { password: users["bob@example.org"] }),
      `---\napiVersion: mail.packetboat.io/v1alpha1\nkind: Alias\nmetadata: {name: team}\nspec: {domainRef: {name: example-org}, addresses: [team], destinations: [alice@example.org, bob@example.org], senders: [bob@example.org]}\n`,
    ].join(""),
  dialogues: [
    ...crossed(
      "starttls",
      { submission: clear },
      Object.fromEntries(Object.entries({ ...logins, ...letters }).map(([name, steps]) => [name, [...tls, ...steps]])),
    ),
    ...crossed(
      "implicit",
      { submissions: implicit },
      Object.fromEntries(
        Object.entries({ ...logins, ...letters })
          .filter(([name]) => /^(plain|login|as-(herself|another|null)|not-logged-in-mail|to-ours)$/.test(name))
          .map(([name, steps]) => [name, [hello, ...steps]]),
      ),
    ),
    ...crossed(
      "clear",
      { submission: clear },
      {
        mail: [hello, "MAIL FROM:<alice@example.org>", "QUIT"],
        auth: [hello, alice, "QUIT"],
        "auth-login": [hello, "AUTH LOGIN", "QUIT"],
        noop: ["NOOP", hello, "NOOP", "QUIT"],
        rset: [hello, "RSET", "QUIT"],
        vrfy: [hello, "VRFY alice@example.org", "QUIT"],
        help: [hello, "EXPN staff", "QUIT"],
        rcpt: [hello, "RCPT TO:<alice@example.org>", "QUIT"],
        data: [hello, "DATA", "QUIT"],
        "auth-before-helo": [alice, "QUIT"],
        "starttls-injection": [hello, { raw: "STARTTLS\r\nMAIL FROM:<alice@example.org>\r\n", replies: 1 }],
      },
    ),
    ...crossed(
      "mx",
      { mx },
      {
        auth: [...tls, alice, "QUIT"],
        "from-ours-not-logged-in": [...tls, ...mail("bob@example.org", { from: "alice@example.org" }).slice(1)],
        relay: [...tls, ...mail("friend@away.example", { from: "alice@example.org" }).slice(1)],
      },
    ),
  ],
};
