/** Look-ups of a running server: a change of the configuration is there at once, and nobody under way loses its answer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LookupSource } from "../config/lookups.ts";
import { createLog } from "../observe/log.ts";
import { LiveLookups } from "./live.ts";
import type { LookupConfig } from "./lookups.ts";

const config = (...lookups: LookupSource[]): LookupConfig => ({
  server: { lookups },
  credentials: new Map(),
  authorities: new Map(),
  certificates: new Map(),
});
const table = (text: string): LookupSource => ({ kind: "table", name: "t", type: "Hash", text, roles: ["aliases"] });

test("the configuration of the moment answers; one that stays the same stays in use", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const live = new LiveLookups(config(), createLog("test", "silent"));
  assert.equal(live.current.has("aliases"), false);
  live.apply(config(table("a@x b@x")));
  const before = live.current;
  const tableBefore = before.table("t");
  assert.deepEqual((await before.first("aliases", "a@x"))?.values, ["b@x"]);
  live.apply(config(table("a@x b@x")));
  assert.equal(live.current.table("t"), tableBefore);
  live.apply(config(table("a@x c@x")));
  assert.deepEqual((await live.current.first("aliases", "a@x"))?.values, ["c@x"]);
  // A question that began before the change.
  assert.deepEqual((await before.first("aliases", "a@x"))?.values, ["b@x"]);
  t.mock.timers.tick(60_000);
  await live.close();
});
