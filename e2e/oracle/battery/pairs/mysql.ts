/** Setup c: domains, mailboxes and aliases in MariaDB with ViMbAdmin's tables, as the second reference setup has them; hits, misses, inactive rows, and an outage. */
import { object, secret } from "../../../integration/manifests.ts";
import { Mariadb, mariadbMissing, MARIADB_PASSWORD } from "../../../peers/mariadb.ts";
import { crossed, mail, mailServer, type Pair, stranger, trusted } from "../pair.ts";
import type { Step } from "../transcript.ts";

const ROWS = `
INSERT INTO domain (domain, transport, active) VALUES ('example.org', 'virtual', 1), ('catch.example', 'virtual', 1), ('gone.example', 'virtual', 0);
INSERT INTO mailbox (username, password, active) VALUES ('alice@example.org', 'x', 1), ('bob@example.org', 'x', 1), ('o''brien@example.org', 'x', 1),
  ('gone@example.org', 'x', 0), ('user@gone.example', 'x', 1), ('user@catch.example', 'x', 1);
INSERT INTO alias (address, goto, active) VALUES ('alice@example.org', 'alice@example.org', 1), ('bob@example.org', 'bob@example.org', 1),
  ('user@catch.example', 'user@catch.example', 1), ('team@example.org', 'alice@example.org,bob@example.org', 1), ('outside@example.org', 'friend@away.example', 1),
  ('nested@example.org', 'team@example.org,outside@example.org', 1), ('off@example.org', 'alice@example.org', 0), ('@catch.example', 'bob@example.org', 1),
  ('spaces@example.org', ' alice@example.org , bob@example.org ', 1), ('tag@example.org', 'alice+tag@example.org', 1);
INSERT INTO access (pattern, action) VALUES ('spam.example', 'REJECT go away'), ('later@sender.example', 'DEFER'), ('quiet@sender.example', 'DISCARD'),
  ('coded@sender.example', '554 5.7.1 not you'), ('list@', 'REJECT'), ('fine@spam.example', 'OK'), ('nothing@sender.example', 'DUNNO');
`;

const recipients: Readonly<Record<string, string>> = {
  mailbox: "alice@example.org",
  "mailbox-capitals": "ALICE@EXAMPLE.ORG",
  "mailbox-extension": "alice+tag@example.org",
  "mailbox-quote": "o'brien@example.org",
  "mailbox-inactive": "gone@example.org",
  alias: "team@example.org",
  "alias-extension": "team+tag@example.org",
  "alias-outside": "outside@example.org",
  "alias-nested": "nested@example.org",
  "alias-inactive": "off@example.org",
  "alias-spaces": "spaces@example.org",
  "alias-to-extension": "tag@example.org",
  nobody: "nobody@example.org",
  "catch-all": "anybody@catch.example",
  "catch-all-extension": "anybody+tag@catch.example",
  "catch-all-user": "user@catch.example",
  "domain-inactive": "user@gone.example",
  "domain-unknown": "x@elsewhere.example",
  injection: "x'or'1'='1@example.org",
  "injection-comment": '<"x\';--"@example.org>',
  "injection-backslash": '<"x\\\\"@example.org>',
  percent: "%@example.org",
  "percent-s": "%s@example.org",
  underscore: "_lice@example.org",
};
const senders: Readonly<Record<string, string>> = {
  domain: "x@spam.example",
  "domain-child": "x@deep.spam.example",
  "address-over-domain": "fine@spam.example",
  deferred: "later@sender.example",
  discarded: "quiet@sender.example",
  coded: "coded@sender.example",
  "local-part": "list@any.example",
  dunno: "nothing@sender.example",
  unlisted: "bob@sender.example",
  capitals: "LATER@Sender.Example",
  extension: "later+x@sender.example",
};
const table = (rows: Readonly<Record<string, string>>, steps: (value: string) => readonly Step[]) =>
  Object.fromEntries(Object.entries(rows).map(([name, value]) => [name, steps(value)]));
const toEach = (names: readonly string[]) =>
  table(Object.fromEntries(names.map((name) => [name, recipients[name] ?? ""])), (to) => mail(to));

const [first, ...down] = crossed(
  "down",
  { stranger },
  {
    ...toEach(["mailbox", "alias", "nobody", "catch-all"]),
    // Nobody has asked for these before: Postfix remembers for a while which domains are none of its own.
    "domain-inactive": mail("never-asked@gone.example"),
    "domain-unknown": mail("never-asked@away.example"),
    postmaster: mail("<postmaster>"),
  },
);
const [again, ...up] = crossed("up", { stranger }, toEach(["mailbox", "alias-nested", "nobody", "domain-unknown"]));

export const mysql: Pair = {
  name: "c",
  title: "MySQL lookups",
  missing: mariadbMissing,
  peers: { mariadb: () => Mariadb.start(ROWS) },
  postfix: ({ sink, peers }) => {
    const connection = `hosts = 127.0.0.1:${peers["mariadb"]}\nuser = postfix\npassword = ${MARIADB_PASSWORD}\ndbname = vimbadmin\noption_group =\n`;
    return {
      main: `mydomain = example.net
myhostname = mta.example.net
recipient_delimiter = +
virtual_mailbox_domains = mysql:\${config_directory}/domains.cf
virtual_mailbox_maps = mysql:\${config_directory}/mailboxes.cf
virtual_alias_maps = texthash:\${config_directory}/virtual mysql:\${config_directory}/aliases.cf
virtual_transport = smtp:[127.0.0.1]:${sink}
smtpd_sender_restrictions = check_sender_access mysql:\${config_directory}/access.cf
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
`,
      files: {
        virtual: "postmaster@mta.example.net alice@example.org\n",
        "domains.cf": `${connection}query = SELECT 1 FROM domain WHERE domain = '%s' AND active = '1'\n`,
        "mailboxes.cf": `${connection}query = SELECT 1 FROM mailbox WHERE username = '%s' AND active = '1'\n`,
        "aliases.cf": `${connection}query = SELECT goto FROM alias WHERE address = '%s' AND active = '1'\n`,
        "access.cf": `${connection}query = SELECT action FROM access WHERE pattern = '%s'\n`,
      },
    };
  },
  packetboat: (around) =>
    mailServer(around, {
      hostname: "mta.example.net",
      postmaster: ["alice@example.org"],
      restrictions: { exempt: [] },
      lookups: {
        domains: { class: "Mailbox", delivery: { smtp: { host: "127.0.0.1", port: around.sink } } },
        mysql: [
          {
            name: "db",
            hosts: [`127.0.0.1:${around.peers["mariadb"]}`],
            database: "vimbadmin",
            credentialsSecretName: "db",
            cache: { entries: 0 },
            queries: [
              { role: "Domains", query: "SELECT 1 FROM domain WHERE domain = '%s' AND active = '1'" },
              { role: "Mailboxes", query: "SELECT 1 FROM mailbox WHERE username = '%s' AND active = '1'" },
              { role: "Aliases", query: "SELECT goto FROM alias WHERE address = '%s' AND active = '1'" },
              { role: "Access", query: "SELECT action FROM access WHERE pattern = '%s'" },
            ],
          },
        ],
      },
    }) +
    secret("db", { username: "postfix", password: MARIADB_PASSWORD }) +
    object("MailDomain", "objects", {
      domain: "objects.example",
      serverRef: { name: "mx" },
      class: "Alias",
    }),
  events: {
    down: async ({ mariadb }) => {
      if (mariadb instanceof Mariadb) await mariadb.signal("SIGKILL");
    },
    up: async ({ mariadb }) => {
      if (mariadb instanceof Mariadb) await mariadb.run();
    },
  },
  dialogues: [
    ...crossed(
      "to",
      { stranger },
      table(recipients, (to) => mail(to)),
    ),
    ...crossed(
      "from",
      { stranger, trusted },
      table(senders, (from) => mail("alice@example.org", { from })),
    ),
    ...crossed(
      "out",
      { trusted },
      table({ foreign: "friend@away.example" }, (to) => mail(to)),
    ),
    ...crossed(
      "several",
      { stranger },
      {
        "hit-and-miss": mail(["alice@example.org", "nobody@example.org", "team@example.org"]),
        "all-misses": mail(["nobody@example.org", "gone@example.org"]),
      },
    ),
    ...(first === undefined ? [] : [{ ...first, event: "down" }]),
    ...down,
    ...(again === undefined ? [] : [{ ...again, event: "up" }]),
    ...up,
  ],
};
