/**
 * Fresh content: the octets of messages that have just been committed and claimed, so that their first delivery need not read them back.
 *
 * Between the writer and `read`. A shortcut only: what is not here any more is read from the database, and everything here is on stable storage
 * already. Bounded: the oldest goes when a new one does not fit; a message goes with its first settlement. Its memory is given back when it has gone and
 * every reader has said that it is done; a reader that never says so leaves it to the collector. Main thread, no I/O, cannot fail.
 */
import { giveBack } from "../octets.ts";
import type { QueueId } from "./queue.ts";

class FreshMessage {
  readonly pieces: readonly Buffer[];
  readonly size: number;
  #readers = 0;
  #isForgotten = false;

  constructor(pieces: readonly Buffer[], size: number) {
    this.pieces = pieces;
    this.size = size;
  }

  open(): FreshReading {
    this.#readers += 1;
    let isDone = false;
    return {
      pieces: this.pieces,
      size: this.size,
      done: () => {
        if (isDone) return;
        isDone = true;
        this.#readers -= 1;
        this.#giveBackIfUnused();
      },
    };
  }

  forget(): void {
    this.#isForgotten = true;
    this.#giveBackIfUnused();
  }

  #giveBackIfUnused(): void {
    if (this.#isForgotten && this.#readers === 0) for (const piece of this.pieces) giveBack(piece);
  }
}

export interface FreshReading {
  readonly pieces: readonly Buffer[];
  /** Octets of all. */
  readonly size: number;
  /** Nothing refers to the pieces any more, no write either that the system has not finished. */
  done(): void;
}

export class FreshContent {
  readonly #most: number;
  readonly #messages = new Map<QueueId, FreshMessage>();
  #bytes = 0;

  constructor(mostBytes: number) {
    this.#most = mostBytes;
  }

  /** `pieces` are the queue's own (MessageWriter.write copies). */
  keep(id: QueueId, pieces: readonly Buffer[], size: number): void {
    if (size > this.#most) return;
    for (const oldest of this.#messages.keys()) {
      if (this.#bytes + size <= this.#most) break;
      this.forget(oldest);
    }
    this.#messages.set(id, new FreshMessage(pieces, size));
    this.#bytes += size;
  }

  get isEmpty(): boolean {
    return this.#messages.size === 0;
  }

  open(id: QueueId): FreshReading | undefined {
    return this.#messages.get(id)?.open();
  }

  forget(id: QueueId): void {
    const message = this.#messages.get(id);
    if (message === undefined) return;
    this.#messages.delete(id);
    this.#bytes -= message.size;
    message.forget();
  }
}
