/** TLS and authentication over real handshakes. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { before, test } from "node:test";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { createHash } from "node:crypto";
import type { LiveConfig } from "../config/schema.ts";
import {
  aCertificate,
  aConfig,
  aListener,
  aMailbox,
  aServer,
  play,
  type TestCertificate,
  TestClient,
  type TestServer,
} from "./inbound-fixture.ts";

let ec: TestCertificate;
let rsa: TestCertificate;
let other: TestCertificate;
let expired: TestCertificate;
let clientCertificate: TestCertificate;
before(async () => {
  ec = await aCertificate(["mx.example.org", "*.example.org"]);
  rsa = await aCertificate(["mx.example.org"], { type: "rsa" });
  other = await aCertificate(["mail.example.com"]);
  expired = await aCertificate(["mx.example.org"], { notAfter: new Date("2020-01-01") });
  clientCertificate = await aCertificate(["partner.example"]);
});

/** The password of alice is `secret`. */
const argon2 = "$argon2id$v=19$m=256,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$0CUPvSealRO6hhNZEKwrvKKRV3txZJhLCQ+/ZkQFl7g";
const plain = (user: string, password: string): string =>
  `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}`;

function secureConfig(
  certificates: Record<string, TestCertificate> = { own: ec },
  server: Parameters<typeof aConfig>[1] = {},
): LiveConfig {
  return aConfig(
    {
      certificates: new Map(Object.entries(certificates)),
      serverCertificates: Object.keys(certificates),
      addresses: new Map([
        ["alice@example.org", aMailbox()],
        ["disabled@example.org", aMailbox({ authentication: false })],
        ["suspended@example.org", aMailbox({ suspended: true })],
        ["broken@example.org", aMailbox()],
      ]),
      passwords: new Map([
        ["alice@example.org", argon2],
        ["disabled@example.org", argon2],
        ["suspended@example.org", argon2],
        ["broken@example.org", "{MD5}nonsense"],
      ]),
    },
    {
      listeners: [
        aListener(),
        aListener({ name: "submission", role: "Submission" }),
        aListener({ name: "submissions", role: "Submission", tls: { mode: "Implicit" } }),
      ],
      ...server,
    },
  );
}

/** The certificate a new handshake shows on the implicit listener. */
async function shown(
  server: TestServer,
  options: ConnectionOptions = {},
): Promise<{ names: string; protocol: string | null; type: string | undefined }> {
  const client = await TestClient.connect(server.port("submissions"), { tls: options });
  await client.reply();
  const socket = client.socket as TLSSocket;
  const x509 = new X509Certificate(socket.getPeerCertificate().raw);
  const protocol = socket.getProtocol();
  client.close();
  return { names: x509.subjectAltName ?? "", protocol, type: x509.publicKey.asymmetricKeyType };
}

test("STARTTLS, and everything before it is forgotten", { timeout: 10_000 }, async () => {
  await using server = await aServer(secureConfig());
  const client = await play(
    server.port(),
    `S: 220 *
     C: EHLO one
     S: 250-*
     S: 250-PIPELINING
     S: 250-SIZE *
     S: 250-STARTTLS
     S: 250-ENHANCEDSTATUSCODES
     S: 250-8BITMIME
     S: 250-CHUNKING
     S: 250-DSN
     S: 250 SMTPUTF8
     C: MAIL FROM:<bob@example.com>
     S: 250 *
     C: STARTTLS now
     S: 501 5.5.4 *
     C: STARTTLS
     S: 220 2.0.0 Ready to start TLS
     TLS
     C: MAIL FROM:<bob@example.com>
     S: 503 5.5.1 Send HELO or EHLO first
     C: EHLO two
     S: 250-*
     S: 250-PIPELINING
     S: 250-SIZE *
     S: 250-ENHANCEDSTATUSCODES
     S: 250-8BITMIME
     S: 250-CHUNKING
     S: 250-DSN
     S: 250 SMTPUTF8
     C: RCPT TO:<alice@example.org>
     S: 503 5.5.1 Need MAIL command
     C: STARTTLS
     S: 503 5.5.1 TLS is already active
     C: MAIL FROM:<bob@example.com>
     S: 250 *
     C: RCPT TO:<alice@example.org>
     S: 250 *
     C: DATA
     S: 354 *
     C: .
     S: 250 *
     C: QUIT
     S: 221 *`,
  );
  client.close();
  const text = server.queue.stored[0]?.content.toString() ?? "";
  assert.match(
    text,
    /^Received: from two \(client\.example\.net \[127\.0\.0\.1\]\)\r\n\t\(using TLSv1\.3 with cipher TLS_\w+ \((?:128\/128|256\/256) bits\)\)\r\n\tby mx\.example\.org \(Packetboat\) with ESMTPS id /,
  );
  assert.ok(server.lines.some(({ event, protocol }) => event === "tls" && protocol === "TLSv1.3"));
});

test("commands sent in the clear behind STARTTLS are never run", { timeout: 10_000 }, async () => {
  await using server = await aServer(secureConfig());
  const client = await play(
    server.port(),
    `S: 220 *
     C! "STARTTLS\\r\\nEHLO injected\\r\\nMAIL FROM:<injected@example.com>\\r\\nRCPT TO:<alice@example.org>\\r\\n"
     S: 220 *
     TLS
     C: EHLO mine
     S: 250-mx.example.org
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250 SMTPUTF8
     C: RCPT TO:<alice@example.org>
     S: 503 5.5.1 Need MAIL command
     C: QUIT
     S: 221 *`,
  );
  client.close();
});

test("a broken handshake ends the connection and nothing else", { timeout: 10_000 }, async () => {
  await using server = await aServer(secureConfig());
  const client = await play(server.port(), "S: 220 *\nC: STARTTLS\nS: 220 *");
  client.send("this is not a handshake, it is a long enough text to be an error\r\n");
  // An alert may come before the end; no reply does.
  for (let line = await client.line(); line !== undefined; line = await client.line())
    assert.doesNotMatch(line, /^\d{3} /);
  const implicit = await TestClient.connect(server.port("submissions"));
  implicit.send("EHLO plain text on a TLS port, long enough to be an error\r\n");
  for (let line = await implicit.line(); line !== undefined; line = await implicit.line())
    assert.doesNotMatch(line, /^\d{3} /);
  await play(server.port(), "S: 220 *\nC: QUIT\nS: 221 *");
  assert.ok(server.lines.filter(({ event }) => event === "tls-failed").length >= 2);
});

test("submission: nothing but the way to TLS and AUTH is open", { timeout: 10_000 }, async () => {
  await using server = await aServer(secureConfig());
  const client = await play(
    server.port("submission"),
    `S: 220 *
     C: EHLO x
     S: 250-*
     S: 250-PIPELINING
     S: 250-SIZE *
     S: 250-STARTTLS
     S: 250-ENHANCEDSTATUSCODES
     S: 250-8BITMIME
     S: 250-CHUNKING
     S: 250-DSN
     S: 250 SMTPUTF8
     C: ${plain("alice@example.org", "secret")}
     S: 530 5.7.0 Must issue a STARTTLS command first
     C: MAIL FROM:<alice@example.org>
     S: 530 5.7.0 Must issue a STARTTLS command first
     C: VRFY alice
     S: 530 5.7.0 *
     C: NOOP
     S: 250 *
     C: RSET
     S: 250 *
     C: STARTTLS
     S: 220 *
     TLS
     C: ${plain("alice@example.org", "secret")}
     S: 503 5.5.1 Send HELO or EHLO first
     C: EHLO x
     S: 250-*
     S: 250-PIPELINING
     S: 250-SIZE *
     S: 250-AUTH PLAIN LOGIN
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250 SMTPUTF8
     C: MAIL FROM:<alice@example.org>
     S: 530 5.7.0 Authentication required
     C: RCPT TO:<alice@example.org>
     S: 530 5.7.0 *
     C: DATA
     S: 530 5.7.0 *
     C: AUTH LOGIN
     S: 334 VXNlcm5hbWU6
     C: ${Buffer.from("Alice@Example.org").toString("base64")}
     S: 334 UGFzc3dvcmQ6
     C: ${Buffer.from("wrong").toString("base64")}
     S: 535 5.7.8 Authentication credentials invalid
     C: AUTH LOGIN
     S: 334 *
     C: *
     S: 501 5.7.0 *
     C: AUTH PLAIN
     S: 334 *
     C: ${plain("alice@example.org", "secret").slice(11)}
     S: 235 2.7.0 *
     C: AUTH PLAIN
     S: 503 5.5.1 Already authenticated
     C: MAIL FROM:<bob@example.com>
     S: 553 5.7.1 *
     C: MAIL FROM:<alice@example.org>
     S: 250 *
     C: RCPT TO:<bob@elsewhere.example>
     S: 250 *
     C: DATA
     S: 354 *
     C: Subject: bare
     C:
     C: hello
     C: .
     S: 250 *
     C: QUIT
     S: 221 *`,
  );
  client.close();
  const stored = server.queue.stored[0];
  assert.equal(stored?.origin.authenticatedAs, "alice@example.org");
  assert.equal(stored?.origin.protocol, "ESMTPSA");
  assert.match(
    stored?.content.toString() ?? "",
    /\tDate: |;\r\n\t[^\r]+\r\nDate: [^\r]+ \+0000\r\nMessage-ID: <Q00000000001@mx\.example\.org>\r\nFrom: <alice@example\.org>\r\nSubject: bare\r\n\r\nhello\r\n$/,
  );
  assert.ok(!JSON.stringify(server.lines).includes("secret"), "a password is in the log");
});

test("submissions: implicit TLS; one answer for every wrong user; a broken hash is our trouble", {
  timeout: 20_000,
}, async () => {
  await using server = await aServer(secureConfig());
  const client = await play(server.port("submissions"), "S: 220 mx.example.org ESMTP Packetboat", { tls: {} });
  await client.say("EHLO x");
  for (const user of [
    "nobody@example.org",
    "alice",
    "disabled@example.org",
    "suspended@example.org",
    "x@elsewhere.example",
  ]) {
    assert.equal(await client.say(plain(user, "secret")), "535 5.7.8 Authentication credentials invalid", user);
  }
  assert.match(await client.say(plain("broken@example.org", "secret")), /^454 4\.7\.0 /);
  assert.ok(server.lines.some(({ event, user }) => event === "auth-hash-unusable" && user === "broken@example.org"));
  assert.match(await client.say("AUTH CRAM-MD5"), /^504 5\.5\.4 /);
  assert.match(await client.say("AUTH PLAIN !!!"), /^501 5\.5\.2 /);
  assert.match(await client.say("STARTTLS"), /^503 /);
  assert.match(await client.say(plain("alice@example.org", "secret")), /^235 /);
  assert.doesNotMatch(await client.say("EHLO x"), /AUTH/);
  // Suspended while connected.
  await server.reconfigure({
    ...secureConfig(),
    addresses: new Map([["alice@example.org", aMailbox({ suspended: true })]]),
  });
  assert.match(await client.say("MAIL FROM:<alice@example.org>"), /^530 5\.7\.0 /);
  client.close();
});

test("without a certificate: no STARTTLS, no implicit listener, and the log says so", { timeout: 10_000 }, async () => {
  await using server = await aServer(secureConfig({}));
  const client = await play(
    server.port("submission"),
    "S: 220 *\nC: HELO x\nS: 250 *\nC: STARTTLS\nS: 454 4.7.0 *\nC: MAIL FROM:<alice@example.org>\nS: 530 *",
  );
  client.close();
  assert.deepEqual(
    server.inbound.ports().map(({ listener }) => listener),
    ["mx", "submission"],
  );
  assert.ok(
    server.lines.some(({ event, effect }) => event === "no-certificate" && effect === "submission cannot authenticate"),
  );
  assert.ok(server.lines.some(({ event }) => event === "listener-needs-certificate"));
  await server.reconfigure(secureConfig());
  assert.match((await shown(server)).names, /mx\.example\.org/);
});

test("TLS required on MX", { timeout: 10_000 }, async () => {
  await using server = await aServer(
    secureConfig({ own: ec }, { listeners: [aListener({ tls: { required: true } })] }),
  );
  const client = await play(
    server.port(),
    "S: 220 *\nC: HELO x\nS: 250 *\nC: MAIL FROM:<>\nS: 530 5.7.0 Must issue a STARTTLS command first",
  );
  client.close();
});

test("ECDSA and RSA side by side; SNI chooses by name", { timeout: 20_000 }, async () => {
  await using server = await aServer(secureConfig({ own: ec, rsa, other }));
  const rsaOnly = { maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-GCM-SHA256" } as const;
  assert.equal((await shown(server)).type, "ec");
  assert.equal((await shown(server, rsaOnly)).type, "rsa");
  assert.match((await shown(server, { servername: "mail.example.com" })).names, /mail\.example\.com/);
  assert.match((await shown(server, { servername: "MX.example.org" })).names, /mx\.example\.org/);
  assert.match((await shown(server, { servername: "other.example.org" })).names, /\*\.example\.org/);
  assert.match((await shown(server, { servername: "unknown.example" })).names, /mx\.example\.org/);
  // The same by STARTTLS.
  const client = await play(server.port(), "S: 220 *\nC: STARTTLS\nS: 220 *");
  await client.startTls({ servername: "mail.example.com" });
  assert.match((client.socket as TLSSocket).getPeerCertificate().subjectaltname ?? "", /mail\.example\.com/);
  client.close();
});

test("a new certificate shows in the next handshake, and no session ends", { timeout: 20_000 }, async () => {
  await using server = await aServer(secureConfig({ own: ec }));
  const open = await play(server.port("submissions"), "S: 220 *", { tls: {} });
  const inData = await play(
    server.port(),
    "S: 220 *\nC: HELO x\nS: 250 *\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.org>\nS: 250 *\nC: DATA\nS: 354 *",
  );
  assert.doesNotMatch((await shown(server)).names, /mail\.example\.com/);
  await server.reconfigure(secureConfig({ own: other }));
  assert.match((await shown(server)).names, /mail\.example\.com/);
  assert.match(await open.say("NOOP"), /^250 /);
  assert.match(await inData.say("a: b\r\n\r\n."), /^250 /);
  open.close();
  inData.close();
});

test("a certificate that cannot be used: the last good one stays, and the log names it", {
  timeout: 20_000,
}, async () => {
  const problems: readonly (readonly [string, TestCertificate, string])[] = [
    ["of another key", { certificate: other.certificate, privateKey: ec.privateKey }, "tls-certificate-unusable"],
    ["unreadable", { certificate: "nonsense", privateKey: "nonsense" }, "tls-certificate-unusable"],
    ["expired", expired, "tls-certificate-expired"],
  ];
  for (const [name, certificate, event] of problems) {
    await using server = await aServer(secureConfig({ own: ec }));
    await server.reconfigure(secureConfig({ own: certificate }));
    assert.match((await shown(server)).names, /\*\.example\.org/, name);
    assert.ok(
      server.lines.some(
        (line) => line["event"] === event && line["certificate"] === "own" && line["keepsOld"] === true,
      ),
      name,
    );
    await server.reconfigure(secureConfig({ own: other }));
    assert.match((await shown(server)).names, /mail\.example\.com/, name);
  }
  // Alone, an expired one is better than none for opportunistic peers.
  await using alone = await aServer(secureConfig({ own: expired }));
  assert.match((await shown(alone)).names, /mx\.example\.org/);
});

test("profiles", { timeout: 20_000 }, async () => {
  const handshake = async (
    profile: "Modern" | "Intermediate" | "Old",
    options: ConnectionOptions,
  ): Promise<string | null> => {
    await using server = await aServer(
      secureConfig({ own: ec }, { ...secureConfig().server, tls: { profile, sessionTimeoutMs: 1000 } }),
    );
    return await shown(server, options).then(
      ({ protocol }) => protocol,
      () => "refused",
    );
  };
  const old = { minVersion: "TLSv1", maxVersion: "TLSv1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
  assert.equal(await handshake("Modern", {}), "TLSv1.3");
  assert.equal(await handshake("Modern", { maxVersion: "TLSv1.2" }), "refused");
  assert.equal(await handshake("Intermediate", { maxVersion: "TLSv1.2" }), "TLSv1.2");
  assert.equal(
    await handshake("Intermediate", { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" }),
    "refused",
  );
  assert.equal(await handshake("Intermediate", old), "refused");
  assert.equal(await handshake("Old", old), "TLSv1");
});

test("a client certificate relays by its fingerprint, also in a resumed session", { timeout: 20_000 }, async () => {
  const x509 = new X509Certificate(clientCertificate.certificate);
  const ofCertificate = createHash("sha256").update(x509.raw).digest("hex");
  const ofKey = createHash("sha256")
    .update(x509.publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
  const entry = { name: "default/partner", senders: [], recipients: ["@elsewhere.example"] };
  const listeners = [aListener({ tls: { clientCertificates: "Ask" } })];
  const tls = { cert: clientCertificate.certificate, key: clientCertificate.privateKey };
  const asks = async (server: TestServer, options: ConnectionOptions, to = "x@elsewhere.example"): Promise<string> => {
    const client = await play(server.port(), "S: 220 *\nC: STARTTLS\nS: 220 *");
    await client.startTls(options);
    for (const line of ["EHLO x", "MAIL FROM:<bob@example.com>"]) assert.match(await client.say(line), /^250/);
    const answer = await client.say(`RCPT TO:<${to}>`);
    if (answer.startsWith("250")) {
      await client.say("DATA");
      await client.say(".");
    }
    await client.say("QUIT");
    client.close();
    return answer.slice(0, 9);
  };
  for (const key of [`certificate:${ofCertificate}`, `publickey:${ofKey}`]) {
    const config = { ...secureConfig({ own: ec }, { listeners }), relayClientCerts: new Map([[key, entry]]) };
    await using server = await aServer(config);
    assert.equal(await asks(server, tls), "250 2.1.5");
    assert.equal(await asks(server, tls, "x@other.example"), "554 5.7.1");
    assert.equal(await asks(server, {}), "554 5.7.1");
    assert.match(
      server.queue.stored[0]?.content.toString() ?? "",
      new RegExp(`\\(client certificate sha256:${ofCertificate}\\)`),
    );
    // Resumption keeps the identity.
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      let session: Buffer | undefined;
      const first = await play(server.port(), "S: 220 *\nC: STARTTLS\nS: 220 *");
      await first.startTls({ ...tls, minVersion: version, maxVersion: version });
      first.socket.on("session", (ticket: Buffer) => {
        session = ticket;
      });
      session = (first.socket as TLSSocket).getSession();
      await first.say("EHLO x");
      first.close();
      const second = await play(server.port(), "S: 220 *\nC: STARTTLS\nS: 220 *");
      await second.startTls({
        ...tls,
        minVersion: version,
        maxVersion: version,
        ...(session === undefined ? {} : { session }),
      });
      assert.equal((second.socket as TLSSocket).isSessionReused(), true, version);
      for (const line of ["EHLO x", "MAIL FROM:<bob@example.com>", "RCPT TO:<x@elsewhere.example>"])
        assert.match(await second.say(line), /^250/);
      second.close();
    }
  }
});

test("a certificate is asked for as soon as the configuration says so", { timeout: 20_000 }, async () => {
  const required = (clientCertificates: "Ignore" | "Require"): LiveConfig =>
    secureConfig({ own: ec }, { listeners: [aListener({ tls: { clientCertificates } })] });
  await using server = await aServer(required("Ignore"));
  const mail = async (options: ConnectionOptions): Promise<string> => {
    const client = await play(server.port(), "S: 220 *\nC: STARTTLS\nS: 220 *");
    await client.startTls(options);
    await client.say("EHLO x");
    const answer = await client.say("MAIL FROM:<>");
    client.close();
    return answer.slice(0, 9);
  };
  assert.equal(await mail({}), "250 2.1.0");
  await server.reconfigure(required("Require"));
  assert.equal(await mail({}), "530 5.7.0");
  assert.equal(await mail({ cert: clientCertificate.certificate, key: clientCertificate.privateKey }), "250 2.1.0");
});
