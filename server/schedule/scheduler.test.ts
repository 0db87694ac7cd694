import assert from "node:assert/strict";
import { test } from "node:test";
import type { LiveConfig } from "../config/schema.ts";
import { aLiveConfig, aLog } from "../deliver/outbound-fixture.ts";
import type { NewRecipient } from "../queue/queue.ts";
import { resolveRecipient } from "../route/recipient.ts";
import { MemoryQueue } from "./memory-queue-fixture.ts";
import { startScheduler } from "./scheduler.ts";
import {
  aWorld,
  delivered,
  failed,
  type Fate,
  held,
  hours,
  kinds,
  reportsIn,
  to,
  until,
  waiting,
} from "./scheduler-fixture.ts";

test("recipients of one destination go in one transaction, those of another in their own", async (t) => {
  const world = aWorld(t, delivered);
  world.scheduler.submit(world.queue.put(to("a@x.test", "b@X.test", "c@y.test")));
  await world.quiet();
  assert.deepEqual(
    world.jobs.map(({ transport, recipients }) => [
      transport.destination,
      recipients.map(({ address }) => address).join(),
    ]),
    [
      ["mx:x.test", "a@x.test,b@X.test"],
      ["mx:y.test", "c@y.test"],
    ],
  );
  assert.equal(world.queue.stored.size, 0);
});

test("more than 100 recipients are more than one transaction", async (t) => {
  const world = aWorld(t, delivered);
  world.scheduler.submit(world.queue.put(to(...Array.from({ length: 250 }, (_, at) => `u${at}@x.test`))));
  await world.quiet();
  assert.deepEqual(
    world.jobs.map(({ recipients }) => recipients.length),
    [100, 100, 50],
  );
});

test("an alias is settled as expanded, its heirs keep the sender's wishes and go on at once", async (t) => {
  const config = aLiveConfig({
    domains: { "a.test": { class: "Alias", recipients: "Objects", catchAll: [] } },
    addresses: { "list@a.test": { alias: { destinations: ["x@x.test", "y@y.test"], senders: [] } } },
  });
  const world = aWorld(t, delivered, { config });
  world.scheduler.submit(world.queue.put({ recipients: [{ address: "list@a.test", notify: ["NEVER"] }] }));
  await world.quiet();
  assert.deepEqual(kinds(world.queue), ["expanded", "delivered", "delivered"]);
  const heirs = world.jobs.flatMap(({ recipients }) =>
    recipients.map(({ address, originalRecipient, notify, expanded }) => [
      address,
      originalRecipient,
      notify,
      expanded,
    ]),
  );
  assert.deepEqual(heirs, [
    ["x@x.test", "rfc822;list@a.test", ["NEVER"], true],
    ["y@y.test", "rfc822;list@a.test", ["NEVER"], true],
  ]);
  const line = world.lines.find(({ event, to: recipient }) => event === "delivery" && recipient === "x@x.test");
  assert.equal(line?.["orig_to"], "list@a.test");
  assert.equal(line["status"], "sent");
  assert.equal(line["relay"], "peer[192.0.2.9]");
  assert.equal(line["reply"], "250 2.0.0 ok");
  assert.equal((line["delays"] as number[]).length, 4);
});

test("temporary failures wait twice as long each time, up to the longest, at most a tenth more", async (t) => {
  const world = aWorld(t, failed(451));
  const message = world.queue.put(to("a@x.test"));
  world.scheduler.submit(message);
  await world.quiet();
  const pauses: number[] = [];
  for (let attempt = 1; attempt <= 9; attempt++) {
    const [recipient] = waiting(world.queue, message.id);
    assert.ok(recipient?.state === "deferred" && recipient.attempts === attempt);
    pauses.push((recipient.dueMs - world.nowMs) / 60_000);
    world.nowMs = recipient.dueMs;
    await until(() => world.jobs.length > attempt);
    await world.quiet();
  }
  for (const [at, minutes] of [5, 10, 20, 40, 80, 160, 240, 240, 240].entries()) {
    const pause = pauses[at] ?? 0;
    assert.ok(pause >= minutes && pause <= minutes * 1.1, `${at}: ${pause}`);
  }
});

test("at the end of its life one last attempt, then a bounce with the last reply", async (t) => {
  const config = aLiveConfig({ domains: {}, addresses: {} }, { queue: { lifetimeMs: 600_000 } });
  const world = aWorld(t, failed(451, "recipient", "greylisted"), { config });
  const message = world.queue.put(to("a@x.test"), undefined, world.nowMs - 540_000);
  world.scheduler.submit(message);
  await world.quiet();
  const [recipient] = waiting(world.queue, message.id);
  assert.equal(recipient?.dueMs, world.nowMs + 60_000, "due at the end of the lifetime, not after");
  world.nowMs += 60_000;
  await until(() => world.jobs.length > 1);
  await until(() => reportsIn(world.queue).length > 0);
  assert.ok(!world.queue.stored.has(message.id));
  const [report] = reportsIn(world.queue);
  assert.match(report ?? "", /Status: 4\.4\.7[^]*Diagnostic-Code: [^]*greylisted/);
});

test("a bounce goes to the sender, from nobody, in the commit that removes the recipient", async (t) => {
  const world = aWorld(t, (job, recipient) =>
    (job.message.envelope.sender === "" ? failed(451) : failed(550))(job, recipient),
  );
  world.scheduler.submit(world.queue.put({ sender: "s@remote.test", ...to("a@x.test") }));
  await world.quiet();
  assert.deepEqual(kinds(world.queue), ["failed", "deferred"]);
  const [bounce] = [...world.queue.stored.values()];
  assert.equal(bounce?.message.envelope.sender, "");
  assert.deepEqual(
    [...bounce.recipients.values()].map(({ address, notify }) => [address, notify]),
    [["s@remote.test", ["NEVER"]]],
  );
  assert.match(bounce.content.toString(), /Action: failed/);
});

const notifies: readonly [what: string, notify: NewRecipient["notify"], fate: Fate, reports: RegExp | undefined][] = [
  ["NEVER and a failure", ["NEVER"], failed(550), undefined],
  ["SUCCESS only and a failure", ["SUCCESS"], failed(550), undefined],
  ["FAILURE and a failure", ["FAILURE"], failed(550), /Action: failed/],
  ["nothing and a success", undefined, delivered, undefined],
  ["SUCCESS and a success", ["SUCCESS"], delivered, /Action: relayed/],
  [
    "SUCCESS and a peer that reports",
    ["SUCCESS"],
    (job, recipient) => ({
      ...delivered(job, recipient),
      kind: "delivered",
      reply: { code: 250, enhanced: "", text: "" },
      reportsItself: true,
    }),
    undefined,
  ],
];
for (const [what, notify, fate, expected] of notifies) {
  test(`NOTIFY=${what}: ${expected === undefined ? "no report" : "a report"}`, async (t) => {
    const world = aWorld(t, (job, recipient) =>
      (job.message.envelope.sender === "" ? failed(451) : fate)(job, recipient),
    );
    world.scheduler.submit(
      world.queue.put({ recipients: [{ address: "a@x.test", ...(notify === undefined ? {} : { notify }) }] }),
    );
    await world.quiet();
    const reports = reportsIn(world.queue);
    assert.equal(reports.length, expected === undefined ? 0 : 1);
    if (expected !== undefined) assert.match(reports[0] ?? "", expected);
  });
}

test("a delay is told once, when it is due, and not to those who said NEVER", async (t) => {
  const config = aLiveConfig({ domains: {}, addresses: {} }, { queue: { delayWarningMs: 2 * hours } });
  const world = aWorld(t, failed(451), { config });
  const old = world.queue.put(
    { recipients: [{ address: "a@x.test" }, { address: "b@x.test", notify: ["NEVER"] }] },
    undefined,
    world.nowMs - 3 * hours,
  );
  const young = world.queue.put(to("c@x.test"), undefined, world.nowMs - hours);
  world.scheduler.submit(old);
  world.scheduler.submit(young);
  await world.quiet();
  assert.equal(reportsIn(world.queue).length, 1);
  assert.match(
    reportsIn(world.queue)[0] ?? "",
    /Final-Recipient: rfc822; a@x\.test\r\nAction: delayed[^]*Will-Retry-Until/,
  );
  assert.doesNotMatch(reportsIn(world.queue)[0] ?? "", /b@x\.test\r\nAction/);
  assert.deepEqual(
    waiting(world.queue, old.id).map(({ delayWarned }) => delayWarned),
    [true, false],
  );
  const attempts = world.jobs.length;
  world.nowMs += 30 * 60_000;
  await until(() => world.jobs.length > attempts);
  await world.quiet();
  assert.match(reportsIn(world.queue).slice(1).join(""), /c@x\.test|^$/);
  assert.equal(
    reportsIn(world.queue).filter((report) => report.includes("Final-Recipient: rfc822; a@x.test")).length,
    1,
  );
});

test("soft bounce: a 5xx waits", async (t) => {
  const config = aLiveConfig({ domains: {}, addresses: {} }, { queue: { softBounce: true } });
  const world = aWorld(t, failed(550), { config });
  world.scheduler.submit(world.queue.put(to("a@x.test")));
  await world.quiet();
  assert.deepEqual(kinds(world.queue), ["deferred"]);
});

test("a host's 5xx is not the recipient's: it waits; the destination's own 5xx is final", async (t) => {
  const config = aLiveConfig({ domains: {}, addresses: {} }, { postmaster: [] });
  const world = aWorld(
    t,
    (job, recipient) => failed(554, recipient.address.endsWith("@host.test") ? "host" : "destination")(job, recipient),
    { config },
  );
  world.scheduler.submit(world.queue.put({ sender: "", ...to("a@host.test", "a@null.test") }));
  await world.quiet();
  assert.deepEqual(kinds(world.queue).toSorted(), ["deferred", "failed"]);
});

test("mail from nobody that fails is told to the postmaster; when that fails too, only to the log", async (t) => {
  const config = aLiveConfig({ domains: {}, addresses: {} }, { postmaster: ["boss@post.test"] });
  const world = aWorld(t, failed(550), { config });
  world.scheduler.submit(world.queue.put({ sender: "", ...to("a@x.test") }));
  await world.quiet();
  assert.deepEqual(
    world.jobs.map(({ recipients: [recipient] }) => recipient?.address),
    ["a@x.test", "boss@post.test"],
  );
  assert.equal(world.queue.stored.size, 0);
  assert.ok(
    world.lines.some(({ event, to: recipient }) => event === "bounce-dropped" && recipient === "boss@post.test"),
  );
});

test("unknown here, after acceptance: failed without any delivery", async (t) => {
  const world = aWorld(t, delivered, { config: aLiveConfig() });
  world.scheduler.submit(world.queue.put(to("nobody@example.org")));
  await world.quiet();
  assert.deepEqual(kinds(world.queue).slice(0, 1), ["failed"]);
});

test("hold keeps mail where it is; discard and error need no connection", async (t) => {
  const route = (
    delivery: LiveConfig["routes"] extends ReadonlyMap<string, infer E>
      ? E extends { delivery: infer D }
        ? D
        : never
      : never,
  ) => ({ delivery });
  const config = aLiveConfig({ domains: {}, addresses: {}, routes: { "h.test": route({ kind: "hold" }) } });
  const world = aWorld(t, delivered, { config });
  const message = world.queue.put(to("a@h.test"));
  world.scheduler.submit(message);
  await world.quiet();
  assert.deepEqual(kinds(world.queue), ["held"]);
  assert.equal(waiting(world.queue, message.id)[0]?.state, "hold");
  assert.equal(world.jobs.length, 0);
});

test("a destination that cannot be reached is left alone: others are deferred without dialling", async (t) => {
  const world = aWorld(t, failed(451, "host", "connect: refused"));
  for (let count = 0; count < 30; count++) world.scheduler.submit(world.queue.put(to(`u${count}@dead.test`)));
  await world.quiet();
  assert.ok(world.jobs.length <= 5, `dialled ${world.jobs.length} times`);
  assert.equal(world.queue.settlements.length, 30);
  assert.ok(
    world.lines.some(({ reply }) => String(reply).includes("delivery temporarily suspended: connect: refused")),
  );
  // After the pause it is tried again.
  const before = world.jobs.length;
  world.nowMs += 6 * 60_000;
  await until(() => world.jobs.length > before);
  await world.quiet();
});

test("the window opens slowly to its limit, and one destination never takes another's turn", async (t) => {
  const config = aLiveConfig(
    { domains: {}, addresses: {} },
    { outbound: { destinationConcurrency: 8, concurrency: 12 } },
  );
  const peer = held();
  const world = aWorld(t, delivered, { config, deliver: peer.deliver });
  for (let count = 0; count < 200; count++) world.scheduler.submit(world.queue.put(to(`u${count}@busy.test`)));
  assert.equal(peer.open.length, 5, "begins small");
  world.scheduler.submit(world.queue.put(to("a@other.test")));
  assert.equal(peer.open.length, 6, "the newcomer does not stand behind 195 others");
  let most = 0;
  for (let rounds = 0; rounds < 150; rounds++) {
    peer.open.find(({ job }) => job.transport.destination === "mx:busy.test")?.finish();
    await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, peer.open.filter(({ job }) => job.transport.destination === "mx:busy.test").length);
  }
  assert.equal(most, 8);
  while (peer.open.length > 0) {
    peer.open[0]?.finish();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await world.quiet();
  assert.equal(world.queue.stored.size, 0);
});

test("all destinations together stay within the shard's concurrency, each gets its turn", async (t) => {
  const config = aLiveConfig(
    { domains: {}, addresses: {} },
    { outbound: { destinationConcurrency: 5, concurrency: 6 } },
  );
  const peer = held();
  const world = aWorld(t, delivered, { config, deliver: peer.deliver });
  for (let count = 0; count < 60; count++) world.scheduler.submit(world.queue.put(to(`u@d${count % 6}.test`)));
  const started = new Set<string>();
  let done = 0;
  while (done < 60) {
    for (const { job } of peer.open) started.add(job.transport.destination);
    peer.open[0]?.finish();
    done += 1;
    await new Promise((resolve) => setImmediate(resolve));
    if (done === 12) assert.equal(started.size, 6, "after two rounds everybody had a turn");
  }
  assert.equal(peer.most, 6);
  await world.quiet();
});

test("drain: what waits goes back untried, what runs may finish, what does not is cut off and given back", async (t) => {
  const config = aLiveConfig({ domains: {}, addresses: {} }, { outbound: { destinationConcurrency: 2 } });
  const peer = held();
  const world = aWorld(t, delivered, { config, deliver: peer.deliver });
  const messages = Array.from({ length: 5 }, (_, at) => world.queue.put(to(`u${at}@x.test`)));
  for (const message of messages) world.scheduler.submit(message);
  const [first, second] = peer.open;
  assert.ok(first !== undefined && second !== undefined);
  second.job.signal.addEventListener("abort", () => second.finish(failed(451, "host")));
  const drained = world.scheduler.drain(20);
  first.finish();
  await drained;
  assert.deepEqual(kinds(world.queue).toSorted(), ["delivered", "returned", "returned", "returned", "returned"]);
  assert.ok(
    [...world.queue.stored.values()].every(({ recipients }) =>
      [...recipients.values()].every(({ attempts, state }) => attempts === 0 && state === "deferred"),
    ),
  );
  // Accepted while the listeners are still closing: back to the queue at once.
  world.scheduler.submit(world.queue.put(to("late@x.test")));
  await world.quiet();
  assert.equal(peer.open.length, 0);
});

test("a delivery that hangs is cut off after its time", async (t) => {
  let aborted = false;
  const world = aWorld(t, delivered, {
    deliver: (job) =>
      new Promise((resolve) => {
        job.signal.addEventListener("abort", () => {
          aborted = true;
          resolve({
            outcomes: job.recipients.map((recipient) => failed(451, "host")(job, recipient)),
            connectMs: 0,
            transmitMs: 1,
          });
        });
      }),
    options: { deliveryMs: 10 },
  });
  world.scheduler.submit(world.queue.put(to("a@x.test"), ""));
  await world.quiet();
  assert.ok(aborted);
  assert.deepEqual(kinds(world.queue), ["deferred"]);
});

test("a delivery that throws, or forgets a recipient, costs time and nothing else", async (t) => {
  const throwing = aWorld(t, delivered, { deliver: () => Promise.reject(new Error("bug")) });
  throwing.scheduler.submit(throwing.queue.put(to("a@x.test")));
  await throwing.quiet();
  assert.deepEqual(kinds(throwing.queue), ["deferred"]);
  const forgetful = aWorld(t, delivered, {
    deliver: () => Promise.resolve({ outcomes: [], connectMs: 0, transmitMs: 0 }),
  });
  forgetful.scheduler.submit(forgetful.queue.put(to("a@x.test")));
  await forgetful.quiet();
  assert.deepEqual(kinds(forgetful.queue), ["deferred"]);
});

test("a settlement that cannot be stored is tried again: a delivery is not repeated for it", async (t) => {
  const world = aWorld(t, delivered);
  world.queue.failNextSettles = [new Error("busy"), new Error("busy")];
  world.scheduler.submit(world.queue.put(to("a@x.test")));
  await world.quiet();
  assert.equal(world.jobs.length, 1);
  assert.deepEqual(kinds(world.queue), ["delivered"]);
});

test("more mail than fits goes back to disk and comes again", async (t) => {
  const peer = held();
  const world = aWorld(t, delivered, { deliver: peer.deliver, options: { mostMessages: 4 } });
  for (let count = 0; count < 20; count++) world.scheduler.submit(world.queue.put(to(`u${count}@x.test`)));
  assert.ok(kinds(world.queue).filter((kind) => kind === "returned").length >= 12);
  while (world.queue.stored.size > 0) {
    peer.open[0]?.finish();
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(world.scheduler.stats().messages <= 20);
  }
});

test("a new configuration holds for the next attempt; deferred mail keeps its time; flush makes all of it due", async (t) => {
  const world = aWorld(t, (job, recipient) =>
    (job.transport.destination.startsWith("smtp:[relay") ? delivered : failed(451, "host"))(job, recipient),
  );
  const message = world.queue.put(to("a@x.test"));
  world.scheduler.submit(message);
  await world.quiet();
  world.config = aLiveConfig({
    domains: {},
    addresses: {},
    routes: { "*": { delivery: { kind: "smtp", host: "relay", port: 25, lookupMX: false, implicitTLS: false } } },
  });
  world.scheduler.applyConfig();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(world.jobs.length, 1, "not rushed");
  assert.equal(await world.scheduler.flush(), 1);
  await until(() => world.queue.stored.size === 0);
  assert.equal(world.jobs[1]?.transport.destination, "smtp:[relay]:25");
});

test("mail found due at the start is claimed and tried", async (t) => {
  const { log } = aLog();
  const queue = new MemoryQueue();
  const { id } = queue.put(to("a@x.test"));
  await queue.settle(id, [{ recipient: 0, kind: "returned", dueMs: 0 }]);
  const scheduler = startScheduler({
    queue,
    deliver: (job) =>
      Promise.resolve({
        outcomes: job.recipients.map((recipient) => delivered(job, recipient)),
        connectMs: 0,
        transmitMs: 0,
      }),
    resolveRecipient,
    config: () => aLiveConfig({ domains: {}, addresses: {} }),
    log,
  });
  t.after(() => scheduler.drain(0));
  await until(() => queue.stored.size === 0);
});

test("after expansion, the members of a list at one destination get one body in one transaction", async (t) => {
  const members = Array.from({ length: 60 }, (_, at) => `u${at}@x.test`);
  const config = aLiveConfig({
    domains: { "a.test": { class: "Alias", recipients: "Objects", catchAll: [] } },
    addresses: {
      "list@a.test": { alias: { destinations: [...members, "other@y.test"], senders: [] } },
      "more@a.test": { alias: { destinations: ["v@x.test", "u1@x.test"], senders: [] } },
    },
  });
  const world = aWorld(t, delivered, { config });
  world.scheduler.submit(world.queue.put(to("list@a.test", "more@a.test")));
  await world.quiet();
  assert.deepEqual(
    world.jobs.map(({ transport, recipients }) => [transport.destination, recipients.length]),
    [
      ["mx:x.test", 61],
      ["mx:y.test", 1],
    ],
  );
});

test("a Route's rate: so many in a time, shared by the shards; bounces and other destinations do not wait", async (t) => {
  const delivery = { kind: "smtp", host: "gate", port: 25, lookupMX: false, implicitTLS: false } as const;
  const config = aLiveConfig({
    domains: {},
    addresses: {},
    routes: { "slow.test": { delivery, rate: { messages: 120, perMs: 60_000 }, connections: 8 } },
  });
  // Two shards: one message a second each.
  const world = aWorld(t, delivered, { config, options: { shards: 2 } });
  for (let at = 0; at < 30; at++) world.scheduler.submit(world.queue.put(to(`u${at}@slow.test`)));
  const elsewhere = world.queue.put(to("a@fast.test"));
  const bounce = world.queue.put({ sender: "", ...to("b@slow.test") });
  for (const message of [elsewhere, bounce]) world.scheduler.submit(message);
  const startMs = world.nowMs;
  const ids = (): readonly string[] => world.jobs.map(({ message }) => message.id);
  await until(() => ids().includes(elsewhere.id) && ids().includes(bounce.id));
  assert.equal(world.jobs.length, 3);
  for (let second = 1; second <= 10; second++) {
    world.nowMs = startMs + second * 1000;
    world.scheduler.applyConfig();
    await until(() => world.scheduler.stats().active === 0);
  }
  assert.equal(world.jobs.length, 13);
  // Without the rate the rest goes at once.
  world.config = aLiveConfig({ domains: {}, addresses: {}, routes: { "slow.test": { delivery } } });
  world.scheduler.applyConfig();
  await until(() => world.jobs.length === 32);
  await world.quiet();
});

test("a Route's rate lets the next one go by itself", async (t) => {
  const delivery = { kind: "smtp", host: "gate", port: 25, lookupMX: false, implicitTLS: false } as const;
  const config = aLiveConfig({
    domains: {},
    addresses: {},
    routes: { "slow.test": { delivery, rate: { messages: 1, perMs: 20 } } },
  });
  const world = aWorld(t, delivered, { config, options: { now: Date.now } });
  const beganMs = Date.now();
  for (let at = 0; at < 55; at++) world.scheduler.submit(world.queue.put(to(`u${at}@slow.test`)));
  await world.quiet();
  // A second's worth (50) at once, five more at their distance.
  assert.ok(Date.now() - beganMs >= 70, `${Date.now() - beganMs} ms`);
  assert.equal(world.jobs.length, 55);
});
