/**
 * The order of system calls: under strace, no 250 to a message leaves before the log that holds the message has been synced.
 *
 * A server with one shard is traced while it takes mail; the trace must show, for each id in a 250 written to a client, a write to the queue's log with the
 * id in it, then a sync of the log that has returned, then the reply; and when all is quiet nothing is left in the log without a sync, results of
 * deliveries neither. Prints syncs a message, alone and under load. Needs strace and the right to trace.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isQueueEmpty } from "../peers/admin.ts";
import { until } from "../peers/ports.ts";
import { ServerAlone } from "../peers/server.ts";
import { MarkedLoad } from "./load.ts";

export interface SyscallReport {
  readonly messages: number;
  readonly syncs: number;
  /** Ids answered 250 that no sync stands before. */
  readonly early: readonly string[];
  /** Writes to the log after the last sync of it. */
  readonly unsynced: number;
}

/** Results that travel alone are synced a moment after they are written; strace makes everything slower. */
const QUIET_MS = 500;

interface Step {
  readonly kind: "written" | "synced" | "answered";
  readonly text: string;
  /** Of a sync: how many steps there were when it began. It is of what was written before. */
  readonly begun: number;
}

/** `sessions` at once for `ms` milliseconds. */
export async function syscallTest(sessions: number, ms: number): Promise<SyscallReport> {
  await using server = await ServerAlone.start(1);
  const folder = mkdtempSync(join(tmpdir(), "packetboat-syscalls-"));
  const file = join(folder, "trace");
  const filters = ["-e", "trace=pwrite64,fsync,fdatasync,write,writev,sendto,sendmsg", "-s", "5000"];
  const tracer = spawn(
    "/usr/bin/strace",
    ["-f", "-y", "-qq", "-o", file, ...filters, "-p", String(server.shards()[0])],
    {
      stdio: ["ignore", "ignore", "pipe"],
    },
  );
  try {
    // Attached to every thread once the log's own writes show up.
    await until("strace to be attached", 10_000, () => traced(server.shards()[0] ?? 0));
    const load = new MarkedLoad({ port: server.mx, recipient: "alice@example.org", sessions });
    await sleep(ms);
    // So few prove nothing.
    await until("enough messages", 30_000, () => load.accepted.size > 20);
    await load.stop();
    await until("the queue to be empty", 30_000, () => isQueueEmpty(server));
    await sleep(QUIET_MS);
    // A machine may be slower still; what stays without a sync is in the report.
    await until("the last sync", 10_000, () => judge(readFileSync(file, "latin1")).unsynced === 0).catch(
      () => undefined,
    );
    const ended = once(tracer, "exit");
    tracer.kill("SIGINT");
    await ended;
    return judge(readFileSync(file, "latin1"));
  } finally {
    tracer.kill("SIGKILL");
    rmSync(folder, { recursive: true });
  }
}

const traced = (pid: number): boolean => !/^TracerPid:\s+0$/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));

/** Lines of strace in the order of events: a call that was interrupted counts as written when it began, as synced when it returned. */
function stepsOf(trace: string): Step[] {
  const steps: Step[] = [];
  const syncing = new Map<string, number>();
  const add = (kind: Step["kind"], text = "", begun = steps.length): number => steps.push({ kind, text, begun });
  for (const line of trace.split("\n")) {
    const [, thread = "", rest = ""] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const begun = syncing.get(thread);
    if (/^(?:fsync|fdatasync)\(\d+<[^>]*-wal>/.test(rest)) {
      if (rest.endsWith("<unfinished ...>")) syncing.set(thread, steps.length);
      else if (rest.endsWith(" = 0")) add("synced");
    } else if (/^<\.\.\. (?:fsync|fdatasync) resumed>/.test(rest) && begun !== undefined) {
      syncing.delete(thread);
      if (rest.endsWith(" = 0")) add("synced", "", begun);
    } else if (/^pwrite64\(\d+<[^>]*-wal>/.test(rest)) add("written", rest);
    else if (/^(?:write|writev|sendto|sendmsg)\(\d+<(?:TCP|socket)/.test(rest) && rest.includes("Ok: queued as "))
      add("answered", rest);
  }
  return steps;
}

export function judge(trace: string): SyscallReport {
  const steps = stepsOf(trace);
  const early: string[] = [];
  let messages = 0;
  for (const [at, { kind, text }] of steps.entries()) {
    if (kind !== "answered") continue;
    for (const [, id = ""] of text.matchAll(/queued as ([0-9A-Za-z]+)/g)) {
      messages += 1;
      const written = steps.findIndex((step) => step.kind === "written" && step.text.includes(id));
      const synced =
        written < 0 ? -1 : steps.findIndex(({ kind: what, begun }) => what === "synced" && begun > written);
      if (synced < 0 || synced > at) early.push(id);
    }
  }
  const syncs = steps.filter(({ kind }) => kind === "synced");
  const safe = Math.max(0, ...syncs.map(({ begun }) => begun));
  return {
    messages,
    syncs: syncs.length,
    early,
    unsynced: steps.slice(safe).filter(({ kind }) => kind === "written").length,
  };
}
