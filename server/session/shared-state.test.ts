import assert from "node:assert/strict";
import { test } from "node:test";
import { MemorySharedState } from "./shared-state.ts";

test("places: up to the limit, each key for itself, given back", async () => {
  const shared = new MemorySharedState();
  assert.deepEqual(
    await Promise.all([shared.acquire("a", 2), shared.acquire("a", 2), shared.acquire("a", 2), shared.acquire("b", 1)]),
    [true, true, false, true],
  );
  await shared.release("a");
  assert.equal(await shared.acquire("a", 2), true);
  assert.equal(await shared.acquire("a", 2), false);
  await shared.release("never");
  assert.equal(await shared.acquire("never", 1), true);
});

test("rates: counted in windows", async () => {
  let now = 0;
  const shared = new MemorySharedState(() => now);
  assert.equal(await shared.add("a", 1, 1000), 1);
  now = 999;
  assert.equal(await shared.add("a", 2, 1000), 3);
  now = 1000;
  assert.equal(await shared.add("a", 1, 1000), 1);
  assert.equal(await shared.add("b", 5, 1000), 5);
});

test("texts: kept for their time, replaced, bounded for each kind", async () => {
  let now = 0;
  const shared = new MemorySharedState(() => now);
  await shared.remember("a:1", "one", 1000);
  assert.equal(await shared.recall("a:1"), "one");
  assert.equal(await shared.recall("a:2"), undefined);
  now = 999;
  await shared.remember("a:1", "two", 1000);
  now = 1998;
  assert.equal(await shared.recall("a:1"), "two");
  now = 1999;
  assert.equal(await shared.recall("a:1"), undefined);
  await shared.remember("a:first", "x", 1000);
  await shared.remember("b:first", "x", 1000);
  for (let count = 0; count < 100_000; count++) await shared.remember(`a:${count}`, "", 1000);
  assert.equal(await shared.recall("a:first"), undefined);
  assert.equal(await shared.recall("b:first"), "x");
});
