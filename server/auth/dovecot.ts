/**
 * Dovecot back end: one kept connection to its authentication socket, over which all logins of the shard go.
 *
 * Opened when the configuration says so, and again whenever it is lost: by itself with growing pauses, and at once when somebody wants to log in. A login whose
 * connection breaks before an answer is asked once more on a new one. Nothing heard in time, a temporary failure, or no connection is "unavailable", never a
 * refusal. PLAIN and LOGIN come here as a name and a password; other mechanisms are passed through, challenge by challenge. See dovecot-protocol.ts.
 */
import { randomInt } from "node:crypto";
import { connect, type Socket } from "node:net";
import type { AuthenticationSettings, LiveConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import {
  authLine,
  cancelLine,
  continueLine,
  type DovecotLine,
  handshake,
  MAX_LINE,
  MAX_RESPONSE,
  parseLine,
} from "./dovecot-protocol.ts";
import { loginUser } from "./login-name.ts";
import type { Attempt, ClientEnd, PasswordSource, SourceAnswer } from "./password-source.ts";
import { cancelledOr, type SaslStep } from "./sasl.ts";

export type DovecotSettings = NonNullable<AuthenticationSettings["dovecot"]>;
type Answer = Extract<DovecotLine, { id: number }> | { readonly kind: "lost"; readonly why: string };

const MAX_PENDING = 1000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** One connection, after its handshake. */
class Link {
  readonly mechanisms = new Set<string>();
  readonly #socket: Socket;
  readonly #pending = new Map<number, (answer: Answer) => void>();
  readonly #onLost: (why: string) => void;
  readonly #ready = Promise.withResolvers<void>();
  #buffer = "";
  #isReady = false;
  #lost: string | undefined;
  #number = 0;

  private constructor(socket: Socket, onLost: (why: string) => void) {
    this.#socket = socket;
    this.#onLost = onLost;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => this.#read(text));
    socket.on("error", (error) => this.#end(error.message));
    socket.on("close", () => this.#end("closed by Dovecot"));
    socket.on("connect", () => socket.write(handshake(randomInt(1, 2 ** 31 - 1))));
  }

  static async open({ target, timeoutMs }: DovecotSettings, onLost: (why: string) => void): Promise<Link> {
    const socket =
      target.kind === "socket" ? connect({ path: target.path }) : connect({ host: target.host, port: target.port });
    const link = new Link(socket, onLost);
    const timer = setTimeout(() => link.#end("no handshake in time"), Math.min(timeoutMs, 10_000));
    try {
      await link.#ready.promise;
      return link;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Send what `line` makes of a fresh number. */
  begin(line: (id: number) => string, timeoutMs: number): Promise<{ readonly id: number; readonly answer: Answer }> {
    this.#number = (this.#number % (2 ** 31 - 2)) + 1;
    const id = this.#number;
    return this.send(id, line(id), timeoutMs).then((answer) => ({ id, answer }));
  }

  send(id: number, line: string, timeoutMs: number): Promise<Answer> {
    const lost = this.#lost ?? (this.#pending.size >= MAX_PENDING ? "too many logins wait for Dovecot" : undefined);
    if (lost !== undefined) return Promise.resolve({ kind: "lost", why: lost });
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        this.cancel(id);
        resolve({ kind: "fail", id, isTemporary: true });
      }, timeoutMs);
      this.#pending.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      this.#socket.write(line);
    });
  }

  cancel(id: number): void {
    if (this.#lost === undefined) this.#socket.write(cancelLine(id));
  }

  close(): void {
    this.#end("closing");
  }

  #read(text: string): void {
    this.#buffer += text;
    const lines = this.#buffer.split("\n");
    this.#buffer = lines.pop() ?? "";
    if (this.#buffer.length > MAX_LINE) return this.#end("a line too long");
    for (const line of lines) this.#take(parseLine(line));
  }

  #take(line: DovecotLine | undefined): void {
    switch (line?.kind) {
      case "version":
        if (line.major !== 1) this.#end(`protocol version ${line.major}`);
        break;
      case "mechanism":
        this.mechanisms.add(line.name);
        break;
      case "done":
        this.#isReady = true;
        this.#ready.resolve();
        break;
      case "ok":
      case "fail":
      case "continue": {
        const resolve = this.#pending.get(line.id);
        this.#pending.delete(line.id);
        resolve?.(line);
        break;
      }
      case undefined:
        break;
      default:
        line satisfies never;
    }
  }

  #end(why: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = why;
    this.#socket.destroy();
    const open = [...this.#pending.values()];
    this.#pending.clear();
    for (const resolve of open) resolve({ kind: "lost", why });
    if (this.#isReady) this.#onLost(why);
    else this.#ready.reject(new Error(why));
  }
}

export class DovecotSource implements PasswordSource {
  readonly name = "dovecot";
  readonly #settings: DovecotSettings;
  readonly #log: Log;
  #link: Link | undefined;
  #opening: Promise<Link> | undefined;
  #again: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  /** As of the last handshake: what EHLO tells while the connection is away. */
  #mechanisms: ReadonlySet<string> = new Set();
  #wasDown = false;
  #closed = false;

  constructor(settings: DovecotSettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
    this.#connected().catch(() => undefined);
  }

  get mechanisms(): ReadonlySet<string> {
    return this.#mechanisms;
  }

  async check({ config, username, user, password, client }: Attempt): Promise<SourceAnswer> {
    // The default domain is ours; a name without one is for Dovecot's own default realm.
    const name = username.includes("@") ? username : (user ?? username);
    const usable = password.includes("\0") ? "" : password;
    const response = Buffer.from(`\0${name}\0${usable}`).toString("base64");
    if (response.length > MAX_RESPONSE) return { kind: "mismatch" };
    const { answer } = await this.#ask("PLAIN", response, client);
    switch (answer.kind) {
      case "ok": {
        const found = loginUser(config, answer.user ?? name);
        return found === undefined ? { kind: "mismatch" } : { kind: "match", user: found };
      }
      case "fail":
        return answer.isTemporary
          ? { kind: "unavailable", why: "Dovecot says temporary failure, or nothing in time" }
          : { kind: "mismatch" };
      case "continue":
        return { kind: "unavailable", why: "Dovecot answers PLAIN with a challenge" };
      case "lost":
        return { kind: "unavailable", why: answer.why };
      default:
        return answer satisfies never;
    }
  }

  /** A mechanism of Dovecot's, passed through. */
  async exchange(
    mechanism: string,
    initial: string | undefined,
    { config, client }: { readonly config: LiveConfig; readonly client: ClientEnd },
  ): Promise<SaslStep> {
    const first = initial === "=" ? "" : initial;
    if (first !== undefined && !isResponse(first)) return { kind: "syntax" };
    const { link, id, answer } = await this.#ask(mechanism, first, client);
    return this.#step(config, link, id, answer);
  }

  #step(config: LiveConfig, link: Link | undefined, id: number, answer: Answer): SaslStep {
    switch (answer.kind) {
      case "ok": {
        const user = loginUser(config, answer.user ?? "");
        return user === undefined ? { kind: "refused", username: "" } : { kind: "authenticated", user };
      }
      case "fail":
        return answer.isTemporary
          ? { kind: "unavailable", why: "Dovecot says temporary failure, or nothing in time" }
          : { kind: "refused", username: "" };
      case "lost":
        return { kind: "unavailable", why: answer.why };
      case "continue":
        return {
          kind: "challenge",
          data: answer.data,
          next: async (line) => {
            // One place decides what is base64 and what a cancellation.
            const checked = cancelledOr(() => ({ kind: "refused", username: "" }))(line);
            const response = line === "=" ? "" : line;
            if (checked.kind !== "refused" || !isResponse(response) || link === undefined) {
              link?.cancel(id);
              return checked.kind === "refused" ? { kind: "syntax" } : checked;
            }
            const next = await link.send(id, continueLine(id, response), this.#settings.timeoutMs);
            return this.#step(config, link, id, next);
          },
        };
      default:
        return answer satisfies never;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#again);
    const opening = this.#opening;
    this.#link?.close();
    if (opening !== undefined)
      await opening.then(
        (link) => link.close(),
        () => undefined,
      );
  }

  async #ask(
    mechanism: string,
    response: string | undefined,
    { address, port }: ClientEnd,
  ): Promise<{ readonly link: Link | undefined; readonly id: number; readonly answer: Answer }> {
    const line = (id: number): string =>
      authLine({ id, mechanism, remoteAddress: address, remotePort: port, localAddress: undefined, response });
    let lost: Answer = { kind: "lost", why: "" };
    // Twice: a kept connection may have died in the silence.
    for (let tries = 0; tries < 2; tries += 1) {
      try {
        const link = await this.#connected();
        const { id, answer } = await link.begin(line, this.#settings.timeoutMs);
        if (answer.kind !== "lost") return { link, id, answer };
        lost = answer;
      } catch (error) {
        return {
          link: undefined,
          id: 0,
          answer: { kind: "lost", why: error instanceof Error ? error.message : String(error) },
        };
      }
    }
    return { link: undefined, id: 0, answer: lost };
  }

  #connected(): Promise<Link> {
    if (this.#closed) return Promise.reject(new Error("closed"));
    if (this.#link !== undefined) return Promise.resolve(this.#link);
    this.#opening ??= Link.open(this.#settings, (why) => this.#gone(why)).then(
      (link) => {
        this.#opening = undefined;
        this.#pauseMs = FIRST_PAUSE_MS;
        clearTimeout(this.#again);
        if (this.#closed) link.close();
        else this.#link = link;
        this.#mechanisms = link.mechanisms;
        if (this.#wasDown) this.#log.info({}, "dovecot-auth-back");
        this.#wasDown = false;
        return link;
      },
      (error: unknown) => {
        this.#opening = undefined;
        this.#gone(error instanceof Error ? error.message : String(error));
        throw error;
      },
    );
    return this.#opening;
  }

  #gone(why: string): void {
    this.#link = undefined;
    if (this.#closed) return;
    if (!this.#wasDown) this.#log.warn({ error: why }, "dovecot-auth-gone");
    this.#wasDown = true;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => void this.#connected().catch(() => undefined), this.#pauseMs).unref();
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

const isResponse = (text: string): boolean =>
  text.length <= MAX_RESPONSE && /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text);
