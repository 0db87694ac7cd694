/**
 * The queue on SQLite: the port of `queue.ts`, seen from the main thread.
 *
 * Every call becomes a request to the worker thread (`worker.ts`), which joins it to its next group commit and answers when that is on stable storage.
 * `openQueue` recovers what a crash has left: mail in flight is due now, half received mail is gone, an adoption that was cut off is finished. It rejects
 * with a sentence when the database is damaged, newer than this program, or in use; nothing is changed then.
 */
import { dirname } from "node:path";
import type { Log } from "../observe/log.ts";
import { possibleDuplicates } from "../observe/metrics.ts";
import { Availability } from "./availability.ts";
import { BetweenMessages } from "./between-messages.ts";
import { isUnsafe, makeDirectoryDurably } from "./database.ts";
import { FreshContent, type FreshReading } from "./fresh.ts";
import { QueueIds } from "./id.ts";
import type { RawNewMessage, ResultOf } from "./protocol.ts";
import {
  type Content,
  type GeneratedMessage,
  type MessageWriter,
  ownOrigin,
  type Queue,
  type QueuedMessage,
  type QueueId,
  type QueuePage,
  type QueueSummary,
  type QueueTools,
  QueueUnavailable,
  type SettleOptions,
  type Settlement,
  type ShapeSlice,
} from "./queue.ts";
import { laneOf, senderKey } from "./sender-key.ts";
import {
  distinctRecipients,
  envelopeText,
  queuedMessage,
  rawRecipient,
  rawSettlement,
  storedMessage,
} from "./translate.ts";
import { TierUp } from "./tier-up.ts";
import { WorkerLink } from "./worker-link.ts";
import { SpoolWriter, WriterBudget } from "./writer.ts";

export interface QueueOptions {
  /** The database file; folders above it are made. */
  readonly path: string;
  /** Number of the shard, for the log. */
  readonly shard: number;
  /** Free bytes below which no new mail is taken; asked each time, so that a new configuration counts at once. */
  readonly minFreeBytes: () => number;
  readonly log: Log;
  readonly now?: () => number;
  /** A recipient due later than this was deferred before the clock jumped back, and is due now. Must exceed the longest back-off. */
  readonly maxFutureMs?: number;
  /** Bound of the database file; none by default. */
  readonly maxDatabaseBytes?: number;
  /** Kept next to the database for the day the disk is full, see `reserve.ts`. */
  readonly reserveBytes?: number;
  /** Told of every settlement once it is stored, with what came back for it. */
  readonly onSettled?: OnSettled;
}

export type OnSettled = (id: QueueId, settlements: readonly Settlement[], stored: readonly QueuedMessage[]) => void;

/** No schedule reaches further: queue lifetimes end after some days. */
const MAX_FUTURE_MS = 10 * 86_400_000;
/** As much as the log can hold: then it can always be merged into the database. */
const RESERVE_BYTES = 16_777_216;
/** Chunks asked for at a time: 256 KiB. */
const READ_CHUNKS = 4;
const MOST_LISTED = 1000;
/** Characters of a dialogue; who delivers keeps it shorter than that. */
const LONGEST_DIALOGUE = 8192;
/** Of messages on their first way out. More would outlive the young generation and wait there for a full collection. */
const FRESH_BYTES = 2_097_152;

export async function openQueue(options: QueueOptions): Promise<SqliteQueue> {
  const { path, shard, minFreeBytes, now = Date.now, maxDatabaseBytes } = options;
  const { maxFutureMs = MAX_FUTURE_MS, reserveBytes = RESERVE_BYTES } = options;
  const log = options.log.child({ shard });
  makeDirectoryDurably(dirname(path));
  if (isUnsafe) log.error({ event: "queue-not-synced", path, why: "a test asked for it: accepted mail can be lost" });
  const availability = new Availability({ folder: dirname(path), minFreeBytes, log });
  await availability.look();
  const { link, opened } = await WorkerLink.open(
    { path, nowMs: now(), maxFutureMs, maxDatabaseBytes, reserveBytes },
    availability,
  );
  const queue = new SqliteQueue({ link, availability, log, now, onSettled: options.onSettled });
  const { cutOff, halfReceived } = opened;
  if (cutOff > 0 || halfReceived > 0) log.info({ event: "queue-recovered", path, cutOff, halfReceived });
  // Some may have been delivered a moment before.
  possibleDuplicates.inc({ cause: "restart" }, cutOff);
  for (const file of opened.waiting) {
    try {
      log.info({ event: "queue-adopted", file, messages: await queue.adopt(file) });
    } catch (error) {
      // It stays where it is, and the next start tries again.
      log.error({ event: "queue-adoption-failed", file, error: String(error) });
    }
  }
  return queue;
}

/** What was given back under a reader's eyes must not look like the end of the message. */
async function* each({ pieces, size }: FreshReading): AsyncGenerator<Buffer, void, undefined> {
  let given = 0;
  for (const piece of pieces) {
    given += piece.length;
    yield piece;
  }
  if (given !== size) throw new Error(`${size - given} octets of the message are no longer in memory`);
}

export class SqliteQueue implements Queue, QueueTools {
  readonly #link: WorkerLink;
  readonly #availability: Availability;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #onSettled: OnSettled | undefined;
  readonly #ids: QueueIds;
  readonly #budget = new WriterBudget();
  readonly #betweenMessages = new BetweenMessages();
  readonly #tierUp = new TierUp();
  readonly #fresh = new FreshContent(FRESH_BYTES);
  #closing: Promise<void> | undefined;

  constructor(parts: {
    readonly link: WorkerLink;
    readonly availability: Availability;
    readonly log: Log;
    readonly now: () => number;
    readonly onSettled: OnSettled | undefined;
  }) {
    this.#link = parts.link;
    this.#availability = parts.availability;
    this.#log = parts.log;
    this.#now = parts.now;
    this.#onSettled = parts.onSettled;
    this.#ids = new QueueIds(parts.now);
  }

  newMessage(): MessageWriter {
    const trouble = this.unavailable();
    if (trouble !== undefined) throw new QueueUnavailable(trouble.reason, trouble.message);
    const writer = new SpoolWriter(this.#ids.next(), {
      link: this.#link,
      budget: this.#budget,
      fresh: this.#fresh,
      now: this.#now,
    });
    this.#tierUp.messageBegins(this.#budget.writers);
    return writer;
  }

  unavailable(): ReturnType<Queue["unavailable"]> {
    return this.#availability.current();
  }

  async claimDue(
    nowMs: number,
    limit: number,
    { fullLanes = [] }: Parameters<Queue["claimDue"]>[2] = {},
  ): Promise<readonly QueuedMessage[]> {
    return (await this.#link.call("claim", { nowMs, limit, fullLanes })).map(queuedMessage);
  }

  async active(): Promise<readonly QueuedMessage[]> {
    return (await this.#link.call("active", {})).map(queuedMessage);
  }

  nextDueMs(): Promise<number | undefined> {
    return this.#link.call("nextDue", { nowMs: this.#now() });
  }

  read(id: QueueId): Content {
    let fresh: FreshReading | undefined;
    return {
      [Symbol.asyncIterator]: () => {
        // With broken storage nothing may leave: what became of it could not be recorded.
        if (this.#availability.ended === undefined) fresh = this.#fresh.open(id);
        return fresh === undefined ? this.#stored(id) : each(fresh);
      },
      release: () => fresh?.done(),
    };
  }

  async *#stored(id: QueueId): AsyncGenerator<Buffer, void, undefined> {
    let next = this.#readFrom(id, 0);
    for (let from = 0; ; from += READ_CHUNKS) {
      const result = await next;
      if (result.kind === "gone") throw new Error(`message ${id} is no longer in the queue`);
      if (result.kind === "corrupt") throw this.#corrupt(id, result);
      const isLast = from + READ_CHUNKS >= result.total;
      // One step ahead of the consumer, no more.
      if (!isLast) next = this.#readFrom(id, from + READ_CHUNKS);
      for (const chunk of result.chunks) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      if (isLast) return;
    }
  }

  #readFrom(id: QueueId, from: number): Promise<ResultOf<"read">> {
    const reading = this.#link.call("read", { id, from, count: READ_CHUNKS });
    // A consumer that stops early never looks at what was read ahead.
    reading.catch(() => undefined);
    return reading;
  }

  #corrupt(id: QueueId, { reason, found }: { readonly reason: string; readonly found: boolean }): Error {
    if (found) this.#log.error({ event: "message-corrupt", id, why: reason });
    const error = new Error(`message ${id} is corrupt: ${reason}`);
    error.name = "CorruptMessage";
    return error;
  }

  /** When nothing is being received, and what has been is delivered or put off; in two turns, because then the result is on its way to the worker. */
  #collectWhenQuiet(): void {
    const isQuiet = (): boolean => this.#budget.writers === 0 && this.#fresh.isEmpty;
    if (isQuiet()) setImmediate(() => setImmediate(() => isQuiet() && this.#betweenMessages.quiet()));
  }

  async settle(
    id: QueueId,
    settlements: readonly Settlement[],
    reports: readonly GeneratedMessage[] = [],
    options: SettleOptions = {},
  ): Promise<readonly QueuedMessage[]> {
    this.#fresh.forget(id);
    const nowMs = this.#now();
    const drafts = reports.map(({ envelope, content }) => ({
      id: this.#ids.next(),
      receivedMs: nowMs,
      size: content.length,
      envelope,
      origin: ownOrigin,
      recipients: distinctRecipients(envelope.recipients),
      start: "active" as const,
    }));
    const raw = drafts.map(
      (draft): RawNewMessage => ({
        ...draft,
        envelope: envelopeText(draft.envelope),
        origin: JSON.stringify(draft.origin),
        recipients: draft.recipients.map(rawRecipient),
        lane: laneOf(senderKey(draft.envelope, ownOrigin)),
        streamed: 0,
      }),
    );
    this.#collectWhenQuiet();
    // On a full disk the result counts, not what was said.
    const dialogue = this.unavailable() === undefined ? options.dialogue?.slice(0, LONGEST_DIALOGUE) : undefined;
    const { found, expanded } = await this.#link.call(
      "settle",
      { id, nowMs, settlements: settlements.map(rawSettlement), reports: raw, dialogue },
      reports.map(({ content }) => content),
    );
    const stored = [
      ...(found ? drafts.map(storedMessage) : []),
      ...(expanded === undefined ? [] : [queuedMessage(expanded)]),
    ];
    this.#onSettled?.(id, settlements, stored);
    return stored;
  }

  async summary(nowMs: number): Promise<QueueSummary> {
    const { totals, oldestMs } = await this.#link.call("summary", {});
    const { recipients, bytes, ...messages } = totals;
    return { messages, recipients, bytes, oldestMs: oldestMs === undefined ? 0 : Math.max(0, nowMs - oldestMs) };
  }

  async list(options: { readonly limit: number; readonly after?: QueueId }): Promise<readonly QueuedMessage[]> {
    const limit = Math.min(MOST_LISTED, Math.max(0, Math.floor(options.limit)));
    return (await this.#link.call("list", { limit, after: options.after ?? "" })).map(queuedMessage);
  }

  async get(id: QueueId): Promise<QueuedMessage | undefined> {
    const raw = await this.#link.call("get", { id });
    return raw === undefined ? undefined : queuedMessage(raw);
  }

  hold(id: QueueId): Promise<boolean> {
    this.#fresh.forget(id);
    return this.#link.call("hold", { id });
  }

  release(id: QueueId, dueMs: number): Promise<boolean> {
    return this.#link.call("release", { id, dueMs });
  }

  remove(id: QueueId): Promise<boolean> {
    this.#fresh.forget(id);
    return this.#link.call("remove", { id });
  }

  flush(nowMs: number): Promise<number> {
    return this.#link.call("flush", { nowMs });
  }

  async scan(options: Parameters<QueueTools["scan"]>[0]): Promise<QueuePage> {
    const limit = Math.min(MOST_LISTED, Math.max(1, Math.floor(options.limit)));
    const page = await this.#link.call("scan", { ...options, limit, after: options.after ?? "" });
    return { ...page, messages: page.messages.map(queuedMessage) };
  }

  shape(options: Parameters<QueueTools["shape"]>[0]): Promise<ShapeSlice> {
    return this.#link.call("shape", { ...options, after: options.after ?? "" });
  }

  requeue(id: QueueId, dueMs: number): Promise<boolean> {
    return this.#link.call("requeue", { id, dueMs });
  }

  hasten(id: QueueId, dueMs: number, domain: string | undefined): Promise<number> {
    return this.#link.call("hasten", { id, dueMs, domain });
  }

  /** See `adopt.ts`. */
  adopt(path: string): Promise<number> {
    return this.#link.call("adopt", { path, token: this.#ids.next() });
  }

  /** What the database says is in force. */
  settings(): Promise<ResultOf<"settings">> {
    return this.#link.call("settings", {});
  }

  close(): Promise<void> {
    this.#closing ??= this.#link.close();
    return this.#closing;
  }
}
