/**
 * Daemon: a program that outlives the command which started it (etcd, the kubelet, …).
 * What was started is written down in `run/NAME.json`, so that any later process can stop it, start it again with the same arguments, or ask
 * whether it lives. A process is known by its id, its start time and the machine's boot, never by its name: an id that was reused is left alone.
 * A daemon that dies soon after its start fails `start` with the end of its log.
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemEnvironment } from "./command.ts";
import { paths } from "./layout.ts";
import { until } from "./progress.ts";

export interface DaemonCommand {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

interface DaemonRecord extends DaemonCommand {
  readonly pid: number;
  readonly identity: string;
}

const recordFile = (name: string): string => join(paths.run, `${name}.json`);
export const logFile = (name: string): string => join(paths.logs, `${name}.log`);

/** Start time and boot of a process, or undefined when there is none (a zombie counts as none). */
function identityOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The program's name may hold spaces and brackets; the fields after it do not.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z") return undefined;
    return `${fields[19]} ${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}`;
  } catch {
    return undefined;
  }
}

function read(name: string): DaemonRecord | undefined {
  try {
    return JSON.parse(readFileSync(recordFile(name), "utf8")) as DaemonRecord;
  } catch {
    return undefined;
  }
}

export function isAlive(name: string): boolean {
  const record = read(name);
  return record !== undefined && identityOf(record.pid) === record.identity;
}

export function startDaemon(command: DaemonCommand): void {
  if (isAlive(command.name)) return;
  mkdirSync(paths.run, { recursive: true });
  mkdirSync(paths.logs, { recursive: true });
  const log = openSync(logFile(command.name), "a");
  const child = spawn(command.program, command.args, {
    cwd: paths.run,
    detached: true,
    env: { ...systemEnvironment(), ...command.environment },
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  child.on("error", () => undefined); // seen below: there is no process id
  child.unref();
  const identity = child.pid === undefined ? undefined : identityOf(child.pid);
  if (child.pid === undefined || identity === undefined) {
    throw new Error(`${command.name} did not start (${command.program})\n${endOfLog(command.name)}`);
  }
  const record: DaemonRecord = { ...command, pid: child.pid, identity };
  writeFileSync(recordFile(command.name), JSON.stringify(record, undefined, 2));
}

/** Starts a stopped daemon again as it was. */
export function restartDaemon(name: string): void {
  const record = read(name);
  if (record === undefined) throw new Error(`${name} was never started`);
  startDaemon(record);
}

/** Asks the daemon to end, and makes it after the time is up. Its record stays, so that it can be started again. */
export async function stopDaemon(name: string, graceMs = 10_000): Promise<void> {
  const record = read(name);
  if (record === undefined || !isAlive(name)) return;
  process.kill(record.pid, "SIGTERM");
  try {
    await until(`${name} to end`, graceMs, async () => !isAlive(name), 50);
  } catch {
    if (isAlive(name)) process.kill(record.pid, "SIGKILL");
    await until(`${name} to be killed`, 5_000, async () => !isAlive(name), 50);
  }
}

/** Waits for a sign of life; a daemon that died meanwhile ends the wait at once with the end of its log. */
export async function untilServing(name: string, timeoutMs: number, isServing: () => Promise<boolean>): Promise<void> {
  let died = false;
  try {
    await until(`${name} to serve`, timeoutMs, async () => {
      died = !isAlive(name);
      return died || (await isServing());
    });
  } catch (error) {
    throw new Error(`${name} does not serve\n${endOfLog(name)}`, { cause: error });
  }
  if (died) throw new Error(`${name} died\n${endOfLog(name)}`);
}

export function knownDaemons(): string[] {
  if (!existsSync(paths.run)) return [];
  return readdirSync(paths.run)
    .filter((file) => file.endsWith(".json"))
    .map((file) => file.slice(0, -".json".length));
}

export function forgetDaemons(): void {
  rmSync(paths.run, { recursive: true, force: true });
}

function endOfLog(name: string): string {
  try {
    return readFileSync(logFile(name), "utf8").slice(-3000);
  } catch {
    return "(no log)";
  }
}
