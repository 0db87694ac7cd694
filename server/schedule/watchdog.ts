/**
 * The watchdog: what is under way, since when, and what is done about it when it takes longer than it ever should.
 *
 * Owned by `scheduler.ts`, which begins a watch for every step that waits for something (a delivery, a settlement, a claim) and looks once a second.
 * Time limits within the steps are the rule; this is for the day one of them fails. Each case is logged with what and since when, counted in
 * packetboat_scheduler_stalled while it lasts, and healed by what its watch brought along. Time is monotonic: a clock that jumps stalls nothing.
 */
import type { Log } from "../observe/log.ts";
import { schedulerStalled } from "../observe/metrics.ts";

export const stallKinds = ["delivery", "settlement", "claim", "poll", "waiting", "lost"] as const;
export type StallKind = (typeof stallKinds)[number];

export interface Watch {
  readonly kind: StallKind;
  /** What exactly, for the log. */
  readonly about: Readonly<Record<string, unknown>>;
  /** Longer than this is a fault. */
  readonly mostMs: number;
  /** Called at the first look after that, and again after every further `mostMs`. */
  readonly heal?: (stalledMs: number) => void;
}

interface Watched extends Watch {
  readonly sinceMs: number;
  healedMs: number | undefined;
}

export class Watchdog {
  readonly #log: Log;
  readonly #elapsedMs: () => number;
  readonly #watched = new Set<Watched>();
  /** Stalls that are found by looking, not by waiting. */
  readonly #found = new Map<StallKind, number>();

  constructor(log: Log, elapsedMs: () => number) {
    this.#log = log;
    this.#elapsedMs = elapsedMs;
  }

  /** Returns its end. */
  begin(watch: Watch): () => void {
    const watched: Watched = { ...watch, sinceMs: this.#elapsedMs(), healedMs: undefined };
    this.#watched.add(watched);
    return () => {
      if (!this.#watched.delete(watched) || watched.healedMs === undefined) return;
      this.#log.info({ event: "stall-ended", what: watch.kind, ...watch.about, ms: this.#age(watched) });
    };
  }

  /** The oldest of a kind that is under way. */
  oldestMs(kind: StallKind): number {
    let oldest = 0;
    for (const watched of this.#watched) if (watched.kind === kind) oldest = Math.max(oldest, this.#age(watched));
    return oldest;
  }

  found(kind: StallKind, count: number): void {
    this.#found.set(kind, count);
  }

  look(): void {
    const nowMs = this.#elapsedMs();
    const counts = new Map<StallKind, number>(this.#found);
    for (const watched of this.#watched) {
      const age = nowMs - watched.sinceMs;
      if (age <= watched.mostMs) continue;
      counts.set(watched.kind, (counts.get(watched.kind) ?? 0) + 1);
      if (watched.healedMs !== undefined && nowMs - watched.healedMs <= watched.mostMs) continue;
      watched.healedMs = nowMs;
      this.#log.error({ event: "stalled", what: watched.kind, ...watched.about, since: age / 1000 });
      watched.heal?.(age);
    }
    for (const kind of stallKinds) schedulerStalled.set({ what: kind }, counts.get(kind) ?? 0);
  }

  #age(watched: Watched): number {
    return this.#elapsedMs() - watched.sinceMs;
  }
}
