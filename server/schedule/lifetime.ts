/**
 * The life of a message: when waiting has been long enough, whatever the clock says.
 *
 * Asked for each recipient that could not be delivered; pure. Age alone is not trusted: a clock set ten years ahead would make the whole queue bounce at its
 * next attempt, a clock set back would keep mail for ten years. So mail ends when its lifetime is over and it has been tried for a good part of it, counted
 * in attempts; and where the clock makes no sense (received in the future), by attempts alone. RFC 5321 §4.5.4.1 (give-up time).
 */
import type { QueueSettings } from "../config/schema.ts";

export interface Age {
  readonly receivedMs: number;
  readonly nowMs: number;
  /** Attempts begun, this one included. */
  readonly attempts: number;
}

/** A clock may be set by this much, and two of them differ by it, without anything being wrong. */
const TOLERANCE_MS = 3_600_000;
/** Of the attempts that a whole lifetime has. */
const FAIR_SHARE = 0.5;

export const lifetimeMs = (settings: QueueSettings, sender: string): number =>
  sender === "" ? settings.bounceLifetimeMs : settings.lifetimeMs;

/** How often mail is tried within `lifeMs`, by the doubling of backoff.ts. */
export function attemptsWithin({ minBackoffMs, maxBackoffMs }: QueueSettings, lifeMs: number): number {
  let attempts = 1;
  let pauseMs = Math.max(1, minBackoffMs);
  const longestMs = Math.max(maxBackoffMs, pauseMs);
  let atMs = pauseMs;
  while (atMs <= lifeMs && pauseMs < longestMs) {
    attempts += 1;
    pauseMs = Math.min(2 * pauseMs, longestMs);
    atMs += pauseMs;
  }
  return atMs > lifeMs ? attempts : attempts + Math.floor((lifeMs - atMs) / longestMs) + 1;
}

export function isExpired(settings: QueueSettings, lifeMs: number, { receivedMs, nowMs, attempts }: Age): boolean {
  const usual = attemptsWithin(settings, lifeMs);
  if (receivedMs > nowMs + TOLERANCE_MS) return attempts >= usual;
  return nowMs >= receivedMs + lifeMs && attempts >= Math.floor(usual * FAIR_SHARE);
}
