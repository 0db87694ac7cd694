import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SMTPServer } from "smtp-server";
import type { Delivery } from "../config/schema.ts";
import { aResolver } from "../dns/dns-fixture.ts";
import type { Transport } from "../route/resolve.ts";
import {
  aJob,
  aLiveConfig,
  aMessage,
  aPeer,
  aRecipient,
  aScript,
  byMx,
  delivering,
  mxConfig,
  said,
  to,
  contentOf,
  politely,
  text,
} from "./outbound-fixture.ts";

const config = aLiveConfig();

test("a message arrives byte for byte, with its parameters", async (t) => {
  const peer = await aPeer(t);
  const message = aMessage(["A.b@example.net"], {
    envelope: { body: "8BITMIME", envelopeId: "QQ+3D1", return: "HDRS" },
  });
  const report = await delivering(t)(aJob(config, to(peer.port), message));
  assert.deepEqual(said(report), ["delivered 250 2.0.0"]);
  assert.equal(report.outcomes[0]?.remoteHost, "127.0.0.1[127.0.0.1]");
  assert.equal(peer.received[0]?.content, text);
  assert.deepEqual(peer.received[0].recipients, ["A.b@example.net"]);
  assert.deepEqual(peer.received[0].parameters, { SIZE: String(text.length), BODY: "8BITMIME" });
});

test("DSN wishes go out for each recipient, and the peer is then the one to report", async (t) => {
  const script = await aScript(t, "220 hi\r\n", politely({ EHLO: "250-peer\r\n250 DSN\r\n" }));
  const message = aMessage(
    [
      aRecipient("a@x.test", { notify: ["SUCCESS", "FAILURE"], originalRecipient: "rfc822;o+2Bx@y.test" }),
      aRecipient("b@x.test"),
      aRecipient("c@x.test", { notify: ["NEVER"] }),
    ],
    { envelope: { envelopeId: "id+2B1", return: "FULL" } },
  );
  const report = await delivering(t)(aJob(config, to(script.port), message));
  assert.deepEqual(script.lines.slice(1, 5), [
    "MAIL FROM:<sender@example.org> RET=FULL ENVID=id+2B1",
    "RCPT TO:<a@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o+2Bx@y.test",
    "RCPT TO:<b@x.test>",
    "RCPT TO:<c@x.test> NOTIFY=NEVER",
  ]);
  assert.ok(report.outcomes.every((outcome) => outcome.kind === "delivered" && outcome.reportsItself === true));
});

for (const pipelining of [true, false]) {
  test(`each recipient keeps its own reply (${pipelining ? "with" : "without"} PIPELINING)`, async (t) => {
    const script = await aScript(t, "220 hi\r\n", (line) => {
      if (line.startsWith("RCPT TO:<bad@")) return "550-5.1.1 No\r\n550 5.1.1 such user\r\n";
      if (line.startsWith("RCPT TO:<later@")) return "450 4.2.1 later\r\n";
      if (line.startsWith("RCPT TO:<many@")) return "552 too many recipients\r\n";
      return politely({ EHLO: pipelining ? "250-peer\r\n250 PIPELINING\r\n" : "250 peer\r\n" })(line);
    });
    const report = await delivering(t)(
      aJob(config, to(script.port), aMessage(["bad@x.test", "good@x.test", "later@x.test", "many@x.test"])),
    );
    assert.deepEqual(said(report), [
      "failed recipient 550 5.1.1",
      "delivered 250 2.0.0",
      "failed recipient 450 4.2.1",
      "failed recipient 452 4.5.3",
    ]);
    assert.equal(report.outcomes[0]?.reply.text, "No\nsuch user");
  });
}

test("LMTP: a reply for each recipient after the dot", async (t) => {
  let dots = 0;
  const script = await aScript(t, "220 hi\r\n", (line) => {
    if (line === ".")
      return dots++ === 0 ? "250 2.1.5 a ok\r\n452 4.2.2 b is full\r\n550 5.7.1 c refuses\r\n" : "250 2.1.5 again\r\n";
    return line.startsWith("RCPT TO:<no@")
      ? "550 5.1.1 unknown\r\n"
      : politely({ LHLO: "250-peer\r\n250 PIPELINING\r\n" })(line);
  });
  const deliver = delivering(t);
  const report = await deliver(
    aJob(config, to(script.port, "lmtp"), aMessage(["a@x.test", "no@x.test", "b@x.test", "c@x.test"])),
  );
  assert.deepEqual(said(report), [
    "delivered 250 2.1.5",
    "failed recipient 550 5.1.1",
    "failed recipient 452 4.2.2",
    "failed recipient 550 5.7.1",
  ]);
  // The session stays good for the next message, after RSET.
  assert.deepEqual(said(await deliver(aJob(config, to(script.port, "lmtp"), aMessage(["a@x.test"])))), [
    "delivered 250 2.1.5",
  ]);
  assert.equal(script.connections, 1);
  assert.ok(script.lines.includes("RSET"));
});

test("LMTP over a unix socket, to a real server", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "packetboat-lmtp-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "lmtp.sock");
  const recipients: string[] = [];
  const server = new SMTPServer({
    lmtp: true,
    closeTimeout: 10,
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onData(stream, session, done) {
      stream.resume();
      stream.on("end", () => {
        recipients.push(...session.envelope.rcptTo.map(({ address }) => address));
        const replies = session.envelope.rcptTo.map(({ address }) =>
          address.startsWith("full") ? Object.assign(new Error("full"), { responseCode: 452 }) : "ok",
        );
        // An LMTP server of this library answers with a list; its type only knows SMTP's one text.
        (done as unknown as (error: null, replies: unknown) => void)(null, replies);
      });
    },
  });
  server.server.listen(path);
  await once(server.server, "listening");
  t.after(() => new Promise<void>((resolve) => server.close(() => resolve())));
  const transport: Transport = { delivery: { kind: "lmtp-socket", path }, destination: "lmtp:unix", tlsPolicyKey: "" };
  const report = await delivering(t)(aJob(config, transport, aMessage(["a@x.test", "full@x.test"])));
  assert.deepEqual(said(report), ["delivered 250", "failed recipient 452"]);
  assert.deepEqual(recipients, ["a@x.test", "full@x.test"]);
});

const hostile: readonly [
  what: string,
  greeting: string | undefined,
  own: Record<string, string | undefined>,
  expected: string,
][] = [
  ["closes at once", undefined, {}, "failed host 451 4.4.2"],
  ["greets with 5xx", "554 5.7.1 go away\r\n", {}, "failed host 554 5.7.1"],
  ["greets with 421", "421 4.3.2 busy\r\n", {}, "failed host 421 4.3.2"],
  ["speaks HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", {}, "failed host 451 4.5.0"],
  [
    "refuses EHLO and HELO",
    "220 hi\r\n",
    { EHLO: "550 5.7.1 no\r\n", HELO: "550 5.7.1 no\r\n" },
    "failed host 550 5.7.1",
  ],
  ["hangs up at EHLO", "220 hi\r\n", { EHLO: undefined }, "failed host 451 4.4.2"],
  ["refuses the sender", "220 hi\r\n", { MAIL: "550 5.7.1 blocked\r\n" }, "failed message 550 5.7.1"],
  ["puts the sender off", "220 hi\r\n", { MAIL: "451 4.7.1 greylisted\r\n" }, "failed message 451 4.7.1"],
  ["closes with 421 at MAIL", "220 hi\r\n", { MAIL: "421 4.7.0 too much\r\n" }, "failed host 421 4.7.0"],
  ["closes with 421 at RCPT", "220 hi\r\n", { RCPT: "421 4.7.0 too much\r\n" }, "failed host 421 4.7.0"],
  ["refuses DATA", "220 hi\r\n", { DATA: "554 5.5.1 no\r\n" }, "failed message 554 5.5.1"],
  ["hangs up in DATA", "220 hi\r\n", { DATA: undefined }, "failed host 451 4.4.2"],
  ["refuses the content", "220 hi\r\n", { ".": "554 5.6.0 spam\r\n" }, "failed message 554 5.6.0"],
  ["hangs up after the dot", "220 hi\r\n", { ".": undefined }, "failed host 451 4.4.2"],
  ["answers the dot with noise", "220 hi\r\n", { ".": "2xx thanks\r\n" }, "failed message 451 4.5.0"],
  ["answers 421 to the dot", "220 hi\r\n", { ".": "421 4.3.0 restarting\r\n" }, "failed message 421 4.3.0"],
  ["answers RCPT with noise", "220 hi\r\n", { RCPT: "what?\r\n" }, "failed recipient 451 4.5.0"],
  ["puts a 5.x.x into a 4xx", "220 hi\r\n", { RCPT: "450 5.1.1 odd\r\n" }, "failed recipient 450"],
  ["never ends a reply", "220-".repeat(40_000), {}, "failed host 451"],
  ["only knows HELO", "220 hi\r\n", { EHLO: "500 what\r\n", HELO: "250 old\r\n" }, "delivered 250 2.0.0"],
];
for (const [what, greeting, own, expected] of hostile) {
  test(`a server that ${what}: ${expected}`, async (t) => {
    const script = await aScript(t, greeting, politely(own));
    const report = await delivering(t)(aJob(config, to(script.port), aMessage(["a@x.test"])));
    const outcome = said(report)[0] ?? "";
    assert.ok(outcome.startsWith(expected), outcome);
  });
}

test("a server that trickles its greeting is left after the set-up time", async (t) => {
  const script = await aScript(t, "220-one\r\n", politely());
  const deliver = delivering(t, { timeouts: { setupMs: 100, silenceMs: 2000, finalMs: 2000 } });
  assert.deepEqual(said(await deliver(aJob(config, to(script.port), aMessage(["a@x.test"])))), [
    "failed host 451 4.4.2",
  ]);
});

test("a silent server at the dot: temporary, and no second host is tried", async (t) => {
  const script = await aScript(t, "220 hi\r\n", politely({ ".": "" }));
  const deliver = delivering(t, { timeouts: { setupMs: 1000, silenceMs: 1000, finalMs: 100 } });
  const report = await deliver(aJob(config, to(script.port), aMessage(["a@x.test"])));
  assert.deepEqual(said(report), ["failed host 451 4.4.2"]);
  assert.match(report.outcomes[0]?.reply.text ?? "", /may be sent more than once/);
});

test("nobody listens: temporary, with the address in words", async (t) => {
  const report = await delivering(t)(aJob(config, to(1), aMessage(["a@x.test", "b@x.test"])));
  assert.deepEqual(said(report), ["failed host 451 4.4.1", "failed host 451 4.4.1"]);
  assert.equal(report.outcomes[0]?.reply.text, "connect to 127.0.0.1[127.0.0.1]:1: Connection refused");
  assert.equal(report.transmitMs, 0);
});

test("an aborted delivery ends at once, with an outcome", async (t) => {
  const script = await aScript(t, "220 hi\r\n", politely({ RCPT: "" }));
  const controller = new AbortController();
  const job = { ...aJob(config, to(script.port), aMessage(["a@x.test"])), signal: controller.signal };
  const delivery = delivering(t)(job);
  while (!script.lines.some((line) => line.startsWith("RCPT"))) await new Promise((resolve) => setImmediate(resolve));
  controller.abort();
  assert.deepEqual(said(await delivery), ["failed host 451 4.4.2"]);
});

test("connections are kept for the next message, up to their share, and a dead one is replaced without a failure", async (t) => {
  const peer = await aPeer(t);
  const deliver = delivering(t, { kept: { messages: 3 } });
  for (let count = 0; count < 7; count++)
    assert.deepEqual(said(await deliver(aJob(config, to(peer.port), aMessage(["a@x.test"])))), ["delivered 250 2.0.0"]);
  assert.equal(peer.connections, 3);
  assert.equal(peer.received.length, 7);
  // A Route may say less.
  const shaped = { ...to(peer.port), messagesPerConnection: 2, destination: "shaped" };
  for (let count = 0; count < 4; count++) await deliver(aJob(config, shaped, aMessage(["a@x.test"])));
  assert.equal(peer.connections, 5);

  const fickle = await aScript(t, "220 hi\r\n", (line, socket, connection) => {
    if (line === "." && connection === 0) setImmediate(() => socket.destroy());
    return politely()(line);
  });
  assert.deepEqual(said(await deliver(aJob(config, to(fickle.port), aMessage(["a@x.test"])))), ["delivered 250 2.0.0"]);
  assert.deepEqual(said(await deliver(aJob(config, to(fickle.port), aMessage(["a@x.test"])))), ["delivered 250 2.0.0"]);
  assert.equal(fickle.connections, 2);
});

test("a large message streams, byte for byte", async (t) => {
  const peer = await aPeer(t);
  const line = `${"x".repeat(70)}\r\n.leading dot\r\n`;
  const whole = `Subject: large\r\n\r\n${line.repeat(20_000)}`;
  const chunks: string[] = [];
  for (let at = 0; at < whole.length; at += 65_536) chunks.push(whole.slice(at, at + 65_536));
  const job = {
    ...aJob(config, to(peer.port), aMessage(["a@x.test"], { size: whole.length })),
    content: () => contentOf(...chunks),
  };
  assert.deepEqual(said(await delivering(t)(job)), ["delivered 250 2.0.0"]);
  assert.ok(peer.received[0]?.content === whole, "content differs");
});

test("content that cannot be read is never sent as if it were whole", async (t) => {
  const peer = await aPeer(t);
  async function* corrupt(): AsyncGenerator<Buffer> {
    yield await Promise.resolve(Buffer.from(text));
    throw Object.assign(new Error("checksum"), { name: "CorruptMessage" });
  }
  const deliver = delivering(t);
  for (const size of [100, 10_000_000]) {
    const report = await deliver({
      ...aJob(config, to(peer.port), aMessage(["a@x.test"], { size })),
      content: corrupt,
    });
    assert.deepEqual(said(report), ["failed message 451 4.3.0"]);
  }
  assert.equal(peer.received.length, 0);
});

test("what the server's extensions rule out is refused before it is sent", async (t) => {
  const script = await aScript(t, "220 hi\r\n", politely({ EHLO: "250-peer\r\n250 SIZE 1000\r\n" }));
  const deliver = delivering(t);
  const outcome = async (message: Parameters<typeof aMessage>[1], content?: string): Promise<string | undefined> =>
    said(await deliver(aJob(config, to(script.port), aMessage(["a@x.test"], message), content)))[0];
  assert.equal(await outcome({ size: 1001 }), "failed message 552 5.3.4");
  assert.equal(
    await outcome({ envelope: { smtpUtf8: true } }, "Subject: h\u00e9\r\n\r\nx"),
    "failed message 550 5.6.7",
  );
  assert.equal(await outcome({ envelope: { smtpUtf8: true } }, "Subject: plain\r\n\r\nh\u00e9"), "delivered 250 2.0.0");
  assert.equal(await outcome({ envelope: { sender: "j\u00fcrgen@x.test" } }), "failed message 550 5.6.7");
  assert.deepEqual(said(await deliver(aJob(config, to(script.port), aMessage(["a@x.test", '"a<b"@x.test'])))), [
    "delivered 250 2.0.0",
    "failed recipient 501 5.1.3",
  ]);
});

test("SMTPUTF8 goes out where the server knows it", async (t) => {
  const script = await aScript(t, "220 hi\r\n", politely({ EHLO: "250-peer\r\n250 SMTPUTF8\r\n" }));
  await delivering(t)(
    aJob(
      config,
      to(script.port),
      aMessage(["a@x.test"], { envelope: { smtpUtf8: true } }),
      "Subject: h\u00e9\r\n\r\nx",
    ),
  );
  assert.equal(script.lines[1], "MAIL FROM:<sender@example.org> SMTPUTF8");
});

// --- Next hops by MX ---------------------------------------------------------------------------------------------------------------

test("the exchange of least preference first, then its addresses, then the next", async (t) => {
  const peer = await aPeer(t);
  const resolver = await aResolver(t, {
    "dom.test MX": [
      { preference: 30, exchange: "never.test" },
      { preference: 20, exchange: "good.test" },
      { preference: 10, exchange: "dead.test" },
    ],
    "dead.test A": ["127.0.0.2"],
    "good.test A": ["127.0.0.1"],
    "never.test A": ["127.0.0.1"],
  });
  const report = await delivering(
    t,
    {},
    resolver,
  )(aJob(mxConfig(peer.port), byMx("dom.test"), aMessage(["a@dom.test"])));
  assert.deepEqual(said(report), ["delivered 250 2.0.0"]);
  assert.equal(report.outcomes[0]?.remoteHost, "good.test[127.0.0.1]");
});

const dnsCases: readonly [what: string, domain: string, expected: string, own?: Parameters<typeof mxConfig>[1]][] = [
  ["null MX", "null.test", "failed destination 556 5.1.10"],
  ["a domain that does not exist", "missing.test", "failed destination 550 5.4.4"],
  ["MX without any address", "empty.test", "failed destination 550 5.4.4"],
  ["ourselves as the only exchange", "own.test", "failed destination 554 5.4.6"],
  ["ourselves among equals", "equal.test", "failed destination 554 5.4.6"],
  [
    "an address for strangers' DNS only",
    "private.test",
    "failed destination 451 4.4.4",
    { allowPrivateNextHops: false },
  ],
  ["the metadata service", "metadata.test", "failed destination 451 4.4.4", { allowPrivateNextHops: false }],
  ["a loopback literal", "[127.0.0.1]", "failed destination 451 4.4.4", { allowPrivateNextHops: false }],
  ["no MX but an address", "implicit.test", "delivered 250 2.0.0"],
  ["a literal", "[127.0.0.1]", "delivered 250 2.0.0"],
  ["a better exchange than ourselves", "backup.test", "delivered 250 2.0.0"],
];
for (const [what, domain, expected, own] of dnsCases) {
  test(`MX: ${what}: ${expected}`, async (t) => {
    const peer = await aPeer(t);
    const resolver = await aResolver(t, {
      "null.test MX": [{ preference: 0, exchange: "." }],
      "empty.test MX": [{ preference: 0, exchange: "nowhere.test" }],
      "own.test MX": [
        { preference: 10, exchange: "MX.example.org" },
        { preference: 20, exchange: "good.test" },
      ],
      "equal.test MX": [
        { preference: 10, exchange: "good.test" },
        { preference: 10, exchange: "mx.example.org" },
      ],
      "backup.test MX": [
        { preference: 10, exchange: "good.test" },
        { preference: 20, exchange: "mx.example.org" },
      ],
      "private.test MX": [{ preference: 0, exchange: "good.test" }],
      "metadata.test MX": [{ preference: 0, exchange: "meta.test" }],
      "meta.test A": ["169.254.169.254"],
      "meta.test AAAA": ["::ffff:10.0.0.1"],
      "good.test A": ["127.0.0.1"],
      "mx.example.org A": ["127.0.0.1"],
      "implicit.test A": ["127.0.0.1"],
    });
    const report = await delivering(
      t,
      {},
      resolver,
    )(aJob(mxConfig(peer.port, own), byMx(domain), aMessage(["a@x.test"])));
    assert.deepEqual(said(report), [expected]);
  });
}

test("DNS that cannot say is temporary", async (t) => {
  const report = await delivering(t)(aJob(mxConfig(25), byMx("x.test"), aMessage(["a@x.test"])));
  assert.deepEqual(said(report), ["failed destination 451 4.4.3"]);
});

test("our own listener is recognised by address and port", async (t) => {
  const resolver = await aResolver(t, { "loop.test A": ["127.0.0.1"] });
  const own = aLiveConfig({}, { outbound: { smtpPort: 2525, allowPrivateNextHops: true } });
  assert.deepEqual(said(await delivering(t, {}, resolver)(aJob(own, byMx("loop.test"), aMessage(["a@x.test"])))), [
    "failed destination 554 5.4.6",
  ]);
});

test("a configured next hop may be private, and need not be there yet", async (t) => {
  const peer = await aPeer(t);
  const delivery: Delivery = { kind: "smtp", host: "localhost", port: peer.port, lookupMX: false, implicitTLS: false };
  const deliver = delivering(t);
  const strict = aLiveConfig();
  assert.deepEqual(said(await deliver(aJob(strict, { delivery }, aMessage(["a@x.test"])))), ["delivered 250 2.0.0"]);
  const missing = { ...delivery, host: "not-there.invalid" };
  assert.deepEqual(
    said(await deliver(aJob(strict, { delivery: missing, destination: "gone" }, aMessage(["a@x.test"])))),
    ["failed destination 451 4.4.3"],
  );
});
