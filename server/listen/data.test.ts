/** The message itself: what ends it, what is refused, what is put on top of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, aListener, aServer, play, type TestClient, type TestServer } from "./inbound-fixture.ts";

async function atData(server: TestServer, recipients: readonly string[] = ["alice@example.org"]): Promise<TestClient> {
  const client = await play(server.port(), "S: 220 *\nC: HELO client.example.net\nS: 250 *");
  await envelope(client, recipients);
  return client;
}

async function envelope(client: TestClient, recipients: readonly string[] = ["alice@example.org"]): Promise<void> {
  assert.match(await client.say("MAIL FROM:<bob@example.com>"), /^250 /);
  for (const recipient of recipients) assert.match(await client.say(`RCPT TO:<${recipient}>`), /^250 /);
  assert.match(await client.say("DATA"), /^354 /);
}

/** The stored text without our Received field. */
function storedText(server: TestServer, place = 0): string {
  return (server.queue.stored[place]?.content.toString("latin1") ?? "").replace(
    /^Received: (?:.*\r\n)(?:[ \t].*\r\n)*/,
    "",
  );
}

const smuggled =
  "MAIL FROM:<smuggled@example.com>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n";
const almostEnds = {
  "CRLF . LF": "\r\n.\n",
  "LF . LF": "\n.\n",
  "CR . CR": "\r.\r",
  "LF . CRLF": "\n.\r\n",
  "CR . LF": "\r.\n",
  "CRLF . CR": "\r\n.\r",
  "NUL CRLF": "\0\r\n",
};

for (const [name, ending] of Object.entries(almostEnds)) {
  for (const step of [Number.POSITIVE_INFINITY, 1]) {
    test(`${name} ends nothing${step === 1 ? ", byte by byte" : ""}`, { timeout: 10_000 }, async () => {
      await using server = await aServer();
      const client = await atData(server);
      const text = Buffer.from(`Subject: first\r\n\r\nhello${ending}${smuggled}`, "latin1");
      if (step === 1) for (const byte of text) client.socket.write(Buffer.of(byte));
      else client.send(text);
      assert.match(await client.reply(), /^550 5\.6\.0 Message holds a (bare CR or LF|NUL)/);
      // One message, one answer: the connection is in step and nothing was stored.
      assert.match(await client.say("NOOP"), /^250 2\.0\.0 Ok/);
      assert.equal(server.queue.stored.length, 0);
      assert.equal(server.queue.aborted, 1);
      client.close();
    });
  }
}

test("dots, cut anywhere", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await atData(server);
  for (const part of ["Subject: a\r", "\n\r\n.", ".one\r\n", "..", "\r\n", "...three\r\n.", "\r", "\n"]) {
    client.send(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.match(await client.reply(), /^250 /);
  assert.equal(storedText(server), "Subject: a\r\n\r\n.one\r\n.\r\n..three\r\n");
  client.close();
});

test("a message of nothing but dots", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await atData(server);
  client.send(`\r\n${"..\r\n".repeat(20_000)}.\r\n`);
  assert.match(await client.reply(), /^250 /);
  assert.equal(storedText(server), `\r\n${".\r\n".repeat(20_000)}`);
  client.close();
});

test("the size limit, announced or not", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { messageSizeBytes: 10_000 } }));
  const client = await atData(server);
  const line = `${"x".repeat(98)}\r\n`;
  client.send(`\r\n${line.repeat(99)}${"x".repeat(96)}\r\n.\r\n`);
  assert.match(await client.reply(), /^250 /);
  await envelope(client);
  client.send(`\r\n${line.repeat(99)}${"x".repeat(97)}\r\n.\r\n`);
  assert.match(await client.reply(), /^552 5\.3\.4 Message size/);
  assert.equal(server.queue.stored.length, 1);
  // Who does not stop is cut off.
  await envelope(client);
  client.send(`\r\n${line.repeat(2000)}`);
  assert.match(await client.reply(), /^552 5\.3\.4 Message size/);
  assert.equal(await client.closed(), true);
});

test("the header limit", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { headerSizeBytes: 1000 } }));
  const client = await atData(server);
  const header = `X: ${"x".repeat(495)}\r\n`;
  client.send(`${header}${header.slice(4)}\r\n.\r\n`);
  assert.match(await client.reply(), /^250 /);
  for (const cut of [1, 100_000]) {
    await envelope(client);
    const text = `${header.repeat(3)}\r\nbody\r\n.\r\n`;
    for (let at = 0; at < text.length; at += cut) client.send(text.slice(at, at + cut));
    assert.match(await client.reply(), /^552 5\.3\.4 Message header/);
  }
  assert.equal(server.queue.stored.length, 1);
  client.close();
});

test("hops", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await atData(server);
  const hop = "Received: from a by b\r\n\twith c; date\r\n";
  client.send(`${hop.repeat(50)}\r\n.\r\n`);
  assert.match(await client.reply(), /^250 /);
  await envelope(client);
  client.send(`${hop.repeat(51)}\r\n.\r\n`);
  assert.match(await client.reply(), /^554 5\.4\.6 Too many hops/);
  await envelope(client);
  client.send(`X: y\r\n\r\n${hop.repeat(60)}.\r\n`);
  assert.match(await client.reply(), /^250 /);
  client.close();
});

const bodies: readonly (readonly [string, string, string])[] = [
  ["header and body", "A: b\r\n\r\nc\r\n", "A: b\r\n\r\nc\r\n"],
  ["header only", "A: b\r\n", "A: b\r\n\r\n"],
  ["body only", "\r\nc\r\n", "\r\nc\r\n"],
  ["text that is no header", "Hello there\r\nfriend\r\n", "\r\nHello there\r\nfriend\r\n"],
  [
    "a header that stops being one",
    "A: b\r\nno field\r\nC: d\r\n\r\ne\r\n",
    "A: b\r\n\r\nno field\r\nC: d\r\n\r\ne\r\n",
  ],
  ["folded fields", "A: b\r\n c\r\n\td\r\nE: f\r\n\r\n", "A: b\r\n c\r\n\td\r\nE: f\r\n\r\n"],
  ["nothing", "", "\r\n"],
  ["eight bits", "A: \xe4\r\n\r\n\xff\xfe\r\n", "A: \xe4\r\n\r\n\xff\xfe\r\n"],
];
for (const [name, sent, expected] of bodies) {
  for (const step of [1, 1000]) {
    test(`stored as sent: ${name}${step === 1 ? ", byte by byte" : ""}`, { timeout: 10_000 }, async () => {
      await using server = await aServer();
      const client = await atData(server);
      const data = Buffer.from(`${sent}.\r\n`, "latin1");
      for (let at = 0; at < data.length; at += step) client.socket.write(data.subarray(at, at + step));
      assert.match(await client.reply(), /^250 /);
      assert.equal(storedText(server), expected);
      client.close();
    });
  }
}

test("the Received field names the recipient only when there is one", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const one = await atData(server);
  await one.say(".");
  const date = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \\d{1,2} [A-Z][a-z]{2} \\d{4} \\d{2}:\\d{2}:\\d{2} \\+0000";
  const from =
    "Received: from client\\.example\\.net \\(client\\.example\\.net \\[127\\.0\\.0\\.1\\]\\)\\r\\n\\tby mx\\.example\\.org \\(Packetboat\\) with SMTP id";
  assert.match(
    server.queue.stored[0]?.content.toString() ?? "",
    new RegExp(`^${from} Q00000000001\\r\\n\\tfor <alice@example\\.org>;\\r\\n\\t${date}\\r\\n\\r\\n$`),
  );
  await envelope(one, ["alice@example.org", "alice+blind@example.org"]);
  await one.say(".");
  assert.match(
    server.queue.stored[1]?.content.toString() ?? "",
    new RegExp(`^${from} Q00000000002;\\r\\n\\t${date}\\r\\n\\r\\n$`),
  );
  one.close();
});

test("a client that vanishes before the final dot leaves nothing, after it a message", {
  timeout: 10_000,
}, async () => {
  await using server = await aServer();
  const before = await atData(server);
  before.send("Subject: half\r\n\r\nhal");
  before.socket.end();
  assert.equal(await before.closed(), true);

  let open: () => void = () => undefined;
  const committing = new Promise<void>((resolve) => {
    open = resolve;
  });
  server.queue.gate = committing;
  const after = await atData(server);
  const begins = server.queue.commitBegins();
  after.send("Subject: whole\r\n\r\nwhole\r\n.\r\n");
  await begins;
  after.close();
  // The session is cut off before the commit comes back.
  await server.inbound.drain(0);
  open();
  await committing;
  while (server.accepted.length === 0) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(
    server.queue.stored.map((_, place) => storedText(server, place)),
    ["Subject: whole\r\n\r\nwhole\r\n"],
  );
  assert.equal(server.accepted.length, 1);
  assert.equal(server.queue.aborted, 1);
});

test("missing fields are added on submission only", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { listeners: [aListener({ role: "MX" })] }));
  const client = await atData(server);
  await client.say("Subject: bare\r\n\r\n.");
  assert.equal(storedText(server), "Subject: bare\r\n\r\n");
  client.close();
});

test("large messages one behind the other, cut anywhere: nobody's octets in another's", {
  timeout: 20_000,
}, async () => {
  await using server = await aServer();
  const client = await atData(server);
  const next = "MAIL FROM:<bob@example.com>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n";
  // Headers that come in several reads, a body of dots, long and short ones.
  const messages = Array.from({ length: 12 }, (_, number) => {
    const field = `X-Number: ${number}\r\n`;
    const line = `${String.fromCharCode(97 + number).repeat(5 + number * 7)}\r\n`;
    return `Date: x\r\nFrom: x\r\nMessage-ID: <${number}@x>\r\n${field.repeat(number % 3 === 0 ? 1200 : 1)}\r\n${(number % 4 === 1 ? `.${line}` : line).repeat(900)}`;
  });
  for (const [number, message] of messages.entries()) {
    const isLast = number === messages.length - 1;
    const octets = Buffer.from(`${message.replaceAll("\r\n.", "\r\n..")}.\r\n${isLast ? "" : next}`);
    const cut = number % 2 === 0 ? octets.length : 1 + 1999 * number;
    for (let at = 0; at < octets.length; at += cut) client.send(octets.subarray(at, at + cut));
    assert.match(await client.reply(), /^250 2\.0\.0 Ok/);
    if (!isLast) for (const code of [250, 250, 354]) assert.match(await client.reply(), new RegExp(`^${code} `));
  }
  for (const [number, message] of messages.entries())
    assert.ok(storedText(server, number) === message, `message ${number}`);
  client.close();
});
