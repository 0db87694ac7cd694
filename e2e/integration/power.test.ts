/** The disk as a power cut leaves it, under load, 20 times (PACKETBOAT_CUTS): every id answered 250 is delivered or in the recovered queue, with its body. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { powerMissing } from "../crash/disk.ts";
import { migrationTest } from "../crash/migration.ts";
import { powerTest } from "../crash/power.ts";
import { seeded } from "../crash/random.ts";

const missing = powerMissing();
const skip = missing === undefined ? {} : { skip: missing };
const seed = Number(process.env["PACKETBOAT_SEED"] ?? Date.now() % 2 ** 31);

test("no accepted message is lost by a power cut", skip, async () => {
  const images = Number(process.env["PACKETBOAT_CUTS"] ?? "20");
  const report = await powerTest({ images, random: seeded(seed), serverEvery: 10 });
  console.log(
    `seed ${seed}: ${images} cuts, ${report.accepted} accepted at ${report.perSecond.toFixed(0)}/s, up to ${report.mostQueued} recovered, ${report.lost.length} lost, ${report.damaged.length} damaged`,
  );
  assert.deepEqual(report.lost, []);
  assert.deepEqual(report.damaged, []);
  assert.ok(report.mostQueued > 0, "no cut met a message in the queue");
  assert.ok(report.perSecond >= 100, `void: only ${report.perSecond.toFixed(0)} messages a second`);
});

test("the test itself: a server that does not sync is caught", skip, async () => {
  const report = await powerTest({ images: 5, random: seeded(seed), mutate: true });
  assert.ok(report.perSecond >= 100, `void: only ${report.perSecond.toFixed(0)} messages a second`);
  assert.notEqual(report.lost.length, 0);
});

test("power cuts while an old spool is brought forward: all its mail is there, in either version", skip, async () => {
  const { images, versions, wrong } = await migrationTest(5000);
  console.log(`${images} cuts, by version ${JSON.stringify(versions)}`);
  assert.deepEqual(wrong, []);
  assert.ok(images > 3 && (versions["1"] ?? 0) > 0, "no cut came before the end");
});
