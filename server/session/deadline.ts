/**
 * Deadline: until when a client must have said what we wait for.
 *
 * A request (a command, or the whole content of a message) has the idle time, and a second more for every `minDataRate` octets that come, never more ahead than
 * the idle time; so silence and dripping end alike (Postfix: smtpd_per_request_deadline, smtpd_min_data_rate). The clock stands while it is our turn.
 */
export interface Terms {
  readonly idleMs: number;
  /** Octets a second; 0: only silence counts. */
  readonly minDataRate: number;
}

export class Deadline {
  readonly #terms: () => Terms;
  #endsMs: number;
  /** When the request began, or something last came. */
  #lastMs: number;
  /** Since when it is our turn; undefined: the client's. */
  #pausedMs: number | undefined;
  #octets = 0;

  constructor(terms: () => Terms, nowMs: number) {
    this.#terms = terms;
    this.#lastMs = nowMs;
    this.#endsMs = nowMs + terms().idleMs;
  }

  /** The next request begins. */
  begin(nowMs: number): void {
    this.#octets = 0;
    this.#pausedMs = undefined;
    this.#lastMs = nowMs;
    this.#endsMs = nowMs + this.#terms().idleMs;
  }

  heard(octets: number, nowMs: number): void {
    this.#octets += octets;
    this.#lastMs = nowMs;
    const { idleMs, minDataRate } = this.#terms();
    const ahead = nowMs + idleMs;
    this.#endsMs = minDataRate === 0 ? ahead : Math.min(ahead, this.#endsMs + (octets * 1000) / minDataRate);
  }

  /** Our turn. */
  pause(nowMs: number): void {
    this.#pausedMs ??= nowMs;
  }

  /** The client's turn again, in the same request. */
  resume(nowMs: number): void {
    if (this.#pausedMs === undefined) return;
    this.#endsMs += nowMs - this.#pausedMs;
    this.#lastMs = nowMs;
    this.#pausedMs = undefined;
  }

  /** Which of the two it was: said nothing of a request, or did not come to its end. */
  passed(nowMs: number): "silent" | "slow" | undefined {
    if (this.#pausedMs !== undefined) return undefined;
    // The idle time may have become shorter since (stress).
    if (nowMs < Math.min(this.#endsMs, this.#lastMs + this.#terms().idleMs)) return undefined;
    return this.#octets === 0 ? "silent" : "slow";
  }
}
