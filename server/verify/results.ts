/**
 * Results of verification: what is known of an address, for how long it is believed, and where it is kept.
 *
 * Between the verifier and SharedState, which all shards see and which outlives each of them. What the shard has just read is at hand in a small memory of its own. That an
 * address exists and that it does not are kept apart, here and there: whoever guesses addresses pushes out only other guesses. State that cannot answer is
 * as good as an empty one; an entry that cannot be read is none. postconf(5) address_verify_map and address_verify_*_time.
 */
import { z } from "zod";
import type { Verification } from "../config/verification.ts";
import type { SharedState } from "../session/shared-state.ts";

/** `down`: nobody could say; remembered for a short time, so that a server that is down is not asked for every client. */
const resultSchema = z.strictObject({
  kind: z.enum(["deliverable", "undeliverable", "down"]),
  atMs: z.int(),
  /** What the other server said, for the log. */
  said: z.string().max(600),
});
export type Result = z.infer<typeof resultSchema>;

/** How long "nobody could say" is believed. */
export const DOWN_MS = 60_000;
const MAX_AT_HAND: Readonly<Record<Result["kind"], number>> = { deliverable: 20_000, undeliverable: 5000, down: 5000 };
const KINDS = ["deliverable", "undeliverable", "down"] as const;

/** Until when it is believed, and from when on it should be asked again. */
export function timesOf(
  result: Result,
  settings: Verification,
): { readonly endsMs: number; readonly refreshMs: number } {
  if (result.kind === "down") return { endsMs: result.atMs + DOWN_MS, refreshMs: Number.POSITIVE_INFINITY };
  const { expireMs, refreshMs } = result.kind === "deliverable" ? settings.positive : settings.negative;
  return { endsMs: result.atMs + expireMs, refreshMs: result.atMs + refreshMs };
}

export class Results {
  readonly #shared: SharedState;
  readonly #now: () => number;
  readonly #atHand: Readonly<Record<Result["kind"], Map<string, Result>>> = {
    deliverable: new Map(),
    undeliverable: new Map(),
    down: new Map(),
  };

  constructor(shared: SharedState, now: () => number) {
    this.#shared = shared;
    this.#now = now;
  }

  /** What is believed of the address now. */
  async get(address: string, settings: Verification): Promise<Result | undefined> {
    const isBelieved = (result: Result | undefined): result is Result =>
      result !== undefined && timesOf(result, settings).endsMs > this.#now();
    const own = KINDS.map((kind) => this.#atHand[kind].get(address)).find(isBelieved);
    if (own !== undefined) return own;
    const shared = (await Promise.all(KINDS.map((kind) => this.#recall(kind, address)))).filter(isBelieved);
    // Two shards may have found different things: the later one counts.
    const latest = shared.toSorted((a, b) => b.atMs - a.atMs)[0];
    if (latest !== undefined) this.#keepAtHand(address, latest);
    return latest;
  }

  async set(address: string, result: Result, settings: Verification): Promise<void> {
    this.#keepAtHand(address, result);
    const ttlMs = timesOf(result, settings).endsMs - this.#now();
    if (ttlMs <= 0) return;
    try {
      await this.#shared.remember(keyOf(result.kind, address), JSON.stringify(result), ttlMs);
    } catch {
      // Kept at hand; the other shards ask for themselves.
    }
  }

  #keepAtHand(address: string, result: Result): void {
    for (const kind of KINDS) this.#atHand[kind].delete(address);
    const kept = this.#atHand[result.kind];
    kept.set(address, result);
    if (kept.size <= MAX_AT_HAND[result.kind]) return;
    const oldest = kept.keys().next();
    if (oldest.done !== true) kept.delete(oldest.value);
  }

  async #recall(kind: Result["kind"], address: string): Promise<Result | undefined> {
    try {
      const text = await this.#shared.recall(keyOf(kind, address));
      return text === undefined ? undefined : resultSchema.safeParse(JSON.parse(text)).data;
    } catch {
      return undefined;
    }
  }
}

/** SharedState bounds each kind of key by itself (what stands before the first colon). */
const keyOf = (kind: Result["kind"], address: string): string => `verify-${kind}:${address}`;
