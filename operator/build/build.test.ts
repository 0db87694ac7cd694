import assert from "node:assert/strict";
import { suite, test } from "node:test";
import {
  aMailbox,
  aMailDomain,
  aMailServer,
  anAccessRule,
  anAlias,
  aRelayClientCert,
  aRoute,
  aTLSPolicy,
} from "../../crds/builders.ts";
import { buildDesired, type Desired } from "./build.ts";
import { aCertificate } from "./sample-certificate.ts";
import { noRestrictions } from "../../server/config/restrictions.ts";
import { noRewriting } from "../../server/config/rewriting.ts";
import { saltKeyOf } from "./authentication.ts";
import { aWorld, NOW_MS, type WorldParts } from "./sample-world.ts";
import type { MailObject } from "./world.ts";
import { objectKey } from "./world.ts";

const named = (name: string, created = "2026-01-01T00:00:00Z", namespace = "default") => ({
  name,
  namespace,
  creationTimestamp: created,
});
const YOUNGER = "2026-02-01T00:00:00Z";
const build = (parts: WorldParts): Desired => buildDesired(aWorld(parts));

function refusal(desired: Desired, object: MailObject): { reason: string; message: string } {
  const verdict = desired.verdicts.get(objectKey(object));
  assert.ok(verdict, `${objectKey(object)} has a verdict`);
  assert.ok(!verdict.accepted, `${objectKey(object)} is refused`);
  return verdict;
}
const accepted = (desired: Desired, object: MailObject): void =>
  assert.deepEqual(desired.verdicts.get(objectKey(object)), { accepted: true, warnings: [] });

suite("build: domains, mailboxes, aliases", () => {
  test("the quickstart: a maildir mailbox, its password, role addresses, postmaster", () => {
    const alice = aMailbox({ spec: { passwordSecretRef: { name: "alice" } } });
    const roles = anAlias({
      spec: { addresses: ["Postmaster", "hostmaster@example.org"], destinations: ["alice@example.org"] },
    });
    const desired = build({ objects: [alice, roles], secrets: { "default/alice": { password: "secret\n" } } });
    assert.deepEqual(desired.config.tables.domains, {
      "example.org": {
        class: "Mailbox",
        recipients: "Objects",
        delivery: { kind: "maildir", base: "mail" },
        catchAll: [],
      },
    });
    assert.deepEqual(desired.config.tables.addresses, {
      "alice@example.org": {
        mailbox: { authentication: true, suspended: false, forwardTo: [], keepCopy: true, sendAs: [] },
      },
      "hostmaster@example.org": { alias: { destinations: ["alice@example.org"], senders: [] } },
      "postmaster@example.org": { alias: { destinations: ["alice@example.org"], senders: [] } },
    });
    assert.match(desired.config.secrets.passwords["alice@example.org"] ?? "", /^\$argon2id\$/);
    assert.deepEqual(desired.config.server.postmaster, ["postmaster@example.org"]);
    for (const object of [aMailServer(), aMailDomain(), alice, roles]) accepted(desired, object);
  });

  test("a password that cannot be used turns off authentication, not mail", () => {
    for (const [secrets, reason, said] of [
      [{}, "SecretNotFound", /Secret default\/alice does not exist; create it/],
      [{ "default/alice": { password: "{MD5}xyz" } }, "SecretInvalid", /not a hash in an accepted format/],
      [{ "default/alice": { other: "x" } }, "SecretInvalid", /neither a key "password" nor a key "hash"/],
    ] as const) {
      const alice = aMailbox({ spec: { passwordSecretRef: { name: "alice" } } });
      const desired = build({ objects: [alice], secrets });
      const { reason: given, message } = refusal(desired, alice);
      assert.equal(given, reason);
      assert.match(message, said);
      assert.match(message, /the mailbox gets its mail, but its user cannot authenticate/);
      assert.equal(desired.config.tables.addresses["alice@example.org"]?.mailbox?.authentication, false);
      assert.deepEqual(desired.config.secrets.passwords, {});
    }
  });

  test("authentication Disabled keeps the hash away from the server", () => {
    const desired = build({
      objects: [aMailbox({ spec: { authentication: "Disabled", passwordSecretRef: { name: "alice" } } })],
      secrets: { "default/alice": { password: "x" } },
    });
    assert.deepEqual(desired.config.secrets.passwords, {});
  });

  test("a domain claimed twice is served by the older; the younger and its mailboxes say so, others are untouched", () => {
    const younger = aMailDomain({
      metadata: named("another", YOUNGER),
      spec: { class: "Relay", domain: "Example.ORG" },
    });
    const lost = aMailbox({
      metadata: named("bob"),
      spec: { address: "bob@example.org", domainRef: { name: "another" } },
    });
    const alice = aMailbox();
    const desired = build({ objects: [younger, lost, alice] });
    assert.equal(desired.config.tables.domains["example.org"]?.class, "Mailbox");
    assert.equal(refusal(desired, younger).reason, "Conflict");
    assert.match(
      refusal(desired, younger).message,
      /Domain example\.org is already taken by MailDomain default\/example-org, which is older/,
    );
    assert.equal(refusal(desired, lost).reason, "InvalidReference");
    assert.match(refusal(desired, lost).message, /MailDomain default\/another is not accepted/);
    accepted(desired, alice);
    assert.deepEqual(Object.keys(desired.config.tables.addresses), ["alice@example.org"]);
  });

  test("an address has one owner, mailbox or alias; what else the younger says is in force", () => {
    const alice = aMailbox({ metadata: named("alice", YOUNGER) });
    const alias = anAlias({ spec: { addresses: ["alice", "sales"], destinations: ["bob@example.net"] } });
    const older = build({ objects: [alice, alias] });
    assert.equal(refusal(older, alice).reason, "Conflict");
    assert.match(refusal(older, alice).message, /Address alice@example\.org is already taken by Alias default\/sales/);
    accepted(older, alias);

    const younger = anAlias({
      metadata: named("late", "2026-03-01T00:00:00Z"),
      spec: { addresses: ["alice", "info"], destinations: ["bob@example.net"] },
    });
    const desired = build({ objects: [alice, younger] });
    assert.match(refusal(desired, younger).message, /taken by Mailbox default\/alice/);
    assert.deepEqual(desired.config.tables.addresses["info@example.org"]?.alias?.destinations, ["bob@example.net"]);
    assert.ok(desired.config.tables.addresses["alice@example.org"]?.mailbox);
  });

  test("same age: namespace and name decide", () => {
    const b = aMailbox({ metadata: named("b") });
    const a = aMailbox({ metadata: named("a") });
    const desired = build({ objects: [b, a] });
    accepted(desired, a);
    assert.match(refusal(desired, b).message, /Mailbox default\/a/);
  });

  const wrongAddresses: readonly [why: string, object: MailObject, reason: string, said: RegExp][] = [
    [
      "no such domain object",
      aMailbox({ spec: { domainRef: { name: "nowhere" } } }),
      "InvalidReference",
      /MailDomain default\/nowhere does not exist; create it or correct spec\.domainRef/,
    ],
    [
      "mailbox in another domain",
      aMailbox({ spec: { address: "alice@example.net" } }),
      "InvalidReference",
      /alice@example\.net is not in example\.org/,
    ],
    [
      "alias in another domain",
      anAlias({ spec: { addresses: ["x@example.net"], destinations: ["a@example.org"] } }),
      "InvalidReference",
      /"x@example\.net" is not an address in example\.org/,
    ],
    [
      "a domain that no mail can have",
      anAlias({ spec: { addresses: ["sales"], destinations: ["a@exa!mple"] } }),
      "Invalid",
      /"a@exa!mple" in spec\.destinations is not an address/,
    ],
  ];
  for (const [why, object, reason, said] of wrongAddresses) {
    test(`refused and left out, the rest untouched: ${why}`, () => {
      const bob = aMailbox({ metadata: named("bob"), spec: { address: "bob@example.org" } });
      const desired = build({ objects: [object, bob] });
      assert.equal(refusal(desired, object).reason, reason);
      assert.match(refusal(desired, object).message, said);
      assert.deepEqual(Object.keys(desired.config.tables.addresses), ["bob@example.org"]);
      accepted(desired, bob);
    });
  }

  test("a Mailbox in a domain of class Alias", () => {
    const domain = aMailDomain({ metadata: named("fwd"), spec: { domain: "fwd.example", class: "Alias" } });
    const mailbox = aMailbox({ spec: { address: "a@fwd.example", domainRef: { name: "fwd" } } });
    assert.match(
      refusal(build({ objects: [domain, mailbox] }), mailbox).message,
      /of class Alias and holds no mailboxes/,
    );
  });

  test("@domain in an Alias and catchAll of the MailDomain are one claim", () => {
    const domain = aMailDomain({
      metadata: named("d2"),
      spec: { domain: "example.net", catchAll: ["alice@example.org", "@example.org"] },
    });
    const alias = anAlias({
      metadata: named("all", YOUNGER),
      spec: { domainRef: { name: "d2" }, addresses: ["@example.net"], destinations: ["bob@example.org"] },
    });
    const desired = build({ objects: [domain, alias] });
    assert.deepEqual(desired.config.tables.domains["example.net"]?.catchAll, ["alice@example.org", "@example.org"]);
    assert.match(
      refusal(desired, alias).message,
      /The catch-all of example\.net is already taken by MailDomain default\/d2/,
    );
    const alone = build({ objects: [aMailDomain({ metadata: named("d2"), spec: { domain: "example.net" } }), alias] });
    assert.deepEqual(alone.config.tables.addresses["@example.net"]?.alias?.destinations, ["bob@example.org"]);
  });

  test("entries, senders, relocation, forwarding, suspension, another delivery", () => {
    const alias = anAlias({
      spec: { entries: [{ address: "a", destinations: ["B@Other.Example"], senders: ["alice@Example.org"] }] },
    });
    const moved = anAlias({
      metadata: named("moved"),
      spec: { addresses: ["old"], destinations: [], relocatedTo: "new@example.net" },
    });
    const bob = aMailbox({
      metadata: named("bob"),
      spec: {
        address: "Bob@example.org",
        forwardTo: ["x@example.net"],
        keepCopy: false,
        suspended: true,
        sendAs: ["@example.org", "sales@example.org"],
        delivery: { lmtp: { host: "dovecot" } },
      },
    });
    const { addresses } = build({ objects: [alias, moved, bob] }).config.tables;
    assert.deepEqual(addresses["a@example.org"], {
      alias: { destinations: ["B@other.example"], senders: ["alice@example.org"] },
    });
    assert.deepEqual(addresses["old@example.org"], { relocatedTo: "new@example.net" });
    assert.deepEqual(addresses["bob@example.org"], {
      mailbox: {
        delivery: { kind: "lmtp", host: "dovecot", port: 24 },
        authentication: false,
        suspended: true,
        forwardTo: ["x@example.net"],
        keepCopy: false,
        sendAs: ["@example.org", "sales@example.org"],
      },
    });
  });

  test("where <postmaster> leads", () => {
    const alice = aMailbox();
    const bob = aMailbox({
      metadata: named("bob", "2025-01-01T00:00:00Z"),
      spec: { address: "bob@example.org", passwordSecretRef: { name: "bob" } },
    });
    const secrets = { "default/bob": { password: "x" } };
    assert.deepEqual(build({ objects: [] }).config.server.postmaster, []);
    assert.deepEqual(build({ objects: [alice] }).config.server.postmaster, ["alice@example.org"]);
    assert.deepEqual(
      build({ objects: [alice, bob], secrets }).config.server.postmaster,
      ["bob@example.org"],
      "who can log in is a person",
    );
    assert.deepEqual(build({ objects: [aMailbox({ spec: { suspended: true } })] }).config.server.postmaster, []);
    const set = aMailServer({ spec: { postmaster: ["Ops@Example.net"] } });
    assert.deepEqual(build({ objects: [alice], server: set }).config.server.postmaster, ["Ops@example.net"]);
  });
});

suite("build: namespaces", () => {
  const domain = aMailDomain({
    metadata: named("shop", undefined, "shop"),
    spec: { domain: "shop.example", serverRef: { name: "mx", namespace: "default" } },
  });
  const mailbox = aMailbox({
    metadata: named("a", undefined, "shop"),
    spec: { address: "a@shop.example", domainRef: { name: "shop" } },
  });
  const server = (allowedNamespaces: NonNullable<Parameters<typeof aMailServer>[0]>["spec"]) =>
    aMailServer({ spec: allowedNamespaces ?? {} });
  const selector = {
    matchLabels: { mail: "yes" },
    matchExpressions: [{ key: "stage", operator: "NotIn" as const, values: ["test"] }],
  };
  const cases: readonly [why: string, spec: object, labels: Record<string, string> | undefined, letIn: boolean][] = [
    ["Same", {}, {}, false],
    ["All", { allowedNamespaces: { from: "All" } }, undefined, true],
    ["Selector that fits", { allowedNamespaces: { from: "Selector", selector } }, { mail: "yes" }, true],
    [
      "Selector that does not",
      { allowedNamespaces: { from: "Selector", selector } },
      { mail: "yes", stage: "test" },
      false,
    ],
    ["Selector, labels unknown", { allowedNamespaces: { from: "Selector", selector } }, undefined, false],
  ];
  for (const [why, spec, labels, letIn] of cases) {
    test(`allowedNamespaces ${why}: ${letIn ? "let in" : "kept out"}`, () => {
      const desired = build({
        objects: [domain, mailbox],
        server: server(spec),
        namespaces: labels === undefined ? {} : { shop: labels },
      });
      assert.equal("shop.example" in desired.config.tables.domains, letIn);
      assert.equal("a@shop.example" in desired.config.tables.addresses, letIn);
      if (letIn) accepted(desired, domain);
      else {
        assert.equal(refusal(desired, domain).reason, "NotAllowed");
        assert.match(
          refusal(desired, domain).message,
          /Namespace shop may not use MailServer default\/mx; add it to spec\.allowedNamespaces/,
        );
      }
    });
  }

  test("a Secret is read beside the object that names it, nowhere else", () => {
    const user = aMailbox({
      metadata: named("a", undefined, "shop"),
      spec: { address: "a@shop.example", domainRef: { name: "shop" }, passwordSecretRef: { name: "pw" } },
    });
    const desired = build({
      objects: [domain, user],
      server: server({ allowedNamespaces: { from: "All" } }),
      secrets: { "default/pw": { password: "x" } },
    });
    assert.match(refusal(desired, user).message, /Secret shop\/pw does not exist/);
  });
});

suite("build: outgoing", async () => {
  const client = await aCertificate("client.example.org");

  test("routes by destination and sender, with credentials, certificate and shaping", () => {
    const route = aRoute({
      spec: {
        destinations: ["Partner.example", ".partner.example", "*"],
        senders: ["@shop.example", "Boss@example.org"],
        nextHop: { host: "gw", port: 465, implicitTLS: true },
        credentialsSecretName: "login",
        tls: { clientCertificateSecretName: "client" },
        shaping: { connections: 3, messagesPerConnection: 20, rate: "600/m" },
      },
    });
    const desired = build({
      objects: [route],
      secrets: { "default/login": { username: "u\n", password: Buffer.from("p") }, "default/client": client },
    });
    const entry = {
      delivery: {
        kind: "smtp",
        host: "gw",
        port: 465,
        lookupMX: false,
        implicitTLS: true,
        credentials: "default/login",
      },
      tls: { clientCertificate: "default/client" },
      connections: 3,
      messagesPerConnection: 20,
      rate: { messages: 600, perMs: 60_000 },
    };
    assert.deepEqual(desired.config.tables.routes, { "*": entry, ".partner.example": entry, "partner.example": entry });
    assert.deepEqual(desired.config.tables.senderRoutes, { "@shop.example": entry, "boss@example.org": entry });
    assert.deepEqual(desired.config.secrets.credentials, { "default/login": { username: "u", password: "p" } });
    assert.equal(desired.config.secrets.certificates["default/client"]?.certificate, client["tls.crt"]);
    accepted(desired, route);
  });

  test("missing secrets: the reference stays, so that the mail waits instead of going another way", () => {
    const route = aRoute({ spec: { credentialsSecretName: "login", tls: { clientCertificateSecretName: "client" } } });
    const desired = build({ objects: [route] });
    const { reason, message } = refusal(desired, route);
    assert.equal(reason, "SecretNotFound");
    assert.match(message, /Secret default\/login does not exist.*waits.*Secret default\/client does not exist.*waits/);
    assert.deepEqual(desired.config.tables.routes["partner.example"]?.tls, { clientCertificate: "default/client" });
    assert.deepEqual(desired.config.secrets.credentials, {});
  });

  test("a destination claimed twice goes to the older; the rest of the younger is in force", () => {
    const younger = aRoute({
      metadata: named("late", YOUNGER),
      spec: { destinations: ["partner.example", "other.example"], nextHop: { host: "elsewhere" } },
    });
    const desired = build({ objects: [younger, aRoute()] });
    assert.match(
      refusal(desired, younger).message,
      /Destination partner\.example is already taken by Route default\/partner/,
    );
    assert.equal(
      (desired.config.tables.routes["partner.example"]?.delivery as { host?: string } | undefined)?.host,
      "gateway.partner.example",
    );
    assert.equal(
      (desired.config.tables.routes["other.example"]?.delivery as { host?: string } | undefined)?.host,
      "elsewhere",
    );
  });

  test("a Route for a domain that is delivered here says that it does nothing", () => {
    const route = aRoute({ spec: { destinations: ["example.org"] } });
    assert.match(
      build({ objects: [route] }).verdicts.get(objectKey(route))?.warnings[0] ?? "",
      /example\.org is delivered here/,
    );
  });

  test("TLS policies: keys, versions, ciphers, fingerprints, authority", () => {
    const policy = aTLSPolicy({
      spec: {
        destinations: ["Partner.example", ".partner.example", "[GW.partner.example]:465"],
        level: "Verify",
        match: ["nexthop"],
        protocols: ["TLSv1.3", "TLSv1.2"],
        excludeCiphers: ["RC4"],
        caSecretName: "ca",
      },
    });
    const print = aTLSPolicy({
      metadata: named("print"),
      spec: { destinations: ["print.example"], level: "Fingerprint", fingerprints: ["AB:".repeat(31) + "AB"] },
    });
    const desired = build({ objects: [policy, print], secrets: { "default/ca": { "ca.crt": client["tls.crt"] } } });
    const entry = {
      level: "Verify",
      match: ["nexthop"],
      minVersion: "TLSv1.2",
      ciphers: "DEFAULT:!RC4",
      fingerprints: [],
      authority: "default/ca",
    };
    assert.deepEqual(desired.config.tables.tlsPolicies, {
      ".partner.example": entry,
      "[gw.partner.example]:465": entry,
      "partner.example": entry,
      "print.example": { level: "Fingerprint", match: [], fingerprints: ["ab".repeat(32)] },
    });
    assert.match(desired.config.secrets.authorities["default/ca"] ?? "", /BEGIN CERTIFICATE/);
    accepted(desired, policy);
  });

  test("a TLS policy is never weakened: authority missing and DANEOnly make mail wait, DANE falls back to the default", () => {
    const noCa = aTLSPolicy({ spec: { level: "Verify", caSecretName: "ca" } });
    const daneOnly = aTLSPolicy({
      metadata: named("only"),
      spec: { destinations: ["only.example"], level: "DANEOnly" },
    });
    const dane = aTLSPolicy({ metadata: named("dane"), spec: { destinations: ["dane.example"], level: "DANE" } });
    const desired = build({ objects: [noCa, daneOnly, dane] });
    assert.equal(desired.config.tables.tlsPolicies["partner.example"]?.authority, "default/ca");
    assert.equal(desired.config.tables.tlsPolicies["only.example"]?.level, "DANEOnly");
    assert.equal(desired.config.tables.tlsPolicies["dane.example"], undefined);
    assert.equal(refusal(desired, noCa).reason, "SecretNotFound");
    for (const object of [daneOnly, dane]) assert.equal(refusal(desired, object).reason, "Unsupported");
  });

  test("the shadowed policy learns who decides, the younger of two equals loses", () => {
    const wide = aTLSPolicy({ metadata: named("wide"), spec: { destinations: [".example", "partner.example"] } });
    const narrow = aTLSPolicy({ metadata: named("narrow", YOUNGER), spec: { destinations: ["mx.partner.example"] } });
    const equal = aTLSPolicy({
      metadata: named("equal", YOUNGER),
      spec: { destinations: ["Partner.example"], level: "None" },
    });
    const desired = build({ objects: [equal, narrow, wide] });
    assert.deepEqual(desired.verdicts.get(objectKey(wide))?.warnings, [
      "mx.partner.example is decided by TLSPolicy default/narrow, which is more specific than .example.",
    ]);
    assert.match(
      refusal(desired, equal).message,
      /Destination partner\.example is already taken by TLSPolicy default\/wide/,
    );
    assert.equal(desired.config.tables.tlsPolicies["partner.example"]?.level, "Encrypt");
  });
});

suite("build: who may come in", async () => {
  const valid = await aCertificate("client.example.org", { notAfter: "2026-06-10T00:00:00Z" });
  const expired = await aCertificate("client.example.org", { notAfter: "2026-05-01T00:00:00Z" });

  test("relay client certificates by fingerprint and by Secret, with their end", () => {
    const byPrint = aRelayClientCert({
      spec: {
        fingerprints: [{ algorithm: "SHA256", of: "PublicKey", value: "CD".repeat(32) }],
        allow: { senders: ["@Shop.example"] },
        expires: "2027-01-01T00:00:00+01:00",
      },
    });
    const bySecret = aRelayClientCert({ metadata: named("secret"), spec: { certificateSecretName: "client" } });
    const desired = build({ objects: [byPrint, bySecret], secrets: { "default/client": valid } });
    const [certificate, key] = Object.keys(desired.config.tables.relayClientCerts);
    assert.equal(key, `publickey:${"cd".repeat(32)}`);
    assert.match(certificate ?? "", /^certificate:[0-9a-f]{64}$/);
    assert.deepEqual(desired.config.tables.relayClientCerts[key ?? ""], {
      name: "default/web",
      senders: ["@shop.example"],
      recipients: [],
      expires: "2026-12-31T23:00:00.000Z",
    });
    assert.equal(desired.config.tables.relayClientCerts[certificate ?? ""]?.expires, "2026-06-10T00:00:00.000Z");
    assert.match(
      desired.verdicts.get(objectKey(bySecret))?.warnings[0] ?? "",
      /expires at 2026-06-10T00:00:00\.000Z; renew it/,
    );
    assert.equal(desired.recheckAtMs, Date.UTC(2026, 5, 10), "come back when the first of them ends");
    accepted(desired, byPrint);
  });

  test("what has expired is not rendered and says so", () => {
    for (const object of [
      aRelayClientCert({ spec: { expires: "2026-05-31T23:59:59Z" } }),
      aRelayClientCert({ spec: { certificateSecretName: "client" } }),
    ]) {
      const desired = build({ objects: [object], secrets: { "default/client": expired } });
      assert.deepEqual(desired.config.tables.relayClientCerts, {});
      assert.equal(refusal(desired, object).reason, "Expired");
    }
  });

  test("a list of which every address is wrong lets nobody in, not everybody", () => {
    const object = aRelayClientCert({ spec: { allow: { senders: ["@exa!mple"] } } });
    const desired = build({ objects: [object] });
    assert.deepEqual(desired.config.tables.relayClientCerts, {});
    assert.equal(refusal(desired, object).reason, "Invalid");
  });

  test("a fingerprint has one owner", () => {
    const younger = aRelayClientCert({
      metadata: named("late", YOUNGER),
      spec: { allow: { recipients: ["@example.net"] } },
    });
    const desired = build({ objects: [younger, aRelayClientCert()] });
    assert.equal(refusal(desired, younger).reason, "Conflict");
    assert.equal(desired.config.tables.relayClientCerts[`certificate:${"ab".repeat(32)}`]?.name, "default/web");
  });

  test("access rules: priority, then name; age does not matter", () => {
    const rules = [
      anAccessRule({ metadata: named("c", "2020-01-01T00:00:00Z"), spec: { priority: 5, action: { permit: {} } } }),
      anAccessRule({
        metadata: named("b"),
        spec: {
          priority: 5,
          scope: "Sender",
          match: [{ exact: "<>" }, { exact: "Spam@Example.net" }],
          action: { reject: { text: "No" } },
        },
      }),
      anAccessRule({
        metadata: named("a"),
        spec: {
          priority: 10,
          scope: "Helo",
          match: [{ exact: "LocalHost" }, { domain: "Bad.example" }],
          action: { defer: {} },
        },
      }),
    ];
    assert.deepEqual(build({ objects: rules }).config.server.accessRules, [
      {
        name: "default/b",
        scope: "Sender",
        match: [
          { kind: "exact", value: "<>" },
          { kind: "exact", value: "spam@example.net" },
        ],
        action: { kind: "Reject", text: "No" },
      },
      {
        name: "default/c",
        scope: "Client",
        match: [{ kind: "cidr", value: "198.51.100.0/24" }],
        action: { kind: "Permit" },
      },
      {
        name: "default/a",
        scope: "Helo",
        match: [
          { kind: "exact", value: "localhost" },
          { kind: "domain", value: "bad.example" },
        ],
        action: { kind: "Defer" },
      },
    ]);
  });

  test("a match that means nothing is said; the other matches of the rule are in force", () => {
    const cases = [
      [
        anAccessRule({ spec: { match: [{ cidr: "10.0.0.1/8" }, { cidr: "10.0.0.0/8" }] } }),
        /10\.0\.0\.1\/8 is not a network/,
        "10.0.0.0/8",
      ],
      [
        anAccessRule({ spec: { match: [{ cidr: "::ffff/999" }, { cidr: "2001:DB8::/32" }] } }),
        /::ffff\/999 is not a network/,
        "2001:db8::/32",
      ],
      [
        anAccessRule({ spec: { scope: "Recipient", match: [{ cidr: "10.0.0.0/8" }, { exact: "a@example.org" }] } }),
        /means nothing with scope Recipient/,
        "a@example.org",
      ],
      [
        anAccessRule({ spec: { scope: "Sender", match: [{ exact: "nobody" }, { domain: "example.org" }] } }),
        /"nobody" is not an address, nor <>/,
        "example.org",
      ],
    ] as const;
    for (const [rule, said, left] of cases) {
      const desired = build({ objects: [rule] });
      assert.match(refusal(desired, rule).message, said);
      assert.deepEqual(
        desired.config.server.accessRules[0]?.match.map(({ value }) => value),
        [left],
      );
    }
  });
});

suite("build: the server itself", async () => {
  const good = await aCertificate("mx.example.org");
  const old = await aCertificate("mx.example.org", { notAfter: "2026-05-01T00:00:00Z" });
  const withCertificates = (...names: string[]) =>
    aMailServer({ spec: { tls: { certificates: names.map((secretName) => ({ secretName })) } } });

  test("certificates in their order; an expired one is served and named", () => {
    const server = withCertificates("old", "good", "old");
    const desired = build({ server, secrets: { "default/good": good, "default/old": old } });
    assert.deepEqual(desired.config.secrets.serverCertificates, ["default/old", "default/good"]);
    assert.equal(desired.config.secrets.certificates["default/old"]?.privateKey, old["tls.key"]);
    const verdict = desired.verdicts.get(objectKey(server));
    assert.equal(verdict?.accepted, true);
    assert.match(
      verdict?.warnings[0] ?? "",
      /CertificateExpired: the certificate in Secret default\/old expired at 2026-05-01/,
    );
    assert.equal(desired.recheckAtMs, Date.parse("2049-01-01T00:00:00Z") - 15 * 86_400_000);
  });

  test("a missing or damaged certificate: the last good one stays, the name stays, the sentence says so", () => {
    const server = withCertificates("gone", "damaged");
    const world = aWorld({
      server,
      secrets: { "default/damaged": { "tls.crt": good["tls.crt"], "tls.key": old["tls.key"] } },
    });
    const kept = { certificate: good["tls.crt"], privateKey: good["tls.key"] };
    const desired = buildDesired({ ...world, lastGoodCertificates: new Map([["default/gone", kept]]) });
    assert.deepEqual(desired.config.secrets.serverCertificates, ["default/gone", "default/damaged"]);
    assert.deepEqual(desired.config.secrets.certificates, { "default/gone": kept });
    const { reason, message } = refusal(desired, server);
    assert.equal(reason, "SecretNotFound");
    assert.match(
      message,
      /default\/gone does not exist.*the certificate last read is served.*default\/damaged does not belong.*it is not served/,
    );
  });

  test("every setting arrives, in the units of the server", () => {
    const server = aMailServer({
      spec: {
        listeners: [
          { name: "in", role: "MX", port: 25, tls: { required: true, receivedHeader: false } },
          { name: "plain", role: "MX", port: 2525, tls: { mode: "None", clientCertificates: "Ignore" } },
          {
            name: "users",
            role: "Submission",
            port: 465,
            tls: { mode: "Implicit", clientCertificates: "Require" },
            authenticatedHeader: true,
          },
        ],
        networks: { trusted: ["10.0.0.0/8", "2001:DB8::/32", "192.0.2.7"] },
        limits: {
          messageSize: "1Mi",
          headerSize: 1000,
          recipients: 200,
          connections: 7,
          connectionsPerClient: 3,
          recipientOvershoot: 4,
          connectionRatePerClient: { count: 5, per: "2s" },
          clientPrefix: { ipv4: 24, ipv6: 48 },
          exempt: { networks: ["198.51.100.0/24"] },
          messagesPerConnection: 6,
          junkCommands: 9,
          heloTimeout: "40s",
          minDataRate: 100,
          softErrors: 1,
          hardErrors: 2,
          idleTimeout: "1m30s",
          minFree: "1G",
        },
        queue: {
          minBackoff: "1m",
          maxBackoff: "1h",
          lifetime: "2d",
          bounceLifetime: "1d",
          delayWarning: "4h",
          confirmDelayCleared: true,
          softBounce: true,
          hold: true,
          notify: ["Delay", "Bounce"],
        },
        outbound: {
          heloName: "Out.Example.org",
          relayHost: { host: "smart", port: 587, credentialsSecretName: "login" },
          addressPreference: "IPv6",
          tls: { default: "Encrypt" },
          dns: { resolvers: ["127.0.0.1:5353", "[::1]:53", "2001:DB8::1"] },
          concurrency: { perDestination: 2, total: 9 },
          port: 2500,
          allowPrivateNextHops: true,
          allowedNetworks: ["10.0.0.0/8"],
          deniedNetworks: ["203.0.113.0/24"],
          sourceAddresses: ["198.51.100.7", "2001:DB8::7"],
        },
        restrictions: { strictEnvelopes: true },
        authentication: {
          mechanisms: ["PLAIN", "OAUTHBEARER", "SCRAM-SHA-256"],
          defaultDomain: "Example.org",
          mailboxes: false,
          ldap: {
            urls: ["ldaps://a.example", "ldap://b.example:1389"],
            startTLS: false,
            caSecretName: "missing",
            bindSecretName: "login",
            baseDN: "dc=example",
            scope: "OneLevel",
            filter: "(uid=%u)",
            addressAttribute: "mail",
            timeout: "3s",
          },
          dovecot: { socketPath: "/run/auth", timeout: "7s" },
          failures: { perClient: 1, perUser: 2, window: "1h" },
        },
        addresses: { recipientDelimiters: "+-" },
        tls: { profile: "Modern", sessionTimeout: "1h" },
        configShards: 3,
      },
    });
    const { config } = build({ server, secrets: { "default/login": { username: "u", password: "p" } } });
    assert.equal(config.slices, 3);
    assert.deepEqual(config.server, {
      version: 1,
      name: "default/mx",
      hostname: "mx.example.org",
      listeners: [
        {
          name: "in",
          role: "MX",
          port: 2526,
          tls: { mode: "StartTLS", required: true, clientCertificates: "Ask", receivedHeader: false },
        },
        {
          name: "plain",
          role: "MX",
          port: 2525,
          tls: { mode: "None", required: false, clientCertificates: "Ignore", receivedHeader: true },
        },
        {
          name: "users",
          role: "Submission",
          port: 2465,
          tls: { mode: "Implicit", required: true, clientCertificates: "Require", receivedHeader: true },
          authenticatedHeader: true,
        },
      ],
      tls: { profile: "Modern", sessionTimeoutMs: 3_600_000 },
      trustedNetworks: ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"],
      limits: {
        messageSizeBytes: 1_048_576,
        headerSizeBytes: 1000,
        recipients: 200,
        connections: 7,
        connectionsPerClient: 3,
        recipientOvershoot: 4,
        rates: { connections: { count: 5, perMs: 2000 } },
        clientPrefix: { ipv4: 24, ipv6: 48 },
        exemptNetworks: ["10.0.0.0/8", "192.0.2.7/32", "198.51.100.0/24", "2001:db8::/32"],
        messagesPerConnection: 6,
        junkCommands: 9,
        softErrors: 1,
        hardErrors: 2,
        idleTimeoutMs: 90_000,
        heloTimeoutMs: 40_000,
        minDataRate: 100,
      },
      queue: {
        minBackoffMs: 60_000,
        maxBackoffMs: 3_600_000,
        lifetimeMs: 172_800_000,
        bounceLifetimeMs: 86_400_000,
        delayWarningMs: 14_400_000,
        confirmDelayCleared: true,
        softBounce: true,
        hold: true,
        notify: ["Bounce", "Delay"],
        minFreeBytes: 1_000_000_000,
      },
      outbound: {
        heloName: "out.example.org",
        relayHost: { host: "smart", port: 587, lookupMX: false, implicitTLS: false, credentials: "default/login" },
        addressPreference: "IPv6",
        tlsDefault: "Encrypt",
        resolvers: ["127.0.0.1:5353", "[::1]:53", "2001:db8::1"],
        destinationConcurrency: 2,
        concurrency: 9,
        smtpPort: 2500,
        allowPrivateNextHops: true,
        allowedNetworks: ["10.0.0.0/8"],
        deniedNetworks: ["203.0.113.0/24"],
        sourceAddresses: ["198.51.100.7", "2001:db8::7"],
      },
      recipientDelimiters: "+-",
      rewriting: noRewriting,
      postmaster: [],
      strictEnvelopes: true,
      authentication: {
        mechanisms: ["OAUTHBEARER", "PLAIN", "SCRAM-SHA-256"],
        defaultDomain: "example.org",
        mailboxes: false,
        saltKey: saltKeyOf(server),
        ldap: {
          urls: ["ldaps://a.example", "ldap://b.example:1389"],
          startTls: false,
          authority: "default/missing",
          credentials: "default/login",
          baseDn: "dc=example",
          scope: "OneLevel",
          filter: "(uid=%u)",
          addressAttribute: "mail",
          timeoutMs: 3000,
        },
        dovecot: { target: { kind: "socket", path: "/run/auth" }, timeoutMs: 7000 },
        failures: { perClient: 1, perUser: 2, windowMs: 3_600_000 },
      },
      accessRules: [],
      restrictions: noRestrictions,
      lookups: [],
      policyServices: [],
      debugPeers: [],
      verification: {
        sender: "",
        positive: { expireMs: 2_678_400_000, refreshMs: 604_800_000 },
        negative: { expireMs: 259_200_000, refreshMs: 10_800_000 },
        waitMs: 6000,
        recipientRejectCode: 450,
        senderRejectCode: 450,
      },
    });
  });

  test("wrong networks, resolvers, names and levels are said and left out; a server always comes out", () => {
    const server = aMailServer({
      metadata: { name: "mx.with.dots" },
      spec: {
        hostname: "exa!mple",
        networks: { trusted: ["10.0.0.1/8", "::::", "10.0.0.0/8"] },
        outbound: { dns: { resolvers: ["....", "192.0.2.1:99999"] }, tls: { default: "DANE" } },
        postmaster: ["a@exa!mple"],
      },
    });
    const desired = build({ server, bare: true });
    assert.deepEqual(desired.config.server.trustedNetworks, ["10.0.0.0/8"]);
    assert.deepEqual(desired.config.server.outbound.resolvers, []);
    assert.equal(desired.config.server.outbound.tlsDefault, "May");
    assert.equal(desired.config.server.hostname, "mail.invalid");
    assert.match(refusal(desired, server).message, /And \d more\.$/);
  });

  test("nowMs judges and is never rendered", () => {
    const world = aWorld({
      server: withCertificates("good"),
      objects: [aRelayClientCert({ spec: { expires: "2030-01-01T00:00:00Z" } })],
      secrets: { "default/good": good },
    });
    assert.deepEqual(buildDesired({ ...world, nowMs: NOW_MS + 1e9 }).config, buildDesired(world).config);
  });
});
