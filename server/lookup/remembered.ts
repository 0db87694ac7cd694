/**
 * Remembered answers: a bounded cache with a short life before a source, and one question for all who ask the same at once.
 *
 * Wraps a Lookup that asks over the network. Least recently used goes first. Failures are never remembered, so the first question after an outage reaches the source;
 * nor are values that would make a few entries large. With `entries: 0` only the sharing of equal questions is left.
 */
import type { Lookup, LookupKey } from "./lookup.ts";

/** Characters of one answer; more is asked again every time. */
const MAX_REMEMBERED = 8192;

export interface CacheOptions {
  readonly entries: number;
  readonly ttlMs: number;
  readonly negativeTtlMs: number;
}
interface Entry {
  readonly values: readonly string[] | undefined;
  readonly untilMs: number;
}

export class Remembered implements Lookup {
  readonly name: string;
  readonly wholeKeyOnly: boolean;
  readonly #source: Lookup;
  readonly #options: CacheOptions;
  readonly #nowMs: () => number;
  readonly #entries = new Map<LookupKey, Entry>();
  readonly #underWay = new Map<LookupKey, Promise<readonly string[] | undefined>>();

  constructor(source: Lookup, options: CacheOptions, nowMs: () => number = () => performance.now()) {
    this.name = source.name;
    this.wholeKeyOnly = source.wholeKeyOnly;
    this.#source = source;
    this.#options = options;
    this.#nowMs = nowMs;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: LookupKey): Promise<readonly string[] | undefined> {
    const known = this.#entries.get(key);
    if (known !== undefined) {
      this.#entries.delete(key);
      if (known.untilMs > this.#nowMs()) {
        this.#entries.set(key, known);
        return Promise.resolve(known.values);
      }
    }
    let answer = this.#underWay.get(key);
    if (answer === undefined) {
      answer = this.#ask(key);
      this.#underWay.set(key, answer);
    }
    return answer;
  }

  async #ask(key: LookupKey): Promise<readonly string[] | undefined> {
    try {
      const values = await this.#source.get(key);
      this.#remember(key, values);
      return values;
    } finally {
      this.#underWay.delete(key);
    }
  }

  #remember(key: LookupKey, values: readonly string[] | undefined): void {
    const { entries, ttlMs, negativeTtlMs } = this.#options;
    const lifeMs = values === undefined ? negativeTtlMs : ttlMs;
    const size = key.length + (values?.reduce((sum, value) => sum + value.length + 16, 0) ?? 0);
    if (entries === 0 || lifeMs === 0 || size > MAX_REMEMBERED) return;
    this.#entries.delete(key);
    this.#entries.set(key, { values, untilMs: this.#nowMs() + lifeMs });
    while (this.#entries.size > entries) {
      const oldest = this.#entries.keys().next().value;
      if (oldest === undefined) return;
      this.#entries.delete(oldest);
    }
  }
}
