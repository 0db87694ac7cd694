/**
 * The few pieces of MIME a report is made of: field bodies that stay on their line, boundaries, dates.
 *
 * Used by `report.ts` and its neighbours; pure. What strangers wrote (addresses, replies) cannot open a new field or part here.
 * RFC 5322 §2.1.1 (line length), §2.2.3 (folding), RFC 2046 §5.1.1 (boundary).
 */
import { createHash } from "node:crypto";

/** One line, no control or line-breaking characters; with `utf8` false only ASCII, the rest as "?". */
export function fieldText(text: string, utf8: boolean): string {
  const oneLine = text
    .toWellFormed()
    .replaceAll(/[\p{Cc}\u2028\u2029]+/gu, " ")
    .trim();
  return utf8 ? oneLine : oneLine.replaceAll(/[^\x20-\x7e]/gu, "?");
}

/** At most `most` characters, told by "..." where something is missing. */
export const shortened = (text: string, most: number): string =>
  text.length <= most ? text : `${text.slice(0, most - 3).toWellFormed()}...`;

/** `Name: body` folded at spaces, well below 998 octets a line; a word that is longer is cut. */
export function field(name: string, body: string): string {
  const lines: string[] = [];
  let line = `${name}:`;
  for (const word of body.split(" ").filter((each) => each !== "")) {
    const short = cut(word);
    if (line.length + 1 + short.length > 76 && line !== `${name}:`) {
      lines.push(line);
      line = ` ${short}`;
    } else line += ` ${short}`;
  }
  lines.push(line);
  return lines.join("\r\n");
}

/** 998 octets are the most that a line may have. */
export const cut = (word: string): string =>
  Buffer.byteLength(word) <= 900
    ? word
    : Buffer.from(word)
        .subarray(0, 900)
        .toString()
        .replace(/\ufffd+$/, "");

/** From what the report is about, so that the same report has the same bytes; checked against the text it must not occur in. */
export function boundaryFor(seed: string, parts: readonly Buffer[]): string {
  for (let round = 0; ; round++) {
    const boundary = `=_${createHash("sha256").update(`${round} ${seed}`).digest("hex").slice(0, 32)}`;
    if (!parts.some((part) => part.includes(boundary))) return boundary;
  }
}

/** RFC 5322 §3.3, in UTC. */
export function mailDate(atMs: number): string {
  return new Date(atMs).toUTCString().replace("GMT", "+0000");
}
