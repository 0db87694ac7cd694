/** `npm run crash -- kill [--times N] [--seed N]`: the kill test by hand; prints its report, exit code 1 on a loss or a void run. */
import { parseArgs } from "node:util";
import { killTest } from "./kill.ts";
import { seeded } from "./random.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { times: { type: "string", default: "1000" }, seed: { type: "string" } },
});
if (positionals[0] !== "kill") {
  console.error("usage: npm run crash -- kill [--times N] [--seed N]");
  process.exit(2);
}
const seed = Number(values.seed ?? Date.now() % 2 ** 31);
const report = await killTest(Number(values.times), seeded(seed));
console.log(JSON.stringify({ seed, ...report, perSecond: Math.round(report.perSecond) }));
process.exit(report.lost.length === 0 && report.damaged.length === 0 && report.perSecond >= 100 ? 0 : 1);
