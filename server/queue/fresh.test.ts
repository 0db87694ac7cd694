import assert from "node:assert/strict";
import test from "node:test";
import { FreshContent } from "./fresh.ts";

const pieces = (size: number): readonly Buffer[] => [Buffer.allocUnsafeSlow(size)];
const isHere = (fresh: FreshContent, id: string): boolean => fresh.open(id) !== undefined;

test("the oldest goes when a new one does not fit", () => {
  const fresh = new FreshContent(100);
  for (const id of ["a", "b", "c"]) fresh.keep(id, pieces(40), 40);
  assert.deepEqual(
    ["a", "b", "c"].map((id) => isHere(fresh, id)),
    [false, true, true],
  );
});

test("what is forgotten makes room again, once", () => {
  const fresh = new FreshContent(100);
  fresh.keep("a", pieces(60), 60);
  fresh.forget("a");
  fresh.forget("a");
  fresh.keep("b", pieces(60), 60);
  fresh.keep("c", pieces(40), 40);
  assert.deepEqual(
    ["a", "b", "c"].map((id) => isHere(fresh, id)),
    [false, true, true],
  );
});

test("a message larger than everything is not kept, and drives nothing out", () => {
  const fresh = new FreshContent(100);
  fresh.keep("a", pieces(60), 60);
  fresh.keep("b", pieces(101), 101);
  assert.equal(isHere(fresh, "b"), false);
  assert.equal(isHere(fresh, "a"), true);
});

const LARGE = 65_536;
/** A message of that size in memory, and what happens to it. */
function aLargeOne(): { readonly fresh: FreshContent; readonly piece: Buffer } {
  const fresh = new FreshContent(1_000_000);
  const piece = Buffer.allocUnsafeSlow(LARGE);
  fresh.keep("a", [piece], LARGE);
  return { fresh, piece };
}

for (const [what, steps, isGivenBack] of [
  ["forgotten, and never read", ["forget"], true],
  ["read, done, forgotten", ["open 0", "done 0", "forget"], true],
  ["read, forgotten, done", ["open 0", "forget", "done 0"], true],
  ["read and forgotten, and the reader does not say that it is done", ["open 0", "forget"], false],
  ["read and done, and not forgotten: the next attempt wants it", ["open 0", "done 0"], false],
  ["of two readers one is done", ["open 0", "open 1", "done 0", "forget"], false],
  ["of two readers one is done twice", ["open 0", "open 1", "done 0", "forget", "done 0"], false],
  ["both are done", ["open 0", "open 1", "done 0", "forget", "done 1"], true],
] as const)
  test(`memory is given back when nobody can look any more: ${what}`, () => {
    const { fresh, piece } = aLargeOne();
    const readings = new Map<string, ReturnType<FreshContent["open"]>>();
    for (const step of steps) {
      const [verb = "", reader = ""] = step.split(" ");
      if (verb === "open") readings.set(reader, fresh.open("a"));
      else if (verb === "done") readings.get(reader)?.done();
      else fresh.forget("a");
    }
    assert.equal(piece.length, isGivenBack ? 0 : LARGE);
  });
