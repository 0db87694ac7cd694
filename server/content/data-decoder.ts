/**
 * Data decoder: the bytes after 354, up to the one sequence that ends them.
 *
 * Only CRLF "." CRLF ends the data; nothing shorter, longer or similar does, however the bytes are cut into chunks. That is what keeps a second
 * message from being smuggled in. Leading dots are taken out (RFC 5321 §4.5.2); a bare CR, a bare LF or a NUL is remembered and the message
 * goes on to its end, so that the client can be told. Gives slices of the chunks it was fed, never copies.
 * RFC 5321 §2.3.8 (CR and LF only together), §4.1.1.4 (end of data), §4.5.2 (transparency).
 */
import { LineEnds } from "./line-ends.ts";

const CR = 13;
const LF = 10;
const DOT = 46;

export type DataFault = "bare-newline" | "nul-byte";

/** How octets become content: by their end (DATA) or by their count (BDAT, chunk-decoder.ts). */
export interface Decoder {
  /** The first fault seen. */
  readonly fault: DataFault | undefined;
  /** Content of the chunk is added to `pieces`. How many octets belonged to the data once they have ended, else -1. */
  feed(chunk: Buffer, pieces: Buffer[]): number;
  /** The message is over: content to add to it. */
  end(): Buffer | undefined;
}

/** What the last chunk ended with. Bytes of dot and dot-cr are held back until the next one tells what they are. */
type Place = "line-start" | "in-line" | "after-cr" | "dot" | "dot-cr";

export class DataDecoder implements Decoder {
  #place: Place = "line-start";
  #fault: DataFault | undefined;

  /** The first fault seen. */
  get fault(): DataFault | undefined {
    return this.#fault;
  }

  /**
   * Decode a chunk; content is added to `pieces`. Answers how many bytes belonged to the data once it has ended (the rest are commands),
   * or -1 when more is to come.
   */
  feed(chunk: Buffer, pieces: Buffer[]): number {
    if (chunk.length === 0) return -1;
    const nul = this.#fault === undefined ? chunk.indexOf(0) : -1;
    const end = this.#take(chunk, pieces);
    // What stands behind the end is no longer the message's.
    if (nul >= 0 && (end < 0 || nul < end)) this.#fault = "nul-byte";
    return end;
  }

  #take(chunk: Buffer, pieces: Buffer[]): number {
    let at = 0;
    let start = 0;
    let lineStart = this.#place === "line-start";

    // What the chunk border cut apart.
    if (this.#place === "after-cr") {
      if (chunk[0] === LF) {
        at = 1;
        lineStart = true;
      } else this.#bare();
    } else if (this.#place === "dot") {
      if (chunk[0] === CR) {
        if (chunk.length === 1) {
          this.#place = "dot-cr";
          return -1;
        }
        if (chunk[1] === LF) return this.#end(2);
        // A dot, a bare CR, and on: the dot was an escape.
      }
    } else if (this.#place === "dot-cr") {
      if (chunk[0] === LF) return this.#end(1);
      this.#bare();
      pieces.push(Buffer.of(CR));
    }

    const lineEnds = new LineEnds(chunk);
    while (at < chunk.length) {
      if (lineStart && chunk[at] === DOT) {
        if (at > start) pieces.push(chunk.subarray(start, at));
        if (at + 1 === chunk.length) {
          this.#place = "dot";
          return -1;
        }
        if (chunk[at + 1] === CR) {
          if (at + 2 === chunk.length) {
            this.#place = "dot-cr";
            return -1;
          }
          if (chunk[at + 2] === LF) return this.#end(at + 3);
        }
        at += 1;
        start = at;
      }
      const lineEnd = lineEnds.next(at);
      const isCr = chunk[lineEnd] === CR;
      if (lineEnd === chunk.length || (isCr && lineEnd + 1 === chunk.length)) {
        pieces.push(start === 0 ? chunk : chunk.subarray(start));
        this.#place = isCr ? "after-cr" : "in-line";
        return -1;
      }
      lineStart = isCr && chunk[lineEnd + 1] === LF;
      if (!lineStart) this.#bare();
      at = lineEnd + (lineStart ? 2 : 1);
    }
    if (chunk.length > start) pieces.push(start === 0 ? chunk : chunk.subarray(start));
    this.#place = lineStart ? "line-start" : "in-line";
    return -1;
  }

  /** The end was CRLF "." CRLF: nothing is missing. */
  end(): undefined {
    return undefined;
  }

  #bare(): void {
    this.#fault ??= "bare-newline";
  }

  #end(consumed: number): number {
    this.#place = "line-start";
    return consumed;
  }
}
