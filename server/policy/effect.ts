/**
 * Effects: what a check may want to happen to a message that is taken, besides taking it.
 *
 * Gathered by chain.ts, kept by the session's transaction, carried out when the message is stored (session/message.ts). An effect of a stage before MAIL, or of
 * MAIL, DATA and the end of data, is for the whole message; so is one of RCPT, as in Postfix: a message has one header and one place in the queue.
 */
import { isDeepStrictEqual } from "node:util";

export type Effect =
  /** Stored on hold: it waits for `packetboat queue release`. */
  | { readonly kind: "hold" }
  /** All recipients of the message are replaced by this one. */
  | { readonly kind: "redirect"; readonly address: string }
  /** One more recipient, of whom nobody is told (no report about it). */
  | { readonly kind: "bcc"; readonly address: string }
  /** A header field, `Name: value`, without line ends, put above the others. */
  | { readonly kind: "prepend"; readonly field: string };

/** Lists are asked for each recipient: what was wanted before is not wanted twice. */
export function addEffects(kept: Effect[], more: readonly Effect[] | undefined): void {
  for (const effect of more ?? []) if (!kept.some((each) => isDeepStrictEqual(each, effect))) kept.push(effect);
}

/** A field that would break the header is none. RFC 5322 §2.2. */
const field = /^[!-9;-~]{1,76}: ?[\t -~\u0080-\uffff]{0,900}$/;

/** Undefined: what is written is not one header field. */
export const prepend = (text: string): Effect | undefined =>
  field.test(text) ? { kind: "prepend", field: text } : undefined;
