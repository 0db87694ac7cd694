/**
 * Whether the queue takes mail now, and if not, why: asked before MAIL, by readiness and by every call.
 *
 * full: less than minFree is left, or the disk itself said so; looked at again at most once a second while somebody asks, and over by itself.
 * While the reserve of `reserve.ts` is given up, as much again must be free: the space it gave is for settling, not for more mail.
 * failed and closed are final. The reason is in the log once at each change and in `packetboat_queue_unavailable`.
 */
import { statfs } from "node:fs/promises";
import type { Log } from "../observe/log.ts";
import { queueUnavailable } from "../observe/metrics.ts";
import type { Space } from "./protocol.ts";
import { QueueUnavailable } from "./queue.ts";

export type Reason = QueueUnavailable["reason"];

/** How old an answer of the file system may be, and how long a refusal for lack of space lasts. */
const FRESH_MS = 1000;

export class Availability {
  readonly #folder: string;
  readonly #minFreeBytes: () => number;
  readonly #log: Log;
  #final: { readonly reason: "failed" | "closed"; readonly message: string } | undefined;
  /** Of the file system, at the last look. */
  #diskFreeBytes = Number.POSITIVE_INFINITY;
  #space: Space = { innerFreeBytes: 0, missingReserveBytes: 0 };
  #lookedAt = Number.NEGATIVE_INFINITY;
  #refusedUntil = Number.NEGATIVE_INFINITY;
  #isLooking = false;
  #wasFull = false;

  constructor(options: { readonly folder: string; readonly minFreeBytes: () => number; readonly log: Log }) {
    this.#folder = options.folder;
    this.#minFreeBytes = options.minFreeBytes;
    this.#log = options.log;
    queueUnavailable.set({ reason: "full" }, 0);
    queueUnavailable.set({ reason: "failed" }, 0);
  }

  /** Final trouble, if any. Lack of space does not count: it concerns new mail only. */
  get ended(): QueueUnavailable | undefined {
    return this.#final === undefined ? undefined : new QueueUnavailable(this.#final.reason, this.#final.message);
  }

  current(): { readonly reason: Reason; readonly message: string } | undefined {
    if (this.#final !== undefined) return this.#final;
    // Monotonic time: a clock that is set must not make this last.
    const now = performance.now();
    if (now - this.#lookedAt >= FRESH_MS) void this.look();
    const message = this.#whyFull(now);
    this.#noteFull(message);
    return message === undefined ? undefined : { reason: "full", message };
  }

  #whyFull(now: number): string | undefined {
    if (now < this.#refusedUntil) return "no space left for the queue";
    const { innerFreeBytes, missingReserveBytes } = this.#space;
    const freeBytes = this.#diskFreeBytes + innerFreeBytes;
    const minFreeBytes = this.#minFreeBytes() + missingReserveBytes;
    return freeBytes < minFreeBytes
      ? `only ${freeBytes} bytes are free for the queue, less than the ${minFreeBytes} that must be`
      : undefined;
  }

  #noteFull(message: string | undefined): void {
    if ((message !== undefined) === this.#wasFull) return;
    this.#wasFull = message !== undefined;
    queueUnavailable.set({ reason: "full" }, this.#wasFull ? 1 : 0);
    if (this.#wasFull) this.#log.error({ event: "queue-full", why: message });
    else this.#log.info({ event: "queue-no-longer-full" });
  }

  /** Ask the file system, without making anybody wait. */
  async look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const { bavail, bsize } = await statfs(this.#folder);
      this.#diskFreeBytes = bavail * bsize;
    } catch (error) {
      // The commits themselves will tell whether something is wrong with the disk.
      this.#log.warn({ event: "queue-space-unknown", error: String(error) });
    } finally {
      this.#lookedAt = performance.now();
      this.#isLooking = false;
    }
  }

  /** Pages that earlier mail has left within the file: the next mail fills them first. And the state of the reserve. */
  space(space: Space): void {
    this.#space = space;
  }

  /** A commit found no space. */
  refused(): void {
    this.#refusedUntil = performance.now() + FRESH_MS;
    this.current();
  }

  /** The worker has not answered for long, or does again. Not a failure: storage that hangs may come back. */
  stalled(isStalled: boolean, waiting: number, seconds: number): void {
    if (isStalled) this.#log.error({ event: "queue-stalled", waiting, seconds });
    else this.#log.info({ event: "queue-no-longer-stalled" });
  }

  fail(message: string): void {
    if (this.#final !== undefined) return;
    this.#final = { reason: "failed", message: `the queue's storage failed: ${message}` };
    queueUnavailable.set({ reason: "failed" }, 1);
    this.#log.fatal({ event: "queue-failed", why: message });
  }

  close(): void {
    this.#final ??= { reason: "closed", message: "the queue is closed" };
  }
}
