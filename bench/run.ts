/**
 * `npm run bench`: Packetboat and a private Postfix 3.7 side by side; `npm run bench -- NAME…` for some of them.
 *
 *   throughput    accept and relay rates, CPU, memory        depth         a million deferred messages
 *   lone          one message at a time                      destinations  healthy mail beside dead destinations
 *   idle          10,000 idle connections                    queue         our queue alone, through its port
 *   lookups       every address in MariaDB                   slow-clients  2,000 clients that drip or never read
 *   objects       200,000 Mailbox objects
 *
 * Each prints its table, and for each target of the project whether it was met. Exits with 0 whatever the figures are; with --check, 1 when a target was not met.
 * Needs root and Debian's postfix package (installed when missing). Options: --rounds N (default 5; destinations 1), --scale F (load times F); depth: --messages N,
 * --postfix-messages N, --cold (page cache dropped before each restart); idle: --connections N.
 */
import { postfixMissing } from "../e2e/peers/postfix.ts";
import { type BenchOptions, parseBenchOptions } from "./options.ts";
import { isMet, printReport, type Report } from "./report.ts";

const benchmarks: Readonly<Record<string, (options: BenchOptions) => Promise<Report>>> = {
  throughput: async (options) => (await import("./throughput.ts")).throughput(options),
  lone: async (options) => (await import("./lone.ts")).lone(options),
  depth: async (options) => (await import("./depth.ts")).depth(options),
  destinations: async (options) => (await import("./destinations.ts")).destinations(options),
  idle: async (options) => (await import("./idle.ts")).idle(options),
  "slow-clients": async (options) => (await import("./slow-clients.ts")).slowClients(options),
  lookups: async (options) => (await import("./lookups.ts")).lookups(options),
  objects: async (options) => (await import("./objects.ts")).objects(options),
  queue: async (options) => (await import("./queue.ts")).queueAlone(options),
};

const options = parseBenchOptions(process.argv.slice(2));
const unknown = options.names.find((name) => benchmarks[name] === undefined);
const missing =
  unknown === undefined ? postfixMissing() : `no benchmark ${unknown}; there are ${Object.keys(benchmarks).join(", ")}`;
if (missing !== undefined) {
  console.error(`bench: ${missing}`);
  process.exit(1);
}

let isAllMet = true;
for (const [name, run] of Object.entries(benchmarks)) {
  if (options.names.length > 0 && !options.names.includes(name)) continue;
  const report = await run(options);
  printReport(name, report);
  isAllMet &&= report.targets.every(isMet);
}
if (options.check && !isAllMet) process.exitCode = 1;
