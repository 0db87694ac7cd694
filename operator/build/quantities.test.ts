import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { durationMs, messageRate, sizeBytes } from "./quantities.ts";

suite("quantities", () => {
  const durations: readonly [string, number][] = [
    ["5m", 300_000],
    ["1h30m", 5_400_000],
    ["5d", 432_000_000],
    ["1w", 604_800_000],
    ["500ms", 500],
    ["0", 0],
    ["0s", 0],
    ["999999999w999999999w", 3_153_600_000_000],
  ];
  for (const [text, ms] of durations) test(`${text} is ${ms} ms`, () => assert.equal(durationMs(text), ms));
  const sizes: readonly [string | number, number][] = [
    ["50Mi", 52_428_800],
    ["1G", 1_000_000_000],
    ["1024", 1024],
    [1024, 1024],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ["999999999999999Ti", Number.MAX_SAFE_INTEGER],
  ];
  for (const [text, bytes] of sizes) test(`${text} is ${bytes} bytes`, () => assert.equal(sizeBytes(text), bytes));
  for (const [text, messages, perMs] of [
    ["10/s", 10, 1000],
    ["600/m", 600, 60_000],
    ["5000/h", 5000, 3_600_000],
    ["1/d", 1, 86_400_000],
  ] as const)
    test(`${text} is ${messages} in ${perMs} ms`, () => assert.deepEqual(messageRate(text), { messages, perMs }));
  test("what no schema lets through is a bug, and said loudly", () => {
    for (const text of ["5", "m", "-5m", ""]) assert.throws(() => durationMs(text), TypeError);
    for (const text of ["0/s", "1/w", "1"]) assert.throws(() => messageRate(text), TypeError);
    for (const text of ["1Mb", "", "-1"]) assert.throws(() => sizeBytes(text), TypeError);
  });
});
