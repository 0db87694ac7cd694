/**
 * `npm run bench -- throughput`: accept and relay rates of Packetboat and a private Postfix, in turn, with ratios, CPU and memory.
 *
 * Both durable, both relaying everything to smtp-sink on loopback; load by smtp-source, 20 sessions. A round measures one and then the other, so that a
 * drifting machine hurts both; figures are medians of the rounds. Accept is until the last 250, relay until the last message is at the sink.
 */
import { Packetboat } from "../e2e/peers/packetboat.ts";
import { until } from "../e2e/peers/ports.ts";
import { type Load, Postfix, SmtpSink, smtpSource } from "../e2e/peers/postfix.ts";
import type { BenchOptions } from "./options.ts";
import { cpuSeconds, memoryMiB } from "./processes.ts";
import { eachRound, median, type Report, shown, soFar, type Target } from "./report.ts";
import { mailServer, type Side, sideOf } from "./sides.ts";

interface Scenario {
  readonly name: string;
  readonly messages: number;
  readonly bytes: number;
  readonly reconnect: boolean;
  /** Our relay rate by Postfix's. */
  readonly target: number;
}

const scenarios: readonly Scenario[] = [
  { name: "4 KiB, kept connections", messages: 6000, bytes: 4096, reconnect: false, target: 4 },
  { name: "4 KiB, one connection each", messages: 3000, bytes: 4096, reconnect: true, target: 2.5 },
  { name: "100 KiB, kept connections", messages: 1500, bytes: 102_400, reconnect: false, target: 2 },
];
/** What we may use under load. */
const MOST_MEMORY_MIB = 400;

interface Measured {
  readonly accept: number;
  readonly relay: number;
  /** Milliseconds of CPU for one message. */
  readonly cpuMs: number;
  /** When the last message has arrived. */
  readonly memoryMiB: number;
}

export async function measureLoad(side: Side, sink: SmtpSink, load: Omit<Load, "port">): Promise<Measured> {
  const before = sink.messages;
  const cpuBefore = cpuSeconds(side.root());
  const start = performance.now();
  await smtpSource({ ...load, port: side.port });
  const accepted = performance.now();
  await until(`the sink to have ${load.messages} messages`, 300_000, () => sink.messages - before >= load.messages);
  const relayed = performance.now();
  return {
    accept: (load.messages * 1000) / (accepted - start),
    relay: (load.messages * 1000) / (relayed - start),
    cpuMs: ((cpuSeconds(side.root()) - cpuBefore) * 1000) / load.messages,
    memoryMiB: memoryMiB(side.root()),
  };
}

export async function throughput({ rounds = 5, scale }: BenchOptions): Promise<Report> {
  await using ourSink = await SmtpSink.start();
  await using theirSink = await SmtpSink.start();
  await using packetboat = await Packetboat.start({ "bench.yaml": mailServer(ourSink.port) });
  await using postfix = await Postfix.start(theirSink.port);
  const [ours, theirs] = [sideOf(packetboat), sideOf(postfix)];
  const figures = {
    accept: "accept a second",
    relay: "relay a second",
    cpuMs: "CPU ms a message",
    memoryMiB: "memory MiB",
  };
  const table = [["", ...Object.values(figures).flatMap((what) => [`${what}: Packetboat`, "Postfix", "ratio"])]];
  const targets: Target[] = [];
  let mostMemory = 0;
  for (const scenario of scenarios) {
    const load = {
      bytes: scenario.bytes,
      sessions: 20,
      reconnect: scenario.reconnect,
      messages: Math.max(20, Math.round(scenario.messages * scale)),
    };
    // One round that does not count: caches, JIT, Postfix's idle processes.
    const warmUp = { ...load, messages: Math.ceil(load.messages / 5) };
    await measureLoad(ours, ourSink, warmUp);
    await measureLoad(theirs, theirSink, warmUp);
    const results = await eachRound(rounds, async () => ({
      ours: await measureLoad(ours, ourSink, load),
      theirs: await measureLoad(theirs, theirSink, load),
    }));
    const columns = (Object.keys(figures) as (keyof Measured)[]).flatMap((figure) => [
      median(results.map((result) => result.ours[figure])),
      median(results.map((result) => result.theirs[figure])),
      median(results.map((result) => result.ours[figure] / result.theirs[figure])),
    ]);
    const cells = [scenario.name, ...columns.map(shown)];
    table.push(cells);
    soFar("throughput", cells);
    targets.push({
      what: `${scenario.name}, relayed, times Postfix`,
      figure: columns[5] ?? Number.NaN,
      bound: scenario.target,
      kind: "atLeast",
    });
    mostMemory = Math.max(mostMemory, ...results.map((result) => result.ours.memoryMiB));
  }
  targets.push({
    what: "memory at the end of any round",
    figure: mostMemory,
    bound: MOST_MEMORY_MIB,
    kind: "atMost",
    unit: " MiB",
  });
  return {
    table,
    notes: [
      `${rounds} rounds, 20 sessions, medians, ${packetboat.shards().length} shards. CPU and memory: bench/processes.ts.`,
    ],
    targets,
  };
}
