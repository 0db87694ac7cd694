/**
 * A recipient in the lookups: domain, alias, mailbox, catch-all, in as few round trips as the answer allows.
 *
 * Asked at RCPT and before delivery for addresses that no object names. The domain's answer and that of `@domain` are remembered for all its addresses; alias and mailbox are asked
 * side by side: one round trip for an address that exists, two for one with an extension or none. An alias goes before a mailbox of the same name (its owner put it there), both go
 * before the catch-all: virtual(5), but for the catch-all, which in Postfix would take the mail of every mailbox without an alias to itself. Throws LookupUnavailable.
 */
import { type Answer, addressesOf, joined, type Lookups } from "./lookups.ts";
import { aliasKeys, mailboxKeys } from "./search-order.ts";

export type RecipientFacts =
  /** No source calls this domain ours. */
  | { readonly kind: "not-ours" }
  | {
      readonly kind: "alias";
      readonly destinations: readonly string[];
      readonly catchAll: boolean;
      readonly answer: Answer;
    }
  /** `key`: the address of the mailbox, without the extension where it was found without. */
  | { readonly kind: "mailbox"; readonly key: string; readonly answer: Answer }
  /** Ours, and nobody knows the address. */
  | { readonly kind: "unknown" };

export interface RecipientQuestion {
  /** `local@domain`, the domain in its A-label form. */
  readonly address: string;
  readonly delimiters: string;
  /** An object says that the domain is ours: sources need not. */
  readonly domainIsOurs: boolean;
}

const alias = (answer: Answer, catchAll: boolean): RecipientFacts => ({
  kind: "alias",
  destinations: addressesOf(answer.values),
  catchAll,
  answer,
});

export async function recipientFacts(
  lookups: Lookups,
  { address, delimiters, domainIsOurs }: RecipientQuestion,
): Promise<RecipientFacts> {
  const domain = address.slice(address.lastIndexOf("@") + 1);
  if (!domainIsOurs && (await lookups.first("domains", domain)) === undefined) return { kind: "not-ours" };
  const keys = mailboxKeys(address, delimiters);
  const [found, mailbox] = await Promise.all([lookups.first("aliases", keys), lookups.first("mailboxes", keys)]);
  // ViMbAdmin gives every mailbox an alias to itself; that is the mailbox.
  const toItself = found !== undefined && joined(found.values).toLowerCase() === found.key;
  // `bob+x` is more special than `bob`: whichever was found under the more special key.
  const special = (answer: Answer | undefined): number =>
    answer === undefined ? keys.length : keys.indexOf(answer.key);
  if (found !== undefined && !(toItself && mailbox !== undefined) && special(found) <= special(mailbox))
    return alias(found, false);
  if (mailbox !== undefined) return { kind: "mailbox", key: mailbox.key, answer: mailbox };
  const whole = aliasKeys(address, delimiters).find((key) => key.startsWith("@"));
  const catchAll = whole === undefined ? undefined : await lookups.first("aliases", whole);
  return catchAll === undefined ? { kind: "unknown" } : alias(catchAll, true);
}
