/**
 * A clock that stands still until a test moves it. Timers fire in order of their time, each with the hands at its own moment, and
 * promises settle between two of them, so a chain of waits runs as it would in life.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "./clock.ts";

export class ManualClock implements Clock {
  #now = 0;
  #wallOffset: number;
  readonly #timers = new Set<{ readonly at: number; readonly fire: () => void }>();

  constructor(wallAtStart = Date.UTC(2026, 0, 1)) {
    this.#wallOffset = wallAtStart;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#now + this.#wallOffset;
  }

  after(delayMs: number, fire: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, delayMs), fire };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Somebody sets the calendar; durations are not touched. */
  stepWall(byMs: number): void {
    this.#wallOffset += byMs;
  }

  /** Moves the hands, firing what falls due on the way. */
  async advance(byMs: number): Promise<void> {
    const until = this.#now + byMs;
    for (;;) {
      await nextTurn();
      const due = [...this.#timers].filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.fire();
    }
    this.#now = until;
    await nextTurn();
  }
}
