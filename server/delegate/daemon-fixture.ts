/** Test fixture: a policy daemon on a unix socket or a port that answers as a test says. Used by *.test.ts only. */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Endpoint } from "../config/lookups.ts";
import type { PolicyService } from "../config/policy-services.ts";

export type Question = Readonly<Record<string, string>>;
/** Octets to send; undefined: nothing, and the connection stays; null: it is closed. */
export type Answering = (question: Question, number: number) => string | undefined | null;

export const aService = (settings: Partial<PolicyService> = {}): PolicyService => ({
  name: "policyd",
  endpoint: { host: "127.0.0.1", port: 1 },
  stage: "Recipient",
  clients: "All",
  connections: 5,
  timeoutMs: 5000,
  maxIdleMs: 60_000,
  maxLifetimeMs: 60_000,
  tries: 2,
  retryDelayMs: 1,
  defaultAction: "451 4.3.5 Server configuration problem",
  context: "",
  ...settings,
});

export class PolicyDaemon {
  /** As they came, without the last empty line. */
  readonly texts: string[] = [];
  readonly questions: Question[] = [];
  connections = 0;
  answering: Answering;
  endpoint: Endpoint = { host: "127.0.0.1", port: 1 };
  readonly #sockets = new Set<Socket>();
  #folder: string | undefined;
  #server: Server | undefined;
  #asked: (() => void) | undefined;

  private constructor(answering: Answering) {
    this.answering = answering;
  }

  static async start(answering: Answering, kind: "unix" | "tcp" = "unix"): Promise<PolicyDaemon> {
    const daemon = new PolicyDaemon(answering);
    if (kind === "unix") daemon.#folder = await mkdtemp(join(tmpdir(), "policyd-"));
    await daemon.listen();
    return daemon;
  }

  async listen(): Promise<void> {
    const server = createServer((socket) => this.#serve(socket));
    this.#server = server;
    const path = this.#folder === undefined ? undefined : join(this.#folder, "policyd");
    const port = "port" in this.endpoint && this.endpoint.port !== 1 ? this.endpoint.port : 0;
    if (path === undefined) server.listen({ host: "127.0.0.1", port });
    else server.listen({ path });
    await once(server, "listening");
    this.endpoint = path === undefined ? { host: "127.0.0.1", port: (server.address() as AddressInfo).port } : { path };
  }

  /** The process is gone: nobody listens, all connections are closed. */
  async kill(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    await new Promise((resolve) => server.close(resolve));
  }

  /** Resolves when the next question has come. */
  asked(): Promise<void> {
    return new Promise((resolve) => {
      this.#asked = resolve;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    if (this.#folder !== undefined) await rm(this.#folder, { recursive: true, force: true });
  }

  #serve(socket: Socket): void {
    this.connections += 1;
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket)).on("error", () => undefined);
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      text += chunk;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const question = text.slice(0, end);
        text = text.slice(end + 2);
        this.#answer(socket, question);
      }
    });
  }

  #answer(socket: Socket, text: string): void {
    this.texts.push(text);
    const question = Object.fromEntries(
      text.split("\n").map((line): [string, string] => {
        const equals = line.indexOf("=");
        return [line.slice(0, equals), line.slice(equals + 1)];
      }),
    );
    this.questions.push(question);
    this.#asked?.();
    const answer = this.answering(question, this.questions.length);
    if (answer === null) socket.destroy();
    else if (answer !== undefined) socket.write(answer);
  }
}
