/** SIGKILL of a shard under load of at least 100 messages a second, 100 times (PACKETBOAT_KILLS): every id answered 250 is delivered, with its body. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { killTest } from "../crash/kill.ts";
import { seeded } from "../crash/random.ts";
import { untilNotVoid, VOID_BELOW_PER_SECOND } from "../crash/void.ts";

test("no accepted message is lost by SIGKILL", async () => {
  const seed = Number(process.env["PACKETBOAT_SEED"] ?? Date.now() % 2 ** 31);
  const run = async (number: number) => {
    const report = await killTest(Number(process.env["PACKETBOAT_KILLS"] ?? "100"), seeded(seed), number);
    console.log(
      `seed ${seed}: ${report.kills} kills, ${report.accepted} accepted at ${report.perSecond.toFixed(0)}/s, ${report.lost.length} lost, ${report.damaged.length} damaged, ${report.duplicates} delivered twice`,
    );
    assert.deepEqual(report.lost, []);
    assert.deepEqual(report.damaged, []);
    return report;
  };
  const { perSecond } = await untilNotVoid(run, (report) => report.perSecond < VOID_BELOW_PER_SECOND);
  assert.ok(perSecond >= VOID_BELOW_PER_SECOND, `void: only ${perSecond.toFixed(0)} messages a second`);
});
