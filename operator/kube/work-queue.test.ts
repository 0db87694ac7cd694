/** The queue's promises, on a clock that a test moves. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { createLog } from "./log.ts";
import { ManualClock } from "./manual-clock.ts";
import { createMetrics } from "./metrics.ts";
import { type Outcome, WorkQueue, type WorkQueueOptions } from "./work-queue.ts";

const log = createLog("test", "silent");

/** A queue whose runs end when the test says so. */
function controlled(options: Partial<WorkQueueOptions> = {}) {
  const clock = new ManualClock();
  const metrics = createMetrics();
  const started: string[] = [];
  const open = new Map<string, PromiseWithResolvers<Outcome>>();
  const signals: AbortSignal[] = [];
  const queue = new WorkQueue({
    name: "test",
    log,
    clock,
    metrics,
    baseBackoffMs: 100,
    maxBackoffMs: 1000,
    work: (key, signal) => {
      assert.equal(open.has(key), false, `${key} runs twice at the same time`);
      started.push(key);
      signals.push(signal);
      const run = Promise.withResolvers<Outcome>();
      open.set(key, run);
      return run.promise;
    },
    ...options,
  });
  const end = async (key: string, outcome?: Outcome | Error) => {
    const run = open.get(key);
    assert.ok(run, `${key} is running`);
    open.delete(key);
    if (outcome instanceof Error) run.reject(outcome);
    else run.resolve(outcome);
    await clock.advance(0);
  };
  return { queue, clock, metrics, started, open, signals, end };
}

describe("order", () => {
  it("waits for start, keeps the order, and coalesces what waits", () => {
    const { queue, started } = controlled();
    for (const key of ["b", "a", "b", "b"]) queue.add(key);
    assert.deepEqual(started, []);
    assert.equal(queue.depth, 2);
    queue.start();
    assert.deepEqual(started, ["b"]);
  });

  it("runs a key once more, and only once, if it was added while running", async () => {
    const { queue, started, end } = controlled();
    queue.start();
    queue.add("a");
    for (let i = 0; i < 5; i++) queue.add("a");
    assert.deepEqual(started, ["a"]);
    await end("a");
    assert.deepEqual(started, ["a", "a"]);
    await end("a");
    assert.deepEqual(started, ["a", "a"]);
  });

  it("keeps n workers busy with n different keys", async () => {
    const { queue, started, open, end } = controlled({ workers: 2 });
    queue.start();
    for (const key of ["a", "b", "c", "a"]) queue.add(key);
    assert.deepEqual(started, ["a", "b"]);
    await end("b");
    assert.deepEqual(started, ["a", "b", "c"]);
    assert.equal(open.size, 2);
  });
});

describe("time", () => {
  it("doubles the wait of a failing key up to the limit, and forgets at a success", async () => {
    const { queue, clock, started, end } = controlled();
    queue.start();
    queue.add("a");
    for (const waitMs of [100, 200, 400, 800, 1000, 1000]) {
      await end("a", new Error("no"));
      const runs = started.length;
      await clock.advance(waitMs - 1);
      assert.equal(started.length, runs, `before ${waitMs} ms`);
      await clock.advance(1);
      assert.equal(started.length, runs + 1, `after ${waitMs} ms`);
    }
    await end("a");
    assert.equal(queue.failuresOf("a"), 0);
    queue.add("a");
    await end("a", new Error("no"));
    await clock.advance(100);
    assert.equal(started.length, 9);
  });

  it("a failing key holds up no other", async () => {
    const { queue, started, end } = controlled();
    queue.start();
    queue.add("bad");
    queue.add("good");
    await end("bad", new Error("no"));
    assert.deepEqual(started, ["bad", "good"]);
  });

  it("a change overrules the wait, and its timer does not run the key again", async () => {
    const { queue, clock, started, end } = controlled();
    queue.start();
    queue.add("a");
    await end("a", new Error("no"));
    queue.add("a");
    assert.equal(started.length, 2);
    await end("a");
    await clock.advance(10_000);
    assert.equal(started.length, 2);
  });

  it("runs again after the time that a run asked for; the earlier of two times wins", async () => {
    const { queue, clock, started, end } = controlled();
    queue.start();
    queue.add("a");
    await end("a", { againInMs: 5000 });
    queue.addAfter("a", 9000);
    queue.addAfter("a", 3000);
    await clock.advance(2999);
    assert.equal(started.length, 1);
    await clock.advance(1);
    assert.equal(started.length, 2);
    await end("a");
    await clock.advance(60_000);
    assert.equal(started.length, 2);
    assert.equal(clock.pending, 0);
  });
});

describe("stop", () => {
  it("starts nothing more, aborts and waits for what runs, and counts no failure then", async () => {
    const { queue, clock, metrics, started, signals, end } = controlled();
    queue.start();
    queue.add("a");
    queue.add("b");
    queue.addAfter("c", 100);
    let stopped = false;
    const stopping = queue.stop().then(() => (stopped = true));
    await clock.advance(1000);
    assert.equal(stopped, false);
    assert.equal(signals[0]?.aborted, true);
    await end("a", new Error("aborted"));
    await stopping;
    queue.add("d");
    await clock.advance(1000);
    assert.deepEqual(started, ["a"]);
    assert.equal((await metrics.queueRetries.get()).values.length, 0);
  });

  it("ends at once when nothing runs", async () => {
    const { queue } = controlled();
    await queue.stop();
  });
});

it("counts results and depth", async () => {
  const { queue, metrics, end } = controlled();
  queue.start();
  queue.add("a");
  queue.add("b");
  assert.equal((await metrics.queueDepth.get()).values[0]?.value, 1);
  await end("a", new Error("no"));
  await end("b");
  const results = (await metrics.reconciles.get()).values.map(({ labels, value }) => [labels.result, value]);
  assert.deepEqual(results, [
    ["failed", 1],
    ["done", 1],
  ]);
});

it("whatever is added, fails or waits: every last add is followed by a run, and no key runs twice at once", async () => {
  const key = fc.constantFrom("a", "b", "c");
  const step = fc.oneof(
    fc.record({ do: fc.constant("add" as const), key }),
    fc.record({ do: fc.constant("after" as const), key, ms: fc.integer({ min: 0, max: 500 }) }),
    fc.record({ do: fc.constant("end" as const), key, fails: fc.boolean() }),
    fc.record({ do: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 300 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 3 }), async (steps, workers) => {
      const { queue, clock, started, open, end } = controlled({ workers });
      queue.start();
      const owed = new Set<string>();
      for (const step of steps) {
        const before = started.length;
        if (step.do === "add") {
          owed.add(step.key);
          queue.add(step.key);
        } else if (step.do === "after") {
          queue.addAfter(step.key, step.ms);
          owed.add(step.key);
        } else if (step.do === "end" && open.has(step.key))
          await end(step.key, step.fails ? new Error("no") : undefined);
        else if (step.do === "advance") await clock.advance(step.ms);
        for (const key of started.slice(before)) owed.delete(key);
      }
      for (let round = 0; round < 20 && (open.size > 0 || owed.size > 0); round++) {
        const before = started.length;
        for (const key of Array.from(open.keys())) await end(key);
        await clock.advance(2000);
        for (const key of started.slice(before)) owed.delete(key);
      }
      assert.deepEqual([...owed], []);
      assert.equal(queue.depth, 0);
      await queue.stop();
    }),
    { numRuns: 100 },
  );
});
