/** Lookups against a real OpenLDAP: what a MailServer says of searches, filters that cannot be broken out of, groups, TLS, and outages. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { aMailServer } from "../../crds/builders.ts";
import type { MailServerSpec } from "../../crds/mail-server.ts";
import { buildDesired } from "../../operator/build/build.ts";
import { aWorld } from "../../operator/build/sample-world.ts";
import { LookupUnavailable } from "../../server/lookup/lookup.ts";
import { createLookups, type Lookups } from "../../server/lookup/lookups.ts";
import { createLog } from "../../server/observe/log.ts";
import { type KeyPair, selfSigned } from "../peers/certificates.ts";
import { freePort } from "../peers/ports.ts";
import { LDAP_BASE, LDAP_READER, Slapd, slapdMissing } from "../peers/slapd.ts";

type Ldap = NonNullable<NonNullable<MailServerSpec["lookups"]>["ldap"]>[number];

const log = createLog("test", process.env["LOG_LEVEL"] ?? "silent");
const PEOPLE = `ou=people,${LDAP_BASE}`;
const GROUPS = `
dn: cn=team,${LDAP_BASE}
objectClass: groupOfNames
cn: team
member: uid=bob,${PEOPLE}
member: cn=inner,${LDAP_BASE}
member: uid=nobody,${PEOPLE}

dn: cn=inner,${LDAP_BASE}
objectClass: groupOfNames
cn: inner
member: uid=eve,${PEOPLE}
member: cn=team,${LDAP_BASE}
`;

describe("OpenLDAP", { skip: slapdMissing() }, () => {
  let slapd: Slapd;
  let certificate: KeyPair;
  before(async () => {
    certificate = await selfSigned("ldap.example.org");
    slapd = await Slapd.start(
      [
        { uid: "bob", mail: "bob@example.org", password: "p" },
        { uid: "eve", mail: "eve@example.org", password: "p" },
      ],
      certificate,
      GROUPS,
    );
  });
  after(async () => {
    await slapd[Symbol.asyncDispose]();
  });

  function open(more: Partial<Ldap>): Lookups {
    const spec: Ldap = {
      name: "directory",
      servers: [`ldap://127.0.0.1:${slapd.port}`],
      credentialsSecretName: "reader",
      cache: { entries: 0 },
      searches: [
        {
          role: "Mailboxes",
          base: PEOPLE,
          filter: "(&(objectClass=inetOrgPerson)(mail=%s))",
          resultAttributes: ["uid"],
        },
        {
          role: "Aliases",
          base: LDAP_BASE,
          filter: "(cn=%u)",
          resultAttributes: ["mail"],
          referenceAttributes: ["member"],
        },
        {
          role: "Senders",
          base: "uid=%u,ou=people,dc=%2,dc=%1",
          scope: "Base",
          filter: "(objectClass=*)",
          resultAttributes: ["MAIL"],
          resultFormat: "%u/%D",
        },
      ],
      ...more,
    };
    const { config, verdicts } = buildDesired(
      aWorld({
        server: aMailServer({ spec: { lookups: { ldap: [spec] } } }),
        secrets: {
          "default/reader": { username: LDAP_READER.dn, password: LDAP_READER.password },
          "default/wrong": { username: LDAP_READER.dn, password: "not this one" },
          "default/ca": { "ca.crt": certificate.certificate },
        },
      }),
    );
    const verdict = verdicts.get("MailServer/default/mx");
    assert.equal(verdict?.accepted === false ? verdict.message : "", "");
    return createLookups(
      {
        server: config.server,
        credentials: new Map(Object.entries(config.secrets.credentials)),
        authorities: new Map(Object.entries(config.secrets.authorities)),
        certificates: new Map(Object.entries(config.secrets.certificates)),
      },
      log,
    );
  }

  test("searches: hits, misses, groups of groups with a circle, placeholders in the base, keys that would be filters", async () => {
    const lookups = open({});
    try {
      const values = async (role: "mailboxes" | "aliases" | "senders", key: string): Promise<string | undefined> =>
        (await lookups.first(role, key))?.values.join(" ");
      assert.equal(await values("mailboxes", "Bob@example.org"), "bob");
      assert.equal(await values("mailboxes", "nobody@example.org"), undefined);
      assert.equal(await values("aliases", "team@example.org"), "bob@example.org eve@example.org");
      assert.equal(await values("senders", "eve@example.org"), "eve/example.org");
      assert.equal(await values("senders", "eve@elsewhere.net"), undefined);
      for (const key of [
        "*",
        "*@example.org",
        "bob@example.org)(uid=*",
        "bob@example.org\\",
        "x)(|(uid=*",
        "\0",
        "ü@example.org",
      ])
        assert.equal(await values("mailboxes", key), undefined, key);
      for (const key of ["bob,ou=people@example.org", "bob+uid=eve@example.org", 'bob"@example.org'])
        assert.equal(await values("senders", key), undefined, key);
    } finally {
      await lookups.close();
    }
  });

  test("TLS from the first octet and STARTTLS: verified by authority and name, refused otherwise", async () => {
    const secure = [`ldaps://127.0.0.1:${slapd.tlsPort}`];
    const rows: [spec: Partial<Ldap>, works: boolean][] = [
      [{ servers: secure, tls: { caSecretName: "ca", serverName: "ldap.example.org" } }, true],
      [{ startTLS: true, tls: { caSecretName: "ca", serverName: "ldap.example.org" } }, true],
      [{ servers: secure, tls: { caSecretName: "ca", serverName: "other.example.org" } }, false],
      [{ tls: { caSecretName: "ca", serverName: "ldap.example.org" } }, true],
      [{ tls: { caSecretName: "ca", serverName: "other.example.org" } }, false],
      [{ servers: secure, tls: { serverName: "ldap.example.org" } }, false],
      [{ startTLS: true }, false],
      [{ credentialsSecretName: "wrong" }, false],
    ];
    for (const [spec, works] of rows) {
      const lookups = open(spec);
      const outcome = await lookups.first("mailboxes", "bob@example.org").then(
        (answer) => answer?.values[0] === "bob",
        (cause: unknown) => {
          assert.ok(cause instanceof LookupUnavailable);
          assert.doesNotMatch(cause.message, /not this one/);
          return false;
        },
      );
      assert.equal(outcome, works, JSON.stringify(spec));
      await lookups.close();
    }
  });

  test("a dead first server, then an outage of the only one left, then its return: none needs a restart of ours", async () => {
    // The dead one refuses at once; two servers have half a second each to connect if nothing is said, which a busy machine may need for the living one.
    const lookups = open({
      servers: [`ldap://127.0.0.1:${await freePort()}`, `ldap://127.0.0.1:${slapd.port}`],
      connectTimeout: "3s",
    });
    try {
      const ask = async (): Promise<string | undefined> =>
        (await lookups.first("mailboxes", "bob@example.org"))?.values[0];
      assert.equal(await ask(), "bob");
      await slapd.stop();
      await assert.rejects(ask(), LookupUnavailable);
      await slapd.run();
      assert.equal(await ask(), "bob");
    } finally {
      await lookups.close();
    }
  });
});
