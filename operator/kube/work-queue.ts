/**
 * Which keys still need a reconcile, and who is at it. Between the reflectors' handlers, which add keys, and the reconciler, which is told one.
 *
 *   add ──▶ waiting ──worker──▶ running ──done──▶ gone        add while waiting: nothing; add while running: dirty,
 *             ▲                    │ └─ dirty ─▶ waiting      so it runs once more afterwards, however often it was added
 *             └──────── due ◀──────┴─ failed (back-off per key) or "again in n ms"
 *
 * Promises: a key never runs twice at the same time; no add is lost; a key that keeps failing waits longer each time and holds up no other.
 * `add` overrules a waiting back-off: something changed, so it is worth a try. Fails never: a throw is logged, counted and tried again.
 */
import { backoffMs, type Clock, systemClock } from "./clock.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";

/** What a finished run asks for: nothing, or to be run again without being a failure. */
export type Outcome = void | { readonly againInMs: number };

export interface WorkQueueOptions {
  /** Label of its metrics. */
  readonly name: string;
  readonly work: (key: string, signal: AbortSignal) => Promise<Outcome>;
  readonly log: Log;
  readonly workers?: number;
  readonly clock?: Clock;
  readonly metrics?: Metrics | undefined;
  readonly baseBackoffMs?: number;
  readonly maxBackoffMs?: number;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #clock: Clock;
  readonly #waiting = new Set<string>();
  readonly #running = new Set<string>();
  readonly #dirty = new Set<string>();
  readonly #due = new Map<string, { readonly at: number; readonly cancel: () => void }>();
  readonly #failures = new Map<string, number>();
  readonly #stopping = new AbortController();
  #started = false;
  #drained: PromiseWithResolvers<void> | undefined;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Keys added before `start` wait for it. */
  start(): void {
    this.#started = true;
    this.#dispatch();
  }

  add(key: string): void {
    if (this.#stopping.signal.aborted) return;
    this.#cancelDue(key);
    if (this.#running.has(key)) this.#dirty.add(key);
    else this.#waiting.add(key);
    this.#measure();
    this.#dispatch();
  }

  /** The earlier of two times wins; a key that already waits for a worker is left where it is. */
  addAfter(key: string, delayMs: number): void {
    if (delayMs <= 0) return this.add(key);
    if (this.#stopping.signal.aborted || this.#waiting.has(key) || this.#dirty.has(key)) return;
    const at = this.#clock.now() + delayMs;
    const planned = this.#due.get(key);
    if (planned !== undefined && planned.at <= at) return;
    planned?.cancel();
    this.#due.set(key, { at, cancel: this.#clock.after(delayMs, () => this.add(key)) });
  }

  /** Forgets the failures of a key: its next failure waits the base time again. A success does this by itself. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** Keys that wait for a worker; those that wait for their time are not counted. */
  get depth(): number {
    return this.#waiting.size + this.#dirty.size;
  }

  failuresOf(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** Takes no more keys, lets the running ones end (their signal is aborted), and resolves when none runs. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const { cancel } of this.#due.values()) cancel();
    this.#due.clear();
    this.#waiting.clear();
    this.#dirty.clear();
    this.#measure();
    if (this.#running.size === 0) return;
    this.#drained ??= Promise.withResolvers<void>();
    await this.#drained.promise;
  }

  #dispatch(): void {
    const workers = this.#options.workers ?? 1;
    while (this.#started && this.#running.size < workers && !this.#stopping.signal.aborted) {
      const next = this.#waiting.values().next();
      if (next.done) return;
      this.#waiting.delete(next.value);
      this.#running.add(next.value);
      void this.#run(next.value);
    }
  }

  async #run(key: string): Promise<void> {
    const { name, work, log, metrics } = this.#options;
    const started = this.#clock.now();
    this.#measure();
    try {
      const outcome = await work(key, this.#stopping.signal);
      this.forget(key);
      metrics?.reconciles.inc({ queue: name, result: "done" });
      if (outcome !== undefined) this.addAfter(key, outcome.againInMs);
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#failed(key, error);
      else log.debug({ queue: name, key, error: String(error) }, "given up at stop");
    } finally {
      metrics?.reconcileSeconds.observe({ queue: name }, (this.#clock.now() - started) / 1000);
      this.#running.delete(key);
      if (this.#dirty.delete(key)) this.#waiting.add(key);
      this.#measure();
      this.#dispatch();
      if (this.#running.size === 0) this.#drained?.resolve();
    }
  }

  #failed(key: string, error: unknown): void {
    const { name, log, metrics, baseBackoffMs = 200, maxBackoffMs = 120_000 } = this.#options;
    const failures = this.failuresOf(key) + 1;
    const waitMs = backoffMs(failures, baseBackoffMs, maxBackoffMs);
    this.#failures.set(key, failures);
    metrics?.reconciles.inc({ queue: name, result: "failed" });
    metrics?.queueRetries.inc({ queue: name });
    log.warn(
      { queue: name, key, failures, waitMs, error: error instanceof Error ? error.message : String(error) },
      "reconcile failed",
    );
    this.addAfter(key, waitMs);
  }

  #cancelDue(key: string): void {
    this.#due.get(key)?.cancel();
    this.#due.delete(key);
  }

  #measure(): void {
    this.#options.metrics?.queueDepth.set({ queue: this.#options.name }, this.depth);
  }
}
