/** The second reference setup: domains, mailboxes and aliases in ViMbAdmin's database, logins in Dovecot; examples/from-postfix/001 against the settings its text names. The database dies at the end. */
import { DovecotAuth, dovecotAuthMissing } from "../../peers/dovecot-auth.ts";
import { MARIADB_PASSWORD, Mariadb, mariadbMissing } from "../../peers/mariadb.ts";
import { type Nsd, nsdMissing } from "../../peers/nsd.ts";
import { authPlain, type Pair, serverTls } from "../battery/pair.ts";
import { relayForms } from "../battery/pairs/relay-forms.ts";
import type { Client, Step } from "../battery/transcript.ts";
import { here, manifestsOf, secretOf, without } from "../examples.ts";
import { from, inside, known, letter, letters, outage, startDns, VICTIM } from "../world.ts";
import { mysqlTable, postfixMysqlMissing } from "./seed-000.ts";

const PASSWORD = "a-test-password";
const submitter: Client = { address: known.address, port: "submission" };
const sends = (sender: string, to = `<${VICTIM}>`): readonly Step[] => [
  "EHLO mail.client.test",
  "STARTTLS",
  "EHLO mail.client.test",
  authPlain("alice@example.net", PASSWORD),
  ...letter(to, { from: sender }),
];
const ROWS = `
INSERT INTO domain (domain, active) VALUES ('example.net', 1), ('second.org', 1), ('gone.example', 0);
INSERT INTO mailbox (username, active) VALUES ('alice@example.net', 1), ('bob@example.net', 1), ('gone@example.net', 0), ('late@example.net', 1), ('carol@second.org', 1), ('postmaster@example.net', 1);
INSERT INTO alias (address, goto, active) VALUES ('team@example.net', 'alice@example.net,bob@example.net', 1), ('all@example.net', 'team@example.net,carol@second.org', 1),
  ('away@example.net', 'friend@foreign.example', 1), ('both@example.net', 'both@example.net,friend@foreign.example', 1), ('old@example.net', 'alice@example.net', 0),
  ('@second.org', 'carol@second.org', 1), ('carol@second.org', 'carol@second.org', 1), ('bob@example.net', 'bob@example.net', 1);`;

let dns: Nsd;
let mariadb: Mariadb;

export const seed001: Pair = {
  name: "001",
  title: "virtual domains in MySQL with submission, from the seed's text",
  missing: () => postfixMysqlMissing() ?? mariadbMissing() ?? dovecotAuthMissing() ?? nsdMissing(),
  peers: {
    dns: async () => (dns = await startDns()),
    mariadb: async () => (mariadb = await Mariadb.start(ROWS)),
    dovecot: () => DovecotAuth.start({ "alice@example.net": PASSWORD }),
  },
  nameserver: () => dns.address,
  events: { outage: () => mariadb.signal("SIGKILL") },
  postfix: ({ sink, peers: { mariadb: port = 0, dovecot = 0 } }) => ({
    files: {
      "sql/virtual-domains.cf": mysqlTable(port, "SELECT 1 FROM domain WHERE domain='%s' AND active = '1'"),
      "sql/virtual-mailboxes.cf": mysqlTable(port, "SELECT 1 FROM mailbox WHERE username = '%s' AND active = '1'"),
      "sql/virtual-aliases.cf": mysqlTable(port, "SELECT goto FROM alias WHERE address = '%s' AND active = '1'"),
    },
    main: `mydomain = example.net
myhostname = mta.\${mydomain}
mynetworks = ${inside.address}/32
recipient_delimiter = +-
virtual_mailbox_domains = mysql:\${config_directory}/sql/virtual-domains.cf
virtual_mailbox_maps = mysql:\${config_directory}/sql/virtual-mailboxes.cf
virtual_alias_maps = mysql:\${config_directory}/sql/virtual-aliases.cf
virtual_transport = smtp:[127.0.0.1]:${sink}
${serverTls}smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_helo_required = yes
smtpd_data_restrictions = reject_unauth_pipelining
`,
    submission: {
      smtpd_tls_security_level: "encrypt",
      smtpd_sasl_auth_enable: "yes",
      smtpd_sasl_type: "dovecot",
      smtpd_sasl_path: `inet:127.0.0.1:${dovecot}`,
      smtpd_client_restrictions: "permit_sasl_authenticated,reject",
    },
  }),
  packetboat: ({ sink, peers: { mariadb: mysql = 0, dovecot = 0 } }) =>
    manifestsOf(
      "001",
      { sink, mysql, dovecot },
      ({ kind, spec }) => {
        if (kind !== "MailServer") return spec;
        return {
          ...here(without(spec, "postscreen"), { sink }, dns.resolver),
          networks: { trusted: [`${inside.address}/32`] },
          // The checks of port 25 that the text leaves to its download are those of 000, and spoken there.
          restrictions: { data: ["RejectUnauthPipelining"] },
          lookups: { ...(spec["lookups"] as object), socketmap: [] },
        };
      },
      { [secretOf("001", "lookups")]: ["postfix", MARIADB_PASSWORD] },
    ),
  dialogues: [
    ...from(known, "relay", letters(relayForms("example.net", "foreign.example"))),
    ...from(
      known,
      "to",
      letters({
        user: "<alice@example.net>",
        "user-extension": "<alice+x@example.net>",
        inactive: "<gone@example.net>",
        unknown: "<nobody@example.net>",
        "inactive-domain": "<alice@gone.example>",
        alias: "<team@example.net>",
        "alias-extension": "<team+x@example.net>",
        nested: "<all@example.net>",
        external: "<away@example.net>",
        "external-and-own": "<both@example.net>",
        "alias-inactive": "<old@example.net>",
        "catch-all": "<anybody@second.org>",
        "catch-all-user": "<carol@second.org>",
        "to-itself": "<bob@example.net>",
        deduplicated: ["<alice@example.net>", "<team@example.net>", "<all@example.net>"],
      }),
    ),
    ...from(inside, "inside", letters({ relays: `<${VICTIM}>`, unknown: "<nobody@example.net>" })),
    ...from(submitter, "submission", {
      own: sends("<alice@example.net>"),
      "own-to-ours": sends("<alice@example.net>", "<all@example.net>"),
      "own-to-unknown": sends("<alice@example.net>", "<nobody@example.net>"),
      "before-tls": ["EHLO mail.client.test", "MAIL FROM:<alice@example.net>"],
      wrong: ["EHLO mail.client.test", "STARTTLS", "EHLO mail.client.test", authPlain("alice@example.net", "wrong")],
    }),
    ...outage("<x@never-asked.example>"),
  ],
};
