/**
 * A rate: when the next one may go. A second's worth may go at once, then each at its distance from the one before.
 *
 * Kept as the time at which all that went would have gone evenly (GCRA): nothing to fill, nothing that rounding could wear away. Pure; time is an argument.
 */
import type { Rate } from "../route/resolve.ts";

const burstMs = 1000;

export class TokenBucket {
  readonly #rate: Rate;
  readonly #distanceMs: number;
  /** How far ahead of an even flow it may be. */
  readonly #aheadMs: number;
  #evenMs: number;

  constructor(rate: Rate, nowMs: number) {
    this.#rate = rate;
    this.#distanceMs = rate.perMs / rate.messages;
    this.#aheadMs = Math.max(0, burstMs - this.#distanceMs);
    this.#evenMs = nowMs;
  }

  isFor({ messages, perMs }: Rate): boolean {
    return messages === this.#rate.messages && perMs === this.#rate.perMs;
  }

  /** How long until the next may go; 0: now. */
  waitMs(nowMs: number): number {
    const waitMs = Math.ceil(this.#evenMs - this.#aheadMs - nowMs);
    // More than one distance can only be a clock that went back.
    if (waitMs > this.#distanceMs + 1) this.#evenMs = nowMs + this.#aheadMs + this.#distanceMs;
    return Math.max(0, Math.min(waitMs, Math.ceil(this.#distanceMs)));
  }

  take(nowMs: number): void {
    this.#evenMs = Math.max(this.#evenMs, nowMs) + this.#distanceMs;
  }
}
