/**
 * Holdings: what one shard asks of the pod's shared state, and what it holds of it.
 *
 * Stands in the primary, one for each life of a shard, behind the calls acquire, release, add, remember and recall. A shard that dies gives everything back, also a
 * place that is granted while it dies; a shard cannot give back what it does not hold.
 */
import type { Handler } from "../ipc.ts";
import type { SharedState } from "../session/shared-state.ts";

export class Holdings {
  readonly #state: SharedState;
  readonly #held = new Map<string, number>();
  #ended = false;

  constructor(state: SharedState) {
    this.#state = state;
  }

  get handlers(): Readonly<Record<"acquire" | "release" | "add" | "remember" | "recall", Handler>> {
    return {
      acquire: (request: { key: string; limit: number }) => this.#acquire(request.key, request.limit),
      release: (request: { key: string }) => this.#release(request.key),
      add: (request: { key: string; amount: number; windowMs: number }) =>
        this.#state.add(request.key, request.amount, request.windowMs),
      remember: (request: { key: string; value: string; ttlMs: number }) =>
        this.#state.remember(request.key, request.value, request.ttlMs),
      recall: async (request: { key: string }) => (await this.#state.recall(request.key)) ?? null,
    };
  }

  async #acquire(key: string, limit: number): Promise<boolean> {
    const acquired = await this.#state.acquire(key, limit);
    if (!acquired) return false;
    if (this.#ended) {
      await this.#state.release(key);
      return false;
    }
    this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    return true;
  }

  async #release(key: string): Promise<void> {
    const count = this.#held.get(key) ?? 0;
    if (count === 0) return;
    if (count === 1) this.#held.delete(key);
    else this.#held.set(key, count - 1);
    await this.#state.release(key);
  }

  /** The shard is gone: what it held is nobody's now. */
  giveBack(): void {
    this.#ended = true;
    for (const [key, count] of this.#held)
      for (let place = 0; place < count; place++) void this.#state.release(key).catch(() => undefined);
    this.#held.clear();
  }
}
