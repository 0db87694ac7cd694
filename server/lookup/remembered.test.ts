/** The cache before a source: life, bound, sharing, and what is never kept. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Lookup } from "./lookup.ts";
import { Remembered } from "./remembered.ts";

function source(answer: (key: string) => readonly string[] | undefined): Lookup & { asked: string[] } {
  const asked: string[] = [];
  return {
    name: "db",
    wholeKeyOnly: false,
    asked,
    get: async (key) => {
      asked.push(key);
      await Promise.resolve();
      return answer(key);
    },
  };
}

test("answers live for their time, misses for theirs; equal questions at once are one", async () => {
  let nowMs = 0;
  const db = source((key) => (key === "no" ? undefined : [key]));
  const cache = new Remembered(db, { entries: 10, ttlMs: 100, negativeTtlMs: 10 }, () => nowMs);
  assert.deepEqual(await Promise.all([cache.get("a"), cache.get("a"), cache.get("no"), cache.get("no")]), [
    ["a"],
    ["a"],
    undefined,
    undefined,
  ]);
  assert.deepEqual(db.asked, ["a", "no"]);
  nowMs = 50;
  await cache.get("a");
  await cache.get("no");
  assert.deepEqual(db.asked, ["a", "no", "no"]);
  nowMs = 100;
  await cache.get("a");
  assert.deepEqual(db.asked, ["a", "no", "no", "a"]);
});

test("the least recently used goes first; large answers and failures are not kept", async () => {
  let fails = true;
  const db = source((key) => {
    if (key === "fails" && fails) throw new Error("down");
    return [key === "large" ? "x".repeat(9000) : key];
  });
  const cache = new Remembered(db, { entries: 2, ttlMs: 1000, negativeTtlMs: 0 }, () => 0);
  for (const key of ["a", "b", "a", "c", "a", "b"]) await cache.get(key);
  assert.deepEqual(db.asked, ["a", "b", "c", "b"]);
  assert.equal(cache.size, 2);
  await cache.get("large");
  await cache.get("large");
  assert.equal(db.asked.filter((key) => key === "large").length, 2);
  await assert.rejects(cache.get("fails"));
  fails = false;
  assert.deepEqual(await cache.get("fails"), ["fails"]);
});

test("without entries nothing is kept", async () => {
  const db = source((key) => [key]);
  const cache = new Remembered(db, { entries: 0, ttlMs: 1000, negativeTtlMs: 1000 });
  await cache.get("a");
  await cache.get("a");
  assert.equal(db.asked.length, 2);
});
