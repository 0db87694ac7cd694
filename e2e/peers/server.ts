/**
 * server/main.ts alone on a rendered configuration folder, as a pod runs it: what the operator writes is in the test's hand, file by file.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { compileCache } from "../../.ci/compile-cache.ts";
import { writeConfigFolder } from "../../operator/local/config-folder.ts";
import { renderFiles } from "../../server/config/files.ts";
import { aRenderedConfig } from "../../server/config/sample.ts";
import type { RenderedConfig } from "../../server/config/schema.ts";
import { askAdmin } from "./admin.ts";
import { logLines } from "./log.ts";
import { freePort, until } from "./ports.ts";

const root = resolve(import.meta.dirname, "../..");

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);

export class ServerAlone implements AsyncDisposable {
  readonly directory: string;
  readonly config: string;
  readonly data: string;
  readonly mx: number;
  readonly submission: number;
  readonly adminPort: number;
  readonly #shards: number;
  /** Words before the server's own command: a tracer, a limit. And its environment besides ours. */
  under: readonly string[] = [];
  environment: Readonly<Record<string, string>> = {};
  #child: ChildProcess | undefined;
  output = "";

  private constructor(directory: string, ports: readonly [number, number, number], shards: number) {
    this.directory = directory;
    this.config = join(directory, "config");
    this.data = join(directory, "data");
    [this.mx, this.submission, this.adminPort] = ports;
    this.#shards = shards;
    mkdirSync(this.config);
  }

  /** A folder with the sample configuration, nothing running yet. */
  static async prepare(shards = 1): Promise<ServerAlone> {
    const directory = mkdtempSync(join(tmpdir(), "packetboat-server-"));
    const ports = [await freePort(), await freePort(), await freePort()] as const;
    const server = new ServerAlone(directory, ports, shards);
    await server.render();
    return server;
  }

  static async start(shards = 1): Promise<ServerAlone> {
    const server = await ServerAlone.prepare(shards);
    server.run();
    await until("the server to be ready", 20_000, async () => (await server.ready()) === "ok");
    return server;
  }

  /** Writes the sample, changed, as the operator would: files that differ, the manifest last. */
  async render(change: (sample: RenderedConfig) => RenderedConfig = (sample) => sample): Promise<void> {
    const sample = aRenderedConfig();
    const ports: Readonly<Record<string, number>> = { mx: this.mx, submission: this.submission };
    const listeners = sample.server.listeners.flatMap((listener) => {
      const port = ports[listener.name];
      return port === undefined ? [] : [{ ...listener, port }];
    });
    const rendered = change({ ...sample, server: { ...sample.server, listeners } });
    await writeConfigFolder(this.config, renderFiles(rendered));
  }

  run(): void {
    const places = ["--config", this.config, "--data", this.data, "--listen", "127.0.0.1"];
    const numbers = ["--admin-port", `${this.adminPort}`, "--shards", `${this.#shards}`];
    const [command = "", ...words] = [...this.under, process.execPath, "server/main.ts", ...places, ...numbers];
    const child = spawn(command, words, {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...compileCache, ...this.environment },
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (data: Buffer) => (this.output += data.toString()));
  }

  /** What /readyz says; "" while nobody answers. */
  async ready(): Promise<string> {
    if (this.#child?.exitCode !== null) throw new Error(`the server ended: ${this.output}`);
    const answer = await this.admin("/readyz").catch(() => undefined);
    if (answer === undefined) return "";
    const text = (await answer.text()).trim();
    return answer.status === 200 ? text : `${answer.status} ${text}`;
  }

  admin(path: string): Promise<Response> {
    return askAdmin(this.adminPort, path);
  }

  log(): Record<string, unknown>[] {
    return logLines(this.output);
  }

  maildir(path: string): string[] {
    const folder = join(this.data, path, "new");
    return existsSync(folder) ? readdirSync(folder).map((file) => readFileSync(join(folder, file), "latin1")) : [];
  }

  /** Of the primary, also where it runs under something else. */
  get pid(): number {
    const pid = this.#child?.pid ?? 0;
    return this.under.length === 0 ? pid : (childrenOf(pid)[0] ?? pid);
  }

  /** Pids of the shard processes. */
  shards(): number[] {
    return childrenOf(this.pid);
  }

  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const ended = once(child, "exit");
    process.kill(this.pid, "SIGTERM");
    await ended;
    return child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
