/** The kick: at once for a pod that is behind, again after growing pauses, never for one that runs the set. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Kicks } from "./kick.ts";

test("a pod that runs the set is not touched", () => {
  assert.equal(new Kicks().wanted("pod", "hash", "hash", 0), undefined);
});

test("a pod that is behind is kicked at once, then after 0.2, 0.4, 0.8 s and so on, each time with another value", () => {
  const kicks = new Kicks();
  const values: (string | undefined)[] = [];
  const at: number[] = [];
  for (let now = 0; now <= 6000; now += 100) {
    const value = kicks.wanted("pod", "old", "new", now);
    if (value === undefined) continue;
    values.push(value);
    at.push(now);
  }
  assert.deepEqual(at, [0, 200, 600, 1400, 3000]);
  assert.equal(new Set(values).size, values.length);
});

test("a newer set is kicked for at once, and a pod that caught up is forgotten", () => {
  const kicks = new Kicks();
  assert.ok(kicks.wanted("pod", "a", "b", 0));
  assert.ok(kicks.wanted("pod", "a", "c", 10));
  assert.equal(kicks.wanted("pod", "c", "c", 20), undefined);
  assert.ok(kicks.wanted("pod", undefined, "c", 30), "it lost it again: a restarted pod");
  kicks.keepOnly(new Set());
  assert.ok(kicks.wanted("pod", undefined, "c", 40));
});
