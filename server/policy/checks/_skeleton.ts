/**
 * A check to copy. Say here what it refuses and why, in one sentence.
 * Stage mail · pure (or what it asks) · RFC that allows the refusal
 *
 * 1. Copy this file, name it for its noun, and rename the function as the fact it finds (`senderDomainHasNoMx`).
 * 2. Add the reason to REASONS in ../verdict.ts and the reply to session/replies.ts.
 * 3. Put the function into its list in ../stages.ts and into the expected order of ../stages.test.ts.
 * 4. Write a table test beside it. A look-up that fails is `uncertain`, not a refusal.
 */
import { replies } from "../../session/replies.ts";
import type { Check } from "../chain.ts";
import type { MailFacts } from "../facts.ts";
import { pass, reject } from "../verdict.ts";

export const senderIsOfTheSkeleton: Check<MailFacts> = ({ sender }) =>
  sender.address.endsWith("@skeleton.invalid") ? reject("bad-address", replies.badSender) : pass;
