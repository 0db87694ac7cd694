/**
 * Chunk decoder: the octets that BDAT announces, by their count alone.
 *
 * The counterpart of data-decoder.ts: nothing in the octets can end them, so nothing can be smuggled in, and dots mean nothing. Text is held to the
 * same rules all the same (no bare CR, no bare LF, no NUL), because the next hop may only know DATA. What does not end with a line end gets one.
 * Gives slices of what it was fed, never copies. RFC 3030 §2, RFC 5321 §2.3.8.
 */
import type { DataFault, Decoder } from "./data-decoder.ts";
import { LineEnds } from "./line-ends.ts";

const CR = 13;
const LF = 10;
const lineEnd = Buffer.from("\r\n");

export class ChunkDecoder implements Decoder {
  #left = 0;
  #afterCr = false;
  #atLineStart = true;
  #fault: DataFault | undefined;

  get fault(): DataFault | undefined {
    return this.#fault;
  }

  /** The next chunk has so many octets. */
  expect(octets: number): void {
    this.#left = octets;
  }

  feed(chunk: Buffer, pieces: Buffer[]): number {
    const mine = chunk.length > this.#left ? chunk.subarray(0, this.#left) : chunk;
    if (mine.length > 0) {
      this.#left -= mine.length;
      this.#look(mine);
      pieces.push(mine);
    }
    return this.#left === 0 ? mine.length : -1;
  }

  end(): Buffer | undefined {
    if (this.#afterCr) this.#fault ??= "bare-newline";
    return this.#atLineStart ? undefined : lineEnd;
  }

  #look(octets: Buffer): void {
    const last = octets[octets.length - 1];
    if (this.#fault === undefined) {
      if (octets.includes(0)) this.#fault = "nul-byte";
      else if (this.#hasBare(octets)) this.#fault = "bare-newline";
    }
    this.#afterCr = last === CR;
    this.#atLineStart = last === LF;
  }

  /** A CR that is not followed by LF, or an LF that does not follow a CR; the last CR is the next call's matter. */
  #hasBare(octets: Buffer): boolean {
    if (this.#afterCr && octets[0] !== LF) return true;
    const at = this.#afterCr ? 1 : 0;
    const lineEnds = new LineEnds(octets);
    for (let end = lineEnds.next(at); end < octets.length; end = lineEnds.next(end + 2)) {
      if (octets[end] === LF) return true;
      if (end + 1 < octets.length && octets[end + 1] !== LF) return true;
    }
    return false;
  }
}
