/**
 * The first reference setup: an MX that relays for the domains of a database. main.cf as its text has it, with the text's two slips mended (examples/from-postfix/000/README.md),
 * against examples/from-postfix/000. One MariaDB serves both; it dies before the last dialogues.
 */
import { createHash, X509Certificate } from "node:crypto";
import { MARIADB_PASSWORD, Mariadb, mariadbMissing } from "../../peers/mariadb.ts";
import { type Nsd, nsdMissing } from "../../peers/nsd.ts";
import { ensureCommands } from "../../peers/packages.ts";
import { colons, type Pair, serverTls } from "../battery/pair.ts";
import type { KeyPair } from "../battery/transcript.ts";
import { here, manifestsOf, secretOf } from "../examples.ts";
import {
  excused,
  from,
  inside,
  known,
  letter,
  letters,
  liar,
  nameless,
  outage,
  startDns,
  VICTIM,
  web,
} from "../world.ts";
import { protocol } from "./protocol.ts";

export const postfixMysqlMissing = (): string | undefined =>
  ensureCommands({ "postfix-mysql": ["/usr/lib/postfix/postfix-mysql.so"] });

/** A table of Postfix's in the database `vimbadmin`. */
export const mysqlTable = (port: number, query: string): string =>
  `hosts = 127.0.0.1:${port}\nuser = postfix\npassword = ${MARIADB_PASSWORD}\ndbname = vimbadmin\nquery = ${query}\n`;

/** SHA-256 of a certificate's public key, as Postfix and RelayClientCert take it. */
const keyOf = (pair: KeyPair | undefined): string =>
  createHash("sha256")
    .update(new X509Certificate(pair?.certificate ?? "").publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");

const NEXT_HOP = "smtp:[dovecot.mail.svc]:25";
const ROWS = `
INSERT INTO domain (domain, transport, active) VALUES ('example.net', '${NEXT_HOP}', 1), ('second.org', '${NEXT_HOP}', 1), ('gone.example', '${NEXT_HOP}', 0);
INSERT INTO mailbox (username, active) VALUES ('alice@example.net', 1), ('bob@example.net', 1), ('gone@example.net', 0), ('o''hara@example.net', 1),
  ('dash-ed@example.net', 1), ('postmaster@example.net', 1), ('carol@second.org', 1), ('late@example.net', 1);
INSERT INTO alias (address, goto, active) VALUES ('team@example.net', 'alice@example.net,bob@example.net', 1), ('@second.org', 'carol@second.org', 1),
  ('old@example.net', 'alice@example.net', 0);`;
/** The sink of each side in the place of the next hop that the rows name. */
const transports = (sink: number): string =>
  `SELECT REPLACE(transport, '[dovecot.mail.svc]:25', '[127.0.0.1]:${sink}') FROM domain WHERE domain = '%s' AND active = '1'`;

let dns: Nsd;
let mariadb: Mariadb;
const certificate = web;

export const seed000: Pair = {
  name: "000",
  title: "relay MX with MySQL, from the seed's text",
  certificates: ["web"],
  missing: () => postfixMysqlMissing() ?? mariadbMissing() ?? nsdMissing(),
  peers: {
    dns: async () => (dns = await startDns()),
    mariadb: async () => (mariadb = await Mariadb.start(ROWS)),
  },
  nameserver: () => dns.address,
  events: { outage: () => mariadb.signal("SIGKILL") },
  postfix: ({ sink, certificates, peers: { mariadb: port = 0 } }) => ({
    files: {
      "mynetworks.cidr": `${inside.address}/32 ok\n10.195.171.0/24 ok\n`,
      virtual: "root@maeve.example.net postmaster@example.net\npostmaster@maeve.example.net postmaster@example.net\n",
      without_ptr: `${excused.address} OK\n`,
      relay_clientcerts: `${colons(keyOf(certificates["web"]))} web\n`,
      "sql/relay_domains_maps.cf": mysqlTable(port, "SELECT domain FROM domain WHERE domain = '%s' AND active = '1'"),
      "sql/relay_mailbox_maps.cf": mysqlTable(
        port,
        "SELECT username FROM mailbox WHERE username = '%s' AND active = '1'",
      ),
      "sql/relay_alias_maps.cf": mysqlTable(port, "SELECT address FROM alias WHERE address = '%s' AND active = '1'"),
      "sql/relay_transport_maps.cf": mysqlTable(port, transports(sink)),
    },
    main: `mydomain = example.net
myhostname = maeve.\${mydomain}
recipient_delimiter = +-
strict_rfc821_envelopes = yes
notify_classes = bounce, 2bounce, data, delay, resource, software
delay_warning_time = 6h
confirm_delay_cleared = yes
message_size_limit = 26214400
mynetworks = cidr:\${config_directory}/mynetworks.cidr
virtual_alias_maps = texthash:\${config_directory}/virtual
relay_domains = mysql:\${config_directory}/sql/relay_domains_maps.cf
relay_recipient_maps = mysql:\${config_directory}/sql/relay_mailbox_maps.cf mysql:\${config_directory}/sql/relay_alias_maps.cf
transport_maps = mysql:\${config_directory}/sql/relay_transport_maps.cf
${serverTls}smtpd_tls_ask_ccert = yes
smtpd_tls_received_header = yes
smtpd_tls_fingerprint_digest = sha256
relay_clientcerts = texthash:\${config_directory}/relay_clientcerts
smtpd_relay_restrictions = permit_mynetworks permit_tls_clientcerts reject_unauth_destination
smtpd_client_restrictions = permit_mynetworks check_client_access texthash:\${config_directory}/without_ptr reject_unknown_client_hostname
smtpd_helo_required = yes
smtpd_helo_restrictions = permit_mynetworks reject_invalid_helo_hostname reject_non_fqdn_helo_hostname reject_unknown_helo_hostname
smtpd_sender_restrictions = permit_mynetworks reject_unlisted_sender
smtpd_recipient_restrictions = reject_non_fqdn_recipient reject_unknown_recipient_domain
smtpd_data_restrictions = reject_unauth_pipelining
`,
  }),
  packetboat: ({ sink, certificates, peers: { mariadb: mysql = 0 } }) =>
    manifestsOf(
      "000",
      { sink, mysql },
      ({ kind, metadata: { name }, spec }) => {
        if (kind === "RelayClientCert")
          return {
            ...spec,
            fingerprints: [{ algorithm: "SHA256", of: "PublicKey", value: keyOf(certificates["web"]) }],
          };
        if (name === "without-ptr") return { ...spec, match: [{ cidr: `${excused.address}/32` }] };
        if (kind !== "MailServer") return spec;
        const lookups = spec["lookups"] as Record<
          "mysql",
          readonly { readonly queries: readonly { role: string }[] }[]
        >;
        return {
          ...here(spec, { sink }, dns.resolver),
          networks: { trusted: [`${inside.address}/32`] },
          lookups: {
            ...lookups,
            // Of the MTA-STS resolver nothing is seen here: mail leaves for a named host.
            socketmap: [],
            mysql: lookups.mysql.map((source) => ({
              ...source,
              queries: source.queries.map((each) =>
                each.role === "Transports" ? { ...each, query: transports(sink) } : each,
              ),
            })),
          },
        };
      },
      { [secretOf("000", "lookups")]: ["postfix", MARIADB_PASSWORD] },
    ),
  dialogues: [
    ...from(
      known,
      "protocol",
      protocol({
        helo: "mail.client.test",
        sender: "bob@client.test",
        user: "alice@example.net",
        domain: "example.net",
        victim: VICTIM,
      }),
    ),
    ...from(
      known,
      "to",
      letters({
        extension: "<alice+lists@example.net>",
        "extension-dash": "<alice-lists@example.net>",
        "extension-both": "<alice+a-b@example.net>",
        "extension-empty": "<alice+@example.net>",
        "delimiter-in-name": "<dash-ed@example.net>",
        "delimiter-in-name-extension": "<dash-ed+x@example.net>",
        "delimiter-first": "<+x@example.net>",
        "inactive-user": "<gone@example.net>",
        "inactive-domain": "<alice@gone.example>",
        "inactive-alias": "<old@example.net>",
        alias: "<team@example.net>",
        "catch-all": "<anybody@second.org>",
        "catch-all-user": "<carol@second.org>",
        apostrophe: "<o'hara@example.net>",
        injection: "<x'or'1'='1@example.net>",
        "injection-quoted": `<"x' OR '1'='1"@example.net>`,
        backslash: String.raw`<"x\\"@example.net>`,
        "percent-sign": "<al%ce@example.net>",
        underscore: "<alic_@example.net>",
        "virtual-root": "<root@maeve.example.net>",
        "virtual-unknown": "<nobody@maeve.example.net>",
        "own-literal": "<postmaster@[127.0.0.1]>",
        "not-fqdn": "<alice@localhost>",
        "domain-missing": "<x@nowhere.test>",
        "domain-null-mx": "<x@null.client.test>",
        "domain-a-only": "<x@aonly.client.test>",
        foreign: `<${VICTIM}>`,
        postmaster: "<postmaster>",
        "postmaster-ours": "<postmaster@example.net>",
        unknown: "<nobody@example.net>",
        capitals: "<ALICE@EXAMPLE.NET>",
        "several-domains": ["<alice@example.net>", "<carol@second.org>", "<bob+x@example.net>"],
        "several-some-refused": ["<alice@example.net>", `<${VICTIM}>`, "<gone@example.net>", "<bob@example.net>"],
        twice: ["<alice@example.net>", "<alice@example.net>"],
      }),
    ),
    ...from(
      known,
      "helo",
      Object.fromEntries(
        Object.entries({
          "one-label": "mail",
          localhost: "localhost",
          invalid: "what!ever.client.test",
          underscore: "my_host.client.test",
          missing: "nowhere.client.test",
          literal: "[127.0.0.1]",
          "literal-broken": "[127.0.0.300]",
          "literal-ipv6": "[IPv6:::1]",
          "bare-address": "127.0.0.1",
          "mx-only": "client.test",
          "trailing-dot": "mail.client.test.",
          "empty-label": "mail..client.test",
          numbers: "1234.5678",
          ours: "maeve.example.net",
          "two-words": "mail.client.test extra",
          "long-label": `${"a".repeat(64)}.client.test`,
          cname: "cname.client.test",
        }).map(([name, helo]) => [name, letter("<alice@example.net>", { helo })]),
      ),
    ),
    ...from(
      known,
      "sender",
      Object.fromEntries(
        Object.entries({
          unlisted: "<nobody@example.net>",
          listed: "<alice@example.net>",
          extension: "<alice+x@example.net>",
          inactive: "<gone@example.net>",
          alias: "<team@example.net>",
          null: "<>",
          "catch-all": "<anybody@second.org>",
          route: "<@foreign.example:bob@client.test>",
          percent: "<bob%client.test@foreign.example>",
          literal: "<bob@[127.0.0.1]>",
        }).map(([name, sender]) => [name, letter("<alice@example.net>", { from: sender })]),
      ),
    ),
    ...from(inside, "inside", {
      ...letters({
        relays: `<${VICTIM}>`,
        "unknown-user": "<nobody@example.net>",
        "recipient-missing": "<x@nowhere.test>",
        "recipient-one-label": "<x@host>",
        "recipient-null-mx": "<x@null.client.test>",
        mixed: [`<${VICTIM}>`, "<alice@example.net>", "<nobody@example.net>"],
        percent: "<victim%foreign.example@example.net>",
        route: `<@sub.foreign.example:${VICTIM}>`,
        literal: "<victim@[192.0.2.1]>",
      }),
      "helo-bad": letter(`<${VICTIM}>`, { helo: "x" }),
      "unlisted-sender": letter("<alice@example.net>", { from: "<nobody@example.net>" }),
      "no-brackets": letter("<alice@example.net>", { from: "bob@client.test" }),
      "null-sender": letter(`<${VICTIM}>`, { from: "<>" }),
    }),
    ...from(
      certificate,
      "certificate",
      Object.fromEntries(
        Object.entries({ relays: `<${VICTIM}>`, ours: "<alice@example.net>", unknown: "<nobody@example.net>" }).map(
          ([name, to]) => [name, ["EHLO web.client.test", "STARTTLS", ...letter(to, { helo: "web.client.test" })]],
        ),
      ),
    ),
    ...[liar, nameless, excused].flatMap((client, number) =>
      from(client, `client-${["liar", "nameless", "excused"][number]}`, {
        ...letters({ ours: "<alice@example.net>", foreign: `<${VICTIM}>`, unknown: "<nobody@example.net>" }),
        "bad-helo": letter("<alice@example.net>", { helo: "localhost" }),
      }),
    ),
    ...outage("<victim@never-asked.example>"),
    ...from(inside, "outage-inside", letters({ ours: "<late@example.net>", foreign: "<victim@sub.foreign.example>" })),
  ],
};
