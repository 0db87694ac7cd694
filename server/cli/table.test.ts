/** Text for people: widths, ages, sizes, and nothing a terminal would obey. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { duration, instant, octets, parseDuration, plain, table } from "./table.ts";

test("columns are as wide as their widest cell; numbers stand right", () => {
  assert.equal(
    table(
      ["NAME", "N", "REST"],
      [
        ["a", "1", "x"],
        ["longer", "100", ""],
      ],
      ["left", "right"],
    ),
    "NAME      N  REST\na         1  x\nlonger  100",
  );
});

test("what a stranger wrote does not reach the terminal as an order", () => {
  assert.equal(plain("a\u001b[31mb\r\n\u202ec\u0007"), "a?[31mb???c?");
  assert.doesNotMatch(table(["A"], [["\u001b]0;title\u0007"]]), /\p{Cc}(?<!\n)/u);
});

test("durations and their reading back", () => {
  const rows: readonly [number, string][] = [
    [-5000, "now"],
    [400, "now"],
    [59_000, "59s"],
    [61_000, "1m1s"],
    [3_600_000, "1h"],
    [90_061_000, "1d1h"],
    [172_800_000, "2d"],
  ];
  for (const [ms, text] of rows) assert.equal(duration(ms), text);
  assert.equal(parseDuration("1h30m"), 5_400_000);
  for (const wrong of ["", "5", "m", "1.5h", "-3m", "3y", "1h 3m"])
    assert.equal(parseDuration(wrong), undefined, wrong);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000_000 }), (seconds) => {
      const back = parseDuration(duration(seconds * 1000)) ?? Number.NaN;
      // Two units: never more than what the second one rounds away.
      return back <= seconds * 1000 && back > seconds * 1000 - 3_600_000;
    }),
  );
});

test("sizes and instants", () => {
  assert.deepEqual([0, 1023, 1024, 10_240, 5_000_000, 2 ** 41].map(octets), [
    "0B",
    "1023B",
    "1.0K",
    "10K",
    "4.8M",
    "2.0T",
  ]);
  assert.equal(instant(Date.UTC(2026, 0, 2, 3, 4, 5, 678)), "2026-01-02 03:04:05Z");
  assert.equal(instant(Number.NaN), "?");
});
