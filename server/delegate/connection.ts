/**
 * One connection to a policy daemon: a question, an answer, the next question.
 *
 * Below service.ts, which owns as many as it may. A daemon is not trusted with our memory or our time: an answer has a bound and a deadline, and whatever breaks either, or
 * comes unasked, ends the connection. Fails as a sentence, never throws. SMTPD_POLICY_README (lines `name=value`, an empty line at the end).
 */
import { connect, type Socket } from "node:net";
import type { Endpoint } from "../config/lookups.ts";

export type Asked =
  | { readonly kind: "answer"; readonly action: string }
  /** It hung up before it said anything: on a connection that was kept idle the question was perhaps never read. */
  | { readonly kind: "hung-up" }
  | { readonly kind: "failed"; readonly why: string }
  /** It answered, but not this protocol. */
  | { readonly kind: "unreadable"; readonly why: string };

const MAX_ANSWER = 16_384;

/** The value of the first `action=` line; undefined where there is none. */
export function actionOf(answer: string): string | undefined {
  return /^action=([^\n]*)$/m.exec(answer)?.[1]?.trim();
}

export class Connection {
  readonly openedMs: number;
  /** Answers it gave. */
  answers = 0;
  readonly #socket: Socket;
  #received = "";
  #waiting: ((asked: Asked) => void) | undefined;
  #ended: string | undefined;
  #onEnded: (() => void) | undefined;

  private constructor(socket: Socket, nowMs: number) {
    this.#socket = socket;
    this.openedMs = nowMs;
    socket.setNoDelay(true);
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => this.#read(text));
    socket.on("error", (error) => this.#end(error.message));
    socket.on("close", () => this.#end("closed by the service"));
  }

  /** A sentence: it cannot be reached. */
  static async open(endpoint: Endpoint, timeoutMs: number, nowMs: number): Promise<Connection | string> {
    const socket = connect("path" in endpoint ? { path: endpoint.path } : { host: endpoint.host, port: endpoint.port });
    return await new Promise((resolve) => {
      const settle = (why?: string): void => {
        clearTimeout(timer);
        socket.removeAllListeners();
        if (why === undefined) return resolve(new Connection(socket, nowMs));
        socket.on("error", () => undefined);
        socket.destroy();
        resolve(why);
      };
      const timer = setTimeout(() => settle("no connection in time"), timeoutMs);
      socket.once("connect", () => settle());
      socket.once("error", (error) => settle(error.message === "" ? "cannot connect" : error.message));
    });
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  /** Called when it ends while nobody asks. */
  set onEnded(listener: (() => void) | undefined) {
    this.#onEnded = listener;
  }

  ask(request: string, timeoutMs: number): Promise<Asked> {
    if (this.#ended !== undefined) return Promise.resolve({ kind: "hung-up" });
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#settle({ kind: "failed", why: "no answer in time" });
        this.close();
      }, timeoutMs);
      this.#waiting = (asked) => {
        clearTimeout(timer);
        resolve(asked);
      };
      this.#socket.write(request);
    });
  }

  close(): void {
    this.#end("closed");
    this.#socket.destroy();
  }

  #settle(asked: Asked): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#received = "";
    waiting?.(asked);
  }

  #read(text: string): void {
    if (this.#waiting === undefined) return this.close();
    this.#received += text;
    const end = this.#received.indexOf("\n\n");
    if (end < 0) {
      if (this.#received.length <= MAX_ANSWER) return;
      this.#settle({ kind: "unreadable", why: "the answer is too long" });
      return this.close();
    }
    const answer = this.#received.slice(0, end + 1).replaceAll("\r", "");
    // More than was asked for: who knows which answer belongs to which question.
    const excess = this.#received.length > end + 2;
    const action = actionOf(answer.trimEnd());
    this.answers += 1;
    this.#settle(
      action === undefined ? { kind: "unreadable", why: "the answer has no action" } : { kind: "answer", action },
    );
    if (excess) this.close();
  }

  #end(why: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = why;
    if (this.#waiting === undefined) this.#onEnded?.();
    else if (this.#received === "") this.#settle({ kind: "hung-up" });
    else this.#settle({ kind: "failed", why: "closed in the middle of an answer" });
  }
}
