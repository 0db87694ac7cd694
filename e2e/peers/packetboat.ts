/**
 * A whole Packetboat for tests, started as a person would: the embedded mode on a folder of manifests, a data folder of its own and free ports.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { compileCache } from "../../.ci/compile-cache.ts";
import { askAdmin } from "./admin.ts";
import { logLines } from "./log.ts";
import { until } from "./ports.ts";

const root = resolve(import.meta.dirname, "../..");

/** Given to a server of this process that may not listen yet, or not at this moment. */
const given = new Set<number>();

/** All ports of an offset free: 2525, 2587, 2465 and 9125 plus it. */
async function freeOffset(): Promise<number> {
  for (let offset = 1000 + Math.floor(Math.random() * 200) * 100; offset < 50_000; offset += 100) {
    if (given.has(offset)) continue;
    given.add(offset);
    const taken = await Promise.all([2525, 2587, 2465, 9125].map((port) => answers(port + offset)));
    if (!taken.includes(true)) return offset;
  }
  throw new Error("no free offset");
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

export interface Embedded {
  readonly manifests: string;
  readonly data: string;
  readonly offset: number;
}

export class Packetboat implements AsyncDisposable {
  readonly directory: string;
  readonly manifests: string;
  readonly data: string;
  readonly offset: number;
  readonly #environment: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  output = "";

  private constructor(directory: string, offset: number, data: string, environment: Readonly<Record<string, string>>) {
    this.#environment = environment;
    this.directory = directory;
    this.manifests = join(directory, "manifests");
    this.data = data;
    this.offset = offset;
  }

  /** `manifests`: file name → YAML; `data`: a data folder of the caller's. Resolves when it is ready, rejects after `readyMs`. */
  static async start(
    manifests: Readonly<Record<string, string>>,
    data?: string,
    environment: Readonly<Record<string, string>> = {},
    readyMs?: number,
  ): Promise<Packetboat> {
    const directory = mkdtempSync(join(tmpdir(), "packetboat-test-"));
    const server = new Packetboat(directory, await freeOffset(), data ?? join(directory, "data"), environment);
    mkdirSync(server.manifests);
    for (const [name, text] of Object.entries(manifests)) server.write(name, text);
    await server.run(readyMs);
    return server;
  }

  get mx(): number {
    return 2525 + this.offset;
  }
  get submission(): number {
    return 2587 + this.offset;
  }
  get submissions(): number {
    return 2465 + this.offset;
  }
  get pid(): number {
    return this.#child?.pid ?? 0;
  }
  get hasEnded(): boolean {
    return this.#child === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.manifests, name), text);
  }

  /** Writes what changes the configuration, and waits until every shard runs it: the kernel chooses who answers the next connection. */
  async configure(name: string, text: string): Promise<void> {
    const running = async (): Promise<string | null> => (await this.json<{ hash: string | null }>("/config")).hash;
    let before: string | null = null;
    await until("the shards to run the same", 20_000, async () => (before = await running()) !== null);
    this.write(name, text);
    await until(`every shard to run the new ${name}`, 20_000, async () => {
      const now = await running();
      return now !== null && now !== before;
    });
  }

  async run(readyMs = 30_000): Promise<void> {
    const child = spawn(
      process.execPath,
      [
        "--max-semi-space-size=2",
        "operator/local/main.ts",
        "--manifests",
        this.manifests,
        "--data",
        this.data,
        "--offset",
        String(this.offset),
      ],
      {
        cwd: root,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, ...compileCache, ...this.#environment },
      },
    );
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (data: Buffer) => (this.output += data.toString()));
    await until("Packetboat to be ready", readyMs, async () => {
      if (child.exitCode !== null) throw new Error(`Packetboat ended with ${child.exitCode}: ${this.output}`);
      return (await this.admin("/readyz").catch(() => undefined))?.status === 200;
    });
  }

  admin(path: string): Promise<Response> {
    return askAdmin(9125 + this.offset, path);
  }

  async json<T>(path: string): Promise<T> {
    return (await (await this.admin(path)).json()) as T;
  }

  /** Every shard takes mail; /readyz says so as soon as one does, and /queue leaves out the others. */
  async isWhole(): Promise<boolean> {
    const { shards } = await this.json<{ shards: readonly { notReady: string | null }[] }>("/config");
    return shards.every(({ notReady }) => notReady === null);
  }

  /** Whole messages in a maildir below the data folder, e.g. `mail/example.org/alice`. */
  maildir(path: string): string[] {
    const folder = join(this.data, path, "new");
    return existsSync(folder) ? readdirSync(folder).map((file) => readFileSync(join(folder, file), "latin1")) : [];
  }

  /** The server's own log, one JSON object a line. */
  log(): Record<string, unknown>[] {
    const path = join(this.data, "server.log");
    return existsSync(path) ? logLines(readFileSync(path, "utf8")) : [];
  }

  /** Pids of the shard processes. */
  shards(): number[] {
    const children = (pid: number): number[] =>
      readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
    return children(this.pid).flatMap(children);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    const child = this.#child;
    if (child === undefined || this.hasEnded) return child?.exitCode ?? null;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
    return child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
