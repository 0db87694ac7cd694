/** BDAT: octets by count, RFC 3030. What is stored, what is refused, and that octets never become commands. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, aListener, aServer, play, type TestClient, type TestServer } from "./inbound-fixture.ts";

const timeout = 10_000;

async function atMessage(server: TestServer): Promise<TestClient> {
  const client = await play(server.port(), "S: 220 *\nC: HELO client.example.net\nS: 250 *");
  assert.match(await client.say("MAIL FROM:<bob@example.com>"), /^250 /);
  assert.match(await client.say("RCPT TO:<alice@example.org>"), /^250 /);
  return client;
}

function storedText(server: TestServer, place = 0): string {
  return (server.queue.stored[place]?.content.toString("latin1") ?? "").replace(
    /^Received: (?:.*\r\n)(?:[ \t].*\r\n)*/,
    "",
  );
}

test("EHLO offers CHUNKING", { timeout }, async () => {
  await using server = await aServer();
  const client = await play(server.port(), "S: 220 *");
  assert.match(await client.say("EHLO client.example.net"), /^250-CHUNKING\r?$/m);
  client.close();
});

test("a message in one chunk, in three, and in chunks of nothing; dots mean nothing", { timeout }, async () => {
  await using server = await aServer();
  const text = "Subject: x\r\n\r\n.\r\n..\r\nend\r\n";
  for (const [place, sizes] of [[text.length], [3, 12, text.length - 15], [0, text.length, 0]].entries()) {
    const client = await atMessage(server);
    let at = 0;
    for (const [number, size] of sizes.entries()) {
      const last = number === sizes.length - 1;
      client.send(`BDAT ${size}${last ? " LAST" : ""}\r\n${text.slice(at, at + size)}`);
      at += size;
      assert.match(
        await client.reply(),
        last ? /^250 2\.0\.0 Ok: queued as / : new RegExp(`^250 2\\.0\\.0 Ok: ${size} octets`),
      );
    }
    assert.equal(storedText(server, place), text);
    client.close();
  }
});

test("pipelined with its envelope, and a command right behind the octets", { timeout }, async () => {
  await using server = await aServer();
  const client = await play(server.port(), "S: 220 *\nC: HELO client.example.net\nS: 250 *");
  client.send(
    "MAIL FROM:<bob@example.com>\r\nRCPT TO:<alice@example.org>\r\nBDAT 7\r\nA: b\r\n\rBDAT 4 LAST\r\n\nx\r\nNOOP\r\n",
  );
  for (const expected of [
    /^250 2\.1\.0/,
    /^250 2\.1\.5/,
    /^250 2\.0\.0 Ok: 7/,
    /^250 2\.0\.0 Ok: queued/,
    /^250 2\.0\.0 Ok/,
  ])
    assert.match(await client.reply(), expected);
  assert.equal(storedText(server), "A: b\r\n\r\nx\r\n");
  client.close();
});

test("commands within the octets are octets, cut at every place", { timeout: 30_000 }, async () => {
  const inner = "\r\n.\r\nMAIL FROM:<smuggled@example.com>\r\nRCPT TO:<alice@example.org>\r\nBDAT 3 LAST\r\nx\r\n";
  const whole = `BDAT ${inner.length} LAST\r\n${inner}NOOP\r\n`;
  await using server = await aServer();
  for (let cut = 1; cut < whole.length; cut += 5) {
    const client = await atMessage(server);
    client.socket.write(whole.slice(0, cut));
    await new Promise((resolve) => setImmediate(resolve));
    client.socket.write(whole.slice(cut));
    assert.match(await client.reply(), /^250 2\.0\.0 Ok: queued as /);
    assert.match(await client.reply(), /^250 2\.0\.0 Ok$/m);
    client.close();
  }
  for (const { content } of server.queue.stored) assert.ok(content.toString("latin1").includes(inner.trim()));
});

for (const [name, octets, reply] of [
  ["bare LF", "a: b\n\r\nx\r\n", /^550 5\.6\.0 Message holds a bare CR or LF/],
  ["bare CR at the end", "a: b\r\n\r\nx\r", /^550 5\.6\.0 Message holds a bare CR or LF/],
  ["NUL", "a: b\r\n\r\n\0\r\n", /^550 5\.6\.0 Message holds a NUL/],
] as const) {
  test(`${name}: refused, nothing stored, in step`, { timeout }, async () => {
    await using server = await aServer();
    const client = await atMessage(server);
    client.send(`BDAT ${octets.length} LAST\r\n${octets}`);
    assert.match(await client.reply(), reply);
    assert.match(await client.say("NOOP"), /^250 2\.0\.0 Ok/);
    assert.equal(server.queue.stored.length, 0);
    client.close();
  });
}

test("a refused chunk is read before it is answered, and what follows it too", { timeout }, async () => {
  await using server = await aServer();
  const client = await play(server.port(), "S: 220 *\nC: HELO client.example.net\nS: 250 *");
  client.send("BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
  assert.match(await client.reply(), /^503 5\.5\.1 Need MAIL command/);
  assert.match(await client.reply(), /^503 5\.5\.1 Need MAIL command/);
  assert.match(await client.reply(), /^250 2\.0\.0 Ok/);
  assert.match(await client.say("MAIL FROM:<bob@example.com>"), /^250 /);
  client.send("BDAT 6 LAST\r\nQUIT\r\n");
  assert.match(await client.reply(), /^503 5\.5\.1 Need RCPT command/);
  assert.match(await client.say("RCPT TO:<nobody@example.org>"), /^550 /);
  client.send("BDAT 6 LAST\r\nQUIT\r\n");
  assert.match(await client.reply(), /^554 5\.5\.1 No valid recipients/);
  client.close();
});

test("a count that is none ends the connection: its octets cannot be told from commands", { timeout }, async () => {
  await using server = await aServer();
  for (const argument of ["", "-1", "1 FIRST", "0x10", "99999999999999999999", "LAST"]) {
    const client = await atMessage(server);
    client.send(`BDAT ${argument}\r\nNOOP\r\n`);
    assert.match(await client.reply(), /^501 5\.5\.4 Syntax: BDAT octets \[LAST\]/);
    assert.ok(await client.closed());
  }
});

test("DATA and RCPT after a chunk are out of place; RSET begins anew", { timeout }, async () => {
  await using server = await aServer();
  const client = await atMessage(server);
  client.send("BDAT 6\r\na: b\r\n");
  assert.match(await client.reply(), /^250 2\.0\.0 Ok: 6 octets/);
  assert.match(await client.say("DATA"), /^503 5\.5\.1 A message is under way/);
  assert.match(await client.say("RCPT TO:<alice@example.org>"), /^503 5\.5\.1 A message is under way/);
  assert.match(await client.say("RSET"), /^250 /);
  assert.equal(server.queue.aborted, 1);
  client.send("BDAT 4 LAST\r\nx\r\n\n");
  assert.match(await client.reply(), /^503 5\.5\.1 Need MAIL command/);
  client.close();
});

test("larger than allowed: said at the chunk that is too much", { timeout }, async () => {
  const config = aConfig({}, { limits: { messageSizeBytes: 1000 } });
  await using server = await aServer(config);
  const client = await atMessage(server);
  const half = `${"x".repeat(598)}\r\n`;
  client.send(`BDAT 600\r\n${half}`);
  assert.match(await client.reply(), /^250 /);
  client.send(`BDAT 600\r\n${half}BDAT 6 LAST\r\nQUIT\r\n`);
  assert.match(await client.reply(), /^552 5\.3\.4 Message size exceeds the limit/);
  assert.match(await client.reply(), /^503 5\.5\.1 Need MAIL command/);
  assert.match(await client.say("NOOP"), /^250 /);
  assert.equal(server.queue.stored.length, 0);
  client.close();
});

test("a submission listener refuses octets without AUTH, and none of them becomes a command", { timeout }, async () => {
  const config = aConfig({}, { listeners: [aListener({ role: "Submission" })] });
  await using server = await aServer(config);
  const client = await play(server.port(), "S: 220 *\nC: HELO client.example.net\nS: 250 *");
  client.send("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
  assert.match(await client.reply(), /^503 5\.5\.1 Need MAIL command/);
  assert.match(await client.reply(), /^250 /);
  client.close();
});
