/**
 * Header: what acceptance needs to know of a message's header, without keeping it.
 *
 * HeaderCollector gathers bytes until the empty line, bounded by the caller; readHeader counts and remembers. A line that is no header field ends the
 * header, so that text without a header becomes a body and not a broken header. Pure, linear. RFC 5322 §2.2, §3.6; RFC 5321 §6.3 (Received count).
 */
import { joined } from "../octets.ts";

const SEPARATOR = Buffer.from("\r\n\r\n");

export class HeaderCollector {
  readonly #pieces: Buffer[] = [];
  #size = 0;
  /** The last three bytes. At the start, a line end: a message that begins with an empty line has an empty header. */
  #tail: Buffer = SEPARATOR.subarray(0, 2);

  get size(): number {
    return this.#size;
  }

  /** Take a piece; once the empty line is in it, gives the whole header (that line included) and what follows in the piece. */
  take(piece: Buffer): { readonly header: Buffer; readonly body: Buffer } | undefined {
    let end = -1;
    const border = Buffer.concat([this.#tail, piece.subarray(0, 3)]);
    const inBorder = border.indexOf(SEPARATOR);
    if (inBorder >= 0) end = inBorder + SEPARATOR.length - this.#tail.length;
    else {
      const inside = piece.indexOf(SEPARATOR);
      if (inside >= 0) end = inside + SEPARATOR.length;
    }
    if (end < 0) {
      // The piece may be gone when the next one comes.
      const kept = Buffer.from(piece);
      this.#tail = kept.length >= 3 ? kept.subarray(-3) : Buffer.concat([this.#tail, kept]).subarray(-3);
      this.#pieces.push(kept);
      this.#size += kept.length;
      return undefined;
    }
    this.#pieces.push(piece.subarray(0, end));
    this.#size += end;
    return { header: this.all(), body: piece.subarray(end) };
  }

  all(): Buffer {
    return joined(this.#pieces);
  }
}

export interface HeaderSummary {
  /** Received fields: hops so far. */
  readonly received: number;
  readonly hasDate: boolean;
  readonly hasFrom: boolean;
  /** As written, bounded and printable; undefined without one. */
  readonly messageId: string | undefined;
  /** Octets that are header fields; what follows is the empty line, or a line that is no field. */
  readonly fieldsEnd: number;
}

/** RFC 5322 §3.6.8: printable ASCII without colon; white space before the colon is the obsolete form. */
const fieldName = /^([!-9;-~]{1,256})[ \t]*:/;
const MAX_MESSAGE_ID = 255;

export interface HeaderField {
  /** Lower case. */
  readonly name: string;
  readonly start: number;
  /** Behind the colon. */
  readonly valueStart: number;
  /** Behind the last line end. */
  readonly end: number;
}

/** The fields of a header, with their folds; whatever is no field ends it. One character is one octet. */
export function* fieldsOf(text: string): Generator<HeaderField> {
  for (let start = 0; start < text.length; ) {
    const found = fieldName.exec(text.slice(start, start + 300));
    const firstEnd = lineAfter(text, start);
    if (found === null || start + found[0].length > firstEnd) return;
    let end = firstEnd;
    while (text[end] === " " || text[end] === "\t") end = lineAfter(text, end);
    yield { name: (found[1] ?? "").toLowerCase(), start, valueStart: start + found[0].length, end };
    start = end;
  }
}

const lineAfter = (text: string, at: number): number => {
  const lineEnd = text.indexOf("\r\n", at);
  return lineEnd < 0 ? text.length : lineEnd + 2;
};

export function readHeader(header: Buffer): HeaderSummary {
  const text = header.toString("latin1");
  let received = 0;
  let hasDate = false;
  let hasFrom = false;
  let messageId: string | undefined;
  let fieldsEnd = 0;
  for (const { name, start, valueStart, end } of fieldsOf(text)) {
    if (name === "received") received += 1;
    else if (name === "date") hasDate = true;
    else if (name === "from") hasFrom = true;
    else if (name === "message-id" && messageId === undefined) {
      // The identifier may stand on a continuation line.
      const value = text.slice(valueStart, Math.min(end, start + 2 * MAX_MESSAGE_ID));
      messageId = /^(?:[ \t]|\r\n[ \t])*([!-~]+)/.exec(value)?.[1]?.slice(0, MAX_MESSAGE_ID);
    }
    fieldsEnd = end;
  }
  return { received, hasDate, hasFrom, messageId, fieldsEnd };
}
