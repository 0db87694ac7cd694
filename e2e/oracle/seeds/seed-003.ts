/**
 * The fourth reference setup: users in LDAP, an access table in SQL, alias domains, a relay domain with a transport; examples/from-postfix/003 against the main.cf of the text. Postfix
 * asks the same directory for passwords by Dovecot's protocol, because saslauthd is one more daemon between it and LDAP and no part of what is compared.
 */
import { selfSigned } from "../../peers/certificates.ts";
import { DovecotAuth, dovecotAuthMissing } from "../../peers/dovecot-auth.ts";
import { MARIADB_PASSWORD, Mariadb, mariadbMissing } from "../../peers/mariadb.ts";
import { type Nsd, nsdMissing } from "../../peers/nsd.ts";
import { LDAP_BASE, LDAP_READER, Slapd, slapdMissing } from "../../peers/slapd.ts";
import { authPlain, type Pair, serverTls } from "../battery/pair.ts";
import { relayForms } from "../battery/pairs/relay-forms.ts";
import type { Client, Step } from "../battery/transcript.ts";
import { here, manifestsOf } from "../examples.ts";
import { from, inside, known, letter, letters, startDns, VICTIM } from "../world.ts";
import { mysqlTable, postfixMysqlMissing } from "./seed-000.ts";

const PASSWORD = "a-test-password";
const people = ["alice@example.com", "bob@sample.com"].map((mail) => ({
  uid: mail.split("@")[0] ?? "",
  mail,
  password: PASSWORD,
}));
const submitter: Client = { address: known.address, port: "submission" };
const login = (user: string, password: string, ...steps: readonly Step[]): readonly Step[] => [
  "EHLO mail.client.test",
  "STARTTLS",
  "EHLO mail.client.test",
  authPlain(user, password),
  ...steps,
];
const ROWS = `INSERT INTO access (pattern, action) VALUES ('spam@client.test', 'REJECT'), ('later@client.test', 'DEFER'), ('quiet@client.test', 'DISCARD'),
  ('friend@nowhere.test', 'OK'), ('unsub@', 'REJECT we unsubscribed'), ('worded@client.test', '550 5.7.1 go away'), ('aonly.client.test', 'REJECT'),
  ('warned@client.test', 'WARN look'), ('dunno@client.test', 'DUNNO');`;

let dns: Nsd;

export const seed003: Pair = {
  name: "003",
  title: "LDAP and an SQL access table, from the seed's text",
  missing: () => postfixMysqlMissing() ?? mariadbMissing() ?? slapdMissing() ?? dovecotAuthMissing() ?? nsdMissing(),
  peers: {
    dns: async () => (dns = await startDns()),
    mariadb: () => Mariadb.start(ROWS),
    slapd: async () => Slapd.start(people, await selfSigned("ldap.example")),
    dovecot: () => DovecotAuth.start(Object.fromEntries(people.map(({ mail, password }) => [mail, password]))),
  },
  nameserver: () => dns.address,
  postfix: ({ sink, peers: { mariadb: port = 0, dovecot = 0 } }) => ({
    files: {
      "access.cf": mysqlTable(port, "SELECT action FROM access WHERE pattern = '%s'"),
      v_aliases:
        "staff@ml.example.com alice@example.com, bob@sample.com\ninfo@my-other-domain.com alice@example.com\nroot@mrelay1.example.com alice@example.com\npostmaster@mrelay1.example.com alice@example.com\nabuse@mrelay1.example.com alice@example.com\n",
      people: people.map(({ mail }) => `${mail} x\n`).join(""),
      transport: `friend-domain.com smtp:[127.0.0.1]:${sink}\n`,
    },
    // virtual_mailbox_maps, which the text leaves out: without it Postfix takes every address.
    main: `myhostname = mrelay1.example.com
mydomain = example.com
myorigin = $mydomain
mynetworks = ${inside.address}/32
message_size_limit = 15728640
masquerade_domains = !ml.example.com, example.com
relay_domains = friend-domain.com
virtual_alias_maps = texthash:\${config_directory}/v_aliases
virtual_alias_domains = ml.example.com, my-other-domain.com, mrelay1.example.com
virtual_mailbox_domains = example.com, sample.com
virtual_mailbox_maps = texthash:\${config_directory}/people
virtual_transport = smtp:[127.0.0.1]:${sink}
transport_maps = texthash:\${config_directory}/transport
${serverTls}smtpd_tls_received_header = yes
smtpd_tls_ask_ccert = yes
smtpd_helo_required = yes
smtpd_helo_restrictions = permit_mynetworks, reject_non_fqdn_helo_hostname, reject_invalid_helo_hostname, reject_unknown_helo_hostname, permit
smtpd_sender_restrictions = check_sender_access mysql:\${config_directory}/access.cf, reject_non_fqdn_sender, reject_unknown_sender_domain, permit
smtpd_recipient_restrictions = reject_non_fqdn_recipient, reject_unknown_recipient_domain, permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination, reject_unlisted_recipient, permit
`,
    submission: {
      smtpd_sasl_auth_enable: "yes",
      smtpd_sasl_type: "dovecot",
      smtpd_sasl_path: `inet:127.0.0.1:${dovecot}`,
      smtpd_sasl_authenticated_header: "yes",
      smtpd_sasl_local_domain: "$mydomain",
    },
  }),
  packetboat: ({ sink, peers: { mariadb: mysql = 0, slapd: ldap = 0 } }) =>
    manifestsOf(
      "003",
      { sink, mysql, ldap },
      ({ kind, spec }) => {
        if (kind !== "MailServer") return spec;
        const authentication = spec["authentication"] as { readonly ldap: object };
        const lookups = spec["lookups"] as { readonly ldap: readonly { readonly searches: readonly object[] }[] };
        return {
          ...here(spec, { sink }, dns.resolver),
          networks: { trusted: [`${inside.address}/32`] },
          authentication: { ...authentication, ldap: { ...authentication.ldap, baseDN: LDAP_BASE } },
          lookups: {
            ...lookups,
            ldap: lookups.ldap.map(({ searches, ...source }) => ({
              ...source,
              tls: undefined,
              servers: [`ldap://127.0.0.1:${ldap}`],
              searches: searches.map((each) => ({ ...each, base: LDAP_BASE })),
            })),
          },
          restrictions: { ...(spec["restrictions"] as object), dnsbl: [] },
        };
      },
      { "mail-postfix": ["postfix", MARIADB_PASSWORD], "ldap-reader": [LDAP_READER.dn, LDAP_READER.password] },
    ),
  dialogues: [
    ...from(known, "relay", letters(relayForms("example.com", "foreign.example"))),
    ...from(
      known,
      "to",
      letters({
        user: "<alice@example.com>",
        "user-other": "<bob@sample.com>",
        unknown: "<nobody@sample.com>",
        alias: "<staff@ml.example.com>",
        "alias-unknown": "<nobody@ml.example.com>",
        "alias-other": "<info@my-other-domain.com>",
        relayed: "<anybody@friend-domain.com>",
        "relayed-mixed": ["<x@friend-domain.com>", "<alice@example.com>", "<staff@ml.example.com>"],
        "own-host": "<root@mrelay1.example.com>",
        "own-host-unknown": "<nobody@mrelay1.example.com>",
        deduplicated: ["<alice@example.com>", "<staff@ml.example.com>"],
        missing: "<x@nowhere.test>",
      }),
    ),
    ...from(
      known,
      "sender",
      Object.fromEntries(
        Object.entries({
          rejected: "<spam@client.test>",
          "rejected-capitals": "<SPAM@client.test>",
          "rejected-extension": "<spam+x@client.test>",
          deferred: "<later@client.test>",
          discarded: "<quiet@client.test>",
          permitted: "<friend@nowhere.test>",
          "local-part": "<unsub@foreign.example>",
          worded: "<worded@client.test>",
          domain: "<x@aonly.client.test>",
          warned: "<warned@client.test>",
          dunno: "<dunno@client.test>",
          missing: "<x@nowhere.test>",
          "not-fqdn": "<x@host>",
          null: "<>",
          injection: "<x'or'1'='1@client.test>",
        }).map(([name, sender]) => [name, letter("<alice@example.com>", { from: sender })]),
      ),
    ),
    ...from(known, "helo", {
      "one-label": letter("<alice@example.com>", { helo: "laptop" }),
      missing: letter("<alice@example.com>", { helo: "nowhere.client.test" }),
    }),
    ...from(inside, "inside", {
      relays: letter(`<${VICTIM}>`),
      "helo-any": letter(`<${VICTIM}>`, { helo: "laptop" }),
      rejected: letter(`<${VICTIM}>`, { from: "<spam@client.test>" }),
      masqueraded: letter(`<${VICTIM}>`, { from: "<alice@host.example.com>" }),
      "recipient-missing": letter("<x@nowhere.test>"),
    }),
    ...from(submitter, "submission", {
      right: login("alice@example.com", PASSWORD, ...letter(`<${VICTIM}>`, { from: "<alice@example.com>" })),
      wrong: login("alice@example.com", "wrong"),
      unknown: login("nobody@example.com", PASSWORD),
      "before-tls": ["EHLO mail.client.test", authPlain("alice@example.com", PASSWORD)],
    }),
  ],
};
