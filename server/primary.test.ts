/** Which shard takes over which spool when shards have become fewer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { orphanSpools } from "./primary.ts";

test("spools beyond the number of shards go to the shards that are left, each to one; other files are none", () => {
  const names = [
    "0.sqlite",
    "1.sqlite",
    "2.sqlite",
    "3.sqlite",
    "3.sqlite-wal",
    "4.sqlite",
    "lock",
    "4.sqlite-reserve",
  ];
  const adopting = "7.sqlite.adopting.0.sqlite.abc0";
  assert.deepEqual(
    [...orphanSpools([...names, adopting], 2)],
    [
      [0, ["2.sqlite", "4.sqlite"]],
      [1, ["3.sqlite"]],
    ],
  );
  assert.deepEqual([...orphanSpools(names, 5)], []);
});
