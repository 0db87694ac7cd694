/**
 * Sender ownership: an authenticated user writes only under addresses that are its own, on every listener.
 * Stage mail · pure · RFC 6409 §6.1 (553 5.7.1); Postfix' reject_sender_login_mismatch
 *
 * Its own: the mailbox address (with an extension after a recipient delimiter too), an address or `@domain` of sendAs, an Alias
 * whose senders name the user; the entry `@domain` is asked only where the address has none. The null sender belongs to everybody.
 */
import { addressKey, splitAddress } from "../../config/address.ts";
import type { LiveConfig } from "../../config/schema.ts";
import { extensionAt } from "../../route/lookup.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { MailFacts } from "../facts.ts";
import { pass, reject } from "../verdict.ts";

/** The address as the tables may know it: exact, then without its extension. */
function spellings(config: LiveConfig, key: string): readonly string[] {
  const parts = splitAddress(key);
  const at = parts === undefined ? -1 : extensionAt(parts.localPart, config.server.recipientDelimiters);
  return parts === undefined || at < 0 ? [key] : [key, `${parts.localPart.slice(0, at)}@${parts.domain}`];
}

export function isOwnedBy(config: LiveConfig, sender: string, user: string): boolean {
  const key = addressKey(sender);
  if (key === undefined) return false;
  const names = spellings(config, key);
  if (names.includes(user)) return true;
  const domain = `@${splitAddress(key)?.domain ?? ""}`;
  const sendAs = config.addresses.get(user)?.mailbox?.sendAs ?? [];
  if (sendAs.includes(domain) || names.some((name) => sendAs.includes(name))) return true;
  const entry =
    names.map((name) => config.addresses.get(name)).find((found) => found !== undefined) ??
    config.addresses.get(domain);
  return entry?.alias?.senders.includes(user) === true;
}

export const senderNotOwned: Check<MailFacts> = ({ client, sender }) => {
  if (client.user === undefined || sender.address === "") return pass;
  return isOwnedBy(client.config, sender.address, client.user)
    ? pass
    : reject("sender-not-owned", replies.senderNotOwned);
};
