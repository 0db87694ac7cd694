/**
 * `npm run bench -- lone`: one message at a time, 4 KiB, from the end of its data to its 250, and until the sink has all of it.
 *
 * Client and sink are this process and look at one clock. The connection is kept, the next message begins when the one before has arrived. In each round one
 * and then the other; percentiles over all rounds, and targets as ratios of them.
 */
import { Packetboat } from "../e2e/peers/packetboat.ts";
import { until } from "../e2e/peers/ports.ts";
import { Postfix, smtpSource } from "../e2e/peers/postfix.ts";
import { Arrivals } from "./arrivals.ts";
import { Client } from "./client.ts";
import type { BenchOptions } from "./options.ts";
import { quantile, type Report, shown, type Target } from "./report.ts";
import { mailServer, type Side, sideOf } from "./sides.ts";

/** In a round. The slowest hundredth of a thousand messages is ten of them: fewer say more of the disk in that second than of the server. */
const MESSAGES = 1000;
const BYTES = 4096;
/** Times as many messages go before, from many clients at once. */
const WARM_UP = 4;
/** And then as many as in a round, as those that count: another client with another dialogue, and nothing else in hand. In parts, because each connection meets one shard. */
const WARM_UP_PARTS = 4;

interface Delays {
  readonly accepted: number[];
  readonly arrived: number[];
}

async function measure(side: Side, arrivals: Arrivals, prefix: string, messages: number, into: Delays): Promise<void> {
  using client = await Client.open(side.port);
  for (let number = 0; number < messages; number++) {
    const recipient = `${prefix}${number}@sink.example`;
    const { endMs, acceptedMs } = await client.send(recipient, BYTES);
    const arrivedMs = await arrivals.arrival(recipient);
    into.accepted.push(acceptedMs - endMs);
    into.arrived.push(arrivedMs - endMs);
  }
}

/** A server that has been running for a while: every shard's code compiled, Postfix's processes there. `messages`: of a round. */
async function warmUp(side: Side, arrivals: Arrivals, messages: number): Promise<void> {
  const before = arrivals.messages;
  const many = messages * WARM_UP;
  await smtpSource({ port: side.port, messages: many, bytes: BYTES, sessions: 20, reconnect: false });
  await until("the warm-up to arrive", 60_000, () => arrivals.messages - before >= many);
  const uncounted: Delays = { accepted: [], arrived: [] };
  for (let part = 0; part < WARM_UP_PARTS; part++)
    await measure(side, arrivals, `w${part}-${side.name}-`, Math.ceil(messages / WARM_UP_PARTS), uncounted);
}

export async function lone({ rounds = 5, scale }: BenchOptions): Promise<Report> {
  await using arrivals = new Arrivals();
  const sinkPort = await arrivals.listen();
  await using packetboat = await Packetboat.start({ "bench.yaml": mailServer(sinkPort) });
  await using postfix = await Postfix.start(sinkPort);
  const sides = [packetboat, postfix].map((server) => ({
    side: sideOf(server),
    delays: { accepted: [], arrived: [] } as Delays,
  }));
  const messages = Math.max(10, Math.round(MESSAGES * scale));
  for (const { side } of sides) await warmUp(side, arrivals, messages);
  for (let round = 0; round < rounds; round++)
    for (const { side, delays } of sides) await measure(side, arrivals, `r${round}-${side.name}-`, messages, delays);

  const table = [["ms", "Packetboat", "Postfix", "ratio"]];
  const targets: Target[] = [];
  for (const [what, key] of [
    ["to 250", "accepted"],
    ["to the sink", "arrived"],
  ] as const)
    for (const [name, share] of [
      ["p50", 0.5],
      ["p99", 0.99],
    ] as const) {
      const [ours = Number.NaN, theirs = Number.NaN] = sides.map(({ delays }) => quantile(delays[key], share));
      table.push([`${what}, ${name}`, ours.toFixed(2), theirs.toFixed(2), shown(ours / theirs)]);
      targets.push({
        what: `lone message ${what}, ${name}, times Postfix`,
        figure: ours / theirs,
        bound: 1,
        kind: "atMost",
      });
    }
  return {
    table,
    notes: [
      `${rounds} rounds of ${messages} messages, 4 KiB, one connection kept; before them ${messages * WARM_UP} messages of 20 sessions and one round that does not count.`,
    ],
    targets,
  };
}
