/**
 * Fresh content: the octets of messages that have just been committed and claimed, so that their first delivery need not read them back.
 *
 * Between the writer and `read`. A shortcut only: what is not here any more is read from the database, and everything here is on stable storage
 * already. Bounded: the oldest goes when a new one does not fit; a message goes with its first settlement. Main thread, no I/O, cannot fail.
 */
import type { QueueId } from "./queue.ts";

export class FreshContent {
  readonly #most: number;
  readonly #messages = new Map<QueueId, { readonly pieces: readonly Buffer[]; readonly size: number }>();
  #bytes = 0;

  constructor(mostBytes: number) {
    this.#most = mostBytes;
  }

  /** `pieces` are never changed by whoever wrote them (MessageWriter.write). */
  keep(id: QueueId, pieces: readonly Buffer[], size: number): void {
    if (size > this.#most) return;
    for (const oldest of this.#messages.keys()) {
      if (this.#bytes + size <= this.#most) break;
      this.forget(oldest);
    }
    this.#messages.set(id, { pieces, size });
    this.#bytes += size;
  }

  get isEmpty(): boolean {
    return this.#messages.size === 0;
  }

  get(id: QueueId): readonly Buffer[] | undefined {
    return this.#messages.get(id)?.pieces;
  }

  forget(id: QueueId): void {
    const message = this.#messages.get(id);
    if (message === undefined) return;
    this.#messages.delete(id);
    this.#bytes -= message.size;
  }
}
