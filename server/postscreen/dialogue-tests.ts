/**
 * Dialogue tests: what no mail server says, seen in the octets of a client and in its commands.
 *
 * Pure. Commands of other protocols (an open proxy, a web page), header fields sent as commands (a script that does not look at replies), LF alone at
 * the end of a command, and octets behind a command that has not been answered. RFC 5321 §2.3.8 (CRLF), RFC 2920 §3.1 (pipelining must be offered).
 */
import { isStrangersLine } from "../session/strangers.ts";

/** RFC 5322 §2.2: a field's name directly followed by a colon. */
const headerField = /^[!-9;-~]{1,76}:/;

export const isNoSmtpCommand = (line: string): boolean => isStrangersLine(line) || headerField.test(line);

export interface Heard {
  /** A line ended with LF alone. */
  readonly bareNewline: boolean;
  /** Something came behind the end of a line. */
  readonly goesOn: boolean;
}

/** One piece of the dialogue; `last` is the octet before it. */
export function hear(octets: Buffer, last: number | undefined): Heard {
  let bareNewline = false;
  for (let at = octets.indexOf(10); at >= 0; at = octets.indexOf(10, at + 1)) {
    if ((at === 0 ? last : octets[at - 1]) !== 13) bareNewline = true;
  }
  const first = octets.indexOf(10);
  return { bareNewline, goesOn: first >= 0 && first < octets.length - 1 };
}

/** A BDAT command: what follows it is no dialogue. */
export const bringsMessage = (octets: Buffer): boolean => /(?:^|\n)bdat /i.test(octets.toString("latin1"));
