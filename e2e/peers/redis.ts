/** A real redis-server on loopback, with a password, without files; it can be killed, frozen and started again on its port. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KeyPair } from "./certificates.ts";
import { ensureCommands } from "./packages.ts";
import { freePort, until } from "./ports.ts";

const SERVER = "/usr/bin/redis-server";
const CLI = "/usr/bin/redis-cli";

/** undefined, or why there is none. */
export const redisMissing = (): string | undefined =>
  ensureCommands({ "redis-server": [SERVER], "redis-tools": [CLI] });

export class Redis implements AsyncDisposable {
  readonly port: number;
  readonly password = "of the test";
  readonly #directory: string;
  readonly tlsPort: number | undefined;
  #child: ChildProcess | undefined;

  private constructor(port: number, tlsPort: number | undefined) {
    this.port = port;
    this.tlsPort = tlsPort;
    this.#directory = mkdtempSync(join(tmpdir(), "packetboat-redis-"));
  }

  /** With a key pair it speaks TLS as well, on a port of its own. */
  static async start(pair?: KeyPair): Promise<Redis> {
    const redis = new Redis(await freePort(), pair === undefined ? undefined : await freePort());
    if (pair !== undefined) {
      writeFileSync(join(redis.#directory, "tls.crt"), pair.certificate);
      writeFileSync(join(redis.#directory, "tls.key"), pair.privateKey);
    }
    await redis.run();
    return redis;
  }

  async run(): Promise<void> {
    const options = { port: this.port, bind: "127.0.0.1", requirepass: this.password, dir: this.#directory };
    const tls =
      this.tlsPort === undefined
        ? {}
        : {
            "tls-port": this.tlsPort,
            "tls-cert-file": join(this.#directory, "tls.crt"),
            "tls-key-file": join(this.#directory, "tls.key"),
            "tls-auth-clients": "no",
          };
    const words = Object.entries({ ...options, ...tls }).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.#child = spawn(SERVER, [...words, "--save", "", "--appendonly", "no"], { stdio: "ignore" });
    await until("Redis to answer", 10_000, async () => this.command("PING") === "PONG");
  }

  /** What redis-cli prints. */
  command(...words: readonly string[]): string {
    const options = ["-p", String(this.port), "--no-auth-warning"];
    const { stdout } = spawnSync(CLI, [...options, ...words], {
      encoding: "utf8",
      env: { ...process.env, REDISCLI_AUTH: this.password },
    });
    return stdout.trim();
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
