/** Group commit: what is ready together shares one sync, fails alone, and is durable when it is answered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { commitItems } from "../observe/metrics.ts";
import type { Settlement } from "./queue.ts";
import { anEnvelope, anOrigin, aQueue, assertTotals, contentOf, delivered, put } from "./queue-fixture.ts";

const done: Settlement = { recipient: 0, kind: "delivered", reply: delivered };

/** Commits so far, and what they carried. */
async function commits(): Promise<{ readonly count: number; readonly items: number }> {
  const { values } = await commitItems.get();
  const of = (suffix: string): number => values.find(({ metricName }) => metricName?.endsWith(suffix))?.value ?? 0;
  return { count: of("_count"), items: of("_sum") };
}

test("the database is in WAL mode, synced at every commit, locked", async () => {
  await using q = await aQueue();
  // 2 is FULL: https://sqlite.org/pragma.html#pragma_synchronous
  assert.deepEqual(await q.queue.settings(), { journalMode: "wal", synchronous: 2, lockingMode: "exclusive" });
});

test("everything that is ready goes in one commit", async () => {
  await using q = await aQueue();
  const earlier = await Promise.all(Array.from({ length: 20 }, () => put(q.queue)));
  const before = await commits();
  await Promise.all([
    ...Array.from({ length: 100 }, () => put(q.queue)),
    ...earlier.map(({ id }) => q.queue.settle(id, [done])),
  ]);
  const after = await commits();
  assert.equal(after.items - before.items, 120);
  assert.ok(after.count - before.count <= 3, `${after.count - before.count} commits for 120 operations`);
});

test("one that fails does not take its neighbours along", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue);
  const nobody = { envelope: anEnvelope([], { sender: "" }), content: Buffer.from("x") };
  const before = await commits();
  const results = await Promise.allSettled([
    put(q.queue, { content: Buffer.from("first") }),
    q.queue.settle(id, [done], [{ envelope: anEnvelope(), content: Buffer.from("report") }, nobody]),
    put(q.queue, { content: Buffer.from("second") }),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  assert.equal((await commits()).count - before.count, 1);
  // The report before the bad one is gone as well, the message is not settled.
  const contents = await Promise.all(
    (await q.queue.list({ limit: 10 })).map(async (message) => String(await contentOf(q.queue, message.id))),
  );
  assert.deepEqual(contents.slice(1).toSorted(), ["first", "second"]);
  await assertTotals(q.queue, { active: 3, recipients: 3 });
});

test("reading alone commits nothing", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue);
  const before = await commits();
  await q.queue.get(id);
  await q.queue.list({ limit: 10 });
  await q.queue.summary(0);
  await contentOf(q.queue, id);
  assert.deepEqual(await commits(), before);
});

test("calls take effect in the order in which they were made", async () => {
  await using q = await aQueue();
  const writer = q.queue.newMessage();
  await writer.write(Buffer.from("x"));
  const storing = writer.commit(anEnvelope(), anOrigin, { claim: true });
  const [, before, , after] = await Promise.all([
    storing,
    q.queue.get(writer.id),
    q.queue.settle(writer.id, [done]),
    q.queue.get(writer.id),
  ]);
  assert.equal(before?.id, writer.id);
  assert.equal(after, undefined);
});

test("more than one commit takes goes into several, each message with its own octets", async () => {
  await using q = await aQueue();
  const contentNumber = (index: number): Buffer => Buffer.from(`message ${index}`);
  const stored = await Promise.all(
    Array.from({ length: 1700 }, (_, index) => put(q.queue, { content: contentNumber(index) })),
  );
  await assertTotals(q.queue, { active: 1700, recipients: 1700 });
  const contents = await Promise.all(stored.map(({ id }) => contentOf(q.queue, id)));
  for (const [index, content] of contents.entries()) assert.deepEqual(content, contentNumber(index));
  await Promise.all(stored.map(({ id }) => q.queue.settle(id, [done])));
  await assertTotals(q.queue, {});
});
