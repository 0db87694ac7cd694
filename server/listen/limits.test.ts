/** Limits as clients meet them: rates, errors, junk, deadlines, stress, and a client that never reads. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { rejected } from "../observe/metrics.ts";
import { aCertificate, aConfig, aListener, aServer, play, type TestClient } from "./inbound-fixture.ts";

const hello = "S: 220 *\nC: HELO client.example.net\nS: 250 *";
const aMinute = (count: number) => ({ count, perMs: 60_000 });

const refusals = async (reason: string): Promise<number> =>
  (await rejected.get()).values
    .filter(({ labels }) => labels.reason === reason)
    .reduce((sum, { value }) => sum + value, 0);

test("connections of one client in a time", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { rates: { connections: aMinute(2) } } }));
  const before = await refusals("client-rate");
  for (let count = 0; count < 2; count++) (await play(server.port(), "S: 220 *")).close();
  await play(server.port(), "S: 421 4.7.0 Too many connections from your address in a short time\nCLOSED");
  (await play(server.port(), "S: 220 *", { localAddress: "127.0.0.2" })).close();
  assert.equal((await refusals("client-rate")) - before, 1);
});

test("messages and recipients of one client in a time, over connections", { timeout: 10_000 }, async () => {
  await using server = await aServer(
    aConfig({}, { limits: { rates: { messages: aMinute(2), recipients: aMinute(3) } } }),
  );
  const one = await play(
    server.port(),
    `${hello}
     C: MAIL FROM:<>
     S: 250 *
     C: RCPT TO:<alice@example.org>
     S: 250 *
     C: RCPT TO:<nobody@example.org>
     S: 550 *`,
  );
  one.close();
  const two = await play(
    server.port(),
    `${hello}
     C: MAIL FROM:<>
     S: 250 *
     C: RCPT TO:<alice@example.org>
     S: 250 *
     C: RCPT TO:<alice@example.org>
     S: 450 4.7.1 Too many recipients from your address, try again later
     C: RSET
     S: 250 *
     C: MAIL FROM:<>
     S: 450 4.7.1 Too much mail from your address, try again later`,
  );
  two.close();
});

test("who is exempt has neither rates nor a limit of connections", { timeout: 10_000 }, async () => {
  const exempt = { exemptNetworks: ["127.0.0.0/29"], rates: { connections: aMinute(1) }, connectionsPerClient: 1 };
  await using server = await aServer(aConfig({}, { limits: exempt }));
  const clients = await Promise.all(Array.from({ length: 4 }, () => play(server.port(), "S: 220 *")));
  for (const client of clients) client.close();
});

test("too much of a rate is an error in the end", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { rates: { messages: aMinute(1) }, hardErrors: 3 } }));
  const client = await play(server.port(), `${hello}\nC: MAIL FROM:<>\nS: 250 *\nC: RSET\nS: 250 *`);
  for (let count = 0; count < 3; count++) assert.match(await client.say("MAIL FROM:<>"), /^450 4\.7\.1 /);
  assert.match(await client.reply(), /^421 4\.7\.0 Too many errors/);
});

test("junk: beyond the limit each counts as an error; a message forgives", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { junkCommands: 5, hardErrors: 3 } }));
  const client = await play(server.port(), hello);
  for (let count = 0; count < 5; count++) assert.match(await client.say("NOOP"), /^250 /);
  for (const line of ["MAIL FROM:<>", "RCPT TO:<alice@example.org>", "DATA"]) await client.say(line);
  assert.match(await client.say("a: b\r\n\r\n."), /^250 /);
  for (const verb of ["NOOP", "RSET", "VRFY x", "EHLO y", "NOOP"]) assert.match(await client.say(verb), /^25/);
  for (let count = 0; count < 3; count++) assert.match(await client.say("NOOP"), /^250 /);
  assert.match(await client.reply(), /^421 4\.7\.0 Too many errors/);
});

test("recipients beyond the limit are errors only beyond the overshoot", { timeout: 10_000 }, async () => {
  const addresses = new Map(
    Array.from({ length: 100 }, (_, number) => [
      `user${number}@example.org`,
      { alias: { destinations: [], senders: [] } },
    ]),
  );
  await using server = await aServer(
    aConfig({ addresses }, { limits: { recipients: 100, recipientOvershoot: 4, hardErrors: 2 } }),
  );
  const client = await play(server.port(), `${hello}\nC: MAIL FROM:<>\nS: 250 *`);
  for (let number = 0; number < 100; number++)
    assert.match(await client.say(`RCPT TO:<user${number}@example.org>`), /^250 /);
  for (let count = 0; count < 6; count++) assert.match(await client.say("RCPT TO:<postmaster>"), /^452 4\.5\.3 /);
  assert.match(await client.reply(), /^421 4\.7\.0 Too many errors/);
});

test("messages of one connection", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { messagesPerConnection: 1 } }));
  const client = await play(server.port(), hello);
  for (const line of ["MAIL FROM:<>", "RCPT TO:<alice@example.org>", "DATA"]) await client.say(line);
  assert.match(await client.say("a: b\r\n\r\n."), /^250 /);
  assert.match(await client.say("NOOP"), /^250 /);
  assert.match(await client.say("MAIL FROM:<>"), /^421 4\.7\.0 /);
  assert.equal(await client.closed(), true);
});

test("STARTTLS and AUTH of one client in a time", { timeout: 10_000 }, async () => {
  const config = aConfig(
    { certificates: new Map([["own", await aCertificate(["mx.example.org"])]]), serverCertificates: ["own"] },
    {
      listeners: [aListener({ name: "submission", role: "Submission" })],
      limits: { rates: { tlsSessions: aMinute(2), auths: aMinute(1) } },
    },
  );
  await using server = await aServer(config);
  const port = server.port("submission");
  const secured = `S: 220 *\nC: HELO x\nS: 250 *\nC: STARTTLS\nS: 220 *\nTLS\nC: HELO x\nS: 250 *`;
  (await play(port, `${secured}\nC: AUTH PLAIN AGEAYg==\nS: 535 *`)).close();
  (await play(port, `${secured}\nC: AUTH PLAIN AGEAYg==\nS: 450 4.7.1 Too many AUTH commands *`)).close();
  const third = await play(
    port,
    "S: 220 *\nC: HELO x\nS: 250 *\nC: STARTTLS\nS: 454 4.7.0 Too many new TLS sessions *\nC: NOOP\nS: 250 *",
  );
  third.close();
});

/** Sends one octet at a time, until the server hangs up; what it said last. */
async function drip(client: TestClient, everyMs: number): Promise<string> {
  const dripping = setInterval(() => client.send("x"), everyMs);
  try {
    return await client.reply();
  } finally {
    clearInterval(dripping);
    client.close();
  }
}

const slow = { limits: { idleTimeoutMs: 600, heloTimeoutMs: 10_000, minDataRate: 1000 } };

describe("side by side, because they wait", { concurrency: true }, () => {
  test("who drips a command, or a message, has no more time than the silent", { timeout: 10_000 }, async () => {
    await using server = await aServer(aConfig({}, slow), { sweepMs: 20 });
    const before = await refusals("too-slow");
    const inCommand = hello;
    const inData = `${hello}\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.org>\nS: 250 *\nC: DATA\nS: 354 *`;
    const inChunk = `${hello}\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.org>\nS: 250 *\nC: BDAT 1000 LAST`;
    const last = [inCommand, inData, inChunk].map(async (where) => await drip(await play(server.port(), where), 20));
    for (const reply of await Promise.all(last)) assert.match(reply, /^421 4\.4\.2 Timeout exceeded/);
    assert.equal((await refusals("too-slow")) - before, 3);
    assert.equal(server.queue.stored.length, 0);
  });

  test("who is fast enough may take longer than the idle time", { timeout: 10_000 }, async () => {
    await using server = await aServer(aConfig({}, slow), { sweepMs: 20 });
    const client = await play(
      server.port(),
      `${hello}\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.org>\nS: 250 *\nC: DATA\nS: 354 *`,
    );
    const endMs = performance.now() + 1500;
    while (performance.now() < endMs) {
      client.send(`${"x".repeat(198)}\r\n`);
      await sleep(20);
    }
    assert.match(await client.say("."), /^250 /);
    client.close();
  });
});

test("a client that never says hello", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { heloTimeoutMs: 500 } }), { sweepMs: 20 });
  const client = await play(server.port(), "S: 220 *\nC: NOOP\nS: 250 *\nS: 421 4.4.2 *\nCLOSED");
  client.close();
});

test("under stress the first error ends a session", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { connections: 5 } }));
  const clients = await Promise.all(Array.from({ length: 4 }, () => play(server.port(), hello)));
  const [first] = clients;
  assert.ok(first !== undefined);
  assert.match(await first.say("FOO"), /^500 /);
  assert.match(await first.reply(), /^421 4\.7\.0 Too many errors/);
  assert.ok(server.lines.some(({ event }) => event === "stress"));
  for (const client of clients) client.close();
});

test("a client that pipelines and never reads: its commands wait", { timeout: 30_000 }, async () => {
  const limits = { junkCommands: 1_000_000, hardErrors: 1_000_000 };
  await using server = await aServer(aConfig({}, { limits }));
  const client = await play(server.port(), hello);
  client.socket.removeAllListeners("data");
  client.socket.pause();
  // More than the kernel's buffers of both sides hold of questions and of answers; a piece at a time, so that it is seen where they stop.
  const piece = `EHLO ${"x".repeat(200)}\r\n`.repeat(1000);
  const pieces = 150;
  let taken = 0;
  const pump = (): void => void client.socket.write(piece, () => ++taken < pieces && pump());
  pump();
  for (let before = -1; before !== taken && taken < pieces; ) {
    before = taken;
    await sleep(300);
  }
  assert.ok(taken < pieces, "the server went on reading");
  client.close();
});
