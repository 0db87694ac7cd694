/**
 * Addresses of our own domains that nobody has: as sender too, and recipients within a list.
 * Lists sender and recipient · asks the tables · postconf(5) reject_unlisted_sender, reject_unlisted_recipient, reject_unauth_destination
 *
 * A sender of ours that is suspended or has moved exists. Where the tables cannot be asked, nothing is known: uncertain.
 */
import { isPermanent } from "../../reply.ts";
import type { RecipientStanding } from "../../route/resolve.ts";
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { RestrictionFacts } from "../facts.ts";
import { defer, pass, permit, reject, uncertain } from "../verdict.ts";
import { recipientRefused } from "./recipient.ts";
import { relayDenied } from "./relay.ts";

export const unlistedSender: Check<RestrictionFacts> = async ({ client, sender }) => {
  if (sender === undefined || sender === "") return pass;
  const standing = await client.standing(sender);
  if (standing.kind !== "refused") return pass;
  if (!isPermanent(standing.reply)) return uncertain("lookup-failed", standing.reply);
  return standing.reason === "unknown-user" ? reject("unlisted-sender", replies.senderUnlisted) : pass;
};

export const unlistedRecipient: Check<RestrictionFacts> = ({ rcpt }) =>
  rcpt === undefined ? pass : recipientRefused(rcpt);

export const unauthDestination: Check<RestrictionFacts> = ({ rcpt }) => (rcpt === undefined ? pass : relayDenied(rcpt));

/** As before, for now: the next hop of a typing mistake may be ours tomorrow. */
export const deferUnauthDestination: Check<RestrictionFacts> = async ({ rcpt }) => {
  const outcome = rcpt === undefined ? pass : await relayDenied(rcpt);
  return outcome.kind === "reject" ? defer(outcome.reason, replies.relayDeniedForNow) : outcome;
};

/** Whether the address exists is another question: as in Postfix, the domain decides. */
const isForeign = (standing: RecipientStanding): boolean =>
  standing.kind === "remote" || (standing.kind === "refused" && standing.reason === "not-an-address");

/** Mail for our own domains ends the list. */
export const permitAuthDestination: Check<RestrictionFacts> = ({ rcpt }) =>
  rcpt === undefined || isForeign(rcpt.standing()) ? pass : permit("restricted");
