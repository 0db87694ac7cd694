/**
 * Transparency: the message as DATA sends it.
 *
 * Between the queue's bytes and the socket. A dot that begins a line is doubled; the end is CRLF dot CRLF. Stored content has CRLF only; should
 * a bare CR or LF ever get here it becomes CRLF, so that nothing we send can be read as two messages; a NUL is left out. Copies nothing of
 * what is as it should be, keeps only the last byte between chunks. Pure. RFC 5321 §4.5.2 (transparency), §2.3.8 (bare CR and LF forbidden), §4.5.2 and RFC 5322 §4.1 (no NUL).
 */
import { LineEnds } from "../content/line-ends.ts";

const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const insertedCr = Buffer.from("\r");
const insertedLf = Buffer.from("\n");
const insertedDot = Buffer.from(".");

export class DotStuffing {
  /** The start of the message is the start of a line. */
  #last = LF;

  /** The chunk with what must be inserted, as pieces in order. */
  push(given: Buffer): readonly Buffer[] {
    const chunk = given.includes(0) ? Buffer.from(given.filter((octet) => octet !== 0)) : given;
    if (chunk.length === 0) return [];
    const pieces: Buffer[] = [];
    let start = 0;
    const insertAt = (at: number, what: Buffer): void => {
      if (at > start) pieces.push(chunk.subarray(start, at));
      pieces.push(what);
      start = at;
    };

    const first = chunk[0];
    let atLineStart = this.#last === LF;
    if (this.#last === CR && first !== LF) {
      insertAt(0, insertedLf);
      atLineStart = true;
    }
    if (first === DOT && atLineStart) insertAt(0, insertedDot);
    if (first === LF && this.#last !== CR) insertAt(0, insertedCr);

    const lineEnds = new LineEnds(chunk);
    for (let end = lineEnds.next(0), next: number; end < chunk.length; end = lineEnds.next(next)) {
      next = end + 1;
      if (chunk[end] === LF) {
        // As the first byte it has been judged above.
        if (end > 0) insertAt(end, insertedCr);
      } else if (chunk[next] === LF) next += 1;
      else {
        // A bare CR. As the last byte it is judged with the next chunk.
        if (next === chunk.length) break;
        insertAt(next, insertedLf);
      }
      if (chunk[next] === DOT) insertAt(next, insertedDot);
    }
    this.#last = chunk[chunk.length - 1] ?? LF;
    if (pieces.length === 0) return [chunk];
    if (start < chunk.length) pieces.push(chunk.subarray(start));
    return pieces;
  }

  /** What ends the message: only what is missing of CRLF, then the dot. */
  end(): Buffer {
    if (this.#last === LF) return Buffer.from(".\r\n");
    return Buffer.from(this.#last === CR ? "\n.\r\n" : "\r\n.\r\n");
  }
}
