/**
 * Whose mail it is, as far as fairness goes: one key for each sender, and the lane of the queue its deferred mail waits in.
 *
 * Asked when a message is stored and when the scheduler takes it; pure. The authenticated user, else the envelope sender without what follows a "+"
 * (so that a list with a sender of its own for each recipient is still one sender); the null sender is one of its own. A key is never shown.
 */
import type { Envelope, Origin } from "./queue.ts";

/** Lanes of a queue database. Two senders share one by chance, one time in 256. */
export const LANES = 256;

/** No address and no user name looks like this. */
export const nullSenderKey = "<>";

export function senderKey(envelope: Pick<Envelope, "sender">, origin: Pick<Origin, "authenticatedAs">): string {
  const { sender } = envelope;
  // A user's reports and receipts come from nobody, but not for everybody: they are the user's.
  if (origin.authenticatedAs !== undefined) return `user ${origin.authenticatedAs.toLowerCase()}`;
  if (sender === "") return nullSenderKey;
  const at = sender.lastIndexOf("@");
  const local = at < 0 ? sender : sender.slice(0, at);
  const plus = local.indexOf("+", 1);
  return `${plus < 0 ? local : local.slice(0, plus)}${at < 0 ? "" : sender.slice(at)}`.toLowerCase();
}

/** FNV-1a: spreads short texts well, and gives the same lane at every start. */
export function laneOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  return ((hash ^ (hash >>> 16)) >>> 0) % LANES;
}
