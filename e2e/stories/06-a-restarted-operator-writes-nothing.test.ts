/** The operator killed and back: it finds everything as it should be and writes nothing (its Lease aside), counted in the API server's audit log. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { OPERATOR, Stage, SYSTEM } from "./stage.ts";

test("no write by a restarted operator in a world that did not change", async (context) => {
  const stage = await Stage.set();
  if (!stage.cluster.capabilities.auditLog) return context.skip("no audit log of a foreign cluster");
  await sleep(5000); // let what the stories before set in motion come to rest
  const since = new Date();
  await stage.kubectl(
    "delete",
    "pods",
    "-n",
    SYSTEM,
    "-l",
    `app.kubernetes.io/name=${OPERATOR}`,
    "--grace-period=0",
    "--force",
  );
  await stage.kubectl("rollout", "status", "-n", SYSTEM, "deployment", "--timeout=120s");
  await sleep(25_000); // longer than the lease of the one killed
  const writes = stage.operatorWrites(since);
  console.log(`writes of the restarted operator: ${writes.length}`);
  assert.deepEqual(writes, []);

  // It works all the same: a change is carried out, and only that is written.
  const mark = new Date();
  await stage.kubectl("patch", "mailserver/mx", "--type=merge", "-p", '{"spec":{"limits":{"softErrors":9}}}');
  await sleep(500);
  await stage.ready("mailserver/mx");
  const after = stage.operatorWrites(mark);
  assert.ok(after.length > 0);
  await stage.kubectl("patch", "mailserver/mx", "--type=json", "-p", '[{"op":"remove","path":"/spec/limits"}]');
  await stage.ready("mailserver/mx");
});
