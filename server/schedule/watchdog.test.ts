/** What never ends is noticed, logged, counted and healed; on the test's clock. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DeliveryReport } from "../deliver/deliver.ts";
import { aLog } from "../deliver/outbound-fixture.ts";
import { possibleDuplicates, schedulerStalled } from "../observe/metrics.ts";
import { QueueUnavailable, type QueuedMessage } from "../queue/queue.ts";
import { aWorld, delivered, kinds, to, until, waiting } from "./scheduler-fixture.ts";
import { Watchdog } from "./watchdog.ts";

const minutes = (count: number): number => count * 60_000;

async function stalledNow(what: string): Promise<number> {
  const { values } = await schedulerStalled.get();
  return values.find(({ labels }) => labels.what === what)?.value ?? 0;
}
async function duplicates(cause: string): Promise<number> {
  const { values } = await possibleDuplicates.get();
  return values.find(({ labels }) => labels.cause === cause)?.value ?? 0;
}

test("a watch: nothing before its time; then a line, the metric and the healing; again after as long; its end is told", async () => {
  const { log, lines } = aLog();
  let nowMs = 0;
  const watchdog = new Watchdog(log, () => nowMs);
  const healed: number[] = [];
  const end = watchdog.begin({ kind: "claim", about: { room: 7 }, mostMs: 1000, heal: (ms) => healed.push(ms) });
  nowMs = 1000;
  watchdog.look();
  assert.deepEqual([healed, lines, await stalledNow("claim")], [[], [], 0]);
  nowMs = 1500;
  watchdog.look();
  watchdog.look();
  assert.deepEqual([healed, lines.length, await stalledNow("claim")], [[1500], 1, 1]);
  assert.deepEqual(
    [lines[0]?.["event"], lines[0]?.["what"], lines[0]?.["room"], lines[0]?.["since"]],
    ["stalled", "claim", 7, 1.5],
  );
  nowMs = 2600;
  watchdog.look();
  assert.deepEqual(healed, [1500, 2600]);
  end();
  watchdog.look();
  assert.equal(await stalledNow("claim"), 0);
  assert.equal(lines.at(-1)?.["event"], "stall-ended");
});

test("a delivery whose time limit failed too is given up; what comes of it later is recorded", async (t) => {
  const late = Promise.withResolvers<DeliveryReport>();
  const before = await duplicates("late");
  const world = aWorld(t, delivered, { watched: true, deliver: () => late.promise, options: { beatMs: 5 } });
  const message = world.queue.put(to("a@x.test"));
  world.scheduler.submit(message);
  world.nowMs += minutes(27);
  await until(() => kinds(world.queue).length === 1);
  assert.deepEqual(kinds(world.queue), ["deferred"]);
  assert.equal(world.scheduler.stats().active, 0, "its place is free");
  assert.ok(world.lines.some(({ event, what, id }) => event === "stalled" && what === "delivery" && id === message.id));
  late.resolve({
    outcomes: message.recipients.map((each) => delivered({} as never, each)),
    connectMs: 1,
    transmitMs: 1,
  });
  await until(() => world.lines.some(({ event }) => event === "delivered-late"));
  assert.equal((await duplicates("late")) - before, 1);
});

test("a claim that is never answered does not stop the loop; what it brings in the end is taken", async (t) => {
  const world = aWorld(t, delivered, { watched: true, options: { beatMs: 5 } });
  const claimDue = world.queue.claimDue.bind(world.queue);
  const answer = Promise.withResolvers<void>();
  let calls = 0;
  world.queue.claimDue = async (nowMs, limit, options) => {
    calls += 1;
    if (calls > 1) return await claimDue(nowMs, limit, options);
    const claimed = await claimDue(nowMs, limit, options);
    await answer.promise;
    return claimed;
  };
  const first = world.queue.put(to("a@x.test"));
  await world.queue.settle(first.id, [{ recipient: 0, kind: "returned", dueMs: 0 }]);
  await until(() => calls === 1);
  const second = world.queue.put(to("b@x.test"));
  await world.queue.settle(second.id, [{ recipient: 0, kind: "returned", dueMs: 0 }]);
  world.nowMs += 31_000;
  await until(() => world.jobs.length === 1);
  assert.equal(world.jobs[0]?.message.id, second.id);
  assert.ok(world.lines.some(({ event, what }) => event === "stalled" && what === "claim"));
  answer.resolve();
  await until(() => world.jobs.length === 2);
  await world.quiet();
  assert.equal(world.queue.stored.size, 0);
});

/** One message's settlement, begun, which the queue answers only when told. */
async function oneWaits(world: ReturnType<typeof aWorld>): Promise<PromiseWithResolvers<void>> {
  const settle = world.queue.settle.bind(world.queue);
  const answer = Promise.withResolvers<void>();
  let settles = 0;
  world.queue.settle = async (...all) => {
    settles += 1;
    await answer.promise;
    return await settle(...all);
  };
  world.scheduler.submit(world.queue.put(to("a@x.test")));
  await until(() => settles === 1);
  return answer;
}

test("a queue that answers nothing for minutes: only a new start can help", async (t) => {
  const stuck: string[] = [];
  const world = aWorld(t, delivered, {
    watched: true,
    options: { beatMs: 5, onStuck: (what) => stuck.push(what) },
  });
  const answer = await oneWaits(world);
  world.nowMs += minutes(2);
  await until(() => world.lines.some(({ event, what }) => event === "stalled" && what === "settlement"));
  assert.deepEqual(stuck, []);
  world.nowMs += minutes(5);
  await until(() => stuck.length > 0);
  answer.resolve();
  await world.quiet();
});

test("a loop that ended without a word begins anew", async (t) => {
  const world = aWorld(t, delivered, { watched: true, options: { beatMs: 5 } });
  const nextDueMs = world.queue.nextDueMs.bind(world.queue);
  let hangs = true;
  world.queue.nextDueMs = () => (hangs ? new Promise<undefined>(() => undefined) : nextDueMs());
  await new Promise((resolve) => setTimeout(resolve, 15));
  const { id } = world.queue.put(to("a@x.test"));
  await world.queue.settle(id, [{ recipient: 0, kind: "returned", dueMs: 0 }]);
  hangs = false;
  world.nowMs += minutes(2);
  await until(() => world.jobs.length === 1);
  assert.ok(world.lines.some(({ event, what }) => event === "stalled" && what === "poll"));
  await world.quiet();
});

test("mail that is claimed on disk and unknown here is given back, but only when it is missed twice", async (t) => {
  const world = aWorld(t, delivered, { watched: true, options: { beatMs: 5 } });
  // Committed and claimed, and never handed over.
  const lost: QueuedMessage = world.queue.put(to("a@x.test", "b@x.test"));
  await until(() => world.scheduler.stats().messages === 0);
  world.nowMs += minutes(1.1);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.deepEqual(
    waiting(world.queue, lost.id).map(({ state }) => state),
    ["active", "active"],
  );
  world.nowMs += minutes(1.1);
  await until(() => world.jobs.length > 0);
  await world.quiet();
  assert.deepEqual(
    world.jobs.map(({ recipients }) => recipients.length),
    [2],
  );
  assert.equal(world.queue.stored.size, 0);
  assert.ok(world.lines.some(({ event, what, id }) => event === "stalled" && what === "lost" && id === lost.id));
});

test("delivered, and storage failed for good: counted and named by recipient", async (t) => {
  const before = await duplicates("unrecorded");
  const world = aWorld(t, delivered);
  world.queue.failNextSettles = [new QueueUnavailable("failed", "sync failed")];
  const message = world.queue.put(to("a@x.test", "b@x.test"));
  world.scheduler.submit(message);
  await world.quiet();
  assert.equal((await duplicates("unrecorded")) - before, 2);
  const told = world.lines.filter(({ event }) => event === "delivered-not-recorded");
  assert.deepEqual(
    told.map(({ id, to: address, reply }) => [id, address, reply]),
    [
      [message.id, "a@x.test", "250 2.0.0 ok"],
      [message.id, "b@x.test", "250 2.0.0 ok"],
    ],
  );
});

test("delivered, and the process ends before it is stored: the same", async (t) => {
  const before = await duplicates("unrecorded");
  const world = aWorld(t, delivered);
  const answer = await oneWaits(world);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const drained = world.scheduler.drain(10);
  while (
    (await Promise.race([drained.then(() => "over"), new Promise((resolve) => setImmediate(resolve, "waits"))])) ===
    "waits"
  )
    t.mock.timers.tick(1000);
  t.mock.timers.reset();
  assert.equal((await duplicates("unrecorded")) - before, 1);
  answer.resolve();
  await world.quiet();
});
