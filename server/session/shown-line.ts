/**
 * What of a command line may be shown to people who look into a session: everything but what somebody could log in with.
 *
 * Pure; for the transcripts of notices and the lines of `debug.peers`. RFC 4954 §4 (an AUTH command may hold the password itself).
 */
export const SECRET = "(authentication)";

export interface Verbs {
  has(verb: string): boolean;
}

/** `afterAuth`: the known verbs, once there was an AUTH. A client that goes on with its password after a refusal says something else. */
export function shownLine(line: Buffer, mostOctets: number, afterAuth: Verbs | undefined): string {
  const text = line.subarray(0, mostOctets).toString("latin1");
  const [verb = "", ...words] = text.trim().split(/\s+/);
  const known = verb.toUpperCase();
  if (known === "AUTH") return ["AUTH", ...words.slice(0, 1)].join(" ");
  // Mistyped, glued together, cut off: still somebody's password.
  if (known.includes("AUTH")) return SECRET;
  if (afterAuth !== undefined && !afterAuth.has(known)) return SECRET;
  if (known === "XCLIENT") return text.replaceAll(/\bLOGIN=\S*/gi, "LOGIN=(hidden)");
  return text;
}
