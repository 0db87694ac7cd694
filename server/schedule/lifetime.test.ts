/** When mail ends, with a clock that is right and with clocks that are not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { aRenderedConfig } from "../config/sample.ts";
import type { QueueSettings } from "../config/schema.ts";
import { nextAttemptMs } from "./backoff.ts";
import { attemptsWithin, isExpired } from "./lifetime.ts";

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const years = 10 * 365 * day;
const settings: QueueSettings = {
  ...aRenderedConfig().server.queue,
  minBackoffMs: 5 * minute,
  maxBackoffMs: 4 * hour,
  lifetimeMs: 5 * day,
};
const now = Date.UTC(2026, 10, 21);

/** Attempts at the end of a lifetime that went as usual. */
function lived(lifeMs: number): number {
  let attempts = 1;
  for (let at = 0; at < lifeMs; attempts++)
    at = nextAttemptMs(settings, { attempts, nowMs: at, giveUpMs: lifeMs, random: 0.5 });
  return attempts;
}

test("the count of attempts is the schedule's own, up to its tenth of chance", () => {
  for (const lifeMs of [0, minute, hour, day, 5 * day, 30 * day]) {
    const counted = attemptsWithin(settings, lifeMs);
    const simulated = lived(lifeMs);
    assert.ok(Math.abs(counted - simulated) <= 1 + 0.1 * simulated, `${lifeMs}: ${counted}, ${simulated}`);
  }
});

const table: readonly (readonly [what: string, age: Parameters<typeof isExpired>[2], expired: boolean])[] = [
  ["at the end of its life, tried as usual", { receivedMs: now - 5 * day, nowMs: now, attempts: lived(5 * day) }, true],
  ["a moment before", { receivedMs: now - 5 * day + 1, nowMs: now, attempts: lived(5 * day) }, false],
  ["the clock ten years ahead, first attempts", { receivedMs: now - years, nowMs: now, attempts: 3 }, false],
  ["the clock ten years ahead, tried for two days", { receivedMs: now - years, nowMs: now, attempts: 20 }, true],
  ["a server that was off for a week", { receivedMs: now - 7 * day, nowMs: now, attempts: 2 }, false],
  ["received ten years ahead, tried as long as anything", { receivedMs: now + years, nowMs: now, attempts: 40 }, true],
  ["received ten years ahead, tried for a while", { receivedMs: now + years, nowMs: now, attempts: 20 }, false],
  ["received a minute ahead", { receivedMs: now + minute, nowMs: now, attempts: 100 }, false],
];
for (const [what, age, expired] of table) {
  test(`${what}: ${expired ? "ends" : "goes on"}`, () => assert.equal(isExpired(settings, 5 * day, age), expired));
}

test("no lifetime at all: one attempt", () => {
  assert.equal(isExpired(settings, 0, { receivedMs: now, nowMs: now, attempts: 1 }), true);
});

test("with any settings and any clock, a message that is tried on and on ends", () => {
  const times = fc.integer({ min: 0, max: 30 * day });
  fc.assert(
    fc.property(times, times, times, fc.integer({ min: -years, max: years }), (min, max, lifeMs, jump) => {
      const odd = { ...settings, minBackoffMs: min, maxBackoffMs: max };
      const most = attemptsWithin(odd, lifeMs);
      assert.ok(most >= 1 && Number.isSafeInteger(most));
      const end = { receivedMs: now + jump, nowMs: now + Math.max(0, jump) + lifeMs, attempts: most };
      assert.equal(isExpired(odd, lifeMs, end), true);
      assert.equal(isExpired(odd, lifeMs, { receivedMs: now + 2 * hour, nowMs: now, attempts: most }), true);
    }),
  );
});
