/**
 * Time as a value that can be handed in: a clock that only runs forward, the calendar, and timers.
 *
 * Everything in the runtime that waits does so through this, so its tests move the hands (`manual-clock.ts`) instead of sleeping.
 * `now` is for durations and never for calendar dates; `wall` is for what is written into objects and never for deciding who may write.
 */
import { performance } from "node:perf_hooks";

export interface Clock {
  /** Milliseconds of a clock that no one sets back. */
  now(): number;
  /** Milliseconds since 1970, as the machine believes. */
  wall(): number;
  /** Calls `fire` once after `delayMs`; the result cancels. */
  after(delayMs: number, fire: () => void): () => void;
}

/** Beyond this setTimeout fires at once (31 bits). */
const longestTimerMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(delayMs, fire) {
    const timer = setTimeout(fire, Math.min(Math.max(0, delayMs), longestTimerMs));
    return () => clearTimeout(timer);
  },
};

/** Resolves after `delayMs`, or as soon as `signal` aborts; never rejects. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal?.aborted) return Promise.resolve();
  const done = () => {
    cancel();
    signal?.removeEventListener("abort", done);
    resolve();
  };
  const cancel = clock.after(delayMs, done);
  signal?.addEventListener("abort", done, { once: true });
  return promise;
}

/** Doubling with a ceiling, before jitter: attempt 1 waits `baseMs`. */
export function backoffMs(attempt: number, baseMs: number, maxMs: number): number {
  return Math.min(maxMs, baseMs * 2 ** Math.min(30, Math.max(0, attempt - 1)));
}

/** RFC 3339 with microseconds, as `MicroTime` fields of Lease and Event demand. */
export function microTime(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.(\d{3})Z$/, ".$1000Z");
}
