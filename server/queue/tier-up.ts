/**
 * Tier-up under load: the optimizing compiler of V8 (TurboFan) works while a shard is busy, not while somebody waits alone for a 250.
 *
 * Beside the mail's path, on the main thread of a shard: the queue knows how much is in hand. TurboFan compiles a function that is hot for 5 to 50 ms on a thread
 * of its own, and most of what a message passes through is hot after some thousand messages. Under load that is soon earned back; on a quiet
 * server with two cores it was what the slowest hundredth of all messages waited for, and code of the tier below (Maglev) costs them no more. V8 has a mode made
 * for being turned on and off while it runs: with `battery-saver-mode` nothing new goes to TurboFan, what is compiled stays
 * (docs/decisions/0035). Cannot fail.
 */
import { setFlagsFromString } from "node:v8";

/** Messages that are being received at once. One client after the other never has so many, a flood always has. */
const BUSY_MESSAGES = 4;
/** The pause between two floods' worth of it. */
const BUSY_MS = 100;

export class TierUp {
  readonly #setFlags: (flags: string) => void;
  readonly #now: () => number;
  #busyAtMs = Number.NEGATIVE_INFINITY;
  #isOn = true;

  constructor(setFlags: (flags: string) => void = setFlagsFromString, now: () => number = () => performance.now()) {
    this.#setFlags = setFlags;
    this.#now = now;
  }

  /** A message begins; `inHand`: how many are being received, this one among them. */
  messageBegins(inHand: number): void {
    const now = this.#now();
    if (inHand >= BUSY_MESSAGES) this.#busyAtMs = now;
    const isBusy = now - this.#busyAtMs < BUSY_MS;
    if (isBusy === this.#isOn) return;
    this.#isOn = isBusy;
    this.#setFlags(isBusy ? "--no-battery-saver-mode" : "--battery-saver-mode");
  }
}
