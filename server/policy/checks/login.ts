/**
 * Sender and login: who writes under an address that has an owner must be logged in as that owner.
 * List sender · asks the tables · postconf(5) reject_sender_login_mismatch and its kin; RFC 6409 §6.1 (553 5.7.1)
 *
 * For authenticated clients senderNotOwned (ownership.ts) says the same on every listener already; what these checks add is the stranger who uses
 * an address of ours. An address has an owner when a mailbox that may log in, an alias with senders, a sendAs, or a look-up of the role Senders names one.
 */
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { RestrictionFacts } from "../facts.ts";
import { pass, reject, uncertain, type Verdict } from "../verdict.ts";
import { isOwnedBy, type Owners, ownersOf } from "./ownership.ts";

function mismatch(
  { client, sender }: RestrictionFacts,
  whom: { readonly authenticated?: "any" | "known"; readonly unauthenticated?: true },
): Verdict | Promise<Verdict> {
  if (sender === undefined || sender === "") return pass;
  const { config, user } = client;
  if (user === undefined ? whom.unauthenticated !== true : whom.authenticated === undefined) return pass;
  if (user !== undefined && isOwnedBy(config, sender, user)) return pass;
  const judge = (owners: Owners): Verdict => {
    if (user === undefined) return owners.areKnown ? reject("sender-not-owned", replies.senderNotLoggedIn) : pass;
    if (whom.authenticated === "known" && !owners.areKnown) return pass;
    return owners.includes(user) ? pass : reject("sender-not-owned", replies.senderNotOwned);
  };
  const owners = ownersOf(client, sender);
  return owners instanceof Promise
    ? owners.then(judge, () => uncertain("lookup-failed", replies.lookupFailed))
    : judge(owners);
}

export const senderLoginMismatch: Check<RestrictionFacts> = (facts) =>
  mismatch(facts, { authenticated: "any", unauthenticated: true });
export const authenticatedSenderLoginMismatch: Check<RestrictionFacts> = (facts) =>
  mismatch(facts, { authenticated: "any" });
export const knownSenderLoginMismatch: Check<RestrictionFacts> = (facts) =>
  mismatch(facts, { authenticated: "known", unauthenticated: true });
export const unauthenticatedSenderLoginMismatch: Check<RestrictionFacts> = (facts) =>
  mismatch(facts, { unauthenticated: true });
