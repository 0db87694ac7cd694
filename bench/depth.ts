/**
 * `npm run bench -- depth`: a server with a million deferred messages (`fill.ts`), beside one with an empty queue: start, memory, accept rate, totals.
 *
 * Start is from the command until the port greets a client: after a stop in good order, and after SIGKILL of all processes. Accept rates are taken in turn from
 * a server with the deep queue and from one without, each with its own queue on the same disk, while the retries that fall due go on; the dead
 * destination refuses connections. Totals: `packetboat queue list --summary`; `postqueue -p | tail -n 1`, Postfix's only way.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Packetboat } from "../e2e/peers/packetboat.ts";
import { freePort, until } from "../e2e/peers/ports.ts";
import { Postfix, SmtpSink } from "../e2e/peers/postfix.ts";
import type { QueueSummary } from "../server/queue/queue.ts";
import { Client } from "./client.ts";
import { deadRecipient, fillOurs, fillPostfix, queueFiles } from "./fill.ts";
import type { BenchOptions } from "./options.ts";
import { dropPageCache, killAll, memoryMiB } from "./processes.ts";
import { eachRound, median, type Report, shown, soFar } from "./report.ts";
import { mailServer, type Side, sideOf } from "./sides.ts";
import { measureLoad } from "./throughput.ts";

const ROUNDS = 5;
const DEFERRED_BYTES = 2048;
const LOAD = { messages: 6000, bytes: 4096, sessions: 20, reconnect: false };
const TARGETS = { startSeconds: 15, memoryMiB: 1024, acceptShare: 0.8, totalsSeconds: 2 };

interface Depth {
  readonly messages: number;
  readonly startSeconds: number;
  readonly killedSeconds: number | undefined;
  readonly memoryMiB: number;
  readonly acceptEmpty: number;
  readonly acceptDeep: number;
  readonly acceptShare: number;
  readonly totalsSeconds: number;
}

/** Seconds until the port greets, from before `start` is called. */
async function secondsToGreeting(port: number, start: () => Promise<void> | void): Promise<number> {
  const beganMs = performance.now();
  const starting = Promise.resolve(start());
  for (;;) {
    const client = await Client.open(port).catch(() => undefined);
    if (client !== undefined) {
      const seconds = (performance.now() - beganMs) / 1000;
      client[Symbol.dispose]();
      await starting;
      return seconds;
    }
    // A start that fails shall not be waited for.
    await Promise.race([sleep(10), starting.then(() => sleep(10))]);
  }
}

interface Rates {
  readonly empty: number;
  readonly deep: number;
  readonly share: number;
}

async function acceptRates(options: BenchOptions, empty: Side, deep: Side, sink: SmtpSink): Promise<Rates> {
  const load = { ...LOAD, messages: Math.max(100, Math.round(LOAD.messages * options.scale)) };
  for (const side of [empty, deep]) await measureLoad(side, sink, { ...load, messages: Math.ceil(load.messages / 5) });
  const results = await eachRound(options.rounds ?? ROUNDS, async () => {
    const without = (await measureLoad(empty, sink, load)).accept;
    const withDeep = (await measureLoad(deep, sink, load)).accept;
    return { empty: without, deep: withDeep, share: withDeep / without };
  });
  return {
    empty: median(results.map((result) => result.empty)),
    deep: median(results.map((result) => result.deep)),
    share: median(results.map((result) => result.share)),
  };
}

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
};

async function ourDepth(options: BenchOptions, directory: string): Promise<Depth> {
  await using sink = await SmtpSink.start();
  const dead = await freePort();
  const manifests = {
    "bench.yaml": `${mailServer(sink.port)}---
apiVersion: mail.packetboat.io/v1alpha1
kind: Route
metadata: {name: dead}
spec:
  destinations: [.dead.example]
  serverRef: {name: mx}
  nextHop: {host: 127.0.0.1, port: ${dead}}
`,
  };
  const data = join(directory, "ours");
  // One start on an empty queue, which makes the folders and says how many shards there are.
  await using deep = await Packetboat.start(manifests, data);
  const shards = deep.shards().length;
  await deep.stop();
  const filling = await seconds(() => fillOurs(join(data, "queue"), shards, options.messages, DEFERRED_BYTES));
  soFar("depth", [`${options.messages} messages in ${shown(filling)} s through the queue's port`]);
  if (options.cold) dropPageCache();
  const startSeconds = await secondsToGreeting(deep.mx, () => deep.run());
  killAll(deep.pid);
  await until("the killed server to be gone", 10_000, () => deep.hasEnded);
  if (options.cold) dropPageCache();
  const killedSeconds = await secondsToGreeting(deep.mx, () => deep.run());
  await using empty = await Packetboat.start(manifests);
  const side = sideOf(deep);
  const rates = await acceptRates(options, sideOf(empty), side, sink);
  const totals = summaryOf(data);
  return {
    messages: totals.messages,
    startSeconds,
    killedSeconds,
    memoryMiB: memoryMiB(side.root()),
    acceptEmpty: rates.empty,
    acceptDeep: rates.deep,
    acceptShare: rates.share,
    totalsSeconds: totals.seconds,
  };
}

/** The postmaster's command as a process, as Postfix's. */
function summaryOf(data: string): { readonly seconds: number; readonly messages: number } {
  const start = performance.now();
  const command = resolve(import.meta.dirname, "../server/cli/packetboat.ts");
  const text = execFileSync(process.execPath, [command, "queue", "list", "--summary", "--json", "--data", data]);
  const seconds = (performance.now() - start) / 1000;
  const { messages } = JSON.parse(text.toString()) as QueueSummary;
  return { seconds, messages: Object.values(messages).reduce((sum, count) => sum + count, 0) };
}

async function postfixDepth(options: BenchOptions): Promise<Depth> {
  await using sink = await SmtpSink.start();
  const dead = await freePort();
  const settings = `transport_maps = inline:{ { .dead.example = smtp:[127.0.0.1]:${dead} } }`;
  await using deep = await Postfix.start(sink.port, settings);
  const spool = join(deep.directory, "spool");
  {
    using client = await Client.open(deep.port);
    await client.send(deadRecipient(0), DEFERRED_BYTES);
  }
  await until("Postfix to defer a message", 20_000, () => queueFiles(join(spool, "deferred")).length === 1);
  deep.stop();
  const filling = await seconds(() => Promise.resolve(fillPostfix(spool, options.postfixMessages)));
  soFar("depth", [`${options.postfixMessages} messages for Postfix in ${shown(filling)} s, by copying one`]);
  if (options.cold) dropPageCache();
  const startSeconds = await secondsToGreeting(deep.port, () => deep.run());
  await using empty = await Postfix.start(sink.port, settings);
  const side = sideOf(deep);
  const rates = await acceptRates(options, sideOf(empty), side, sink);
  const memory = memoryMiB(side.root());
  const { seconds: totalsSeconds, totals } = deep.listQueue();
  return {
    messages: Number(/(\d+) Request/.exec(totals)?.[1] ?? Number.NaN),
    startSeconds,
    killedSeconds: undefined,
    memoryMiB: memory,
    acceptEmpty: rates.empty,
    acceptDeep: rates.deep,
    acceptShare: rates.share,
    totalsSeconds,
  };
}

export async function depth(options: BenchOptions): Promise<Report> {
  const directory = mkdtempSync(join(tmpdir(), "bench-depth-"));
  let ours: Depth;
  try {
    ours = await ourDepth(options, directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  soFar("depth", [JSON.stringify(ours)]);
  const theirs = await postfixDepth(options);
  const row = (what: string, of: (side: Depth) => number | undefined): string[] => {
    const [our, their] = [of(ours), of(theirs)];
    const text = (value: number | undefined): string => (value === undefined ? "" : shown(value));
    return [what, text(our), text(their), our === undefined || their === undefined ? "" : shown(our / their)];
  };
  return {
    table: [
      ["", "Packetboat", "Postfix", "ratio"],
      row("messages in the queue at the end", ({ messages }) => messages),
      row("start to greeting, s", ({ startSeconds }) => startSeconds),
      row("start after SIGKILL to greeting, s", ({ killedSeconds }) => killedSeconds),
      row("memory after the load, MiB", ({ memoryMiB: memory }) => memory),
      row("accept a second, empty queue", ({ acceptEmpty }) => acceptEmpty),
      row("accept a second, deep queue", ({ acceptDeep }) => acceptDeep),
      row("deep by empty", ({ acceptShare }) => acceptShare),
      row("totals of the queue, s", ({ totalsSeconds }) => totalsSeconds),
    ],
    notes: [
      `${options.rounds ?? ROUNDS} rounds, medians, 4 KiB, 20 sessions kept; deferred messages of ${DEFERRED_BYTES} octets to 1,000 domains from 1,000 senders; page cache ${options.cold ? "dropped before each start" : "warm"}.`,
      "How the queues were filled: bench/fill.ts.",
    ],
    targets: [
      { what: "deferred messages", figure: ours.messages, bound: options.messages, kind: "atLeast" },
      {
        what: "restart to accepting, the worse of two",
        figure: Math.max(ours.startSeconds, ours.killedSeconds ?? 0),
        bound: TARGETS.startSeconds,
        kind: "atMost",
        unit: " s",
      },
      { what: "memory", figure: ours.memoryMiB, bound: TARGETS.memoryMiB, kind: "atMost", unit: " MiB" },
      {
        what: "accept rate by that of an empty queue",
        figure: ours.acceptShare,
        bound: TARGETS.acceptShare,
        kind: "atLeast",
      },
      {
        what: "totals of the queue",
        figure: ours.totalsSeconds,
        bound: TARGETS.totalsSeconds,
        kind: "atMost",
        unit: " s",
      },
    ],
  };
}
