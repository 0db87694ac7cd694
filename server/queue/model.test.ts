/**
 * The queue against a model of it: random walks through the port, after every step the same messages, states and totals, over restarts too.
 * A failing walk prints its seed and its shortest form.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { QueuedMessage, QueueSummary, RecipientState, Settlement } from "./queue.ts";
import { aQueue, aReport, delivered, noSuchUser, put, START_MS, type TestQueue, tryLater } from "./queue-fixture.ts";

const addresses = ["a@example.org", "b@example.org", "c@example.org", "d@example.org"] as const;
const address = fc.constantFrom(...addresses);

type Kind = Settlement["kind"];
type Step =
  | {
      readonly do: "put";
      readonly to: readonly string[];
      readonly how: "claim" | "hold" | "wait";
      readonly size: number;
    }
  | {
      readonly do: "settle";
      readonly message: number;
      readonly kinds: readonly Kind[];
      readonly laterMs: number;
      readonly into: readonly string[];
      readonly report: boolean;
    }
  | { readonly do: "claim"; readonly limit: number }
  | { readonly do: "hold" | "release" | "remove"; readonly message: number }
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "flush" | "restart" };

const message = fc.nat({ max: 30 });
const later = fc.integer({ min: 1000, max: 100_000 });
const kind = fc.constantFrom<Kind>("delivered", "failed", "deferred", "returned", "held", "expanded");
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("put" as const),
      to: fc.uniqueArray(address, { minLength: 1, maxLength: 4 }),
      how: fc.constantFrom("claim", "hold", "wait"),
      size: fc.nat({ max: 400_000 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("settle" as const),
      message,
      kinds: fc.array(kind, { minLength: 1, maxLength: 4 }),
      laterMs: later,
      into: fc.array(address, { maxLength: 3 }),
      report: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("claim" as const), limit: fc.nat({ max: 4 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("hold", "release", "remove"), message }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: later }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("flush", "restart") }) },
);

interface ModelRecipient {
  readonly number: number;
  readonly address: string;
  state: RecipientState | "closed" | "expanded";
  attempts: number;
  dueMs: number;
  holdWanted: boolean;
}
interface ModelMessage {
  readonly id: string;
  readonly sender: string;
  readonly size: number;
  readonly receivedMs: number;
  recipients: ModelRecipient[];
}

const isOpen = ({ state }: ModelRecipient): boolean => state !== "closed" && state !== "expanded";

/** The table of `queue.ts`, as plain as it can be said. */
class Model {
  readonly messages = new Map<string, ModelMessage>();

  add(stored: QueuedMessage, nowMs: number): void {
    this.messages.set(stored.id, {
      id: stored.id,
      sender: stored.envelope.sender,
      size: stored.size,
      receivedMs: nowMs,
      recipients: stored.recipients.map(({ number, address, state, attempts, dueMs }) => ({
        number,
        address,
        state,
        attempts,
        dueMs,
        holdWanted: false,
      })),
    });
  }

  settle(message: ModelMessage, settlements: readonly Settlement[], nowMs: number): void {
    const before = message.recipients.length;
    for (const settlement of settlements) {
      const recipient = message.recipients[settlement.recipient];
      if (recipient === undefined || settlement.recipient >= before || !isOpen(recipient)) continue;
      if (settlement.kind === "delivered" || settlement.kind === "failed") {
        recipient.state = "closed";
        continue;
      }
      if (recipient.state !== "active") continue;
      const held = recipient.holdWanted;
      recipient.holdWanted = false;
      if (settlement.kind === "held") recipient.state = "hold";
      else if (settlement.kind === "expanded") {
        recipient.state = "expanded";
        for (const { address } of settlement.into) {
          if (message.recipients.some((other) => other.address === address && other.state !== "expanded")) continue;
          const number = message.recipients.length;
          const state = held ? "hold" : "active";
          message.recipients.push({ number, address, state, attempts: held ? 0 : 1, dueMs: nowMs, holdWanted: false });
        }
      } else {
        recipient.state = held ? "hold" : "deferred";
        recipient.dueMs = settlement.dueMs;
        if (settlement.kind === "returned") recipient.attempts -= 1;
      }
    }
    if (!message.recipients.some(isOpen)) this.messages.delete(message.id);
  }

  due(nowMs: number): ModelMessage[] {
    return [...this.messages.values()].filter(({ recipients }) => recipients.some((one) => isDue(one, nowMs)));
  }

  claim(message: ModelMessage, nowMs: number): readonly number[] {
    const claimed = message.recipients.filter((one) => isDue(one, nowMs));
    for (const recipient of claimed) {
      recipient.state = "active";
      recipient.attempts += 1;
    }
    return claimed.map(({ number }) => number);
  }

  restart(nowMs: number): void {
    for (const { recipients } of this.messages.values())
      for (const recipient of recipients) {
        if (recipient.state !== "active") continue;
        recipient.state = recipient.holdWanted ? "hold" : "deferred";
        recipient.holdWanted = false;
        recipient.dueMs = nowMs;
      }
  }

  summary(nowMs: number): QueueSummary {
    const messages = { active: 0, deferred: 0, hold: 0, corrupt: 0 };
    let [recipients, bytes, oldestMs] = [0, 0, 0];
    for (const message of this.messages.values()) {
      const open = message.recipients.filter(isOpen);
      const first = (["active", "deferred", "hold"] as const).find((state) => open.some((one) => one.state === state));
      if (first !== undefined) messages[first] += 1;
      recipients += open.length;
      bytes += message.size;
      oldestMs = Math.max(oldestMs, nowMs - message.receivedMs);
    }
    return { messages, recipients, bytes, oldestMs };
  }
}

const isDue = ({ state, dueMs }: ModelRecipient, nowMs: number): boolean => state === "deferred" && dueMs <= nowMs;
const dueOf = (message: ModelMessage, nowMs: number): number =>
  Math.min(...message.recipients.filter((one) => isDue(one, nowMs)).map(({ dueMs }) => dueMs));

async function take(q: TestQueue, model: Model, action: Step): Promise<void> {
  const at =
    "message" in action ? [...model.messages.values()][action.message % Math.max(1, model.messages.size)] : undefined;
  switch (action.do) {
    case "put": {
      const content = Buffer.alloc(action.size, 1);
      model.add(
        await put(q.queue, { to: action.to, content, claim: action.how === "claim", hold: action.how === "hold" }),
        q.nowMs,
      );
      return;
    }
    case "settle": {
      if (at === undefined) return;
      const settlements = action.kinds.map(
        (kind, recipient): Settlement =>
          kind === "expanded"
            ? { recipient, kind, into: action.into.map((to) => ({ address: to, expanded: true })) }
            : kind === "held"
              ? { recipient, kind }
              : kind === "returned"
                ? { recipient, kind, dueMs: q.nowMs }
                : kind === "deferred"
                  ? { recipient, kind, reply: tryLater, dueMs: q.nowMs + action.laterMs }
                  : { recipient, kind, reply: kind === "delivered" ? delivered : noSuchUser },
      );
      const before = at.recipients.length;
      const results = await q.queue.settle(at.id, settlements, action.report ? [aReport("s@example.com")] : []);
      model.settle(at, settlements, q.nowMs);
      for (const report of results.slice(0, action.report ? 1 : 0)) model.add(report, q.nowMs);
      const added = at.recipients.slice(before).filter(({ state }) => state === "active");
      const expanded = results[action.report ? 1 : 0];
      assert.deepEqual(
        expanded?.recipients.map(({ number }) => number) ?? [],
        added.map(({ number }) => number),
      );
      return;
    }
    case "claim": {
      const due = model.due(q.nowMs);
      const claimed = await q.queue.claimDue(q.nowMs, action.limit);
      assert.equal(claimed.length, Math.min(action.limit, due.length));
      // Ties may come in any order, but nothing may come before something of its sender that was due earlier; senders take turns.
      const bySender = Map.groupBy(due, ({ sender }) => sender);
      const dueTimes = new Map(
        [...bySender].map(([sender, own]) => [sender, own.map((one) => dueOf(one, q.nowMs)).toSorted((a, b) => a - b)]),
      );
      for (const { id, recipients } of claimed) {
        const expected = model.messages.get(id);
        assert.ok(expected !== undefined);
        assert.equal(dueOf(expected, q.nowMs), dueTimes.get(expected.sender)?.shift());
        assert.deepEqual(
          recipients.map(({ number }) => number),
          model.claim(expected, q.nowMs),
        );
      }
      return;
    }
    case "hold":
      if (at === undefined) return;
      assert.equal(await q.queue.hold(at.id), true);
      for (const one of at.recipients) {
        if (one.state === "deferred") one.state = "hold";
        else if (one.state === "active") one.holdWanted = true;
      }
      return;
    case "release":
      if (at === undefined) return;
      assert.equal(await q.queue.release(at.id, q.nowMs), true);
      for (const one of at.recipients) {
        one.holdWanted = false;
        if (one.state === "hold") Object.assign(one, { state: "deferred", dueMs: q.nowMs });
      }
      return;
    case "remove":
      if (at === undefined) return;
      assert.equal(await q.queue.remove(at.id), true);
      model.messages.delete(at.id);
      return;
    case "wait":
      q.nowMs += action.ms;
      return;
    case "flush": {
      const deferred = [...model.messages.values()].flatMap(({ recipients }) =>
        recipients.filter(({ state }) => state === "deferred"),
      );
      assert.equal(await q.queue.flush(q.nowMs), deferred.length);
      for (const one of deferred) one.dueMs = Math.min(one.dueMs, q.nowMs);
      return;
    }
    case "restart":
      await q.reopen();
      model.restart(q.nowMs);
      return;
  }
}

async function compare(q: TestQueue, model: Model): Promise<void> {
  const listed = await q.queue.list({ limit: 1000 });
  const view = listed.map(({ id, size, recipients }) => ({
    id,
    size,
    recipients: recipients.map(({ number, address, state, attempts, dueMs }) => ({
      number,
      address,
      state,
      attempts,
      dueMs,
    })),
  }));
  const expected = [...model.messages.values()]
    .toSorted((a, b) => (a.id < b.id ? -1 : 1))
    .map(({ id, size, recipients }) => ({
      id,
      size,
      recipients: recipients
        .filter(isOpen)
        .map(({ number, address, state, attempts, dueMs }) => ({ number, address, state, attempts, dueMs })),
    }));
  assert.deepEqual(view, expected);
  assert.deepEqual(await q.queue.summary(q.nowMs), model.summary(q.nowMs));
  const dues = expected.flatMap(({ recipients }) =>
    recipients.filter(({ state }) => state === "deferred").map(({ dueMs }) => dueMs),
  );
  assert.equal(await q.queue.nextDueMs(), dues.length === 0 ? undefined : Math.min(...dues));
}

test("random walks: the queue and its model agree after every step", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 50, size: "max" }), async (steps) => {
      await using q = await aQueue();
      const model = new Model();
      for (const action of steps) {
        await take(q, model, action);
        await compare(q, model);
        q.nowMs += 1;
      }
      assert.ok(q.nowMs >= START_MS);
    }),
    { numRuns: Number(process.env["FUZZ_RUNS"] ?? 15), seed: Date.now() & 0x7fffffff, endOnFailure: false },
  );
});
