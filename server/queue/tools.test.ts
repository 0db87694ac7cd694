/** What a postmaster's tools ask of the queue: walking by conditions, requeue, hasten, ages by domain, the last dialogue. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type QueueFilter, QueueUnavailable } from "./queue.ts";
import { aQueue, closing, delivered, put, START_MS, statesOf, tryLater } from "./queue-fixture.ts";
import type { SqliteQueue } from "./sqlite-queue.ts";
import { Shape } from "./age.ts";

async function idsOf(queue: SqliteQueue, filter: QueueFilter, limit = 1000): Promise<string[]> {
  const ids: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = await queue.scan({ after, limit, filter, idsOnly: true });
    ids.push(...page.ids);
    if (page.next === undefined) return ids;
    after = page.next;
  }
}

test("a walk finds what fits every condition, in the order of age, whatever the page", async () => {
  await using box = await aQueue();
  const { queue } = box;
  const names: Record<string, string> = {};
  const store = async (name: string, options: Parameters<typeof put>[1]): Promise<void> => {
    box.nowMs += 60_000;
    names[(await put(queue, { claim: false, ...options })).id] = name;
  };
  await store("a", { to: ["x@Example.ORG", "y@b.test"] });
  await store("b", { to: ["y@b.test"], hold: true });
  await store("c", { to: ["z@xn--bcher-kva.test"], envelope: { sender: "" } });
  await store("d", { to: ["z@c.test"], claim: true, envelope: { sender: "Bulk@NEWS.test" } });
  const rows: readonly [QueueFilter, string][] = [
    [{}, "abcd"],
    [{ domain: "example.org" }, "a"],
    [{ domain: "bücher.test" }, "c"],
    [{ recipient: "Y@B.test" }, "ab"],
    [{ recipient: "@b.test" }, "ab"],
    [{ recipient: "@b.test", domain: "b.test" }, "ab"],
    [{ sender: "" }, "c"],
    [{ sender: "bulk@news.test" }, "d"],
    [{ sender: "@news.test" }, "d"],
    [{ sender: "@example.com" }, "ab"],
    [{ state: "hold" }, "b"],
    [{ state: "deferred" }, "ac"],
    [{ state: "active" }, "d"],
    [{ state: "corrupt" }, ""],
    // Both of one recipient, not one of each.
    [{ recipient: "@b.test", domain: "example.org" }, ""],
    [{ state: "hold", domain: "example.org" }, ""],
    [{ receivedBeforeMs: START_MS + 130_000 }, "ab"],
  ];
  for (const limit of [1, 1000])
    for (const [filter, expected] of rows)
      assert.equal(
        (await idsOf(queue, filter, limit)).map((id) => names[id]).join(""),
        expected,
        JSON.stringify(filter),
      );
  const page = await queue.scan({ after: undefined, limit: 2, filter: {}, idsOnly: false });
  assert.deepEqual(
    page.messages.map(({ recipients }) => recipients.length),
    [2, 1],
  );
});

test("a walk over thousands of messages comes in slices, and other work goes between them", async () => {
  await using box = await aQueue();
  const { queue } = box;
  for (let batch = 0; batch < 20; batch++)
    await Promise.all(
      Array.from({ length: 250 }, (_, at) => put(queue, { claim: false, to: [`u${at}@d${batch}.test`] })),
    );
  let found = 0;
  for (let after: string | undefined; ; ) {
    const page = await queue.scan({ after, limit: 1000, filter: { domain: "d19.test" }, idsOnly: true });
    found += page.ids.length;
    if (page.next === undefined) break;
    after = page.next;
  }
  assert.equal(found, 250);
  const shape = new Shape();
  for (let after: string | undefined; ; ) {
    const slice = await queue.shape({ after, nowMs: START_MS + 15 * 60_000, by: "recipient", state: undefined });
    for (const [domain, ages] of slice.counts) shape.add(domain, ages);
    if (slice.next === undefined) break;
    after = slice.next;
  }
  const rows = shape.rows();
  assert.equal(rows.length, 20);
  assert.deepEqual(rows[0], { domain: "d0.test", ages: [0, 0, 250, 0, 0, 0, 0, 0, 0, 0] });
});

test("ages by sender count a message once; a state narrows them", async () => {
  await using box = await aQueue();
  const { queue } = box;
  await put(queue, { claim: false, to: ["a@x.test", "b@y.test"] });
  await put(queue, { claim: false, hold: true, envelope: { sender: "" } });
  const ask = async (by: "recipient" | "sender", state?: "hold"): Promise<unknown> =>
    (await queue.shape({ after: undefined, nowMs: START_MS, by, state })).counts.map(([domain, ages]) => [
      domain,
      ages[0],
    ]);
  assert.deepEqual(await ask("sender"), [
    ["example.com", 1],
    ["", 1],
  ]);
  assert.deepEqual(await ask("sender", "hold"), [["", 1]]);
  assert.deepEqual(await ask("recipient"), [
    ["x.test", 1],
    ["y.test", 1],
    ["example.org", 1],
  ]);
  assert.deepEqual(await ask("recipient", "hold"), [["example.org", 1]]);
});

test("requeue: due now, attempts from nothing, aliases again; what is held is released, what is under way or corrupt left alone", async () => {
  await using box = await aQueue();
  const { queue } = box;
  const message = await put(queue, { to: [{ address: "a@x.test", expanded: true }, "b@x.test", "c@x.test"] });
  const later = START_MS + 3_600_000;
  await queue.settle(message.id, [
    { recipient: 0, kind: "deferred", reply: tryLater, dueMs: later },
    { recipient: 1, kind: "held" },
  ]);
  assert.equal(await queue.requeue(message.id, START_MS), true);
  const after = await queue.get(message.id);
  assert.deepEqual(
    after?.recipients.map(({ state, attempts, dueMs, expanded }) => ({ state, attempts, dueMs, expanded })),
    [
      { state: "deferred", attempts: 0, dueMs: START_MS, expanded: false },
      { state: "deferred", attempts: 0, dueMs: START_MS, expanded: false },
      { state: "active", attempts: 1, dueMs: START_MS, expanded: false },
    ],
  );
  assert.equal(after?.receivedMs, message.receivedMs);
  assert.equal((await queue.claimDue(START_MS, 10))[0]?.recipients.length, 2);
  assert.equal(await queue.requeue("0000000000000", START_MS), false);
  const { messages } = await queue.summary(START_MS);
  assert.deepEqual(messages, { active: 1, deferred: 0, hold: 0, corrupt: 0 });
});

test("hasten: deferred recipients of a domain are due now, others keep their time", async () => {
  await using box = await aQueue();
  const { queue } = box;
  const message = await put(queue, { to: ["a@x.test", "b@Y.test", "c@y.test"] });
  const later = START_MS + 3_600_000;
  await queue.settle(
    message.id,
    [0, 1, 2].map((recipient) => ({ recipient, kind: "deferred", reply: tryLater, dueMs: later })),
  );
  assert.equal(await queue.hasten(message.id, START_MS, "y.test"), 2);
  assert.equal(await queue.hasten(message.id, START_MS, "y.test"), 0);
  assert.deepEqual(
    (await queue.get(message.id))?.recipients.map(({ dueMs }) => dueMs),
    [later, START_MS, START_MS],
  );
  assert.equal(await queue.hasten(message.id, START_MS, undefined), 1);
  assert.equal(await queue.hasten("0000000000000", START_MS, undefined), 0);
});

test("the last dialogue stays with the message over a restart, is replaced by the next, and goes with it", async () => {
  await using box = await aQueue();
  const message = await put(box.queue);
  const defer = (dialogue: string | undefined) =>
    box.queue.settle(message.id, [{ recipient: 0, kind: "deferred", reply: tryLater, dueMs: START_MS }], [], {
      dialogue,
    });
  await defer("C: MAIL FROM:<a>\nS: 451 no");
  assert.equal((await box.queue.get(message.id))?.lastDialogue, "C: MAIL FROM:<a>\nS: 451 no");
  assert.equal((await box.queue.claimDue(START_MS, 1))[0]?.lastDialogue, undefined);
  await box.reopen();
  await box.queue.claimDue(START_MS, 1);
  await defer(undefined);
  assert.equal((await box.queue.get(message.id))?.lastDialogue, "C: MAIL FROM:<a>\nS: 451 no");
  await box.queue.claimDue(START_MS, 1);
  await defer(`second ${"x".repeat(20_000)}`);
  assert.equal((await box.queue.get(message.id))?.lastDialogue?.length, 8192);
  await box.queue.claimDue(START_MS, 1);
  await box.queue.settle(message.id, [{ recipient: 0, kind: "delivered", reply: delivered }], [], {
    dialogue: "never kept",
  });
  assert.deepEqual(await statesOf(box.queue, message.id), ["(gone)"]);
  // The next message may get the number of the one that went: it must not inherit its dialogue.
  const next = await put(box.queue);
  assert.equal((await box.queue.get(next.id))?.lastDialogue, undefined);
});

test("a thousand deletions at once are few commits, and mail is taken meanwhile", async () => {
  await using box = await aQueue();
  const { queue } = box;
  const stored = await Promise.all(Array.from({ length: 1000 }, () => put(queue, { claim: false })));
  const [removed, accepted] = await Promise.all([
    Promise.all(stored.map(({ id }) => queue.remove(id))),
    put(queue).then(({ id }) => id),
  ]);
  assert.equal(removed.filter(Boolean).length, 1000);
  assert.deepEqual((await queue.summary(START_MS)).messages, { active: 1, deferred: 0, hold: 0, corrupt: 0 });
  const message = await queue.get(accepted);
  assert.ok(message);
  await queue.settle(accepted, closing(message));
  await assert.rejects(async () => {
    await queue.close();
    await queue.scan({ after: undefined, limit: 1, filter: {}, idsOnly: true });
  }, QueueUnavailable);
});
