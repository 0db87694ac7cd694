import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type TestContext, test } from "node:test";
import { TLSSocket } from "node:tls";
import type { LiveConfig, TlsPolicyEntry } from "../config/schema.ts";
import { aResolver } from "../dns/dns-fixture.ts";
import type { Transport } from "../route/resolve.ts";
import type { DeliveryReport } from "./deliver.ts";
import { aCertificate, aJob, aLiveConfig, aMessage, aPeer, aScript, delivering, politely } from "./outbound-fixture.ts";
import { policyFor } from "../route/tls-policy.ts";
import { requirementFor } from "./tls-requirement.ts";

const certificate = await aCertificate("mail.dom.test", "*.wild.test", "dom.test");

const policy = (more: Partial<TlsPolicyEntry>): TlsPolicyEntry => ({
  level: "May",
  match: [],
  fingerprints: [],
  ...more,
});
const withTls = { cert: certificate.certificate, key: certificate.privateKey, disabledCommands: [] };
const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");
const authorities = new Map([["default/ca", certificate.certificate]]);

/** Deliver to dom.test, whose exchange mail.dom.test is the peer, under this policy. */
async function underPolicy(
  t: TestContext,
  port: number,
  entry: TlsPolicyEntry | undefined,
  secrets: Partial<LiveConfig> = {},
): Promise<DeliveryReport> {
  const resolver = await aResolver(t, {
    "dom.test MX": [{ preference: 0, exchange: "mail.dom.test" }],
    "mail.dom.test A": ["127.0.0.1"],
  });
  const config = aLiveConfig(
    { tlsPolicies: entry === undefined ? {} : { "dom.test": entry } },
    { outbound: { smtpPort: port, allowPrivateNextHops: true } },
    { authorities, ...secrets },
  );
  const transport: Transport = {
    delivery: { kind: "mx", domain: "dom.test" },
    destination: "mx:dom.test",
    tlsPolicyKey: "dom.test",
  };
  return await delivering(t, {}, resolver)(aJob(config, transport, aMessage(["a@dom.test"])));
}
const said = ({ outcomes: [outcome] }: DeliveryReport): string =>
  outcome === undefined ? "nothing" : `${outcome.kind} ${outcome.reply.code} ${outcome.reply.enhanced}`;

const strangers = "0".repeat(64);
const levels: readonly [
  what: string,
  entry: TlsPolicyEntry | undefined,
  expected: string,
  secure: boolean | undefined,
][] = [
  ["no policy, default May", undefined, "delivered 250 2.0.0", true],
  ["None", policy({ level: "None" }), "delivered 250 2.0.0", false],
  ["May", policy({}), "delivered 250 2.0.0", true],
  ["Encrypt takes any certificate", policy({ level: "Encrypt" }), "delivered 250 2.0.0", true],
  ["Verify by the exchange's name", policy({ level: "Verify", authority: "default/ca" }), "delivered 250 2.0.0", true],
  ["Verify without knowing the authority", policy({ level: "Verify" }), "failed 451 4.7.5", undefined],
  [
    "Verify by another name",
    policy({ level: "Verify", authority: "default/ca", match: ["other.test"] }),
    "failed 451 4.7.5",
    undefined,
  ],
  [
    "Verify by a wildcard",
    policy({ level: "Verify", authority: "default/ca", match: ["a.wild.test"] }),
    "delivered 250 2.0.0",
    true,
  ],
  ["Secure by the next hop's name", policy({ level: "Secure", authority: "default/ca" }), "delivered 250 2.0.0", true],
  [
    "Secure by parent",
    policy({ level: "Secure", authority: "default/ca", match: [".dom.test"] }),
    "delivered 250 2.0.0",
    true,
  ],
  [
    "Secure by a parent it is not below",
    policy({ level: "Secure", authority: "default/ca", match: [".om.test"] }),
    "failed 451 4.7.5",
    undefined,
  ],
  [
    "Fingerprint of the certificate",
    policy({ level: "Fingerprint", fingerprints: [strangers, sha256(certificate.der)] }),
    "delivered 250 2.0.0",
    true,
  ],
  [
    "Fingerprint of the key",
    policy({ level: "Fingerprint", fingerprints: [sha256(certificate.spki)] }),
    "delivered 250 2.0.0",
    true,
  ],
  [
    "Fingerprint of somebody else",
    policy({ level: "Fingerprint", fingerprints: [strangers] }),
    "failed 451 4.7.5",
    undefined,
  ],
  ["Fingerprint without any", policy({ level: "Fingerprint" }), "failed 451 4.7.5", undefined],
  [
    "an authority that is not there",
    policy({ level: "Verify", authority: "default/gone" }),
    "failed 451 4.7.5",
    undefined,
  ],
  ["DANE, not built yet", policy({ level: "DANE" }), "failed 451 4.7.5", undefined],
  ["DANEOnly, not built yet", policy({ level: "DANEOnly" }), "failed 451 4.7.5", undefined],
  ["a version the server has not", policy({ level: "Encrypt", minVersion: "TLSv1.3" }), "failed 451 4.7.5", undefined],
];
for (const [what, entry, expected, secure] of levels) {
  test(`TLS level ${what}: ${expected}`, async (t) => {
    const peer = await aPeer(t, { ...withTls, ...(entry?.minVersion === undefined ? {} : { maxVersion: "TLSv1.2" }) });
    assert.equal(said(await underPolicy(t, peer.port, entry)), expected);
    assert.equal(peer.received[0]?.secure, secure);
  });
}

test("a server without STARTTLS: fine for May, never for Encrypt", async (t) => {
  const peer = await aPeer(t);
  assert.equal(said(await underPolicy(t, peer.port, policy({}))), "delivered 250 2.0.0");
  assert.equal(said(await underPolicy(t, peer.port, policy({ level: "Encrypt" }))), "failed 451 4.7.4");
  assert.equal(peer.received.length, 1);
});

test("May: a handshake that fails is tried once more in plaintext, in a new connection; Encrypt is not", async (t) => {
  const script = await aScript(t, "220 hi\r\n", (line, socket) => {
    if (line !== "STARTTLS") return politely({ EHLO: "250-peer\r\n250 STARTTLS\r\n" })(line);
    socket.write("220 go\r\n");
    socket.removeAllListeners("data");
    socket.end("this is no TLS\r\n");
    return "";
  });
  const plain = await underPolicy(t, script.port, policy({}));
  assert.equal(said(plain), "delivered 250 2.0.0");
  assert.equal(plain.outcomes[0]?.tls, undefined);
  assert.equal(script.connections, 2);
  assert.match(said(await underPolicy(t, script.port, policy({ level: "Encrypt" }))), /^failed 451 4\.7\./);
  assert.equal(script.connections, 3);
});

test("STARTTLS refused with 454: May goes on in the same session", async (t) => {
  const script = await aScript(
    t,
    "220 hi\r\n",
    politely({ EHLO: "250-peer\r\n250 STARTTLS\r\n", STARTTLS: "454 4.7.0 not now\r\n" }),
  );
  assert.equal(said(await underPolicy(t, script.port, policy({}))), "delivered 250 2.0.0");
  assert.equal(script.connections, 1);
  assert.equal(said(await underPolicy(t, script.port, policy({ level: "Encrypt" }))), "failed 451 4.7.4");
});

test("what is injected before the handshake is forgotten: a plaintext 250 never answers a command sent over TLS", async (t) => {
  const commands: string[] = [];
  const script = await aScript(t, "220 hi\r\n", (line, socket) => {
    if (line !== "STARTTLS") return politely({ EHLO: "250-peer\r\n250 STARTTLS\r\n" })(line);
    socket.removeAllListeners("data");
    // The attacker's bytes ride in the same segment as the 220: extensions and a yes to everything.
    socket.write("220 go\r\n250-peer\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 injected\r\n");
    const secure = new TLSSocket(socket, {
      isServer: true,
      cert: certificate.certificate,
      key: certificate.privateKey,
    });
    secure.on("error", () => undefined);
    secure.on("data", (data: Buffer) => {
      for (const command of data
        .toString()
        .split("\r\n")
        .filter((each) => each !== "")) {
        commands.push(command);
        secure.write(command.startsWith("EHLO") ? "250 peer\r\n" : "550 5.7.1 over TLS\r\n");
      }
    });
    return "";
  });
  const report = await underPolicy(t, script.port, policy({ level: "Encrypt" }));
  assert.equal(said(report), "failed 550 5.7.1");
  assert.deepEqual(commands.slice(0, 2), ["EHLO mx.example.org", "MAIL FROM:<sender@example.org>"]);
});

test("implicit TLS, credentials only over TLS or loopback, and a refused login is our trouble", async (t) => {
  const login = { disabledCommands: ["STARTTLS"], authOptional: false, allowInsecureAuth: true } as const;
  const peer = await aPeer(t, {
    ...withTls,
    ...login,
    disabledCommands: [],
    secure: true,
    onAuth: ({ username, password }, _session, done) =>
      done(null, password === "right" ? { user: username ?? "" } : {}),
  });
  const delivery = {
    kind: "smtp" as const,
    host: "localhost",
    port: peer.port,
    lookupMX: false,
    implicitTLS: true,
    credentials: "default/c",
  };
  const attempt = async (password: string | undefined, destination: string): Promise<string> => {
    const credentials = new Map(password === undefined ? [] : [["default/c", { username: "me", password }]]);
    const report = await delivering(t)(
      aJob(aLiveConfig({}, {}, { credentials }), { delivery, destination }, aMessage(["a@x.test"])),
    );
    assert.ok(!JSON.stringify(report).includes("wrong-secret"));
    return said(report);
  };
  assert.equal(await attempt("right", "one"), "delivered 250 2.0.0");
  assert.equal(peer.received[0]?.user, "me");
  assert.equal(await attempt("wrong-secret", "two"), "failed 454 4.7.0");
  assert.equal(await attempt(undefined, "three"), "failed 454 4.7.0");
  const silent = await aScript(t, "220 hi\r\n", politely());
  const noAuth = { ...delivery, port: silent.port, implicitTLS: false };
  const credentials = new Map([["default/c", { username: "me", password: "p" }]]);
  assert.equal(
    said(await delivering(t)(aJob(aLiveConfig({}, {}, { credentials }), { delivery: noAuth }, aMessage(["a@x.test"])))),
    "failed 454 4.7.0",
  );
  assert.ok(!silent.lines.some((line) => line.startsWith("AUTH")));
});

test("a client certificate is shown where the route names one", async (t) => {
  const peer = await aPeer(t, {
    ...withTls,
    requestCert: true,
    rejectUnauthorized: false,
    ca: [certificate.certificate],
  });
  const certificates = new Map([
    ["default/me", { certificate: certificate.certificate, privateKey: certificate.privateKey }],
  ]);
  const delivery = { kind: "smtp" as const, host: "127.0.0.1", port: peer.port, lookupMX: false, implicitTLS: false };
  const config = aLiveConfig({}, {}, { certificates });
  assert.equal(
    said(await delivering(t)(aJob(config, { delivery, clientCertificate: "default/me" }, aMessage(["a@x.test"])))),
    "delivered 250 2.0.0",
  );
  assert.equal(
    said(await delivering(t)(aJob(config, { delivery, clientCertificate: "default/gone" }, aMessage(["a@x.test"])))),
    "failed 451 4.7.5",
  );
});

test("REQUIRETLS: only to a server that knows it, over verified TLS", async (t) => {
  const peer = await aPeer(t, withTls);
  const delivery = { kind: "smtp" as const, host: "127.0.0.1", port: peer.port, lookupMX: false, implicitTLS: false };
  const message = aMessage(["a@x.test"], { envelope: { requireTls: true } });
  const unverified = await delivering(t)(aJob(aLiveConfig(), { delivery }, message));
  assert.equal(said(unverified), "failed 451 4.7.5");
  const trusting = aLiveConfig(
    {
      tlsPolicies: { "[127.0.0.1]:1": policy({ level: "Verify", authority: "default/ca", match: ["mail.dom.test"] }) },
    },
    {},
    { authorities },
  );
  const unknown = await delivering(t)(aJob(trusting, { delivery, tlsPolicyKey: "[127.0.0.1]:1" }, message));
  assert.equal(said(unknown), "failed 550 5.7.30");
});

test("a session is never shared with mail that needs more", async (t) => {
  const peer = await aPeer(t, withTls);
  const delivery = { kind: "smtp" as const, host: "127.0.0.1", port: peer.port, lookupMX: false, implicitTLS: false };
  const deliver = delivering(t);
  const transport = { delivery, destination: "same", tlsPolicyKey: "p" };
  await deliver(
    aJob(aLiveConfig({ tlsPolicies: { p: policy({ level: "None" }) } }), transport, aMessage(["a@x.test"])),
  );
  await deliver(
    aJob(aLiveConfig({ tlsPolicies: { p: policy({ level: "Encrypt" }) } }), transport, aMessage(["a@x.test"])),
  );
  assert.deepEqual(
    peer.received.map(({ secure }) => secure),
    [false, true],
  );
});

test("the policy of a domain: exact, then its parents, and next hops have none", () => {
  const config = aLiveConfig({
    tlsPolicies: {
      "a.b.test": policy({ level: "Secure" }),
      ".b.test": policy({ level: "Verify" }),
      ".test": policy({ level: "Encrypt" }),
      "[h.b.test]:25": policy({ level: "None" }),
    },
  });
  const level = (key: string) => policyFor(config, key)?.level;
  assert.deepEqual(
    ["a.b.test", "c.b.test", "x.c.b.test", "b.test", "other", "[h.b.test]:25", "[h.b.test]:587"].map(level),
    ["Secure", "Verify", "Verify", "Encrypt", undefined, "None", undefined],
  );
  const unix: Transport = { delivery: { kind: "lmtp-socket", path: "/x" }, destination: "x", tlsPolicyKey: "" };
  const required = requirementFor(aLiveConfig({}, { outbound: { tlsDefault: "Secure" } }), unix, { requireTls: false });
  assert.ok(required.kind === "required" && required.requirement.level === "None");
});
