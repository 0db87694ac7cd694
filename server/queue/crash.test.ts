import assert from "node:assert/strict";
import { test } from "node:test";
import { crashQueue } from "./crash.ts";

test("killed at random moments: every confirmed message is there, every settled one is gone", async () => {
  const { confirmed } = await crashQueue(5);
  assert.ok(confirmed > 50, `only ${confirmed} messages were confirmed`);
});
