/**
 * Lookups against a real MariaDB with ViMbAdmin's tables: each query of the reference setups, built from a MailServer as a person writes it; kills, restarts, hosts that are
 * dead or silent.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { aMailServer } from "../../crds/builders.ts";
import type { MailServerSpec } from "../../crds/mail-server.ts";
import { buildDesired } from "../../operator/build/build.ts";
import { aWorld } from "../../operator/build/sample-world.ts";
import { LookupUnavailable } from "../../server/lookup/lookup.ts";
import { addressesOf, createLookups, joined, type Lookups } from "../../server/lookup/lookups.ts";
import { aliasKeys, accessAddressKeys, mailboxKeys } from "../../server/lookup/search-order.ts";
import { createLog } from "../../server/observe/log.ts";
import { registry } from "../../server/observe/metrics.ts";
import { selfSigned } from "../peers/certificates.ts";
import { Deaf } from "../peers/deaf.ts";
import { Mariadb, mariadbMissing, MARIADB_PASSWORD } from "../peers/mariadb.ts";
import { freePort, until } from "../peers/ports.ts";

const skip = mariadbMissing();

const ROWS = `
INSERT INTO domain (domain, transport, active) VALUES ('example.org', 'lmtp:[10.0.0.5]:24', 1), ('plain.example', 'virtual', 1), ('gone.example', 'virtual', 0);
INSERT INTO mailbox (username, password, active) VALUES ('bob@example.org', '{SSHA512}abc', 1), ('gone@example.org', 'x', 0), ('o''hara@example.org', 'y', 1);
INSERT INTO alias (address, goto, active) VALUES ('team@example.org', 'bob@example.org,"a,b"@other.example', 1), ('@example.org', 'bob@example.org', 1), ('old@example.org', 'x@y', 0);
INSERT INTO tlspolicies VALUES ('strict.example', 'secure', 'match=mx.strict.example'), ('plain.example', 'may', NULL);
INSERT INTO access (pattern, action, type) VALUES ('spam.example', 'REJECT', 'spam'), ('later@example.net', 'DEFER', 'other'), ('quiet@', 'DISCARD', 'unsub');
CREATE PROCEDURE mailbox_of (IN address VARCHAR(255)) SELECT username FROM mailbox WHERE username = address;
CREATE PROCEDURE too_slow (IN address VARCHAR(255)) SIGNAL SQLSTATE '70100' SET MYSQL_ERRNO = 1969, MESSAGE_TEXT = 'Query execution was interrupted (max_statement_time exceeded)';
CREATE TABLE many (n INT); INSERT INTO many VALUES (1), (2), (3), (4);
`;

type Mysql = NonNullable<NonNullable<MailServerSpec["lookups"]>["mysql"]>[number];
const secrets = { "default/db": { username: "postfix", password: MARIADB_PASSWORD } };

const log = createLog("test", process.env["LOG_LEVEL"] ?? "silent");

interface Built {
  readonly lookups: Lookups;
  readonly message: string;
}

function build(
  spec: Omit<MailServerSpec, "hostname">,
  more: Readonly<Record<string, Readonly<Record<string, string>>>> = {},
): Built {
  const server = aMailServer({ spec });
  const { config, verdicts } = buildDesired(aWorld({ server, secrets: { ...secrets, ...more } }));
  const verdict = verdicts.get("MailServer/default/mx");
  return {
    lookups: createLookups(
      {
        server: config.server,
        credentials: new Map(Object.entries(config.secrets.credentials)),
        authorities: new Map(Object.entries(config.secrets.authorities)),
        certificates: new Map(Object.entries(config.secrets.certificates)),
      },
      log,
    ),
    message: verdict?.accepted === false ? verdict.message : "",
  };
}

const database = (hosts: string[], more: Partial<Mysql> = {}): Mysql => ({
  name: "db",
  hosts,
  database: "vimbadmin",
  credentialsSecretName: "db",
  schema: "Vimbadmin",
  cache: { entries: 0 },
  ...more,
});

const isOutage = (cause: unknown): boolean => cause instanceof LookupUnavailable && !cause.message.includes("quoted");

describe("MariaDB", { skip }, () => {
  let mariadb: Mariadb;
  let healthy: Lookups;
  before(async () => {
    mariadb = await Mariadb.start(ROWS);
    healthy = build({ lookups: { mysql: [{ ...database([here()]), name: "healthy" }] } }).lookups;
    await twenty(() => bob(healthy));
  });
  after(async () => {
    await healthy.close();
    await mariadb[Symbol.asyncDispose]();
  });
  const here = (): string => `127.0.0.1:${mariadb.port}`;

  const bob = async (lookups: Lookups): Promise<string | undefined> =>
    (await lookups.first("mailboxes", "bob@example.org"))?.values[0];
  const twenty = <T>(ask: () => Promise<T>): Promise<T[]> => Promise.all(Array.from({ length: 20 }, ask));
  const timed = async <T>(work: () => Promise<T>): Promise<[result: T, tookMs: number]> => {
    const startedMs = performance.now();
    return [await work(), performance.now() - startedMs];
  };
  /** Done within `boundMs`; what this machine is slow at in the same moment, twenty questions to a healthy host tell. */
  async function soon<T>(boundMs: number, what: string, work: () => Promise<T>): Promise<T> {
    const [[result, tookMs], [, usualMs]] = await Promise.all([timed(work), timed(() => twenty(() => bob(healthy)))]);
    assert.ok(tookMs < boundMs + 3 * usualMs, `${what}: ${tookMs} ms, a healthy host took ${usualMs} ms`);
    return result;
  }

  test("each query of the reference setups, from ViMbAdmin's schema and as written", async () => {
    const { lookups, message } = build({
      lookups: {
        mysql: [
          database([here()], {
            queries: [
              { role: "TLSPolicies", query: "SELECT policy, params FROM tlspolicies WHERE domain = '%s'" },
              { role: "Access", query: "SELECT action FROM access WHERE pattern = '%s'" },
            ],
          }),
        ],
      },
    });
    try {
      assert.equal(message, "");
      const first = async (
        role: Parameters<Lookups["first"]>[0],
        keys: string | readonly string[],
      ): Promise<string | undefined> => {
        const answer = await lookups.first(role, keys);
        return answer === undefined ? undefined : joined(answer.values);
      };
      const rows: [
        role: Parameters<Lookups["first"]>[0],
        keys: string | readonly string[],
        value: string | undefined,
      ][] = [
        ["domains", "example.org", "1"],
        ["domains", "EXAMPLE.ORG", "1"],
        ["domains", "gone.example", undefined],
        ["domains", "elsewhere.example", undefined],
        ["mailboxes", "bob@example.org", "1"],
        ["mailboxes", mailboxKeys("Bob+lists@example.org", "+"), "1"],
        ["mailboxes", "gone@example.org", undefined],
        ["mailboxes", "o'hara@example.org", "1"],
        ["mailboxes", "x' OR '1'='1", undefined],
        ["mailboxes", "bob@example.org\\", undefined],
        ["aliases", aliasKeys("nobody@example.org", "+"), "bob@example.org"],
        ["aliases", "old@example.org", undefined],
        ["transports", "example.org", "lmtp:[10.0.0.5]:24"],
        ["transports", "plain.example", undefined],
        ["tlsPolicies", "strict.example", "secure,match=mx.strict.example"],
        ["tlsPolicies", "plain.example", "may"],
        ["access", accessAddressKeys("x@deep.spam.example", "+"), "REJECT"],
        ["access", accessAddressKeys("later@example.net", "+"), "DEFER"],
        ["access", accessAddressKeys("quiet+x@any.example", "+"), "DISCARD"],
        ["access", accessAddressKeys("welcome@example.net", "+"), undefined],
        ["access", "bücher@example.net", undefined],
        ["senders", "team@example.org", 'bob@example.org,"a,b"@other.example'],
        ["senders", "bob@example.org", "bob@example.org"],
        ["passwords", "bob@example.org", "{SSHA512}abc"],
        ["passwords", "gone@example.org", undefined],
      ];
      for (const [role, keys, value] of rows) assert.equal(await first(role, keys), value, `${role} ${String(keys)}`);
      assert.deepEqual(addressesOf((await lookups.first("aliases", "team@example.org"))?.values ?? []), [
        "bob@example.org",
        '"a,b"@other.example',
      ]);
      assert.match(
        await registry.metrics(),
        /packetboat_lookup_seconds_count\{lookup="db",role="domains",result="missing"\} 2/,
      );
    } finally {
      await lookups.close();
    }
  });

  test("result formats, domain filter, procedures, expansion limit, and a query that the server refuses", async () => {
    const query = (
      role: "Domains" | "Mailboxes" | "Aliases" | "Transports" | "Access",
      text: string,
      more: object = {},
    ) => ({ role, query: text, ...more });
    const { lookups } = build({
      lookups: {
        mysql: [
          {
            name: "db",
            hosts: [`unix:${mariadb.socket}`],
            database: "vimbadmin",
            credentialsSecretName: "db",
            queries: [
              query("Domains", "SELECT 1 FROM domain WHERE domain LIKE '%%.%1'"),
              query("Mailboxes", "CALL mailbox_of('%s')", { domains: ["Example.org"], resultFormat: "%u@%D (%s)" }),
              query("Aliases", "SELECT n FROM many", { expansionLimit: 3 }),
              query("Transports", "SELECT transport FROM nowhere WHERE d = '%s'"),
              query("Access", "SELECT pattern, action FROM access WHERE pattern LIKE '%s' ORDER BY pattern"),
            ],
          },
        ],
      },
    });
    try {
      assert.deepEqual((await lookups.first("mailboxes", "bob@example.org"))?.values, [
        "bob@example.org (bob@example.org)",
      ]);
      assert.equal(await lookups.first("mailboxes", "bob@other.example"), undefined);
      assert.equal(await lookups.first("mailboxes", "@example.org"), undefined);
      assert.deepEqual((await lookups.first("domains", "x@a.org"))?.values, ["1"]);
      await assert.rejects(lookups.first("aliases", "any"), /more than 3 values/);
      await assert.rejects(lookups.first("transports", "any"), /ER_NO_SUCH_TABLE/);
      // A key is not a pattern.
      assert.equal(await lookups.first("access", "%"), undefined);
      assert.deepEqual((await lookups.first("access", "spam.example"))?.values, ["spam.example", "REJECT"]);
    } finally {
      await lookups.close();
    }
  });

  test("killed in the middle: every question is an outage at once; started again: the next question is answered", async () => {
    const own = await Mariadb.start(ROWS);
    const { lookups } = build({ lookups: { mysql: [database([`127.0.0.1:${own.port}`])] } });
    try {
      const ask = () => lookups.first("mailboxes", "bob@example.org");
      await twenty(ask);
      await own.signal("SIGKILL");
      const outcomes = await soon(1000, "twenty outages", () => Promise.allSettled(Array.from({ length: 20 }, ask)));
      assert.ok(outcomes.every((outcome) => outcome.status === "rejected" && isOutage(outcome.reason)));
      assert.match(await registry.metrics(), /packetboat_lookup_available\{lookup="db"\} 0/);
      await own.run();
      assert.deepEqual((await ask())?.values, ["1"]);
      assert.match(await registry.metrics(), /packetboat_lookup_available\{lookup="db"\} 1/);
      // A restart between two questions is not even seen.
      await own.signal("SIGKILL");
      await own.run();
      assert.deepEqual((await ask())?.values, ["1"]);
    } finally {
      await lookups.close();
      await own[Symbol.asyncDispose]();
    }
  });

  test("two hosts, the first refuses, is silent, or falls silent later: nobody waits a second", async () => {
    await using deaf = await Deaf.listen();
    const refusing = await freePort();
    for (const dead of [`127.0.0.1:${refusing}`, `127.0.0.1:${deaf.port}`]) {
      const { lookups } = build({ lookups: { mysql: [database([dead, here()])] } });
      try {
        for (const round of [1, 2]) {
          const answers = await soon(round === 1 ? 1000 : 200, `${dead}, round ${round}`, () =>
            twenty(() => bob(lookups)),
          );
          assert.ok(answers.every((answer) => answer === "1"));
        }
      } finally {
        await lookups.close();
      }
    }
    assert.ok(deaf.met > 0);
  });

  test("a host that stops answering on kept connections is passed over, and used again when it goes on", async () => {
    const own = await Mariadb.start("INSERT INTO mailbox (username) VALUES ('first@example.org');");
    const { lookups } = build({ lookups: { mysql: [database([`127.0.0.1:${own.port}`, here()])] } });
    try {
      assert.deepEqual((await lookups.first("mailboxes", "first@example.org"))?.values, ["1"]);
      await own.signal("SIGSTOP");
      for (let round = 0; round < 3; round++) {
        assert.equal(await soon(1000, `round ${round}`, () => bob(lookups)), "1");
      }
      await own.signal("SIGCONT");
      await until("the first host to be asked again", 10_000, async () => {
        return (await lookups.first("mailboxes", "first@example.org")) !== undefined;
      });
    } finally {
      await own.signal("SIGCONT");
      await lookups.close();
      await own[Symbol.asyncDispose]();
    }
  });

  test("a slow query is an outage of that query; the host stays, and others are answered meanwhile", async () => {
    const queries = [
      { role: "Access" as const, query: "SELECT SLEEP(20), '%s'" },
      { role: "Mailboxes" as const, query: "SELECT 1 FROM mailbox WHERE username = '%s'" },
    ];
    const { lookups } = build({
      lookups: { mysql: [database([here()], { queries, timeout: "3s", connectTimeout: "1500ms" })] },
    });
    try {
      const slow = lookups.first("access", "x");
      const fast = lookups.first("mailboxes", "bob@example.org");
      assert.deepEqual((await fast)?.values, ["1"]);
      await assert.rejects(slow, (cause: unknown) => cause instanceof LookupUnavailable && cause.scope === "question");
      assert.deepEqual((await lookups.first("mailboxes", "bob@example.org"))?.values, ["1"]);
      assert.match(await registry.metrics(), /packetboat_lookup_available\{lookup="db"\} 1/);
      // The server does not go on with what nobody waits for.
      await until("the statement to end", 10_000, () => !mariadb.sql("SHOW PROCESSLIST").includes("SLEEP(20)"));
    } finally {
      await lookups.close();
    }
  });

  test("a query that the server itself ended in time is an outage of that query, asked once; the host stays", async () => {
    const queries = [
      { role: "Access" as const, query: "CALL too_slow('%s')" },
      { role: "Mailboxes" as const, query: "SELECT 1 FROM mailbox WHERE username = '%s'" },
    ];
    const { lookups } = build({ lookups: { mysql: [database([here()], { queries })] } });
    try {
      assert.equal(await bob(lookups), "1");
      await assert.rejects(
        lookups.first("access", "x"),
        (cause: unknown) => cause instanceof LookupUnavailable && cause.scope === "question",
      );
      assert.match(await registry.metrics(), /packetboat_lookup_available\{lookup="db"\} 1/);
    } finally {
      await lookups.close();
    }
  });

  test("order: the first match wins; an outage of an earlier source is not passed over", async () => {
    const nobody = await freePort();
    const down = { ...database([`127.0.0.1:${nobody}`]), name: "down" };
    const table = {
      name: "virtual",
      type: "Hash" as const,
      roles: ["Aliases" as const],
      content: { text: "team@example.org table@example.org\nonly@example.org table@example.org\n" },
    };
    const ask = async (order: string[], key: string): Promise<string> => {
      const { lookups, message } = build({ tables: [table], lookups: { mysql: [database([here()]), down], order } });
      assert.equal(message, "");
      try {
        return (await lookups.first("aliases", key))?.lookup ?? "nobody";
      } catch (cause) {
        return isOutage(cause) ? "outage" : String(cause);
      } finally {
        await lookups.close();
      }
    };
    assert.equal(await ask([], "team@example.org"), "virtual");
    assert.equal(await ask(["db"], "team@example.org"), "db");
    assert.equal(await ask(["db"], "only@example.org"), "virtual");
    assert.equal(await ask(["db", "virtual", "down"], "unknown@example.org"), "outage");
    assert.equal(await ask(["down", "virtual"], "team@example.org"), "outage");
    assert.equal(await ask(["virtual", "down"], "team@example.org"), "virtual");
  });

  test("wrong password, missing Secret and unusable query: an outage with a reason, never a secret", async () => {
    const wrong = { "default/db": { username: "postfix", password: "not this one" } };
    for (const [more, spec, reason] of [
      [wrong, database([here()]), /ER_ACCESS_DENIED_ERROR/],
      [{}, database([here()], { credentialsSecretName: "nowhere" }), /Secret default\/nowhere is missing/],
      [{}, database([here()], { queries: [{ role: "Mailboxes", query: "DROP TABLE mailbox" }] }), /cannot be used/],
    ] as const) {
      const { lookups } = build({ lookups: { mysql: [spec] } }, more);
      await assert.rejects(lookups.first("mailboxes", "bob@example.org"), (cause: unknown) => {
        assert.ok(isOutage(cause));
        assert.match(String(cause), reason);
        assert.doesNotMatch(String(cause), /not this one|postfix/);
        return true;
      });
      await lookups.close();
    }
  });

  test("TLS: verified by the authority and the name, refused otherwise", async () => {
    const certificate = await selfSigned("db.example.org");
    const own = await Mariadb.start(ROWS, {
      tls: { certificate: certificate.certificate, privateKey: certificate.privateKey },
    });
    const ca = { "default/ca": { "ca.crt": certificate.certificate } };
    try {
      own.sql("ALTER USER postfix REQUIRE SSL");
      for (const [tls, works] of [
        [{ caSecretName: "ca", serverName: "db.example.org" }, true],
        [{ caSecretName: "ca", serverName: "other.example.org" }, false],
        [{ serverName: "db.example.org" }, false],
        [{ caSecretName: "ca" }, false],
        [undefined, false],
      ] as const) {
        const spec = { ...database([`127.0.0.1:${own.port}`]), ...(tls === undefined ? {} : { tls }) };
        const { lookups } = build({ lookups: { mysql: [spec] } }, ca);
        const outcome = await lookups.first("mailboxes", "bob@example.org").then(
          (answer) => answer?.values[0] === "1",
          (cause: unknown) => !isOutage(cause),
        );
        assert.equal(outcome, works, JSON.stringify(tls));
        await lookups.close();
      }
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});
