/**
 * When to try again: doubling from minBackoff to maxBackoff, up to a tenth later, never past the end of the message's life.
 *
 * Asked once for each deferred recipient; pure. The last attempt falls on the instant the lifetime ends, so that a bounce is neither early nor
 * hours late. The tenth spreads what failed together. RFC 5321 §4.5.4.1.
 */
import type { QueueSettings } from "../config/schema.ts";

export interface Waiting {
  /** Attempts begun, this one included. */
  readonly attempts: number;
  readonly nowMs: number;
  /** receivedMs + lifetime. */
  readonly giveUpMs: number;
  /** 0 to 1. */
  readonly random: number;
}

export function nextAttemptMs(settings: QueueSettings, { attempts, nowMs, giveUpMs, random }: Waiting): number {
  const doublings = Math.min(Math.max(attempts - 1, 0), 40);
  const pause = Math.min(
    settings.minBackoffMs * 2 ** doublings,
    Math.max(settings.maxBackoffMs, settings.minBackoffMs),
  );
  const due = Math.ceil(nowMs + pause * (1 + 0.1 * random));
  return giveUpMs > nowMs ? Math.min(due, giveUpMs) : due;
}
