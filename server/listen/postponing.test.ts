/** What a postmaster turns on while something is repaired: nothing refused for good (softBounce), nothing sent (hold). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, aServer, play } from "./inbound-fixture.ts";

const usual = aConfig().server.queue;

test("soft bounce: what would be refused for good is refused for now, and counts as a mistake all the same", async () => {
  const limits = { ...aConfig().server.limits, softErrors: 100, hardErrors: 6 };
  await using server = await aServer(aConfig({}, { queue: { ...usual, softBounce: true }, limits }));
  const client = await play(
    server.port(),
    `S: 220 *
C: HELO client.example.net
S: 250 *
C: NONSENSE
S: 400 4.5.2 *
C: MAIL FROM:<nobody
S: 401 4.1.7 *
C: MAIL FROM:<bob@example.com>
S: 250 *
C: RCPT TO:<nobody@example.org>
S: 450 4.1.1 *
C: RCPT TO:<stranger@elsewhere.test>
S: 454 4.7.1 *
C: RCPT TO:<alice@example.org>
S: 250 *
C: DATA
S: 354 *`,
  );
  client.send("Subject: x\r\n\r\nbare\nnewline\r\n.\r\n");
  assert.match(await client.reply(), /^450 4\.6\.0 /);
  assert.match(await client.say("STUFF"), /^400 4\.5\.2 /);
  assert.match(await client.reply(), /^421 4\.7\.0 Too many errors/);
  client.close();
});

test("hold: all new mail is taken and kept, and nobody is asked to deliver it", async () => {
  await using server = await aServer(aConfig({}, { queue: { ...usual, hold: true } }));
  const send = async (): Promise<void> => {
    const client = await play(
      server.port(),
      "S: 220 *\nC: HELO c.example.net\nS: 250 *\nC: MAIL FROM:<bob@example.com>\nS: 250 *\nC: RCPT TO:<alice@example.org>\nS: 250 *\nC: DATA\nS: 354 *",
    );
    client.send("Subject: x\r\n\r\nx\r\n.\r\n");
    assert.match(await client.reply(), /^250 2\.0\.0 Ok: queued as /);
    client.close();
  };
  await send();
  assert.equal(server.queue.stored.length, 1);
  assert.equal(server.accepted.length, 0);
  assert.ok(server.lines.some(({ event, held }) => event === "queued" && held === true));
  await server.reconfigure(aConfig({}, { queue: { ...usual, hold: false } }));
  await send();
  assert.equal(server.accepted.length, 1);
});
