/** A clock that jumps by ten years, either way, over the real queue: no mail bounces for it, none waits for it. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { Deliver } from "../deliver/deliver.ts";
import { aLiveConfig } from "../deliver/outbound-fixture.ts";
import { aQueue, put } from "../queue/queue-fixture.ts";
import { createLog } from "../observe/log.ts";
import { resolveRecipient } from "../route/recipient.ts";
import { startScheduler } from "./scheduler.ts";

const minute = 60_000;
const day = 86_400_000;
const years = 3653 * day;
const MESSAGES = 12;

const config = aLiveConfig({ domains: {}, addresses: {} });

/** Mail for hosts that do not answer until they are told to. */
async function aWorldOfMail(t: TestContext) {
  const q = await aQueue();
  const attempted = new Map<string, number>();
  const world = { answers: false, bounces: 0 };
  const deliver: Deliver = ({ message, recipients }) => {
    attempted.set(message.id, (attempted.get(message.id) ?? 0) + 1);
    if (message.envelope.sender === "") world.bounces += 1;
    return Promise.resolve({
      outcomes: recipients.map(({ number }) =>
        world.answers
          ? { recipient: number, kind: "delivered", reply: { code: 250, enhanced: "2.0.0", text: "ok" } }
          : {
              recipient: number,
              kind: "failed",
              scope: "host",
              reply: { code: 451, enhanced: "4.4.1", text: "nobody answers" },
            },
      ),
      connectMs: 1,
      transmitMs: world.answers ? 1 : 0,
    });
  };
  const scheduler = startScheduler({
    queue: q.queue,
    deliver,
    resolveRecipient,
    config: () => config,
    log: createLog("clock-jumps", "silent"),
    now: () => q.nowMs,
    pollMs: 5,
  });
  t.after(async () => {
    await scheduler.drain(1000);
    await q[Symbol.asyncDispose]();
  });
  /** Until nothing is due and nothing under way. */
  const quiet = async (): Promise<void> => {
    for (let calm = 0; calm < 3; ) {
      const nextMs = await q.queue.nextDueMs();
      const { messages } = await q.queue.summary(q.nowMs);
      const isCalm = scheduler.stats().messages === 0 && messages.active === 0;
      calm = isCalm && (nextMs === undefined || nextMs > q.nowMs) ? calm + 1 : 0;
    }
  };
  return {
    q,
    world,
    attempted,
    quiet,
    pass: async (ms: number, steps: number): Promise<void> => {
      for (let step = 0; step < steps; step++) {
        q.nowMs += ms / steps;
        await quiet();
      }
    },
  };
}

for (const [what, jumpMs] of [
  ["ahead", years],
  ["back", -years],
] as const) {
  test(`ten years ${what}, and what waits still waits: nothing bounces, everything is tried, and then delivered`, async (t) => {
    const { q, world, attempted, quiet, pass } = await aWorldOfMail(t);
    for (let count = 0; count < MESSAGES; count++)
      await put(q.queue, { claim: false, to: [`a@host${count % 3}.example`, `b@host${count % 3}.example`] });
    await quiet();
    await pass(30 * minute, 6);
    assert.equal((await q.queue.summary(q.nowMs)).messages.deferred, MESSAGES);

    attempted.clear();
    q.nowMs += jumpMs;
    await quiet();
    // The longest back-off, and some: a destination that was left alone is not left alone for ten years.
    await pass(6 * 60 * minute, 12);
    assert.ok(attempted.size >= 3, `${attempted.size} messages were tried after the jump`);
    await pass(14 * 60 * minute, 7);
    assert.equal(world.bounces, 0);
    const { messages, recipients } = await q.queue.summary(q.nowMs);
    assert.deepEqual([messages.deferred, recipients], [MESSAGES, 2 * MESSAGES]);

    // New mail comes and goes as ever.
    world.answers = true;
    const { id } = await put(q.queue, { claim: false, to: ["c@fresh.example"] });
    await quiet();
    assert.equal(await q.queue.get(id), undefined);
    await pass(10 * 60 * minute, 10);
    assert.deepEqual((await q.queue.summary(q.nowMs)).messages, { active: 0, deferred: 0, hold: 0, corrupt: 0 });
    assert.equal(world.bounces, 0);
  });

  test(`a server that finds the clock ten years ${what} at its start goes on with its queue`, async () => {
    await using q = await aQueue();
    const { id } = await put(q.queue);
    const other = await put(q.queue);
    const reply = { code: 451, enhanced: "4.4.1", text: "later" };
    await q.queue.settle(other.id, [{ recipient: 0, kind: "deferred", reply, dueMs: q.nowMs + 60 * minute }]);
    q.nowMs += jumpMs;
    await q.reopen();
    const claimed = await q.queue.claimDue(q.nowMs, 10);
    assert.deepEqual(new Set(claimed.map((message) => message.id)), new Set([id, other.id]));
    assert.ok((await q.queue.summary(q.nowMs)).oldestMs >= 0);
    // Ids are unique for ever, also those given after a clock went back.
    const ids = new Set((await Promise.all(Array.from({ length: 20 }, () => put(q.queue)))).map((each) => each.id));
    assert.equal(ids.size, 20);
  });
}
