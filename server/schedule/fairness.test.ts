/** Fairness in virtual time: whoever sends a few messages hardly notices those who send very many. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aLiveConfig } from "../deliver/outbound-fixture.ts";
import type { Deliver, DeliveryJob } from "../deliver/deliver.ts";
import { aWorld, delivered, kinds, to } from "./scheduler-fixture.ts";

const config = aLiveConfig({ domains: {}, addresses: {} });

/** A world in which each delivery takes its time: `run` lets time pass, event by event. */
function aSlowWorld(
  t: Parameters<typeof aWorld>[0],
  takesMs: (job: DeliveryJob) => number,
  own: Parameters<typeof aWorld>[2] = {},
) {
  const ends: { readonly atMs: number; readonly end: () => void }[] = [];
  const started: { readonly id: string; readonly atMs: number }[] = [];
  const deliver: Deliver = (job) =>
    new Promise((resolve) => {
      started.push({ id: job.message.id, atMs: world.nowMs });
      const report = {
        outcomes: job.recipients.map((recipient) => delivered(job, recipient)),
        connectMs: 0,
        transmitMs: 1,
      };
      ends.push({ atMs: world.nowMs + takesMs(job), end: () => resolve(report) });
      job.signal.addEventListener("abort", () => resolve(report));
    });
  const world = aWorld(t, delivered, {
    config,
    deliver,
    ...own,
    watched: true,
    options: { pollMs: 1000, ...own.options },
  });
  const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
  return {
    world,
    started,
    startOf: (id: string): number | undefined => started.find((each) => each.id === id)?.atMs,
    /** Lets the next deliveries end, until the condition holds or so much time has passed. */
    run: async (ms: number, isEnough: () => boolean): Promise<void> => {
      const untilMs = world.nowMs + ms;
      await turn();
      while (!isEnough() && ends.length > 0) {
        const nextMs = Math.min(...ends.map(({ atMs }) => atMs));
        if (nextMs > untilMs) break;
        world.nowMs = Math.max(world.nowMs, nextMs);
        for (const due of ends.filter(({ atMs }) => atMs <= nextMs)) {
          ends.splice(ends.indexOf(due), 1);
          due.end();
        }
        await turn();
        await turn();
      }
      if (!isEnough()) world.nowMs = untilMs;
    },
  };
}

for (const [what, bulk] of [
  ["20,000 messages to one domain", (at: number) => to(`u${at}@x.test`)],
  ["20,000 messages to as many domains", (at: number) => to(`u@d${at}.test`)],
] as const) {
  test(`${what}: another's message, accepted after them, is tried within a second`, async (t) => {
    const { world, run, startOf, started } = aSlowWorld(t, () => 500);
    for (let at = 0; at < 20_000; at++)
      world.scheduler.submit(world.queue.put({ sender: "bulk@list.test", ...bulk(at) }));
    const first = world.nowMs;
    await run(5000, () => false);
    const acceptedMs = world.nowMs;
    assert.ok(acceptedMs > first && started.length > 20, "the bulk goes on meanwhile");
    const same = world.queue.put({ sender: "alice@home.test", ...to("bob@x.test") });
    const other = world.queue.put({ sender: "alice@home.test", ...to("bob@y.test") });
    for (const message of [same, other]) world.scheduler.submit(message);
    await run(5000, () => startOf(same.id) !== undefined && startOf(other.id) !== undefined);
    for (const { id } of [same, other]) {
      const startMs = startOf(id);
      assert.ok(startMs !== undefined && startMs - acceptedMs <= 1000, `${startMs} after ${acceptedMs}`);
    }
  });
}

test("1,000 messages of 100 recipients each: another's message to the same domain is tried within a second", async (t) => {
  const { world, run, startOf } = aSlowWorld(t, () => 900);
  const recipients = Array.from({ length: 100 }, (_, at) => `u${at}@x.test`);
  for (let at = 0; at < 1000; at++)
    world.scheduler.submit(world.queue.put({ sender: "bulk@list.test", ...to(...recipients) }));
  await run(3000, () => false);
  const acceptedMs = world.nowMs;
  const { id } = (() => {
    const message = world.queue.put({ sender: "alice@home.test", ...to("bob@x.test") });
    world.scheduler.submit(message);
    return message;
  })();
  await run(3000, () => startOf(id) !== undefined);
  assert.ok((startOf(id) ?? Number.POSITIVE_INFINITY) - acceptedMs <= 1000);
});

test("a list that writes with a sender for each recipient is one sender, an authenticated user is one whatever it calls itself", async (t) => {
  const { world, run, startOf } = aSlowWorld(t, () => 500);
  for (let at = 0; at < 300; at++)
    world.scheduler.submit(world.queue.put({ sender: `bounce+u${at}=x.test@list.test`, ...to(`u${at}@x.test`) }));
  const message = world.queue.put({ sender: "alice@home.test", ...to("bob@x.test") });
  world.scheduler.submit(message);
  const acceptedMs = world.nowMs;
  await run(3000, () => startOf(message.id) !== undefined);
  assert.ok((startOf(message.id) ?? Number.POSITIVE_INFINITY) - acceptedMs <= 1000);
});

test("deliveries of one sender that hang leave places for the others, at the destination and altogether", async (t) => {
  const { world, run, startOf } = aSlowWorld(t, ({ message }) =>
    message.envelope.sender.startsWith("bulk") ? 1e9 : 10,
  );
  for (let at = 0; at < 400; at++)
    world.scheduler.submit(world.queue.put({ sender: "bulk@list.test", ...to(`u${at}@d${at % 50}.test`) }));
  await run(1000, () => false);
  const same = world.queue.put({ sender: "alice@home.test", ...to("bob@d1.test") });
  const other = world.queue.put({ sender: "alice@home.test", ...to("bob@y.test") });
  const acceptedMs = world.nowMs;
  for (const message of [same, other]) world.scheduler.submit(message);
  await run(100, () => false);
  assert.deepEqual([startOf(same.id), startOf(other.id)], [acceptedMs, acceptedMs]);
});

test("destinations that hang hold nobody's place: after five seconds they count apart", async (t) => {
  const { world, run, startOf } = aSlowWorld(
    t,
    ({ transport }) => (transport.destination.includes("hang") ? 1e9 : 10),
    {
      config: aLiveConfig({ domains: {}, addresses: {} }, { outbound: { concurrency: 20 } }),
      options: { beatMs: 5 },
    },
  );
  for (let at = 0; at < 40; at++)
    world.scheduler.submit(world.queue.put({ sender: `s${at}@x.test`, ...to(`u@hang${at % 8}.test`) }));
  const message = world.queue.put({ sender: "alice@home.test", ...to("bob@y.test") });
  world.scheduler.submit(message);
  await run(4000, () => false);
  assert.equal(startOf(message.id), undefined, "all places are taken");
  world.nowMs += 2000;
  const beforeMs = Date.now();
  while (startOf(message.id) === undefined && Date.now() - beforeMs < 5000)
    await new Promise((resolve) => setImmediate(resolve));
  assert.notEqual(startOf(message.id), undefined);
  assert.ok(world.scheduler.stats().active <= 40);
});

test("memory: one who sends without end has half of the room, and makes room for those who come when it is full", async (t) => {
  const { world } = aSlowWorld(t, () => 1e9, { options: { mostMessages: 50 } });
  for (let at = 0; at < 500; at++)
    world.scheduler.submit(world.queue.put({ sender: "bulk@list.test", ...to(`u${at}@x.test`) }));
  assert.equal(world.scheduler.stats().messages, 500, "those that go back are on their way");
  assert.equal(kinds(world.queue).length, 450);
  // Others, one message each, until there is no room at all; then the bulk gives way.
  for (let at = 0; at < 60; at++)
    world.scheduler.submit(world.queue.put({ sender: `s${at}@home.test`, ...to(`u@y.test`) }));
  const returned = world.queue.settlements.map(({ id }) => world.queue.stored.get(id)?.message.envelope.sender);
  assert.ok(returned.length > 450, "somebody gave way");
  assert.deepEqual([...new Set(returned)], ["bulk@list.test"]);
});

test("mail that nobody can take leaves room: a crowded destination sends new mail of those with much of it back for a while", async (t) => {
  const { world } = aSlowWorld(t, () => 1e9, { options: { mostMessages: 50 } });
  for (let at = 0; at < 400; at++)
    world.scheduler.submit(world.queue.put({ sender: `s${at}@home.test`, ...to(`u${at}@x.test`) }));
  const returned = world.queue.settlements.filter(({ settlement }) => settlement.kind === "returned");
  assert.ok(returned.length >= 300);
  for (const { settlement } of returned)
    if (settlement.kind === "returned") assert.ok(settlement.dueMs >= world.nowMs + 60_000);
  const message = world.queue.put({ sender: "alice@home.test", ...to("bob@y.test") });
  world.scheduler.submit(message);
  assert.ok(!world.queue.settlements.some(({ id }) => id === message.id));
});
