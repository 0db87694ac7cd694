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
