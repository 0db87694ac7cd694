/**
 * SharedState: the few numbers that all shards of a pod, and where so configured all pods, must see together (connections of a client, rates).
 *
 * A port: in memory here for one process; the primary's (shared/pod-state.ts) adds a Redis-compatible server. Shards reach the primary's through messages, which is why
 * arguments and results are JSON values. Promise: `acquire` never lets a key above its limit; what a lost shard held is given back by whoever owns the state.
 * An implementation that cannot answer rejects; callers then let the client in (a broken counter must not stop mail).
 */
export interface SharedState {
  /** Take one of `limit` places of the key; false when all are taken. Each true is owed one release. */
  acquire(key: string, limit: number): Promise<boolean>;
  release(key: string): Promise<void>;
  /** Count `amount` against the key in a fixed window and tell the total of that window. */
  add(key: string, amount: number, windowMs: number): Promise<number>;
  /** Keep a short text for some time; what was under the key is replaced. May be forgotten earlier. */
  remember(key: string, value: string, ttlMs: number): Promise<void>;
  /** What `remember` kept, while its time lasts. */
  recall(key: string): Promise<string | undefined>;
}

/** Windows remembered at most; the oldest is forgotten beyond it, so that strangers cannot grow the map. */
const MAX_WINDOWS = 100_000;
/** Texts kept of each kind (what stands before the first colon of a key): a flood of one kind must not push out the others. */
const MAX_KEPT = 100_000;

export class MemorySharedState implements SharedState {
  readonly #held = new Map<string, number>();
  readonly #windows = new Map<string, { endsMs: number; total: number }>();
  readonly #kept = new Map<string, Map<string, { readonly endsMs: number; readonly value: string }>>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  async acquire(key: string, limit: number): Promise<boolean> {
    const held = this.#held.get(key) ?? 0;
    if (held >= limit) return false;
    this.#held.set(key, held + 1);
    return true;
  }

  async release(key: string): Promise<void> {
    const held = this.#held.get(key) ?? 0;
    // At zero the key goes, so the map holds live clients only.
    if (held <= 1) this.#held.delete(key);
    else this.#held.set(key, held - 1);
  }

  /** Places of this key that are taken. */
  held(key: string): number {
    return this.#held.get(key) ?? 0;
  }

  heldKeys(): string[] {
    return [...this.#held.keys()];
  }

  async add(key: string, amount: number, windowMs: number): Promise<number> {
    const now = this.#now();
    let window = this.#windows.get(key);
    if (window === undefined || window.endsMs <= now) {
      this.#windows.delete(key);
      window = { endsMs: now + windowMs, total: 0 };
      this.#windows.set(key, window);
      if (this.#windows.size > MAX_WINDOWS) {
        const oldest = this.#windows.keys().next();
        if (oldest.done !== true) this.#windows.delete(oldest.value);
      }
    }
    window.total += amount;
    return window.total;
  }

  async remember(key: string, value: string, ttlMs: number): Promise<void> {
    const kept = this.#keptLike(key);
    // Behind the others: the oldest goes first.
    kept.delete(key);
    kept.set(key, { endsMs: this.#now() + ttlMs, value });
    if (kept.size > MAX_KEPT) {
      const oldest = kept.keys().next();
      if (oldest.done !== true) kept.delete(oldest.value);
    }
  }

  async recall(key: string): Promise<string | undefined> {
    const kept = this.#keptLike(key);
    const known = kept.get(key);
    if (known === undefined) return undefined;
    if (known.endsMs > this.#now()) return known.value;
    kept.delete(key);
    return undefined;
  }

  #keptLike(key: string): Map<string, { readonly endsMs: number; readonly value: string }> {
    const kind = key.slice(0, key.indexOf(":") + 1);
    const known = this.#kept.get(kind) ?? new Map<string, { endsMs: number; value: string }>();
    this.#kept.set(kind, known);
    return known;
  }
}
