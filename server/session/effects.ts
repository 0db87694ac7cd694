/**
 * What the effects that checks asked for make of a message: its header, its recipients, its place in the queue.
 *
 * Between the transaction, which gathers them, and message.ts, which stores the message. Pure.
 */
import type { Effect } from "../policy/effect.ts";
import type { NewRecipient } from "../queue/queue.ts";

export const isHeldBy = (effects: readonly Effect[]): boolean => effects.some(({ kind }) => kind === "hold");

/** Above our own Received field, the first one topmost, as Postfix places them. */
export const prependedFields = (effects: readonly Effect[]): string =>
  effects.map((effect) => (effect.kind === "prepend" ? `${effect.field}\r\n` : "")).join("");

/** The last redirect wins. Nobody hears of what happens to a copy: RFC 3461 §4.1 NEVER. */
export function recipientsOf(
  recipients: ReadonlyMap<string, NewRecipient>,
  effects: readonly Effect[],
): NewRecipient[] {
  if (effects.length === 0) return [...recipients.values()];
  const redirected = effects.findLast((effect) => effect.kind === "redirect");
  const named = redirected === undefined ? [...recipients.values()] : [{ address: redirected.address }];
  const copies = new Set(effects.flatMap((effect) => (effect.kind === "bcc" ? [effect.address] : [])));
  for (const { address } of named) copies.delete(address);
  return [...named, ...[...copies].map((address): NewRecipient => ({ address, notify: ["NEVER"] }))];
}
