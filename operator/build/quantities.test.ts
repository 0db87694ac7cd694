import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { durationMs, sizeBytes } from "./quantities.ts";

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
  test("what no schema lets through is a bug, and said loudly", () => {
    for (const text of ["5", "m", "-5m", ""]) assert.throws(() => durationMs(text), TypeError);
    for (const text of ["1Mb", "", "-1"]) assert.throws(() => sizeBytes(text), TypeError);
  });
});
