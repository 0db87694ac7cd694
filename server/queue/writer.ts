/**
 * One message on its way into the queue.
 *
 * Small ones stay in memory until `commit` stores them in one go; once a message is larger than that, its octets go to the database in whole chunks as
 * they come, under a row that nothing else sees and that a restart erases. Memory is bounded: for each writer by what may be under way to the worker
 * (`write` waits then), for all together by a budget above which every writer sends its chunks at once.
 */
import { copied, giveBack } from "../octets.ts";
import { CHUNK_BYTES, type RawNewMessage, type StartState } from "./protocol.ts";
import type { FreshContent } from "./fresh.ts";
import type { Envelope, MessageWriter, Origin, QueueId, QueuedMessage } from "./queue.ts";
import { laneOf, senderKey } from "./sender-key.ts";
import { distinctRecipients, envelopeText, rawRecipient, storedMessage } from "./translate.ts";
import type { WorkerLink } from "./worker-link.ts";

/** Above this a message streams. */
const BUFFERED_BYTES = 4 * CHUNK_BYTES;
/** What one writer may have under way to the worker before `write` waits. */
const WINDOW_BYTES = 16 * CHUNK_BYTES;
/** What all writers together may hold in memory before they stream small messages too. */
const BUDGET_BYTES = 33_554_432;

/** Shared by the writers of a queue. */
export class WriterBudget {
  #bytes = 0;
  /** Messages that are neither stored nor given up. */
  writers = 0;

  add(bytes: number): void {
    this.#bytes += bytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What a message may grow to before it streams. */
  get bufferedBytes(): number {
    return this.#bytes > BUDGET_BYTES ? CHUNK_BYTES : BUFFERED_BYTES;
  }
}

export interface WriterContext {
  readonly link: WorkerLink;
  readonly budget: WriterBudget;
  readonly fresh: FreshContent;
  readonly now: () => number;
}

export class SpoolWriter implements MessageWriter {
  readonly id: QueueId;
  readonly #context: WriterContext;
  #size = 0;
  readonly #pieces: Buffer[] = [];
  /** So much of the first was taken. */
  #at = 0;
  #buffered = 0;
  #chunksSent = 0;
  #underWay = 0;
  #wake: (() => void) | undefined;
  #mayWrite: Promise<void> | undefined;
  #error: Error | undefined;
  #ended: "committed" | "aborted" | undefined;

  constructor(id: QueueId, context: WriterContext) {
    this.id = id;
    this.#context = context;
    context.budget.writers += 1;
  }

  get size(): number {
    return this.#size;
  }

  write(given: Buffer | readonly Buffer[]): Promise<void> | undefined {
    if (this.#ended !== undefined)
      return Promise.reject(new Error(`message ${this.id} is ${this.#ended}: nothing can be added`));
    if (this.#error !== undefined) return Promise.reject(this.#error);
    const data = copied(given);
    if (data.length === 0) return undefined;
    this.#size += data.length;
    this.#buffered += data.length;
    this.#pieces.push(data);
    this.#context.budget.add(data.length);
    if (this.#buffered > this.#context.budget.bufferedBytes) this.#stream();
    return this.#underWay > WINDOW_BYTES ? this.#untilSent() : undefined;
  }

  /** Less is under way. */
  async #untilSent(): Promise<void> {
    this.#mayWrite ??= new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    await this.#mayWrite;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Send all whole chunks. */
  #stream(): void {
    const bytes = this.#buffered - (this.#buffered % CHUNK_BYTES);
    const { octets, used } = this.#take(bytes);
    const from = this.#chunksSent;
    this.#chunksSent += bytes / CHUNK_BYTES;
    this.#underWay += bytes;
    const { link, now } = this.#context;
    void link
      .call("append", { id: this.id, receivedMs: now(), from }, octets)
      .catch((error: unknown) => {
        this.#error ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => {
        this.#underWay -= bytes;
        for (const piece of used) giveBack(piece);
        if (this.#underWay > WINDOW_BYTES && this.#error === undefined) return;
        this.#wake?.();
        this.#wake = undefined;
        this.#mayWrite = undefined;
      });
  }

  /** `used`: the pieces that were taken to their end, now or before. */
  #take(bytes: number): { readonly octets: readonly Buffer[]; readonly used: readonly Buffer[] } {
    const octets: Buffer[] = [];
    const used: Buffer[] = [];
    for (let missing = bytes; missing > 0; ) {
      const [piece] = this.#pieces;
      if (piece === undefined) break;
      const end = Math.min(piece.length, this.#at + missing);
      octets.push(piece.subarray(this.#at, end));
      missing -= end - this.#at;
      this.#at = end;
      if (end < piece.length) break;
      used.push(piece);
      this.#pieces.shift();
      this.#at = 0;
    }
    this.#buffered -= bytes;
    this.#context.budget.add(-bytes);
    return { octets, used };
  }

  async commit(
    envelope: Envelope,
    origin: Origin,
    options: { readonly claim?: boolean; readonly hold?: boolean } = {},
  ): Promise<QueuedMessage> {
    if (this.#ended !== undefined) throw new Error(`message ${this.id} is already ${this.#ended}`);
    this.#ended = "committed";
    const start: StartState = options.hold === true ? "hold" : options.claim === true ? "active" : "deferred";
    const recipients = distinctRecipients(envelope.recipients);
    const { id } = this;
    const receivedMs = this.#context.now();
    const size = this.#size;
    const message: RawNewMessage = {
      id,
      receivedMs,
      size,
      envelope: envelopeText(envelope),
      origin: JSON.stringify(origin),
      recipients: recipients.map(rawRecipient),
      lane: laneOf(senderKey(envelope, origin)),
      start,
      streamed: this.#chunksSent,
    };
    const { octets, used } = this.#take(this.#buffered);
    try {
      if (recipients.length === 0) throw new Error(`message ${id} has no recipient`);
      await this.#context.link.call("store", { message }, octets);
      if (start === "active" && this.#chunksSent === 0) this.#context.fresh.keep(id, used, size);
      else for (const piece of used) giveBack(piece);
    } catch (error) {
      this.#forget();
      // The first cause says more: full, where this one only says that something is missing.
      throw this.#error ?? error;
    } finally {
      this.#context.budget.writers -= 1;
    }
    return storedMessage({ id, receivedMs, size, envelope, origin, recipients, start });
  }

  async abort(): Promise<void> {
    if (this.#ended !== undefined) return;
    this.#ended = "aborted";
    this.#context.budget.writers -= 1;
    this.#take(this.#buffered);
    if (this.#chunksSent > 0) await this.#context.link.call("abort", { id: this.id });
  }

  /** Nobody waits for it: what remains is invisible and goes at the next start at the latest. */
  #forget(): void {
    this.#take(this.#buffered);
    if (this.#chunksSent > 0) this.#context.link.call("abort", { id: this.id }).catch(() => undefined);
  }
}
