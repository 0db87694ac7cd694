/**
 * `npm run crash -- kill [--times N] | power [--images N] [--mutate] | syscalls | faults [--sample N] | trouble`, each with [--seed N]: the crash tests by hand.
 * Prints the report; exit code 1 on a loss or a void run, and with --mutate when the server without syncs was not caught. faults without --sample tries every one.
 */
import { parseArgs } from "node:util";
import { powerMissing } from "./disk.ts";
import { failingDiskMissing } from "./failing-disk.ts";
import { callsMade, everyFault, faultTest, straceMissing } from "./faults.ts";
import { killTest } from "./kill.ts";
import { powerTest } from "./power.ts";
import { seeded } from "./random.ts";
import { syscallTest } from "./syscalls.ts";
import { troubles, troublesTest } from "./trouble.ts";
import { VOID_BELOW_PER_SECOND } from "./void.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    times: { type: "string", default: "1000" },
    images: { type: "string", default: "200" },
    sample: { type: "string" },
    mutate: { type: "boolean", default: false },
    seed: { type: "string" },
  },
});
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const random = seeded(seed);

async function kill(): Promise<boolean> {
  const report = await killTest(Number(values.times), random);
  console.log(JSON.stringify({ seed, ...report, perSecond: Math.round(report.perSecond) }));
  return report.lost.length === 0 && report.damaged.length === 0 && report.perSecond >= VOID_BELOW_PER_SECOND;
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
  if (report.perSecond < VOID_BELOW_PER_SECOND) return false;
  return mutate ? lost.length > 0 : lost.length === 0 && report.damaged.length === 0;
}

async function syscalls(): Promise<boolean> {
  const missing = straceMissing();
  if (missing !== undefined) throw new Error(missing);
  let early = 0;
  for (const sessions of [1, 20]) {
    const report = await syscallTest(sessions, 5000);
    early += report.early.length;
    console.log(
      JSON.stringify({ sessions, ...report, syncsPerMessage: Number((report.syncs / report.messages).toFixed(3)) }),
    );
  }
  return early === 0;
}

async function faults(): Promise<boolean> {
  const missing = straceMissing();
  if (missing !== undefined) throw new Error(missing);
  const made = await callsMade();
  console.log(JSON.stringify(Object.fromEntries(made)));
  const all = everyFault(made);
  const sample = values.sample === undefined ? undefined : Number(values.sample);
  const chosen =
    sample === undefined
      ? all
      : Array.from({ length: sample }, () => all[Math.floor(random() * all.length)]).filter((one) => one !== undefined);
  const report = await faultTest(chosen);
  console.log(JSON.stringify({ seed, ...report }));
  return report.wrong.length === 0;
}

async function trouble(): Promise<boolean> {
  const missing = failingDiskMissing();
  if (missing !== undefined) throw new Error(missing);
  let isRight = true;
  await troublesTest(troubles, (report) => {
    if (report.wrong.length > 0) isRight = false;
    console.log(JSON.stringify(report));
  });
  return isRight;
}

const tests: Readonly<Record<string, () => Promise<boolean>>> = { kill, power, syscalls, faults, trouble };
const test = tests[positionals[0] ?? ""];
if (test === undefined) {
  console.error(
    "usage: npm run crash -- kill [--times N] | power [--images N] [--mutate] | syscalls | faults [--sample N] | trouble, each with [--seed N]",
  );
  process.exit(2);
}
process.exit((await test()) ? 0 : 1);
