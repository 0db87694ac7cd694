/** The columns of `queue shape`, and that its rows stay bounded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AGE_LIMITS, ageBucket, OTHER_DOMAINS, Shape, sumOf } from "./age.ts";

test("columns are those of qshape: below 5, 10, 20 … 1280 minutes, and older", () => {
  const minute = 60_000;
  const rows: readonly [minutes: number, column: number][] = [
    [-10, 0],
    [0, 0],
    [4.99, 0],
    [5, 1],
    [9.9, 1],
    [10, 2],
    [1279, 8],
    [1280, 9],
    [1e9, 9],
  ];
  for (const [minutes, column] of rows) assert.equal(ageBucket(minutes * minute), column, String(minutes));
  assert.equal(AGE_LIMITS.length, 9);
});

test("made-up domains become one row; nothing is lost in the sum", () => {
  const shape = new Shape();
  for (let at = 0; at < 20_050; at++) shape.add(`d${at}.test`, [1, 0, 0]);
  shape.add("d0.test", [5, 0, 1]);
  const rows = shape.rows();
  assert.equal(rows.length, 20_001);
  assert.deepEqual(rows[0], { domain: OTHER_DOMAINS, ages: [50, 0, 0] });
  assert.deepEqual(rows[1], { domain: "d0.test", ages: [6, 0, 1] });
  assert.equal(
    rows.reduce((sum, { ages }) => sum + sumOf(ages), 0),
    20_056,
  );
});
