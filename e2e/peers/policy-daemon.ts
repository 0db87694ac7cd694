/**
 * Real policy daemons: Debian's postgrey, a daemon of its own, and policyd-spf, a program that Postfix's spawn(8) runs for each connection, as `SpawnedDaemon` does here.
 * `RecordingDaemon` answers DUNNO and keeps what it was told: what Postfix says and what we say can be laid side by side.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureCommands } from "./packages.ts";
import { freePort, untilListening } from "./ports.ts";

export const policyDaemonsMissing = (): string | undefined =>
  process.getuid?.() === 0
    ? ensureCommands({
        postgrey: ["/usr/sbin/postgrey"],
        "postfix-policyd-spf-python": ["/usr/bin/policyd-spf"],
      })
    : "needs root: postgrey changes to a user of its own";

export class Postgrey implements AsyncDisposable {
  readonly port: number;
  readonly #directory: string;
  readonly #delaySeconds: number;
  #process: ChildProcess | undefined;

  private constructor(port: number, directory: string, delaySeconds: number) {
    this.port = port;
    this.#directory = directory;
    this.#delaySeconds = delaySeconds;
  }

  static async start(delaySeconds: number): Promise<Postgrey> {
    const directory = mkdtempSync(join(tmpdir(), "packetboat-postgrey-"));
    execFileSync("chown", ["postgrey:postgrey", directory]);
    const postgrey = new Postgrey(await freePort(), directory, delaySeconds);
    await postgrey.run();
    return postgrey;
  }

  async run(): Promise<void> {
    const child = spawn(
      "/usr/sbin/postgrey",
      [
        `--inet=127.0.0.1:${this.port}`,
        `--dbdir=${this.#directory}`,
        `--delay=${this.#delaySeconds}`,
        "--auto-whitelist-clients=0",
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    let said = "";
    child.stderr?.on("data", (data: Buffer) => (said += data.toString()));
    this.#process = child;
    await untilListening(this.port).catch((cause: unknown) => {
      throw new Error(`postgrey did not start: ${said}`, { cause });
    });
  }

  /** As if its node had gone. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Listens on loopback and gives each connection to `serve`. */
class Listening implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(port: number, server: Server, sockets: Set<Socket>) {
    this.port = port;
    this.#server = server;
    this.#sockets = sockets;
  }

  static async on(serve: (socket: Socket) => void): Promise<Listening> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket)).on("error", () => undefined);
      serve(socket);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Listening((server.address() as AddressInfo).port, server, sockets);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** What spawn(8) does: the program's standard input and output are the connection. */
export class SpawnedDaemon implements AsyncDisposable {
  readonly #listening: Listening;
  readonly #children: Set<ChildProcess>;

  private constructor(listening: Listening, children: Set<ChildProcess>) {
    this.#listening = listening;
    this.#children = children;
  }

  static async start(command: string, parameters: readonly string[] = []): Promise<SpawnedDaemon> {
    const children = new Set<ChildProcess>();
    const listening = await Listening.on((socket) => {
      const child = spawn(command, parameters, { stdio: ["pipe", "pipe", "ignore"] });
      children.add(child);
      child.on("exit", () => {
        children.delete(child);
        socket.end();
      });
      socket.on("close", () => child.kill());
      child.stdin.on("error", () => undefined);
      socket.pipe(child.stdin);
      child.stdout.pipe(socket);
    });
    return new SpawnedDaemon(listening, children);
  }

  get port(): number {
    return this.#listening.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    await this.#listening[Symbol.asyncDispose]();
  }
}

/** Attributes in the order in which they came. */
export type Told = readonly (readonly [name: string, value: string])[];

export class RecordingDaemon implements AsyncDisposable {
  readonly told: Told[];
  readonly #listening: Listening;

  private constructor(listening: Listening, told: Told[]) {
    this.#listening = listening;
    this.told = told;
  }

  static async start(): Promise<RecordingDaemon> {
    const told: Told[] = [];
    const listening = await Listening.on((socket) => {
      let text = "";
      socket.setEncoding("utf8");
      socket.on("data", (chunk: string) => {
        text += chunk;
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const lines = text.slice(0, end).split("\n");
          told.push(lines.map((line) => [line.split("=", 1)[0] ?? "", line.slice(line.indexOf("=") + 1)] as const));
          text = text.slice(end + 2);
          socket.write("action=DUNNO\n\n");
        }
      });
    });
    return new RecordingDaemon(listening, told);
  }

  get port(): number {
    return this.#listening.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listening[Symbol.asyncDispose]();
  }
}
