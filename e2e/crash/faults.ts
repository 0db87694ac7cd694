/**
 * The fault test: every system call that a spool makes on its files fails once, with every errno that disks know, and nothing may be lost.
 *
 * `strace` makes the N-th call of a kind on a file of the queue return the error (the kernel does not do it); spool-life.ts is what runs under it. Then the
 * queue is opened without faults: every message that was confirmed and not taken out must be there with its octets; what was refused must have been refused
 * as full (452) or failed (421), nothing else; and mail must be taken again within ten seconds. Needs strace; no root.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileCache } from "../../.ci/compile-cache.ts";
import { createLog } from "../../server/observe/log.ts";
import type { Envelope, Origin } from "../../server/queue/queue.ts";
import { openQueue } from "../../server/queue/sqlite-queue.ts";
import { ensureCommands } from "../peers/packages.ts";

export const straceMissing = (): string | undefined => ensureCommands({ strace: ["/usr/bin/strace"] });

const errnos = ["ENOSPC", "EDQUOT", "EIO", "EMFILE", "EROFS"] as const;
export type Errno = (typeof errnos)[number];
/** Calls by which a spool reads and changes its files. */
const calls = ["openat", "pwrite64", "write", "pread64", "fsync", "fdatasync", "ftruncate", "unlink"] as const;
export type Call = (typeof calls)[number];

export interface Fault {
  readonly call: Call;
  /** The first is 1. */
  readonly index: number;
  readonly errno: Errno;
}

interface Line {
  readonly step: string;
  readonly id?: string;
  readonly hash?: string;
  readonly reason?: string;
  readonly error?: string;
  readonly afterMs?: number;
}

/** The queue failed for good, and a shard ends so that it is started into recovery. */
const ENDED = 75;
const aMessage: Envelope = {
  sender: "",
  recipients: [{ address: "a@example.org" }],
  smtpUtf8: false,
  body: "7BIT",
  requireTls: false,
};
const nowhere: Origin = { listener: "", clientAddress: "", clientName: "", helo: "", protocol: "" };
const files = ["0.sqlite", "0.sqlite-wal", "0.sqlite-journal", "0.sqlite-reserve"];
const script = join(import.meta.dirname, "spool-life.ts");
const log = createLog("faults", "silent");

/** Runs the life with strace's options; resolves with what it told. */
async function live(
  folder: string,
  options: readonly string[],
): Promise<{ lines: Line[]; trace: string; code: number | null; complaints: string }> {
  const paths = [folder, ...files.map((file) => join(folder, file))].flatMap((path) => ["-P", path]);
  const traceFile = `${folder}.trace`;
  const child = spawn(
    "/usr/bin/strace",
    ["-f", "--seccomp-bpf", "-qq", "-o", traceFile, ...paths, ...options, process.execPath, script, folder],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...compileCache },
    },
  );
  let out = "";
  let complaints = "";
  child.stdout?.on("data", (data: Buffer) => (out += data.toString()));
  child.stderr?.on("data", (data: Buffer) => (complaints += data.toString()));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const lines = out
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Line);
  const trace = readFileSync(traceFile, "latin1");
  rmSync(traceFile);
  return { lines, trace, code, complaints };
}

/** How often a life makes each call. */
export async function callsMade(): Promise<ReadonlyMap<Call, number>> {
  const folder = mkdtempSync(join(tmpdir(), "packetboat-faults-"));
  try {
    const { trace } = await live(folder, ["-e", `trace=${calls.join(",")}`]);
    return new Map(calls.map((call) => [call, [...trace.matchAll(new RegExp(`^\\d+ +${call}\\(`, "gm"))].length]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Every call of a life with every errno. */
export function everyFault(made: ReadonlyMap<Call, number>): readonly Fault[] {
  return calls.flatMap((call) =>
    Array.from({ length: made.get(call) ?? 0 }, (_, at) => at + 1).flatMap((index) =>
      errnos.map((errno) => ({ call, index, errno })),
    ),
  );
}

/** What is wrong after this fault; nothing, if all is well. */
export async function tryFault({ call, index, errno }: Fault): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), "packetboat-faults-"));
  try {
    const { lines, code, complaints } = await live(folder, [
      "-e",
      `trace=${call}`,
      "-e",
      `inject=${call}:error=${errno}:when=${index}`,
    ]);
    const wrong: string[] = [];
    if (code !== 0 && code !== ENDED) wrong.push(`ended with ${code}: ${complaints.slice(-500)}`);
    for (const { step, reason, error } of lines)
      if (reason !== undefined && !["full", "failed"].includes(reason)) wrong.push(`${step}: ${error}`);
    const healed = lines.find(({ step }) => step === "healed");
    if (code === 0 && (healed?.afterMs === undefined || healed.afterMs >= 10_000))
      wrong.push("did not take mail again within 10 s");
    const mayBeGone = new Set(lines.filter(({ step }) => step === "may-go").map(({ id }) => id));
    // The next start, without the fault.
    const queue = await openQueue({ path: join(folder, "0.sqlite"), shard: 0, minFreeBytes: () => 0, log });
    try {
      const writer = queue.newMessage();
      await writer.write(Buffer.from("mail again\r\n"));
      await writer.commit(aMessage, nowhere);
      for (const { step, id, hash } of lines) {
        if (step !== "accept" || id === undefined) continue;
        const found = await queue.get(id);
        if (found === undefined) {
          if (!mayBeGone.has(id)) wrong.push(`lost ${id}`);
          continue;
        }
        const digest = createHash("sha256");
        for await (const chunk of queue.read(id)) digest.update(chunk);
        if (digest.digest("hex") !== hash) wrong.push(`damaged ${id}`);
      }
    } finally {
      await queue.close();
    }
    return wrong;
  } catch (error) {
    return [String(error)];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface FaultReport {
  readonly faults: number;
  readonly wrong: readonly string[];
}

/** Two at a time. */
export async function faultTest(faults: readonly Fault[]): Promise<FaultReport> {
  const left = [...faults];
  const wrong: string[] = [];
  const work = async (): Promise<void> => {
    for (let fault = left.pop(); fault !== undefined; fault = left.pop())
      for (const sentence of await tryFault(fault))
        wrong.push(`${fault.call} ${fault.index} ${fault.errno}: ${sentence}`);
  };
  await Promise.all([work(), work()]);
  return { faults: faults.length, wrong };
}
