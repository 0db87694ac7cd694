import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { aMailbox, aMailServer } from "../../crds/builders.ts";
import type { MailServerSpec } from "../../crds/mail-server.ts";
import { lookupSourcesSchema } from "../../server/config/lookups.ts";
import { parseQuery } from "../../server/config/sql-query.ts";
import { buildDesired } from "./build.ts";
import { aWorld } from "./sample-world.ts";
import { vimbadminQueries } from "./vimbadmin.ts";

function build(spec: Pick<Partial<MailServerSpec>, "lookups" | "tables">) {
  const desired = buildDesired(
    aWorld({
      server: aMailServer({ spec }),
      secrets: { "default/db": { username: "postfix", password: "a-test-password" } },
    }),
  );
  const verdict = desired.verdicts.get("MailServer/default/mx");
  return {
    sources: desired.config.server.lookups,
    lookedUpDomains: desired.config.server.lookedUpDomains,
    credentials: desired.config.secrets.credentials,
    whole: JSON.stringify(desired.config.server),
    message: verdict?.accepted === false ? verdict.message : "",
  };
}
const mysql = { name: "db", hosts: ["db.example.org"], database: "vimbadmin", credentialsSecretName: "db" };

suite("build: lookups", () => {
  test("a look-up of passwords lets a mailbox without one of its own log in", () => {
    const authentication = (spec: Pick<Partial<MailServerSpec>, "lookups" | "tables">): boolean | undefined =>
      buildDesired(aWorld({ server: aMailServer({ spec }), objects: [aMailbox()] })).config.tables.addresses[
        "alice@example.org"
      ]?.mailbox?.authentication;
    assert.equal(authentication({}), false);
    assert.equal(authentication({ lookups: { mysql: [mysql] } }), false);
    assert.equal(authentication({ lookups: { mysql: [{ ...mysql, schema: "Vimbadmin" }] } }), true);
    const table = { name: "t", type: "Hash" as const, content: { text: "a b" } };
    assert.equal(authentication({ tables: [{ ...table, roles: ["Passwords"] }] }), true);
  });

  test("domains that only look-ups know: of class Relay, as written, or not there where nobody knows domains", () => {
    const table = (roles: ("Domains" | "Transports")[]) => ({
      name: "t",
      type: "Hash" as const,
      roles,
      content: { entries: [{ key: "a", value: "b" }] },
    });
    assert.deepEqual(build({ tables: [table(["Domains"])] }).lookedUpDomains, {
      class: "Relay",
      recipients: "Lookups",
    });
    assert.equal(build({ tables: [table([])] }).lookedUpDomains, undefined);
    const lmtp = { host: "dovecot", port: 24 };
    const domains = { class: "Mailbox" as const, delivery: { lmtp } };
    assert.deepEqual(build({ tables: [table(["Domains"])], lookups: { domains } }).lookedUpDomains, {
      class: "Mailbox",
      recipients: "Lookups",
      delivery: { kind: "lmtp", ...lmtp },
    });
    const bare = { domains: { class: "Mailbox" as const } };
    assert.match(build({ tables: [table(["Domains"])], lookups: bare }).message, /needs delivery, or a look-up/);
    assert.equal(build({ tables: [table(["Domains", "Transports"])], lookups: bare }).message, "");
  });

  test("ViMbAdmin's queries are there, those written go before them, defaults are explicit and the password is a secret", () => {
    const { sources, credentials, whole, message } = build({
      lookups: {
        mysql: [
          {
            ...mysql,
            hosts: ["db1.example.org", "[2001:db8::1]:3307", "unix:/run/db.sock"],
            schema: "Vimbadmin",
            queries: [{ role: "Domains", query: "SELECT 1 FROM mine WHERE d='%s'" }],
          },
        ],
      },
    });
    assert.equal(message, "");
    const [source] = lookupSourcesSchema.parse(sources);
    assert.ok(source?.kind === "mysql");
    assert.deepEqual(source.hosts, [
      { host: "db1.example.org", port: 3306 },
      { host: "2001:db8::1", port: 3307 },
      { path: "/run/db.sock" },
    ]);
    assert.deepEqual(Object.keys(source.queries), [
      "aliases",
      "domains",
      "mailboxes",
      "passwords",
      "senders",
      "transports",
    ]);
    assert.equal(source.queries.domains?.query, "SELECT 1 FROM mine WHERE d='%s'");
    // What is written may know addresses too; ViMbAdmin's transports are of domains.
    assert.deepEqual([source.queries.domains.domainsOnly, source.queries.transports?.domainsOnly], [undefined, true]);
    assert.deepEqual([source.connectTimeoutMs, source.timeoutMs, source.connections], [500, 5000, 4]);
    assert.deepEqual(credentials, { "default/db": { username: "postfix", password: "a-test-password" } });
    assert.ok(!whole.includes("a-test-password"));
  });

  test("every query that is shipped can be prepared", () => {
    for (const query of Object.values(vimbadminQueries)) assert.equal(parseQuery(query).ok, true, query);
  });

  test("what cannot be used is said and keeps its place, so that nobody hears a wrong no", () => {
    const rows: [spec: Parameters<typeof build>[0], message: RegExp, roles: string[]][] = [
      [
        {
          lookups: {
            mysql: [
              {
                ...mysql,
                queries: [
                  { role: "Mailboxes", query: "DELETE FROM t" },
                  { role: "Domains", query: "SELECT 1" },
                ],
              },
            ],
          },
        },
        /^spec\.lookups\.mysql\[db\]\.queries for Mailboxes: A query must begin with SELECT.* Until then mail that needs it waits\.$/,
        ["mailboxes"],
      ],
      [
        { lookups: { mysql: [{ ...mysql, hosts: ["h:99999"], schema: "Vimbadmin" }] } },
        /"h:99999" is not a host/,
        ["aliases", "domains", "mailboxes", "passwords", "senders", "transports"],
      ],
      [
        {
          lookups: {
            mysql: [{ ...mysql, hosts: ["192.0.2.1"], tls: {}, queries: [{ role: "Domains", query: "SELECT 1" }] }],
          },
        },
        /needs serverName/,
        ["domains"],
      ],
      [
        {
          lookups: {
            ldap: [
              {
                name: "l",
                servers: ["ldap://h"],
                searches: [{ role: "Senders", base: "", filter: "(mail=%x)", resultAttributes: ["a"] }],
              },
            ],
          },
        },
        /%x is not a placeholder/,
        ["senders"],
      ],
      [
        {
          lookups: {
            ldap: [
              {
                name: "l",
                servers: ["ldap://h"],
                searches: [{ role: "Senders", base: "", filter: "(mail=%s", resultAttributes: ["a"] }],
              },
            ],
          },
        },
        /parentheses/,
        ["senders"],
      ],
      [
        { lookups: { socketmap: [{ name: "s", hosts: ["h"], maps: [{ role: "TLSPolicies", map: "m" }] }] } },
        /not a host with a port/,
        ["tlsPolicies"],
      ],
      [
        { tables: [{ name: "t", type: "PCRE", roles: ["Access"], content: { text: "/a/ x\n/(?=a)/ y\n" } }] },
        /^spec\.tables\[t\]: Line 2 has a pattern that cannot be used/,
        ["access"],
      ],
      [
        {
          tables: [{ name: "t", type: "Hash", roles: ["Access"], content: { entries: [{ key: "a b", value: "x" }] } }],
        },
        /cannot be written/,
        ["access"],
      ],
    ];
    for (const [spec, message, roles] of rows) {
      const built = build(spec);
      assert.match(built.message, message);
      const held = built.sources.filter((source) => source.kind === "unusable");
      assert.deepEqual(
        held.flatMap((source) => source.roles),
        roles,
        built.message,
      );
    }
  });

  test("order: as named, then tables, mysql, ldap, socketmap as written; strange names are said", () => {
    const spec = {
      tables: [{ name: "t", type: "Hash" as const, content: { entries: [{ key: "A", value: "b" }] } }],
      lookups: {
        mysql: [{ ...mysql, queries: [{ role: "Domains" as const, query: "SELECT 1" }] }],
        socketmap: [
          { name: "sts", hosts: ["127.0.0.1:8461"], maps: [{ role: "TLSPolicies" as const, map: "postfix" }] },
        ],
      },
    };
    const names = (built: ReturnType<typeof build>): string => built.sources.map(({ name }) => name).join();
    assert.equal(names(build(spec)), "t,db,sts");
    assert.equal(names(build({ ...spec, lookups: { ...spec.lookups, order: ["sts", "t"] } })), "sts,t,db");
    assert.match(build({ ...spec, lookups: { ...spec.lookups, order: ["nobody"] } }).message, /order names nobody/);
    assert.match(
      build({ ...spec, tables: [{ ...spec.tables[0]!, name: "db" }] }).message,
      /Two of spec\.lookups and spec\.tables are called db/,
    );
  });

  test("tables that would not fit into their ConfigMap are refused", () => {
    const table = (name: string) => ({
      name,
      type: "Hash" as const,
      roles: ["Access" as const],
      content: { text: `a ${"x".repeat(8000)}\n`.repeat(32) },
    });
    const built = build({ tables: ["a", "b", "c"].map(table) });
    assert.match(built.message, /All tables together/);
    assert.deepEqual(
      built.sources.map(({ kind }) => kind),
      ["table", "table", "unusable"],
    );
  });
});
