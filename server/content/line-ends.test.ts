import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LineEnds } from "./line-ends.ts";

const all = (chunk: Buffer): number[] => {
  const lineEnds = new LineEnds(chunk);
  const found: number[] = [];
  for (let at = lineEnds.next(0); at < chunk.length; at = lineEnds.next(at + 1)) found.push(at);
  return found;
};
const expected = (chunk: Buffer): number[] => [...chunk.keys()].filter((at) => chunk[at] === 10 || chunk[at] === 13);

// Octets that differ from CR and LF in one bit, that borrow from their neighbour, or are neither text nor line end.
const octet = fc.oneof(
  fc.constantFrom(9, 10, 11, 12, 13, 14, 0, 1, 0x7f, 0x80, 0x81, 0x8a, 0x8d, 0x8e, 0xff, 46, 88),
  fc.integer({ min: 0, max: 255 }),
);

test("finds every CR and LF and nothing else, wherever the chunk stands in memory", () => {
  fc.assert(
    fc.property(
      fc.array(octet, { maxLength: 70 }),
      fc.integer({ min: 0, max: 9 }),
      fc.integer({ min: 0, max: 9 }),
      (octets, before, behind) => {
        // What stands around the chunk must not be seen.
        const around = Buffer.alloc(before + octets.length + behind, 10);
        around.set(octets, before);
        const chunk = around.subarray(before, before + octets.length);
        assert.deepEqual(all(chunk), expected(chunk));
      },
    ),
    { numRuns: 2000 },
  );
});

test("begins in the middle, ends at the chunk's end", () => {
  const chunk = Buffer.from("one\r\ntwo\nthree and four");
  const lineEnds = new LineEnds(chunk);
  assert.deepEqual(
    [0, 3, 4, 5, 8, 9, 20, chunk.length, chunk.length + 5].map((from) => lineEnds.next(from)),
    [3, 3, 4, 8, 8, chunk.length, chunk.length, chunk.length, chunk.length],
  );
  assert.equal(new LineEnds(Buffer.alloc(0)).next(0), 0);
});
