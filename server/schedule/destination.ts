/**
 * A destination as the scheduler sees it: what waits for it, how much it can take, whether it answers at all.
 *
 * Owned by `scheduler.ts`. The window begins small, grows by one for each full window of successes up to its limit, and halves on trouble; a
 * destination that cannot be reached, or fails three times running, is left alone until `deadUntilMs`: what is due meanwhile is deferred with the
 * reply it gave, without dialling. Pure state, no I/O.
 */
import type { Reply } from "../reply.ts";
import type { Feedback } from "./trouble.ts";

/** Postfix's initial_destination_concurrency. */
const firstWindow = 5;
const failuresUntilDead = 3;

export class Destination<Job> {
  readonly key: string;
  readonly waiting: Job[] = [];
  active = 0;
  limit: number;
  deadUntilMs = 0;
  deadReply: Reply | undefined;
  idleSinceMs: number;
  #window: number;
  #failures = 0;

  constructor(key: string, limit: number, nowMs: number) {
    this.key = key;
    this.limit = limit;
    this.idleSinceMs = nowMs;
    this.#window = Math.min(firstWindow, limit);
  }

  get window(): number {
    return Math.max(1, Math.floor(Math.min(this.#window, this.limit)));
  }

  get canStart(): boolean {
    return this.waiting.length > 0 && this.active < this.window;
  }

  isDead(nowMs: number): boolean {
    return this.deadUntilMs > nowMs;
  }

  revive(): void {
    this.deadUntilMs = 0;
    this.#failures = 0;
  }

  learn(feedback: Feedback, reply: Reply | undefined, nowMs: number, pauseMs: number): void {
    switch (feedback.kind) {
      case "good":
        this.#failures = 0;
        this.deadUntilMs = 0;
        this.#window = Math.min(this.limit, this.#window + 1 / this.#window);
        return;
      case "bad":
        this.#failures += 1;
        this.#window = Math.max(1, this.#window / 2);
        if (feedback.unreachable || this.#failures >= failuresUntilDead) {
          this.deadUntilMs = nowMs + pauseMs;
          this.deadReply = reply;
          this.#failures = 0;
        }
        return;
      case "neutral":
        return;
    }
  }
}
