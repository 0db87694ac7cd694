/**
 * `npm run bench`: accept and relay rates of Packetboat and a private Postfix, in one run, in turn, with ratios.
 *
 * Both durable, both with their defaults, both relaying everything to smtp-sink on loopback; load by smtp-source, 20 sessions. A round measures one and then
 * the other, so that a drifting machine hurts both; figures are medians of the rounds. Needs root and Debian's postfix package (installed when missing).
 * Options: --rounds N (default 3), --scale F (messages a round times F, default 1).
 */
import { parseArgs } from "node:util";
import { Packetboat } from "../e2e/peers/packetboat.ts";
import { until } from "../e2e/peers/ports.ts";
import { type Load, Postfix, postfixMissing, SmtpSink, smtpSource } from "../e2e/peers/postfix.ts";

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "3" }, scale: { type: "string", default: "1" } },
});
const rounds = Number(values.rounds);
const scale = Number(values.scale);

const missing = postfixMissing();
if (missing !== undefined) {
  console.error(`bench: ${missing}`);
  process.exit(1);
}

const manifests = (sinkPort: number): Record<string, string> => ({
  "bench.yaml": `apiVersion: mail.packetboat.io/v1alpha1
kind: MailServer
metadata: {name: mx}
spec:
  hostname: packetboat.bench.example
  networks: {trusted: [127.0.0.0/8]}
  outbound:
    relayHost: {host: 127.0.0.1, port: ${sinkPort}}
`,
});

interface Scenario {
  readonly name: string;
  readonly messages: number;
  readonly bytes: number;
  readonly reconnect: boolean;
}

const scenarios: readonly Scenario[] = [
  { name: "4 KiB, kept connections", messages: 6000, bytes: 4096, reconnect: false },
  { name: "4 KiB, one connection each", messages: 3000, bytes: 4096, reconnect: true },
  { name: "100 KiB, kept connections", messages: 1500, bytes: 102_400, reconnect: false },
];

interface Rates {
  readonly accept: number;
  readonly relay: number;
}

/** Messages a second until the last 250, and until the last message reached the sink. */
async function measure(sink: SmtpSink, load: Load): Promise<Rates> {
  const before = sink.messages;
  const start = performance.now();
  await smtpSource(load);
  const accepted = performance.now();
  await until(`the sink to have ${load.messages} messages`, 300_000, () => sink.messages - before >= load.messages);
  const relayed = performance.now();
  return { accept: (load.messages * 1000) / (accepted - start), relay: (load.messages * 1000) / (relayed - start) };
}

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;

await using ourSink = await SmtpSink.start();
await using theirSink = await SmtpSink.start();
await using ours = await Packetboat.start(manifests(ourSink.port));
await using theirs = await Postfix.start(theirSink.port);

console.log(`${rounds} rounds, 20 sessions, medians in messages a second`);
console.log("| | Packetboat accept | Postfix accept | ratio | Packetboat relay | Postfix relay | ratio |");
console.log("|---|---|---|---|---|---|---|");
for (const scenario of scenarios) {
  const results: { readonly ours: Rates; readonly theirs: Rates }[] = [];
  const load = {
    bytes: scenario.bytes,
    sessions: 20,
    reconnect: scenario.reconnect,
    messages: Math.max(20, Math.round(scenario.messages * scale)),
  };
  // One round that does not count: caches, JIT, Postfix's idle processes.
  await measure(ourSink, { ...load, port: ours.mx, messages: Math.ceil(load.messages / 5) });
  await measure(theirSink, { ...load, port: theirs.port, messages: Math.ceil(load.messages / 5) });
  for (let round = 0; round < rounds; round++) {
    results.push({
      ours: await measure(ourSink, { ...load, port: ours.mx }),
      theirs: await measure(theirSink, { ...load, port: theirs.port }),
    });
  }
  const of = (pick: (result: (typeof results)[number]) => number): number => median(results.map(pick));
  const row = [
    of((result) => result.ours.accept),
    of((result) => result.theirs.accept),
    of((result) => result.ours.accept / result.theirs.accept),
    of((result) => result.ours.relay),
    of((result) => result.theirs.relay),
    of((result) => result.ours.relay / result.theirs.relay),
  ];
  console.log(
    `| ${scenario.name} | ${row.map((value, index) => value.toFixed(index % 3 === 2 ? 2 : 0)).join(" | ")} |`,
  );
}
