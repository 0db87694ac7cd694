/**
 * A destination as the scheduler sees it: how much it can take, how fast, whether it answers at all.
 *
 * Owned by `scheduler.ts`. The window begins at five, grows by one for each full window of successes up to its limit, and shrinks by one for each failure.
 * Failures that make up a whole window without anything good in between, or one to a destination that never answered, leave it alone until
 * `deadUntilMs`: what is due meanwhile is deferred with the reply it gave, without dialling. Then one delivery probes it; what comes of that opens the
 * window again, or the pause begins anew. One that hangs gets nothing more until something under way has ended. A tenth of the limit is kept for senders who have nothing under way here. Pure state, no I/O.
 */
import type { Reply } from "../reply.ts";
import type { Rate } from "../route/resolve.ts";
import type { Answer } from "./rounds.ts";
import { TokenBucket } from "./token-bucket.ts";
import type { Feedback } from "./trouble.ts";

/** Postfix's initial_destination_concurrency. */
const firstWindow = 5;
/** Of the limit, for those who have nothing under way: one in so many. */
const newcomersShare = 10;

export interface Shape {
  /** Deliveries at once. */
  readonly limit: number;
  readonly rate?: Rate;
}

export class Destination {
  readonly key: string;
  active = 0;
  /** Of those, the deliveries that have taken long already. */
  slow = 0;
  idleSinceMs: number;
  lastStartMs: number;
  deadUntilMs = 0;
  #pauseMs = 0;
  deadReply: Reply | undefined;
  #limit: number;
  #bucket: TokenBucket | undefined;
  #window: number;
  #failedCohorts = 0;
  /** It answered since it was first tried or last given up. */
  #answers = false;
  /** It was given up, and nothing has come through since. */
  #probing = false;
  readonly #activeOf = new Map<string, number>();

  constructor(key: string, shape: Shape, nowMs: number) {
    this.key = key;
    this.idleSinceMs = nowMs;
    this.lastStartMs = nowMs;
    this.#limit = shape.limit;
    this.#window = Math.min(firstWindow, shape.limit);
    this.reshape(shape, nowMs);
  }

  reshape({ limit, rate }: Shape, nowMs: number): void {
    this.#limit = limit;
    if (rate === undefined) this.#bucket = undefined;
    else if (this.#bucket?.isFor(rate) !== true) this.#bucket = new TokenBucket(rate, nowMs);
  }

  get window(): number {
    return this.#probing ? 1 : Math.max(1, Math.floor(Math.min(this.#window, this.#limit)));
  }

  /** What is under way takes long, and nothing says that more would do better. */
  get hangs(): boolean {
    return this.slow > 0 && (!this.#answers || this.slow >= this.window / 2);
  }

  /** There is room in the window, and the rate lets one more go. */
  takesMore(nowMs: number): boolean {
    return this.active < this.window && !this.hangs && this.rateWaitMs(nowMs) === 0;
  }

  get #reserved(): number {
    return Math.floor(this.#limit / newcomersShare);
  }

  /** Beyond the window, for newcomers; none where the destination shows trouble. */
  get #headroom(): number {
    return this.window < firstWindow ? 0 : Math.max(0, Math.min(this.#reserved, this.#limit - this.window));
  }

  isDead(nowMs: number): boolean {
    // Longer than the pause itself can only be a clock that went back.
    return this.deadUntilMs > nowMs && this.deadUntilMs - nowMs <= this.#pauseMs;
  }

  /** Who stands in the way of one more delivery for this sender. */
  mayStart(sender: string, nowMs: number, isExempt: boolean): Answer {
    const own = this.#activeOf.get(sender) ?? 0;
    if (this.active >= this.window + (own === 0 ? this.#headroom : 0)) return "destination";
    if (this.hangs) return "destination";
    if (!isExempt && this.rateWaitMs(nowMs) > 0) return "destination";
    return own > 0 && own >= this.#limit - this.#reserved ? "share" : "yes";
  }

  /** When the rate lets the next one go; 0: now. */
  rateWaitMs(nowMs: number): number {
    return this.#bucket?.waitMs(nowMs) ?? 0;
  }

  start(sender: string, nowMs: number, isExempt: boolean): void {
    if (!isExempt) this.#bucket?.take(nowMs);
    this.active += 1;
    this.lastStartMs = nowMs;
    this.#activeOf.set(sender, (this.#activeOf.get(sender) ?? 0) + 1);
  }

  end(sender: string, nowMs: number): void {
    this.active -= 1;
    this.idleSinceMs = nowMs;
    const left = (this.#activeOf.get(sender) ?? 1) - 1;
    if (left > 0) this.#activeOf.set(sender, left);
    else this.#activeOf.delete(sender);
  }

  revive(): void {
    this.deadUntilMs = 0;
    this.#failedCohorts = 0;
  }

  learn(feedback: Feedback, reply: Reply | undefined, nowMs: number, pauseMs: number): void {
    if (feedback.kind !== "bad") {
      // Whatever it said about one message: it answers.
      if (this.#probing) this.#window = Math.min(firstWindow, this.#limit);
      this.#probing = false;
      this.#answers = true;
      this.#failedCohorts = 0;
      this.deadUntilMs = 0;
      if (feedback.kind === "good") this.#window = Math.min(this.#limit, this.#window + 1 / this.#window);
      return;
    }
    // The others that were under way when it was given up.
    if (this.isDead(nowMs)) return;
    this.#failedCohorts += this.#probing || (feedback.unreachable && !this.#answers) ? 1 : 1 / this.window;
    this.#window = Math.max(1, this.#window - 1);
    if (this.#failedCohorts >= 1) {
      this.deadUntilMs = nowMs + pauseMs;
      this.#pauseMs = pauseMs;
      this.deadReply = reply;
      this.#failedCohorts = 0;
      this.#answers = false;
      this.#probing = true;
    }
  }
}
