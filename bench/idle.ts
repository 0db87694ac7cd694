/**
 * `npm run bench -- idle`: 10,000 connections that were greeted, said EHLO and then nothing more: what they cost, and what others feel of them.
 *
 * They come from addresses of 127.2.0.0/16, 40 from each, which is within the default limit of one client; only the limit of all connections is raised.
 * Others connect, send one message and leave, 50 a second; their time is from when they were due to connect until 250. A kept idle connection costs Postfix
 * a process, and its default is at most 100 of them: it is measured with 90 idle connections, and with as many as it takes of the same number.
 */
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { Packetboat } from "../e2e/peers/packetboat.ts";
import { Postfix, SmtpSink } from "../e2e/peers/postfix.ts";
import { Client } from "./client.ts";
import type { BenchOptions } from "./options.ts";
import { memoryMiB, processCount } from "./processes.ts";
import { quantile, type Report, shown, soFar } from "./report.ts";
import { mailServer, type Side, sideOf } from "./sides.ts";

const PER_ADDRESS = 40;
/** Opened at a time. */
const OPENING = 100;
const WITHIN_POSTFIX = 90;
const OTHERS_PER_SECOND = 50;
const OTHERS_SECONDS = 20;
const PATIENCE_MS = 30_000;
const MOST_MEMORY_MIB = 384;
const BYTES = 4096;

export const localAddress = (number: number): string => {
  const address = Math.floor(number / PER_ADDRESS) + 1;
  return `127.2.${address >> 8}.${address & 255}`;
};

/** Both this process and the servers it starts need a descriptor for each connection. */
export function allowDescriptors(connections: number): void {
  const limit = String(connections + 10_000);
  execFileSync("prlimit", ["--pid", String(process.pid), `--nofile=${limit}:${limit}`]);
}

/** As many as the server greets within 10 s after the last one that it did; dispose of each. */
async function openIdle(side: Side, count: number): Promise<readonly Client[]> {
  const open: Client[] = [];
  let next = 0;
  let lastMs = performance.now();
  let isOver = false;
  const isStuck = (): boolean => performance.now() - lastMs > 10_000;
  const lanes = Array.from({ length: OPENING }, async () => {
    while (next < count && !isStuck()) {
      const client = await Client.open(side.port, localAddress(next++)).catch(() => undefined);
      if (client === undefined) continue;
      // Nobody waits for it any more.
      if (isOver) client[Symbol.dispose]();
      else open.push(client);
      lastMs = performance.now();
    }
  });
  const watch = async (): Promise<void> => {
    while (!isOver && !isStuck()) await sleep(100);
  };
  await Promise.race([Promise.all(lanes), watch()]);
  isOver = true;
  return open;
}

/** Milliseconds of each of the others; Infinity for one that was not served. */
export async function others(side: Side, seconds: number): Promise<number[]> {
  const start = performance.now();
  const one = async (dueMs: number, number: number): Promise<number> => {
    using client = await Client.open(side.port);
    const { acceptedMs } = await client.send(`other${number}@sink.example`, BYTES);
    return acceptedMs - dueMs;
  };
  const all: Promise<number>[] = [];
  for (let number = 0; number < OTHERS_PER_SECOND * seconds; number++) {
    const dueMs = start + (number * 1000) / OTHERS_PER_SECOND;
    if (dueMs > performance.now()) await sleep(dueMs - performance.now());
    const never = sleep(PATIENCE_MS, Number.POSITIVE_INFINITY, { ref: false });
    all.push(Promise.race([one(dueMs, number).catch(() => Number.POSITIVE_INFINITY), never]));
  }
  return await Promise.all(all);
}

interface Stage {
  readonly served: number;
  readonly memoryMiB: number;
  readonly processes: number;
  readonly p99Ms: number;
}

async function stage(side: Side, connections: number, seconds: number): Promise<Stage> {
  const clients = await openIdle(side, connections);
  try {
    // What the opening has left behind is not what being idle costs: as long as the pod would take to be looked at.
    await sleep(2000);
    const memory = memoryMiB(side.root());
    const processes = processCount(side.root());
    const times = await others(side, seconds);
    const lost = clients.filter(({ isOpen }) => !isOpen).length;
    return { served: clients.length - lost, memoryMiB: memory, processes, p99Ms: quantile(times, 0.99) };
  } finally {
    for (const client of clients) client[Symbol.dispose]();
  }
}

export async function idle({ scale, connections }: BenchOptions): Promise<Report> {
  allowDescriptors(connections);
  const seconds = Math.max(2, OTHERS_SECONDS * scale);
  await using sink = await SmtpSink.start();
  const more = `  limits: {connections: ${Math.max(5000, 2 * connections)}}\n`;
  const table = [["", "idle connections", "processes", "memory MiB", "KiB a connection", "others' p99 ms", "ratio"]];
  const figures = { memory: Number.NaN, ratio: Number.NaN, served: 0 };
  const row = (name: string, found: Stage, base: Stage): void => {
    const each = ((found.memoryMiB - base.memoryMiB) * 1024) / found.served;
    const p99 = Number.isFinite(found.p99Ms) ? shown(found.p99Ms) : `more than ${PATIENCE_MS}`;
    const cells = [
      name,
      `${found.served}`,
      `${found.processes}`,
      shown(found.memoryMiB),
      found.served === 0 ? "" : shown(each),
      p99,
      shown(found.p99Ms / base.p99Ms),
    ];
    table.push(cells);
    soFar("idle", cells);
  };
  {
    await using packetboat = await Packetboat.start({ "bench.yaml": mailServer(sink.port, more) });
    const ours = sideOf(packetboat);
    await others(ours, seconds);
    const base = await stage(ours, 0, seconds);
    const full = await stage(ours, connections, seconds);
    row("Packetboat", base, base);
    row("Packetboat", full, base);
    Object.assign(figures, { memory: full.memoryMiB, ratio: full.p99Ms / base.p99Ms, served: full.served });
  }
  {
    await using postfix = await Postfix.start(sink.port);
    const theirs = sideOf(postfix);
    await others(theirs, seconds);
    const base = await stage(theirs, 0, seconds);
    row("Postfix", base, base);
    row("Postfix", await stage(theirs, WITHIN_POSTFIX, seconds), base);
    row(`Postfix, ${connections} tried`, await stage(theirs, connections, seconds), base);
  }
  return {
    table,
    notes: [
      "Postfix's default is at most 100 smtpd processes, one for each connection; who comes then waits for one, greeted by nobody.",
    ],
    targets: [
      { what: "idle connections kept", figure: figures.served, bound: connections, kind: "atLeast" },
      { what: "memory with them", figure: figures.memory, bound: MOST_MEMORY_MIB, kind: "atMost", unit: " MiB" },
      { what: "others' p99, times that without them", figure: figures.ratio, bound: 2, kind: "atMost" },
    ],
  };
}
