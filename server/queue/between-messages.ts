/**
 * Out-of-band collection: the young generation's garbage is taken out between messages, not while somebody waits for a 250.
 *
 * Beside the mail's path, on the main thread of a shard: the queue knows when nothing is in hand. A message leaves about 100 KiB of garbage, so that
 * on a quiet server one in fifty waited a millisecond or more for the collector. Under load there is no such moment, and V8 collects when it must, as
 * ever. Cannot fail; without `--expose-gc` (server/primary.ts) it does nothing.
 */
import { getHeapSpaceStatistics } from "node:v8";

/** Looking takes some microseconds, and the young generation is larger than what so many messages leave behind. */
const LOOK_EVERY = 4;
/** Collecting an almost empty one is wasted: what is alive is copied each time. */
const WORTH_SHARE = 0.3;

export class BetweenMessages {
  readonly #collect: typeof globalThis.gc;
  #calls = 0;

  constructor(collect = globalThis.gc) {
    this.#collect = collect;
  }

  /** Nobody is waiting: a millisecond now harms nobody. */
  quiet(): void {
    const collect = this.#collect;
    this.#calls += 1;
    if (collect === undefined || this.#calls % LOOK_EVERY !== 0) return;
    const young = getHeapSpaceStatistics().find(({ space_name: name }) => name === "new_space");
    if (young === undefined) return;
    const { space_used_size: used, space_available_size: available } = young;
    if (used > WORTH_SHARE * (used + available)) collect({ type: "minor" });
  }
}
