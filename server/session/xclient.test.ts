import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { test } from "node:test";
import type { ServerSection } from "../config/schema.ts";
import {
  aCertificate,
  aConfig,
  aDomain,
  aListener,
  aMailbox,
  aServer,
  play,
  TestClient,
} from "../listen/inbound-fixture.ts";

/** The proxy is 127.0.0.1; who connects from 127.0.0.9 is a stranger. */
const proxied = (server: Partial<ServerSection> = {}) =>
  aConfig(
    {},
    {
      listeners: [aListener({ trustedProxies: ["127.0.0.1/32"] })],
      trustedNetworks: ["192.0.2.0/24"],
      ...server,
    },
  );
const stranger = { localAddress: "127.0.0.9" };
const remote = "RCPT TO:<victim@foreign.example>";

async function extensionsOf(client: TestClient): Promise<string> {
  await client.reply();
  return client.say("EHLO x");
}

test("offered to trusted proxies, and to nobody else", async () => {
  await using server = await aServer(proxied());
  const proxy = await TestClient.connect(server.port());
  const offered = await extensionsOf(proxy);
  assert.match(offered, /^250-XCLIENT NAME REVERSE_NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT$/m);
  assert.match(offered, /^250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE$/m);
  const other = await TestClient.connect(server.port(), stranger);
  assert.doesNotMatch(await extensionsOf(other), /XCLIENT|XFORWARD/);
});

test("forged: refused, and nobody becomes anybody", async () => {
  await using server = await aServer(proxied());
  await play(
    server.port(),
    `S: 220 *
     C: XCLIENT ADDR=192.0.2.7 NAME=inside.example.org LOGIN=alice@example.org
     S: 550 5.7.0 Insufficient authorization
     C: HELO x
     S: 250 *
     C: XCLIENT ADDR=192.0.2.7
     S: 550 5.7.0 *
     C: XFORWARD NAME=inside.example.org
     S: 550 5.7.0 *
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: ${remote}
     S: 554 5.7.1 *`,
    stranger,
  );
  assert.equal(server.lines.filter(({ event }) => event === "proxy-command-refused").length, 3);
});

test("nobody is trusted where nobody is named", async () => {
  await using server = await aServer(proxied({ listeners: [aListener()] }));
  await play(
    server.port(),
    `S: 220 *
     C: XCLIENT ADDR=192.0.2.7
     S: 550 5.7.0 *`,
  );
});

test("the session begins anew with the other client", async () => {
  await using server = await aServer(proxied());
  await play(
    server.port(),
    `S: 220 *
     C: HELO proxy.example
     S: 250 *
     C: XCLIENT NAME=spike.example.net ADDR=198.51.100.7 PORT=4711
     S: 220 mx.example.org *
     C: MAIL FROM:<bob@example.net>
     S: 503 5.5.1 Send HELO or EHLO first
     C: HELO spike
     S: 250 *
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: ${remote}
     S: 554 5.7.1 *
     C: RCPT TO:<alice@example.org>
     S: 250 *
     C: DATA
     S: 354 *
     C: Subject: x
     C:
     C: .
     S: 250 *
     behind a proxy that passes everything on these are the client's own words
     C: XCLIENT ADDR=192.0.2.7 LOGIN=alice@example.org
     S: 550 5.7.0 *
     C: XFORWARD NAME=inside.example.org
     S: 550 5.7.0 *
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: ${remote}
     S: 554 5.7.1 *`,
  );
  const again = await play(server.port(), "S: 220 *\nC: XCLIENT ADDR=198.51.100.7\nS: 220 *");
  assert.doesNotMatch(await again.say("EHLO spike"), /XCLIENT|XFORWARD/);
  const [message] = server.queue.stored;
  assert.equal(message?.origin.clientAddress, "198.51.100.7");
  assert.equal(message?.origin.clientName, "spike.example.net");
  assert.match(message?.content.toString() ?? "", /^Received: from spike \(spike\.example\.net \[198\.51\.100\.7\]\)/);
  assert.ok(server.lines.some(({ event, client }) => event === "queued" && client === "198.51.100.7"));
});

test("trust is judged by the new address", async () => {
  await using server = await aServer(proxied({ trustedNetworks: ["192.0.2.0/24", "127.0.0.1/32"] }));
  await play(
    server.port(),
    `S: 220 *
     C: HELO proxy.example
     S: 250 *
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: XCLIENT ADDR=192.0.2.7
     S: 503 5.5.1 MAIL transaction in progress
     C: ${remote}
     S: 250 *
     C: RSET
     S: 250 *
     the proxy itself may, whom it speaks for may not
     C: XCLIENT ADDR=198.51.100.7
     S: 220 *
     C: HELO spike
     S: 250 *
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: ${remote}
     S: 554 5.7.1 *`,
  );
  await play(
    server.port(),
    `S: 220 *
     C: XCLIENT ADDR=192.0.2.7
     S: 220 *
     C: HELO inside
     S: 250 *
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: ${remote}
     S: 250 *`,
  );
  // An address that is not known is in no network.
  await play(
    server.port(),
    `S: 220 *
     C: XCLIENT ADDR=[UNAVAILABLE]
     S: 220 *
     C: HELO nobody
     S: 250 *
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: ${remote}
     S: 554 5.7.1 *`,
  );
});

test("a login that the proxy has checked; hello and login in several commands", async () => {
  const config = proxied();
  await using server = await aServer({
    ...config,
    addresses: new Map([
      ["alice@example.org", aMailbox()],
      ["away@example.org", aMailbox({ suspended: true })],
    ]),
    domains: new Map([["example.org", aDomain()]]),
  });
  await play(
    server.port(),
    `S: 220 *
     C: XCLIENT HELO=laptop PROTO=ESMTP LOGIN=away@example.org
     S: 220 *
     C: MAIL FROM:<away@example.org>
     S: 530 5.7.0 *
     C: XCLIENT LOGIN=[UNAVAILABLE]
     S: 220 *
     C: MAIL FROM:<alice@example.org>
     S: 250 *
     C: ${remote}
     S: 554 5.7.1 *
     C: RSET
     S: 250 *
     C: XCLIENT LOGIN=alice+40example.org
     S: 220 *
     C: XCLIENT ADDR=198.51.100.7 NAME=[UNAVAILABLE]
     S: 220 *
     C: MAIL FROM:<alice@example.org>
     S: 250 *
     C: ${remote}
     S: 250 *
     C: DATA
     S: 354 *
     C: Subject: x
     C:
     C: .
     S: 250 *`,
  );
  const [message] = server.queue.stored;
  assert.deepEqual(
    [message?.origin.authenticatedAs, message?.origin.clientAddress, message?.origin.helo, message?.origin.protocol],
    ["alice@example.org", "198.51.100.7", "laptop", "ESMTPA"],
  );
});

test("broken attributes change nothing", async () => {
  await using server = await aServer(proxied({ trustedNetworks: ["127.0.0.1/32"] }));
  await play(
    server.port(),
    `S: 220 *
     C: HELO proxy.example
     S: 250 *
     C: XCLIENT
     S: 501 5.5.4 Syntax: XCLIENT attribute=value...
     C: XCLIENT ADDR=198.51.100.7 NAME=..
     S: 501 5.5.4 Bad XCLIENT NAME syntax
     C: XFORWARD
     S: 501 5.5.4 Syntax: XFORWARD attribute=value...
     C: XFORWARD LOGIN=alice
     S: 501 5.5.4 Bad XFORWARD LOGIN syntax
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: ${remote}
     S: 250 *`,
  );
});

test("XFORWARD goes with the next message, and with no other", async () => {
  await using server = await aServer(proxied());
  const message = `C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: RCPT TO:<alice@example.org>
     S: 250 *
     C: DATA
     S: 354 *
     C: Subject: x
     C:
     C: .
     S: 250 *`;
  await play(
    server.port(),
    `S: 220 *
     C: HELO filter
     S: 250 *
     C: XFORWARD NAME=spike.example.net ADDR=IPV6:2001:db8::7 PORT=4711
     S: 250 2.0.0 Ok
     C: XFORWARD PROTO=ESMTP HELO=spike IDENT=4ZxQ SOURCE=REMOTE
     S: 250 2.0.0 Ok
     ${message}
     ${message}
     C: XFORWARD NAME=[UNAVAILABLE] IDENT=5A
     S: 250 *
     C: RSET
     S: 250 *
     ${message}`,
  );
  assert.deepEqual(
    server.queue.stored.map(({ origin }) => origin.forwarded),
    [
      {
        clientName: "spike.example.net",
        clientAddress: "2001:db8::7",
        clientPort: "4711",
        protocol: "ESMTP",
        helo: "spike",
        queueId: "4ZxQ",
        source: "REMOTE",
      },
      undefined,
      undefined,
    ],
  );
  // It changes nothing else: the client is the filter.
  assert.equal(server.queue.stored[0]?.origin.clientAddress, "127.0.0.1");
  const [queued] = server.lines.filter(({ event }) => event === "queued");
  assert.equal(queued?.["origClient"], "spike.example.net[2001:db8::7]");
  assert.equal(queued?.["origQueueId"], "4ZxQ");
});

test("limits of one client are not meant for a proxy, which brings the mail of many", async () => {
  const config = proxied();
  const limited = (count: number) => ({
    ...config.server.limits,
    connectionsPerClient: count,
    hardErrors: 2,
    softErrors: 1,
  });
  await using server = await aServer(
    { ...config, server: { ...config.server, limits: limited(1) } },
    { errorDelayMs: 0 },
  );
  const dialogue = `S: 220 *
     C: NONSENSE
     S: 500 *
     C: NONSENSE
     S: 500 *
     C: NONSENSE
     S: 500 *`;
  await play(server.port(), dialogue);
  await play(server.port(), dialogue);
  // A stranger has one connection, and two mistakes.
  await play(server.port(), "S: 220 *\nC: NONSENSE\nS: 500 *", stranger);
  await play(server.port(), "S: 421 4.7.0 *\nCLOSED", stranger);
});

test("the proxy's certificate opens the door to the proxy, not to whom it speaks for", async () => {
  const own = await aCertificate(["mx.example.org"]);
  const partner = await aCertificate(["proxy.example"]);
  const fingerprint = createHash("sha256").update(new X509Certificate(partner.certificate).raw).digest("hex");
  const config = aConfig(
    {
      certificates: new Map([["own", own]]),
      serverCertificates: ["own"],
      relayClientCerts: new Map([[`certificate:${fingerprint}`, { name: "proxy", senders: [], recipients: [] }]]),
    },
    { listeners: [aListener({ trustedProxies: ["127.0.0.1/32"], tls: { clientCertificates: "Ask" } })] },
  );
  await using server = await aServer(config);
  const tls = { cert: partner.certificate, key: partner.privateKey };
  const mayRelay = async (client: TestClient): Promise<boolean> => {
    for (const line of ["HELO x", "MAIL FROM:<bob@example.net>"]) assert.match(await client.say(line), /^250/);
    const answer = await client.say(remote);
    assert.match(await client.say("RSET"), /^250 /);
    return answer.startsWith("250 ");
  };
  const client = await play(server.port(), "S: 220 *\nC: STARTTLS\nS: 220 *");
  await client.startTls(tls);
  assert.equal(await mayRelay(client), true);
  assert.match(await client.say("XCLIENT ADDR=198.51.100.7"), /^220 /);
  assert.equal(await mayRelay(client), false);
  // The other way round: who was spoken for before the handshake does not get the certificate by it.
  const other = await play(server.port(), "S: 220 *\nC: XCLIENT ADDR=198.51.100.7\nS: 220 *\nC: STARTTLS\nS: 220 *");
  await other.startTls(tls);
  assert.equal(await mayRelay(other), false);
});
