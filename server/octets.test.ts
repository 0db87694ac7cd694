import assert from "node:assert/strict";
import test from "node:test";
import { copied, giveBack } from "./octets.ts";

test("a whole buffer is given back, and is empty for whoever still has it", () => {
  const octets = Buffer.allocUnsafeSlow(65_536);
  const slice = octets.subarray(10, 20);
  giveBack(octets);
  assert.deepEqual([octets.length, slice.length], [0, 0]);
  giveBack(octets);
});

for (const [what, octets] of [
  ["a slice: its neighbours are somebody else's", Buffer.allocUnsafeSlow(65_536).subarray(1)],
  ["a small one: the collector is good at them", Buffer.allocUnsafeSlow(1000)],
  ["one from Node's pool", Buffer.from("x".repeat(100))],
  ["one that other threads share", new Uint8Array(new SharedArrayBuffer(65_536))],
] as const)
  test(`stays: ${what}`, () => {
    const { length } = octets;
    giveBack(octets);
    assert.equal(octets.length, length);
  });

for (const sizes of [[], [3], [3, 0, 5], [20_000, 50_000]])
  test(`a copy of ${sizes.join(" + ") || "nothing"} octets does not change with what it was made of`, () => {
    const pieces = sizes.map((size, at) => Buffer.alloc(size, 65 + at));
    const before = Buffer.concat(pieces);
    const copy = copied(pieces);
    for (const piece of pieces) piece.fill(0);
    assert.deepEqual(copy, before);
    const { length } = copy;
    giveBack(copy);
    assert.equal(copy.length, length < 16_384 ? length : 0);
  });
