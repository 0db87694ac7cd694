/**
 * Queue ids: sixteen characters of `[0-9A-Za-z]` that sort by time and are never given twice.
 *
 * Layout, base 62 in ASCII order (`0-9A-Za-z`), so that sorting the text sorts the numbers:
 *
 *   TTTTTTT  milliseconds since 1970 (enough until the year 2081)
 *   PPPPPP   the process: 35 random bits, drawn anew whenever a queue is opened
 *   CCC      counter within the millisecond
 *
 * Two processes collide only when they drew the same six characters and count the same within the same millisecond. Within a process the time part
 * never runs backwards, whatever the clock does, and a full counter borrows from the next millisecond.
 */
import { randomInt } from "node:crypto";

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const base = digits.length;
const processParts = 2 ** 35;
const countsPerMs = base ** 3;

function base62(value: number, width: number): string {
  let text = "";
  for (let rest = value; text.length < width; rest = Math.floor(rest / base)) text = digits.charAt(rest % base) + text;
  return text;
}

export class QueueIds {
  readonly #now: () => number;
  readonly #process: string;
  #timeMs = -1;
  #timeText = "";
  #count = 0;

  constructor(now: () => number = Date.now, processPart: number = randomInt(processParts)) {
    this.#now = now;
    this.#process = base62(processPart, 6);
  }

  next(): string {
    const nowMs = Math.floor(this.#now());
    this.#count += 1;
    if (nowMs > this.#timeMs) this.#begin(nowMs);
    else if (this.#count >= countsPerMs) this.#begin(this.#timeMs + 1);
    return `${this.#timeText}${this.#process}${base62(this.#count, 3)}`;
  }

  #begin(timeMs: number): void {
    this.#timeMs = timeMs;
    this.#timeText = base62(timeMs, 7);
    this.#count = 0;
  }
}
