/** Octets: large messages in bounded memory, half received ones, damaged ones. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import {
  anEnvelope,
  anOrigin,
  aQueue,
  assertTotals,
  closing,
  contentOf,
  delivered,
  put,
  START_MS,
  statesOf,
} from "./queue-fixture.ts";

const MIB = 1_048_576;

test("sizes around every border come back as they were", async () => {
  await using q = await aQueue();
  const sizes = [0, 1, 65_535, 65_536, 65_537, 262_143, 262_144, 262_145, 327_680, 1_000_000];
  const stored = await Promise.all(
    sizes.map(async (size) => {
      const content = randomBytes(size);
      return { content, message: await put(q.queue, { content }) };
    }),
  );
  for (const { content, message } of stored) {
    assert.equal(message.size, content.length);
    assert.ok((await contentOf(q.queue, message.id)).equals(content), `${content.length} octets`);
  }
  await Promise.all(stored.map(({ message }) => q.queue.settle(message.id, closing(message))));
  assert.equal((await q.queue.summary(0)).bytes, 0);
});

test("60 MiB written in uneven pieces stream in and out, with little of it in memory", async () => {
  await using q = await aQueue();
  const total = 60 * MIB;
  const pieces = [1, 1000, 65_536, 70_001, 300_000, 17].map((size) => randomBytes(size));
  const writer = q.queue.newMessage();
  const hashIn = createHash("sha256");
  let highest = 0;
  const base = process.memoryUsage().arrayBuffers;
  for (let index = 0; writer.size < total; index++) {
    const piece = pieces[index % pieces.length] ?? Buffer.alloc(0);
    hashIn.update(piece);
    await writer.write(piece);
    highest = Math.max(highest, process.memoryUsage().arrayBuffers - base);
  }
  const message = await writer.commit(anEnvelope(), anOrigin, { claim: true });
  assert.equal(message.size, writer.size);
  assert.ok(highest < 24 * MIB, `${highest} octets in buffers while writing`);

  const hashOut = createHash("sha256");
  let size = 0;
  for await (const piece of q.queue.read(message.id)) {
    assert.ok(piece.length <= 65_536);
    size += piece.length;
    hashOut.update(piece);
  }
  assert.equal(size, message.size);
  assert.equal(hashOut.digest("hex"), hashIn.digest("hex"));
});

test("what a delivery was done with is given back with its result; the next attempt reads what is stored", async () => {
  await using q = await aQueue();
  const content = randomBytes(200_000);
  const { id, recipients } = await put(q.queue, { content });
  const reading = q.queue.read(id);
  const pieces: Buffer[] = [];
  for await (const piece of reading) pieces.push(piece);
  assert.ok(Buffer.concat(pieces).equals(content));
  reading.release?.();
  const reply = { code: 451, enhanced: "4.3.0", text: "later" };
  await q.queue.settle(
    id,
    recipients.map(({ number }) => ({
      recipient: number,
      kind: "deferred",
      reply,
      dueMs: START_MS,
      delayWarned: false,
    })),
  );
  assert.deepEqual(
    pieces.map(({ length }) => length),
    [0],
  );
  assert.ok((await contentOf(q.queue, id)).equals(content));
});

test("a reader that goes on after it was done is told so, and never comes to the end of the message", async () => {
  await using q = await aQueue();
  const writer = q.queue.newMessage();
  for (let count = 0; count < 2; count++) await writer.write(randomBytes(50_000));
  const message = await writer.commit(anEnvelope(), anOrigin, { claim: true });
  const reading = q.queue.read(message.id);
  const pieces = reading[Symbol.asyncIterator]();
  assert.equal((await pieces.next()).value?.length, 50_000);
  reading.release?.();
  await q.queue.settle(message.id, closing(message));
  await assert.rejects(async () => {
    while ((await pieces.next()).done !== true);
  }, /50000 octets of the message are no longer in memory/);
});

test("a writer that is faster than the disk is made to wait", async () => {
  await using q = await aQueue();
  const writer = q.queue.newMessage();
  const piece = Buffer.alloc(MIB);
  let resolved = 0;
  const writes = Array.from({ length: 8 }, async () => {
    await writer.write(piece);
    resolved += 1;
  });
  await Promise.resolve();
  assert.ok(resolved <= 1, `${resolved} writes of 1 MiB went through at once`);
  await Promise.all(writes);
  const { id, size } = await writer.commit(anEnvelope(), anOrigin);
  assert.equal((await contentOf(q.queue, id)).length, size);
});

test("half received messages are invisible, and leave nothing when aborted", async () => {
  await using q = await aQueue();
  const writer = q.queue.newMessage();
  await writer.write(Buffer.alloc(2 * MIB));
  assert.deepEqual(await q.queue.list({ limit: 10 }), []);
  assert.equal(await q.queue.get(writer.id), undefined);
  assert.equal(await q.queue.remove(writer.id), false);
  await assertTotals(q.queue, {});
  await writer.abort();
  await q.queue.close();
  const db = new DatabaseSync(q.path);
  assert.deepEqual(
    {
      ...db.prepare("SELECT (SELECT count(*) FROM message) AS messages, (SELECT count(*) FROM chunk) AS chunks").get(),
    },
    { messages: 0, chunks: 0 },
  );
  db.close();
});

test("half received messages are gone after a restart", async () => {
  await using q = await aQueue();
  await q.queue.newMessage().write(Buffer.alloc(2 * MIB));
  // Joins the commit of the chunks, or comes after it.
  await put(q.queue);
  await q.reopen();
  assert.deepEqual(q.lines.find(({ event }) => event === "queue-recovered")?.["halfReceived"], 1);
  assert.equal((await q.queue.list({ limit: 10 })).length, 1);
});

/** Change the closed database of a queue behind its back. */
function tamper(path: string, sql: string): void {
  const db = new DatabaseSync(path);
  db.exec(sql);
  db.close();
}

for (const { what, sql, reason } of [
  {
    what: "one flipped bit in a later chunk",
    sql: "UPDATE chunk SET data = substr(data, 1, 1000) || x'58' || substr(data, 1002) WHERE key % 65536 = 5 AND data IS NOT NULL",
    reason: /checksum of chunk 5/,
  },
  { what: "a missing chunk", sql: "DELETE FROM chunk WHERE key % 65536 = 2", reason: /chunk 2 is missing/ },
]) {
  test(`${what}: the message is put aside, the others are not touched`, async () => {
    await using q = await aQueue();
    const bad = await put(q.queue, { content: Buffer.alloc(MIB), to: ["a@example.org", "b@example.org"] });
    const good = await put(q.queue);
    await q.queue.settle(bad.id, [{ recipient: 1, kind: "delivered", reply: delivered }]);
    await q.queue.close();
    tamper(q.path, sql);
    await q.reopen();
    const isCorrupt = { name: "CorruptMessage", message: reason };
    await assert.rejects(contentOf(q.queue, bad.id), isCorrupt);
    assert.equal(q.lines.find(({ event }) => event === "message-corrupt")?.["id"], bad.id);
    await assertTotals(q.queue, { corrupt: 1, deferred: 1, recipients: 1 });
    assert.equal((await q.queue.get(bad.id))?.corrupt, true);
    assert.deepEqual(
      (await q.queue.claimDue(START_MS, 10)).map(({ id }) => id),
      [good.id],
    );
    // Nothing but removal ends it: not a release, not a second reading, not a restart.
    assert.equal(await q.queue.release(bad.id, START_MS), false);
    await assert.rejects(contentOf(q.queue, bad.id), { name: "CorruptMessage" });
    await q.reopen();
    await assertTotals(q.queue, { corrupt: 1, deferred: 1, recipients: 1 });
    assert.equal((await q.queue.claimDue(START_MS, 10)).length, 1);
    assert.equal(await q.queue.remove(bad.id), true);
    await assertTotals(q.queue, { active: 1, recipients: 1 });
  });
}

test("a message found corrupt while another delivery of it is under way keeps that one's result", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { content: Buffer.alloc(MIB), to: ["a@example.org", "b@example.org"] });
  await q.queue.close();
  tamper(q.path, "DELETE FROM chunk WHERE key % 65536 = 2");
  await q.reopen();
  await q.queue.claimDue(START_MS, 1);
  await assert.rejects(contentOf(q.queue, id), { name: "CorruptMessage" });
  await q.queue.settle(id, [
    { recipient: 0, kind: "delivered", reply: delivered },
    { recipient: 1, kind: "deferred", reply: { code: 451, enhanced: "4.3.0", text: "cannot read" }, dueMs: START_MS },
  ]);
  assert.deepEqual(await statesOf(q.queue, id), ["b@example.org:hold"]);
  assert.deepEqual(await q.queue.claimDue(START_MS, 10), []);
  await assertTotals(q.queue, { corrupt: 1 });
});

test("a message removed while it is read ends the reading with an error, not with a short message", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { content: Buffer.alloc(4 * MIB) });
  const reading = async (): Promise<void> => {
    for await (const _ of q.queue.read(id)) await q.queue.remove(id);
  };
  await assert.rejects(reading(), /no longer in the queue/);
});
