/**
 * Sender ownership: an authenticated user writes only under addresses that are its own, on every listener.
 * Stage mail · asks look-ups of the role Senders where no object names an owner · RFC 6409 §6.1 (553 5.7.1); Postfix' reject_sender_login_mismatch
 *
 * Its own: the mailbox address (with an extension after a recipient delimiter too), an address or `@domain` of sendAs, an Alias
 * whose senders name the user; the entry `@domain` is asked only where the address has none. Where no object names an owner, look-ups say who they are; if they cannot,
 * nobody knows (451). The null sender belongs to everybody.
 */
import { addressKey, splitAddress } from "../../config/address.ts";
import type { LiveConfig } from "../../config/schema.ts";
import { loginUser } from "../../auth/login-name.ts";
import { addressesOf } from "../../lookup/lookups.ts";
import { extensionAt } from "../../route/lookup.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { ClientFacts, MailFacts } from "../facts.ts";
import { pass, reject, uncertain, type Verdict } from "../verdict.ts";

/** The address as the tables may know it: exact, then without its extension. */
export function spellings(config: LiveConfig, key: string): readonly string[] {
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

const shared = new WeakMap<LiveConfig["addresses"], ReadonlySet<string>>();

/** Every address and `@domain` that some mailbox may use besides its own; gathered once for a configuration. */
function sentAs({ addresses }: LiveConfig): ReadonlySet<string> {
  let known = shared.get(addresses);
  if (known === undefined) {
    known = new Set([...addresses.values()].flatMap(({ mailbox }) => mailbox?.sendAs ?? []));
    shared.set(addresses, known);
  }
  return known;
}

/** Whether an object names an owner: a mailbox that may log in, an alias with senders, a sendAs. */
function hasOwner(config: LiveConfig, sender: string): boolean {
  const key = addressKey(sender);
  if (key === undefined) return false;
  const names = spellings(config, key);
  const domain = `@${splitAddress(key)?.domain ?? ""}`;
  const others = sentAs(config);
  if (others.has(domain) || names.some((name) => others.has(name))) return true;
  const entry =
    names.map((name) => config.addresses.get(name)).find((found) => found !== undefined) ??
    config.addresses.get(domain);
  return entry?.mailbox?.authentication === true || (entry?.alias?.senders.length ?? 0) > 0;
}

/** Who owns an address. */
export interface Owners {
  /** Somebody does. */
  readonly areKnown: boolean;
  includes(user: string): boolean;
}

/** Objects first; at once where they decide. Rejects where nobody can say. */
export function ownersOf({ config, lookups }: ClientFacts, sender: string): Owners | Promise<Owners> {
  const byObjects: Owners = {
    areKnown: hasOwner(config, sender),
    includes: (user) => isOwnedBy(config, sender, user),
  };
  const key = addressKey(sender);
  if (byObjects.areKnown || key === undefined || lookups?.has("senders") !== true) return byObjects;
  return lookups.first("senders", [...spellings(config, key), `@${splitAddress(key)?.domain ?? ""}`]).then((answer) => {
    if (answer === undefined) return byObjects;
    const logins = new Set(addressesOf(answer.values).map((login) => loginUser(config, login)));
    return { areKnown: true, includes: (user) => logins.has(user) || byObjects.includes(user) };
  });
}

export const senderNotOwned: Check<MailFacts> = ({ client, sender }) => {
  const { user } = client;
  if (user === undefined || sender.address === "" || isOwnedBy(client.config, sender.address, user)) return pass;
  const judge = (owners: Owners): Verdict =>
    owners.includes(user) ? pass : reject("sender-not-owned", replies.senderNotOwned);
  const owners = ownersOf(client, sender.address);
  return owners instanceof Promise
    ? owners.then(judge, () => uncertain("lookup-failed", replies.lookupFailed))
    : judge(owners);
};
