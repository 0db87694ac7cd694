/**
 * Look-ups of a running server: those of the configuration of the moment.
 *
 * Kept by the shard beside its configuration. A change takes over the sources that stay the same, with their connections; the others are closed once the questions
 * that were under way have had their time.
 */
import type { Log } from "../observe/log.ts";
import { createLookups, type LookupConfig, type Lookups } from "./lookups.ts";

/** No question takes longer: the timeout of a source is at most a few of its own, one after another. */
const OLD_QUESTIONS_MS = 60_000;

export class LiveLookups {
  readonly #log: Log;
  readonly #closing = new Map<Lookups, NodeJS.Timeout>();
  #current: Lookups;

  constructor(config: LookupConfig, log: Log) {
    this.#log = log;
    this.#current = createLookups(config, log);
  }

  get current(): Lookups {
    return this.#current;
  }

  /** The configuration has changed. */
  apply(config: LookupConfig): void {
    const old = this.#current;
    this.#current = createLookups(config, this.#log, old);
    const close = (): void => {
      this.#closing.delete(old);
      void old.close();
    };
    this.#closing.set(old, setTimeout(close, OLD_QUESTIONS_MS).unref());
  }

  async close(): Promise<void> {
    for (const timer of this.#closing.values()) clearTimeout(timer);
    await Promise.all([this.#current, ...this.#closing.keys()].map((each) => each.close()));
  }
}
