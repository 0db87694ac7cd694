/**
 * The main thread's end of the line to the queue's worker.
 *
 * Requests of one turn of the event loop travel together: one message, their octets copied once into one buffer that is handed over. Promises that every
 * call ends: with its answer, or, when the worker fails or dies, with QueueUnavailable("failed"). Storage that neither answers nor fails (a network disk
 * that hangs) is waited for, and said in the log.
 */
import { Worker } from "node:worker_threads";
import { commitItems, commitSeconds } from "../observe/metrics.ts";
import type { Availability } from "./availability.ts";
import type {
  FromWorker,
  Operation,
  RawFailure,
  Request,
  RequestBatch,
  RequestOf,
  ResultOf,
  WorkerOptions,
} from "./protocol.ts";
import { QueueUnavailable } from "./queue.ts";

/** How long nothing may be answered before it is worth a line in the log. */
const STALL_MS = 20_000;

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}
type Opened = Extract<FromWorker, { readonly kind: "opened" }>;
/** A request before its octets have their place. */
type Waiting = Omit<Request, "body"> & { body: Uint8Array | undefined };

export class WorkerLink {
  readonly #worker: Worker;
  readonly #availability: Availability;
  readonly #pending = new Map<number, Pending>();
  #outbox: { readonly request: Waiting; readonly pieces: readonly Uint8Array[] }[] = [];
  #serial = 0;
  #isScheduled = false;
  #isClosing = false;
  /** When the worker last had nothing to do or answered. */
  #progressAt = performance.now();
  #isStalled = false;
  readonly #watch: NodeJS.Timeout;
  readonly #exited: Promise<void>;

  private constructor(worker: Worker, availability: Availability) {
    this.#worker = worker;
    this.#availability = availability;
    this.#watch = setInterval(() => this.#lookForStall(), STALL_MS / 4).unref();
    this.#exited = new Promise((resolve) => {
      worker.once("exit", () => {
        clearInterval(this.#watch);
        if (!this.#isClosing || this.#pending.size > 0) this.#fail("its thread has ended");
        resolve();
      });
    });
    worker.on("error", (error) => this.#fail(String(error)));
    worker.on("messageerror", (error) => this.#fail(String(error)));
  }

  /** Rejects with a sentence when the database cannot be opened. */
  static async open(
    options: WorkerOptions,
    availability: Availability,
  ): Promise<{ readonly link: WorkerLink; readonly opened: Opened }> {
    // The parent's own flags (a test runner's, `--eval`) are not for this file.
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: options, execArgv: [] });
    const opened = await new Promise<Opened>((resolve, reject) => {
      worker.once("message", (message: FromWorker) => {
        if (message.kind === "opened") resolve(message);
        else reject(new Error("message" in message ? message.message : "the queue's thread did not start"));
      });
      worker.once("error", reject);
      worker.once("exit", () => reject(new Error("the queue's thread ended before the database was open")));
    });
    for (const event of ["message", "error", "exit"]) worker.removeAllListeners(event);
    const link = new WorkerLink(worker, availability);
    worker.on("message", (message: FromWorker) => link.#receive(message));
    availability.space(opened.space);
    return { link, opened };
  }

  call<Op extends Operation>(
    op: Op,
    request: RequestOf<Op>,
    pieces: readonly Uint8Array[] = [],
  ): Promise<ResultOf<Op>> {
    const { ended } = this.#availability;
    if (ended !== undefined) return Promise.reject(ended);
    return this.#send(op, request, pieces);
  }

  #send<Op extends Operation>(op: Op, request: RequestOf<Op>, pieces: readonly Uint8Array[]): Promise<ResultOf<Op>> {
    if (this.#pending.size === 0) this.#progressAt = performance.now();
    this.#serial += 1;
    const serial = this.#serial;
    this.#outbox.push({ request: { ...request, op, serial, body: undefined }, pieces });
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(() => this.#post());
    }
    return new Promise<ResultOf<Op>>((resolve, reject) => {
      // The worker answers each serial with the result of its operation.
      this.#pending.set(serial, { resolve: resolve as (result: unknown) => void, reject });
    });
  }

  #post(): void {
    this.#isScheduled = false;
    const outbox = this.#outbox;
    this.#outbox = [];
    let total = 0;
    for (const { pieces } of outbox) for (const piece of pieces) total += piece.length;
    const arena = Buffer.allocUnsafeSlow(total);
    let at = 0;
    for (const { request, pieces } of outbox) {
      if (pieces.length === 0) continue;
      const start = at;
      for (const piece of pieces) {
        arena.set(piece, at);
        at += piece.length;
      }
      request.body = new Uint8Array(arena.buffer, start, at - start);
    }
    const batch: RequestBatch = { requests: outbox.map(({ request }) => request as Request) };
    this.#worker.postMessage(batch, total === 0 ? [] : [arena.buffer]);
  }

  #lookForStall(): void {
    const seconds = Math.round((performance.now() - this.#progressAt) / 1000);
    const isStalled = this.#pending.size > 0 && seconds * 1000 >= STALL_MS;
    if (isStalled !== this.#isStalled) this.#availability.stalled(isStalled, this.#pending.size, seconds);
    this.#isStalled = isStalled;
    // Should it ever sleep over its inbox, this wakes it; otherwise it costs nothing.
    if (isStalled) this.#worker.postMessage({ requests: [] } satisfies RequestBatch);
  }

  #receive(message: FromWorker): void {
    if (message.kind === "failed") this.#fail(message.message);
    if (message.kind !== "answers") return;
    if (message.commit !== undefined) {
      commitSeconds.observe(message.commit.seconds);
      commitItems.observe(message.commit.items);
    }
    this.#progressAt = performance.now();
    this.#availability.space(message.space);
    for (const answer of message.answers) {
      const pending = this.#pending.get(answer.serial);
      this.#pending.delete(answer.serial);
      if ("failure" in answer) pending?.reject(this.#errorOf(answer.failure));
      else pending?.resolve(answer.result);
    }
  }

  #errorOf(failure: RawFailure): Error {
    if (failure.reason === "error") return new Error(failure.message);
    if (failure.reason === "full") this.#availability.refused();
    return new QueueUnavailable(failure.reason, failure.message);
  }

  #fail(why: string): void {
    this.#availability.fail(why);
    const error = this.#availability.ended ?? new QueueUnavailable("failed", why);
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    this.#outbox = [];
    for (const { reject } of pending) reject(error);
  }

  /** Everything called before is answered, the log is merged into the database. */
  async close(): Promise<void> {
    const wasBroken = this.#availability.ended !== undefined;
    const closing = wasBroken ? undefined : this.#send("close", {}, []);
    this.#availability.close();
    this.#isClosing = true;
    if (closing === undefined) await this.#worker.terminate();
    else await closing.catch(() => this.#worker.terminate());
    await this.#exited;
  }
}
