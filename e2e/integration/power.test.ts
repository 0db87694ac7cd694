/** The disk as a power cut leaves it, under load, 20 times (PACKETBOAT_CUTS): every id answered 250 is delivered or in the recovered queue, with its body. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { powerMissing } from "../crash/disk.ts";
import { type MigrationReport, migrationTest } from "../crash/migration.ts";
import { type PowerReport, powerTest } from "../crash/power.ts";
import { seeded } from "../crash/random.ts";
import { untilNotVoid, VOID_BELOW_PER_SECOND } from "../crash/void.ts";

const missing = powerMissing();
const skip = missing === undefined ? {} : { skip: missing };
const seed = Number(process.env["PACKETBOAT_SEED"] ?? Date.now() % 2 ** 31);

test("no accepted message is lost by a power cut", skip, async () => {
  const images = Number(process.env["PACKETBOAT_CUTS"] ?? "20");
  const run = async () => {
    const report = await powerTest({ images, random: seeded(seed), serverEvery: 10 });
    console.log(
      `seed ${seed}: ${images} cuts, ${report.accepted} accepted at ${report.perSecond.toFixed(0)}/s, up to ${report.mostQueued} recovered, ${report.lost.length} lost, ${report.damaged.length} damaged`,
    );
    assert.deepEqual(report.lost, []);
    assert.deepEqual(report.damaged, []);
    return report;
  };
  const isVoid = ({ perSecond, mostQueued }: PowerReport): boolean =>
    perSecond < VOID_BELOW_PER_SECOND || mostQueued === 0;
  const { perSecond, mostQueued } = await untilNotVoid(run, isVoid);
  assert.ok(mostQueued > 0, "no cut met a message in the queue");
  assert.ok(perSecond >= VOID_BELOW_PER_SECOND, `void: only ${perSecond.toFixed(0)} messages a second`);
});

test("the test itself: a server that does not sync is caught", skip, async () => {
  const run = () => powerTest({ images: 5, random: seeded(seed), mutate: true });
  const { perSecond, lost } = await untilNotVoid(run, (report) => report.perSecond < VOID_BELOW_PER_SECOND);
  assert.ok(perSecond >= VOID_BELOW_PER_SECOND, `void: only ${perSecond.toFixed(0)} messages a second`);
  assert.notEqual(lost.length, 0);
});

test("power cuts while an old spool is brought forward: all its mail is there, in either version", skip, async () => {
  const run = async () => {
    const report = await migrationTest(5000);
    console.log(`${report.images} cuts, by version ${JSON.stringify(report.versions)}`);
    assert.deepEqual(report.wrong, []);
    return report;
  };
  const isVoid = ({ images, versions }: MigrationReport): boolean => images <= 3 || (versions["1"] ?? 0) === 0;
  assert.ok(!isVoid(await untilNotVoid(run, isVoid)), "no cut came before the end");
});
