/**
 * `npm run crash -- kill [--times N] | power [--images N] [--mutate]`, each with [--seed N]: the crash tests by hand. Prints the report; exit code 1 on a loss or a
 * void run, and with --mutate when the server without syncs was not caught.
 */
import { parseArgs } from "node:util";
import { killTest } from "./kill.ts";
import { powerMissing } from "./disk.ts";
import { powerTest } from "./power.ts";
import { seeded } from "./random.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    times: { type: "string", default: "1000" },
    images: { type: "string", default: "200" },
    mutate: { type: "boolean", default: false },
    seed: { type: "string" },
  },
});
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const random = seeded(seed);
/** A run slower than this proves nothing. */
const LEAST_PER_SECOND = 100;

async function kill(): Promise<boolean> {
  const report = await killTest(Number(values.times), random);
  console.log(JSON.stringify({ seed, ...report, perSecond: Math.round(report.perSecond) }));
  return report.lost.length === 0 && report.damaged.length === 0 && report.perSecond >= LEAST_PER_SECOND;
}

async function power(): Promise<boolean> {
  const missing = powerMissing();
  if (missing !== undefined) {
    console.error(`the power test ${missing}`);
    return false;
  }
  const { mutate } = values;
  const { lost, ...report } = await powerTest({ images: Number(values.images), random, mutate });
  const shown = { lost: lost.length, examples: lost.slice(0, 5) };
  console.log(JSON.stringify({ seed, mutate, ...report, ...shown, perSecond: Math.round(report.perSecond) }));
  if (report.perSecond < LEAST_PER_SECOND) return false;
  return mutate ? lost.length > 0 : lost.length === 0 && report.damaged.length === 0;
}

const tests: Readonly<Record<string, () => Promise<boolean>>> = { kill, power };
const test = tests[positionals[0] ?? ""];
if (test === undefined) {
  console.error("usage: npm run crash -- kill [--times N] | power [--images N] [--mutate], each with [--seed N]");
  process.exit(2);
}
process.exit((await test()) ? 0 : 1);
