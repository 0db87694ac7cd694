/**
 * When shards become fewer: a shard takes over the queue of one that is no more.
 *
 * Promises that a crash at any point neither loses nor repeats a message (how: `adoption.ts`); what was in flight there is due now. Rejects with a
 * sentence while a live process has the orphan open, or when it cannot be read; it is left as it is then. No such file: nothing to do.
 */
import type { SqliteQueue } from "./sqlite-queue.ts";

/** Resolves to how many messages were taken over, when they are on stable storage here and the orphan is deleted. */
export function adoptSpool(queue: SqliteQueue, orphanPath: string): Promise<number> {
  return queue.adopt(orphanPath);
}
