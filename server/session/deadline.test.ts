import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Deadline } from "./deadline.ts";

const terms = { idleMs: 10_000, minDataRate: 500 };

test("silence ends after the idle time", () => {
  const deadline = new Deadline(() => terms, 0);
  assert.equal(deadline.passed(9_999), undefined);
  assert.equal(deadline.passed(10_000), "silent");
});

test("dripping ends too, although it is never silent", () => {
  const deadline = new Deadline(() => terms, 0);
  let ended = 0;
  for (let ms = 1000; ended === 0; ms += 1000) {
    deadline.heard(1, ms);
    if (deadline.passed(ms) === "slow") ended = ms;
  }
  assert.equal(ended, 11_000);
});

test("without a rate only silence counts", () => {
  const deadline = new Deadline(() => ({ ...terms, minDataRate: 0 }), 0);
  for (let ms = 1000; ms < 1_000_000; ms += 9_000) {
    deadline.heard(1, ms);
    assert.equal(deadline.passed(ms), undefined);
  }
});

test("what came fast is no credit for hours of dripping", () => {
  const deadline = new Deadline(() => terms, 0);
  deadline.heard(10_000_000, 1);
  deadline.heard(1, 9_000);
  assert.equal(deadline.passed(10_000), undefined);
  assert.equal(deadline.passed(10_004), "slow");
});

test("the clock stands while it is our turn", () => {
  const deadline = new Deadline(() => terms, 0);
  deadline.heard(5, 9_000);
  deadline.pause(9_500);
  deadline.pause(9_600);
  assert.equal(deadline.passed(100_000), undefined);
  deadline.resume(100_000);
  assert.equal(deadline.passed(100_400), undefined);
  assert.equal(deadline.passed(100_510), "slow");
  deadline.begin(100_600);
  assert.equal(deadline.passed(110_500), undefined);
});

test("a shorter idle time holds for those who are waited for already", () => {
  let now = { idleMs: 300_000, minDataRate: 500 };
  const deadline = new Deadline(() => now, 0);
  now = { idleMs: 10_000, minDataRate: 500 };
  assert.equal(deadline.passed(10_000), "silent");
});

test("no request takes longer than the idle time and its octets at the rate", () => {
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 2000 }), fc.integer({ min: 1, max: 9_999 })), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(steps, (chunks) => {
      const deadline = new Deadline(() => terms, 0);
      let [now, octets] = [0, 0];
      for (const [size, pauseMs] of chunks) {
        now += pauseMs;
        if (deadline.passed(now) !== undefined) return;
        deadline.heard(size, now);
        octets += size;
        assert.ok(now <= terms.idleMs + (octets * 1000) / terms.minDataRate);
      }
    }),
  );
});
