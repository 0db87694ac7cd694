import assert from "node:assert/strict";
import test from "node:test";
import { FreshContent } from "./fresh.ts";

const pieces = (size: number): readonly Buffer[] => [Buffer.alloc(size)];

test("the oldest goes when a new one does not fit", () => {
  const fresh = new FreshContent(100);
  for (const id of ["a", "b", "c"]) fresh.keep(id, pieces(40), 40);
  assert.equal(fresh.get("a"), undefined);
  assert.notEqual(fresh.get("b"), undefined);
  assert.notEqual(fresh.get("c"), undefined);
});

test("what is forgotten makes room again, once", () => {
  const fresh = new FreshContent(100);
  fresh.keep("a", pieces(60), 60);
  fresh.forget("a");
  fresh.forget("a");
  fresh.keep("b", pieces(60), 60);
  fresh.keep("c", pieces(40), 40);
  assert.deepEqual(
    ["a", "b", "c"].map((id) => fresh.get(id) !== undefined),
    [false, true, true],
  );
});

test("a message larger than everything is not kept, and drives nothing out", () => {
  const fresh = new FreshContent(100);
  fresh.keep("a", pieces(60), 60);
  fresh.keep("b", pieces(101), 101);
  assert.equal(fresh.get("b"), undefined);
  assert.notEqual(fresh.get("a"), undefined);
});
