/**
 * Dialogue: octets sent before the answer they had to wait for, and bounces to many.
 * List data, and any other · pure · postconf(5) reject_unauth_pipelining, reject_multi_recipient_bounce; RFC 2920 §3.1 (EHLO, DATA … end a group), RFC 5321 §6.1
 *
 * What was sent too early was noted when it came (session/pipelining.ts); before the greeting is postscreen's matter.
 */
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { RestrictionFacts } from "../facts.ts";
import { pass, reject } from "../verdict.ts";

export const unauthPipelining: Check<RestrictionFacts> = ({ client }) =>
  client.pipelinedTooEarly ? reject("pipelining", replies.pipelinedTooEarly) : pass;

/** A report goes to one sender. At RCPT it is the second recipient that is refused. */
export const multiRecipientBounce: Check<RestrictionFacts> = ({ sender, recipients, rcpt }) =>
  sender === "" && recipients > (rcpt === undefined ? 1 : 0)
    ? reject("multi-recipient-bounce", replies.multiRecipientBounce)
    : pass;
