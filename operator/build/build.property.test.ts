import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import fc from "fast-check";
import { API_VERSION, parseObject } from "../../crds/kinds.ts";
import { renderFiles } from "../../server/config/files.ts";
import { loadConfig } from "../../server/config/load.ts";
import { writeConfigFolder } from "../local/config-folder.ts";
import { buildDesired } from "./build.ts";
import { buildObjects } from "./objects.ts";
import { aCertificate } from "./sample-certificate.ts";
import { NOW_MS } from "./sample-world.ts";
import { type MailObject, type MailServer, objectKey, type SecretData, type World } from "./world.ts";
import { worldOf } from "./world-of.ts";

const certificate = await aCertificate("mx.example.org");
const bcrypt = "$2b$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";

/** Few names, so that objects meet: conflicts, references that resolve and references that do not. */
const name = fc.constantFrom("a", "b", "c", "d");
const namespace = fc.constantFrom("default", "default", "shop");
const odd = fc.string({ unit: "grapheme", maxLength: 12 });
const domain = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      "example.org",
      "Example.ORG.",
      "shop.example",
      "münchen.example",
      "__proto__",
      "constructor.example",
      "exa!mple",
    ),
  },
  { weight: 1, arbitrary: odd },
);
const local = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("alice", "Alice", "bob", "postmaster", "__proto__", '"q r"') },
  { weight: 1, arbitrary: odd },
);
const address = fc.tuple(local, domain).map(([left, right]) => `${left}@${right}`);
const addressOrDomain = fc.oneof(
  address,
  domain.map((text) => `@${text}`),
);
const some = <T>(item: fc.Arbitrary<T>, maxLength = 3) => fc.array(item, { maxLength });
const reference = fc.record({ name, namespace }, { requiredKeys: ["name"] });
const optional = <T extends object>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }, required: (keyof T)[] = []) =>
  fc.record(model, { requiredKeys: required });
const port = fc.constantFrom(24, 25, 465, 587, 2525, 9125, 65_535);

const delivery = fc.oneof(
  fc.constant({ maildir: {} }),
  fc.constant({ discard: {} }),
  fc.constant({ error: { code: 450, enhancedCode: "4.2.0" } }),
  port.map((number) => ({ lmtp: { host: "dovecot", port: number } })),
  fc.constant({ lmtp: { socketPath: "/run/lmtp" } }),
  name.map((secret) => ({ smtp: { host: "next", credentialsSecretName: secret } })),
);
const specs: Readonly<Record<Exclude<MailObject["kind"], "MailServer">, fc.Arbitrary<object>>> = {
  MailDomain: optional(
    {
      domain,
      serverRef: fc.constant({ name: "mx", namespace: "default" }),
      class: fc.constantFrom("Mailbox", "Alias", "Relay"),
      delivery,
      catchAll: some(addressOrDomain),
      recipients: fc.constantFrom({ from: "Objects" }, { from: "Any" }),
    },
    ["domain", "serverRef", "class"],
  ),
  Mailbox: optional(
    {
      address,
      domainRef: reference,
      passwordSecretRef: optional({ name, key: fc.constantFrom("password", "hash", "other") }, ["name"]),
      sendAs: some(addressOrDomain),
      forwardTo: some(address),
      suspended: fc.boolean(),
      delivery,
    },
    ["address", "domainRef"],
  ),
  Alias: optional(
    {
      domainRef: reference,
      addresses: some(fc.oneof(local, address, addressOrDomain)),
      destinations: some(address),
      entries: some(
        fc.record({
          address: fc.oneof(local, address),
          destinations: fc.array(address, { minLength: 1, maxLength: 2 }),
        }),
      ),
    },
    ["domainRef"],
  ),
  TLSPolicy: optional(
    {
      destinations: fc.array(
        fc.oneof(
          domain,
          domain.map((text) => `.${text}`),
          fc.constant("[Host]:25"),
          fc.constant("[h]:99999"),
          fc.constant("[h]"),
        ),
        { minLength: 1, maxLength: 3 },
      ),
      serverRef: fc.constant({ name: "mx", namespace: "default" }),
      level: fc.constantFrom("None", "May", "Encrypt", "DANE", "DANEOnly", "Verify", "Secure"),
      caSecretName: name,
      protocols: some(fc.constantFrom("TLSv1.2", "TLSv1.3")),
      excludeCiphers: some(fc.constantFrom("RC4", "aNULL")),
    },
    ["destinations", "level"],
  ),
  RelayClientCert: fc.oneof(
    optional(
      {
        serverRef: fc.constant({ name: "mx", namespace: "default" }),
        fingerprints: fc
          .constantFrom("ab", "CD")
          .map((hex) => [{ algorithm: "SHA256", of: "Certificate", value: hex.repeat(32) }]),
        allow: fc.record({ senders: some(addressOrDomain), recipients: some(addressOrDomain) }),
        expires: fc.constantFrom("2020-01-01T00:00:00Z", "2030-01-01T00:00:00+02:00"),
      },
      ["serverRef", "fingerprints"],
    ),
    fc.record({ serverRef: fc.constant({ name: "mx", namespace: "default" }), certificateSecretName: name }),
  ),
  AccessRule: fc.record({
    serverRef: fc.constant({ name: "mx", namespace: "default" }),
    scope: fc.constantFrom("Client", "Helo", "Sender", "Recipient"),
    priority: fc.integer({ min: 0, max: 3 }),
    match: fc.array(
      fc.oneof(
        fc.record({ exact: fc.oneof(address, domain) }),
        fc.record({ domain }),
        fc.record({ cidr: fc.constantFrom("10.0.0.0/8", "10.0.0.1/8", "::1", "::ffff:1.2.3.4/96", "::/129", "1.2.3") }),
      ),
      { minLength: 1, maxLength: 3 },
    ),
    action: fc.constantFrom({ permit: {} }, { reject: { text: "no" } }, { defer: {} }, { discard: {} }, { dunno: {} }),
  }),
  Route: optional(
    {
      destinations: some(
        fc.oneof(
          domain,
          domain.map((text) => `.${text}`),
          fc.constant("*"),
        ),
      ),
      senders: some(addressOrDomain),
      serverRef: fc.constant({ name: "mx", namespace: "default" }),
      transport: fc.constantFrom("SMTP", "LMTP", "Hold", "Discard", "Error"),
      nextHop: optional({ host: fc.constant("gw"), port, lookupMX: fc.boolean() }, ["host"]),
      credentialsSecretName: name,
      tls: name.map((secret) => ({ clientCertificateSecretName: secret })),
    },
    ["serverRef"],
  ),
};
const serverSpec = optional(
  {
    hostname: domain,
    postmaster: some(address),
    networks: fc.record({ trusted: some(fc.constantFrom("10.0.0.0/8", "10.0.0.1/8", "::::", "2001:DB8::/32")) }),
    tls: fc.record({ certificates: some(fc.record({ secretName: name })) }),
    allowedNamespaces: fc.constantFrom(
      { from: "Same" },
      { from: "All" },
      { from: "Selector", selector: { matchLabels: { mail: "yes" } } },
    ),
    limits: fc.record({
      messageSize: fc.constantFrom("50Mi", 1, "999999999999999Ti"),
      idleTimeout: fc.constantFrom("0", "5m", "999999999w"),
    }),
    outbound: fc.record(
      {
        dns: fc.record({ resolvers: some(fc.constantFrom("127.0.0.1", "[::1]:53", "....", "1.1.1.1:0")) }),
        relayHost: fc.record({ host: fc.constant("smart"), credentialsSecretName: name }),
      },
      { requiredKeys: [] },
    ),
    configShards: fc.integer({ min: 1, max: 5 }),
  },
  ["hostname"],
);
const secret: fc.Arbitrary<SecretData> = fc.oneof(
  fc.constant({
    password: bcrypt,
    username: "u",
    "tls.crt": certificate["tls.crt"],
    "tls.key": certificate["tls.key"],
  } as SecretData),
  fc.constant({ hash: bcrypt, "ca.crt": certificate["tls.crt"] } as SecretData),
  // Every odd value looks like a hash: hashing plaintexts would make this test slow, and passwords.test.ts has them.
  fc.dictionary(
    fc.constantFrom("password", "hash", "username", "tls.crt", "tls.key", "ca.crt"),
    fc.oneof(
      odd.map((text) => `{SSHA}${text}`),
      fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.concat([Buffer.from("$6$"), bytes, Buffer.from("$")])),
    ),
  ),
);

const created = fc.constantFrom("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", undefined);
const objectOf = (kind: keyof typeof specs) =>
  fc.tuple(name, namespace, created, specs[kind]).map(([objectName, inNamespace, creationTimestamp, spec]) =>
    parsed(
      kind,
      {
        name: objectName,
        namespace: inNamespace,
        uid: "u",
        ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
      },
      spec,
    ),
  );

/** undefined for what the API server would not have stored. */
function parsed(kind: MailObject["kind"], metadata: object, spec: object): MailObject | undefined {
  const result = parseObject({ apiVersion: API_VERSION, kind, metadata, spec });
  return result.ok ? result.object : undefined;
}

const world: fc.Arbitrary<World> = fc
  .record({
    server: serverSpec
      .map((spec) => parsed("MailServer", { name: "mx", namespace: "default", uid: "u" }, spec))
      .filter((object): object is MailServer => object?.kind === "MailServer"),
    objects: fc.array(fc.oneof(...(Object.keys(specs) as (keyof typeof specs)[]).map(objectOf)), { maxLength: 24 }),
    secrets: fc.dictionary(
      fc
        .tuple(fc.constantFrom("default", "shop"), name)
        .map(([inNamespace, secretName]) => `${inNamespace}/${secretName}`),
      secret,
    ),
    namespaces: fc.constantFrom(new Map(), new Map([["shop", { mail: "yes" }]])),
  })
  .map(({ server, objects, secrets, namespaces }) => {
    const unique = new Map(
      objects.flatMap((object) => (object === undefined ? [] : [[objectKey(object), object] as const])),
    );
    return worldOf(server, unique.values(), { secrets: new Map(Object.entries(secrets)), namespaces, nowMs: NOW_MS });
  });

const reversed = (w: World): World => ({
  ...w,
  domains: w.domains.toReversed(),
  mailboxes: w.mailboxes.toReversed(),
  aliases: w.aliases.toReversed(),
  tlsPolicies: w.tlsPolicies.toReversed(),
  relayClientCerts: w.relayClientCerts.toReversed(),
  accessRules: w.accessRules.toReversed(),
  routes: w.routes.toReversed(),
  secrets: new Map([...w.secrets].reverse()),
});

suite("build: whatever comes in", () => {
  test("a configuration comes out that the server's schema takes, with a verdict on every object", () => {
    let refused = 0;
    let taken = 0;
    fc.assert(
      fc.property(world, (w) => {
        const desired = buildDesired(w);
        assert.ok(renderFiles(desired.config).size > 0);
        for (const object of [
          w.server,
          ...w.domains,
          ...w.mailboxes,
          ...w.aliases,
          ...w.tlsPolicies,
          ...w.relayClientCerts,
          ...w.accessRules,
          ...w.routes,
        ]) {
          const verdict = desired.verdicts.get(objectKey(object));
          assert.ok(verdict !== undefined);
          if (verdict.accepted) taken++;
          else {
            refused++;
            assert.match(verdict.message, /\S.*\.$/s, "a refusal is a sentence");
          }
        }
      }),
      { numRuns: 300 },
    );
    assert.ok(refused > 50 && taken > 50, `the worlds are varied: ${refused} refused, ${taken} taken`);
  });

  test("the order of the objects does not matter, in a byte", () => {
    fc.assert(
      fc.property(world, (w) => {
        const [one, other] = [buildDesired(w), buildDesired(reversed(w))];
        assert.deepEqual([...renderFiles(one.config)], [...renderFiles(other.config)]);
        for (const [key, verdict] of one.verdicts) assert.deepEqual(other.verdicts.get(key), verdict, key);
        const options = { operatorNamespace: "packetboat-system", image: "image" };
        assert.equal(
          JSON.stringify(buildObjects(w, one.config, options)),
          JSON.stringify(buildObjects(reversed(w), other.config, options)),
        );
      }),
      { numRuns: 150 },
    );
  });

  test("what the operator writes, the server reads", async () => {
    const folder = await mkdtemp(join(tmpdir(), "packetboat-build-"));
    try {
      await fc.assert(
        fc.asyncProperty(world, async (w) => {
          const { config } = buildDesired(w);
          await writeConfigFolder(folder, renderFiles(config));
          const loaded = await loadConfig(folder);
          assert.equal(loaded.kind, "loaded", JSON.stringify(loaded));
          if (loaded.kind !== "loaded") return;
          const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
          const table = (map: ReadonlyMap<string, unknown>): unknown =>
            plain(Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1))));
          assert.deepEqual(loaded.config.server, plain(config.server));
          for (const key of [
            "domains",
            "addresses",
            "routes",
            "senderRoutes",
            "tlsPolicies",
            "relayClientCerts",
          ] as const)
            assert.deepEqual(table(loaded.config[key]), plain(config.tables[key]), key);
          for (const key of ["passwords", "credentials", "certificates", "authorities"] as const)
            assert.deepEqual(table(loaded.config[key]), plain(config.secrets[key]), key);
          assert.deepEqual(loaded.config.serverCertificates, config.secrets.serverCertificates);
        }),
        { numRuns: 60 },
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test("taking an object away never changes what others older than it get", () => {
    fc.assert(
      fc.property(world, (w) => {
        const youngest = { ...aged(w.mailboxes[0]) };
        if (youngest.metadata === undefined) return;
        const before = buildDesired({ ...w, mailboxes: w.mailboxes.slice(1) });
        const after = buildDesired({
          ...w,
          mailboxes: [youngest as World["mailboxes"][number], ...w.mailboxes.slice(1)],
        });
        for (const [key, entry] of Object.entries(before.config.tables.addresses))
          assert.deepEqual(after.config.tables.addresses[key], entry, key);
      }),
      { numRuns: 100 },
    );
  });
});

const aged = (mailbox: World["mailboxes"][number] | undefined): Partial<World["mailboxes"][number]> =>
  mailbox === undefined
    ? {}
    : {
        ...mailbox,
        metadata: { ...mailbox.metadata, name: "zzz", namespace: "zzz", creationTimestamp: "2999-01-01T00:00:00Z" },
      };
