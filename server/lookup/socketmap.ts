/**
 * Socketmap: one question a frame to a daemon (MTA-STS resolvers, sendmail's own), over TCP or a unix socket.
 *
 * socketmap_table(5): the request is the netstring `name key`, the reply `OK value`, `NOTFOUND `, `TEMP text`, `TIMEOUT text` or `PERM text`. PERM, too, is an outage: the daemon
 * says that it cannot, not that there is nothing. Connections are kept, one question on each at a time. Replies have at most 100,000 octets.
 */
import { connect, type Socket } from "node:net";
import type { Endpoint, SocketmapSource } from "../config/lookups.ts";
import { type Failover, type FailureKind, type Host, HostDown } from "./failover.ts";
import { type Lookup, LookupUnavailable } from "./lookup.ts";
import { encodeNetstring, NetstringReader } from "./netstring.ts";
import { createSource, endpointName, type Source, type SourceEvents, TimedOut, withTimeout } from "./source.ts";

const LARGEST_REPLY = 100_000;
const MAX_WAITING = 1000;
const IDLE_MS = 60_000;

/** One connection; usable until its first error. */
class Line {
  readonly #socket: Socket;
  readonly #reader = new NetstringReader(LARGEST_REPLY);
  #answer: { resolve: (reply: Buffer) => void; reject: (cause: unknown) => void } | undefined;
  #cause: unknown;
  #idle: NodeJS.Timeout | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (data) => this.#take(typeof data === "string" ? Buffer.from(data) : data));
    socket.on("error", (cause) => this.end(cause));
    socket.on("close", () => this.end(Object.assign(new Error("connection closed"), { code: "ECONNRESET" })));
    socket.unref();
  }

  static async open(endpoint: Endpoint, timeoutMs: number): Promise<Line> {
    const socket = "path" in endpoint ? connect(endpoint.path) : connect({ ...endpoint, noDelay: true });
    const line = new Line(socket);
    const connected = new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    try {
      await withTimeout(connected, timeoutMs, "no connection in time");
      return line;
    } catch (cause) {
      line.end(cause);
      throw cause;
    }
  }

  get isUsable(): boolean {
    return this.#cause === undefined && this.#answer === undefined;
  }

  #take(data: Buffer): void {
    try {
      for (const frame of this.#reader.push(data)) {
        const answer = this.#answer;
        this.#answer = undefined;
        // Nobody asked: whose answer the next one is, is not known either.
        if (answer === undefined) throw Object.assign(new Error("a reply to no question"), { code: "EPROTO" });
        this.#socket.unref();
        answer.resolve(frame);
      }
    } catch (cause) {
      this.end(cause);
    }
  }

  async ask(request: Buffer, timeoutMs: number): Promise<Buffer> {
    clearTimeout(this.#idle);
    const reply = new Promise<Buffer>((resolve, reject) => {
      if (this.#cause !== undefined) reject(this.#cause as Error);
      else this.#answer = { resolve, reject };
    });
    this.#socket.ref();
    this.#socket.write(request);
    try {
      return await withTimeout(reply, timeoutMs, "no answer in time");
    } catch (cause) {
      this.end(cause);
      throw cause;
    }
  }

  /** Closed when nobody needs it for a while. */
  rest(onEnd: () => void): void {
    this.#idle = setTimeout(() => {
      onEnd();
      this.end(new Error("idle"));
    }, IDLE_MS).unref();
  }

  end(cause: unknown): void {
    clearTimeout(this.#idle);
    this.#cause ??= cause;
    this.#socket.destroy();
    const answer = this.#answer;
    this.#answer = undefined;
    answer?.reject(this.#cause);
  }
}

class SocketmapHost implements Host {
  readonly name: string;
  readonly #endpoint: Endpoint;
  readonly #source: SocketmapSource;
  #free: Line[] = [];
  #open = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(source: SocketmapSource, endpoint: Endpoint) {
    this.name = endpointName(endpoint);
    this.#endpoint = endpoint;
    this.#source = source;
  }

  async probe(): Promise<void> {
    // The protocol has no question without a map: being connected must do.
    this.#free.push(await Line.open(this.#endpoint, this.#source.connectTimeoutMs));
  }

  async run(request: Buffer): Promise<Buffer> {
    await this.#turn();
    try {
      const line = this.#take() ?? (await Line.open(this.#endpoint, this.#source.connectTimeoutMs));
      const reply = await line.ask(request, this.#source.timeoutMs);
      this.#free.push(line);
      line.rest(() => {
        this.#free = this.#free.filter((each) => each !== line);
      });
      return reply;
    } finally {
      this.#open--;
      this.#waiting.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    if (this.#open >= this.#source.connections) {
      if (this.#waiting.length >= MAX_WAITING)
        throw new LookupUnavailable(this.#source.name, "question", "too many questions wait");
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#open++;
  }

  #take(): Line | undefined {
    for (;;) {
      const line = this.#free.pop();
      if (line === undefined || line.isUsable) return line;
    }
  }

  reset(): void {
    for (const line of this.#free.splice(0)) line.end(new Error("reset"));
  }

  async close(): Promise<void> {
    this.reset();
    await Promise.resolve();
  }
}

/** A lost connection is the host's; silence is slow until its probe says that it is gone. */
const kindOf = (cause: unknown): FailureKind =>
  cause instanceof TimedOut || (cause instanceof LookupUnavailable && cause.scope === "question") ? "question" : "host";

const reasonOf = (cause: unknown): string => {
  if (cause instanceof HostDown) return reasonOf(cause.cause);
  if (cause instanceof LookupUnavailable) return cause.message.slice(cause.lookup.length + 2);
  if (cause instanceof TimedOut) return cause.message;
  return typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "failed";
};

class SocketmapLookup implements Lookup {
  readonly name: string;
  readonly wholeKeyOnly = false;
  readonly #hosts: Failover<SocketmapHost>;
  readonly #map: string;

  constructor(name: string, hosts: Failover<SocketmapHost>, map: string) {
    this.name = name;
    this.#hosts = hosts;
    this.#map = map;
  }

  async get(key: string): Promise<readonly string[] | undefined> {
    try {
      const reply = await this.#hosts.ask((host) => host.run(encodeNetstring(`${this.#map} ${key}`)));
      return this.#read(reply.toString("utf8"));
    } catch (cause) {
      if (cause instanceof LookupUnavailable) throw cause;
      throw new LookupUnavailable(this.name, kindOf(cause) === "host" ? "source" : "question", reasonOf(cause));
    }
  }

  #read(reply: string): readonly string[] | undefined {
    const space = reply.indexOf(" ");
    const status = (space < 0 ? reply : reply.slice(0, space)).toUpperCase();
    const value = space < 0 ? "" : reply.slice(space + 1);
    if (status === "NOTFOUND") return undefined;
    if (status === "OK") return value === "" ? undefined : [value];
    if (status === "TEMP" || status === "TIMEOUT" || status === "PERM")
      throw new LookupUnavailable(this.name, "question", `the daemon answered ${status}`);
    throw new LookupUnavailable(
      this.name,
      "question",
      "the daemon answered something else than OK, NOTFOUND, TEMP, TIMEOUT or PERM",
    );
  }
}

export function createSocketmap(source: SocketmapSource, events: SourceEvents): Source {
  return createSource(source, events, {
    hosts: source.hosts.map((endpoint) => new SocketmapHost(source, endpoint)),
    kindOf,
    reasonOf,
    questions: source.maps,
    lookup: (hosts, map) => new SocketmapLookup(source.name, hosts, map),
  });
}
