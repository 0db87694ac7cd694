/**
 * Postscreen: a client that failed a test whose action is Enforce has every recipient refused, so that the log names helo, sender and recipient.
 * Stage rcpt, first · pure over what server/postscreen/ has seen
 */
import type { Check } from "../chain.ts";
import type { RcptFacts } from "../facts.ts";
import { pass, reject } from "../verdict.ts";

export const failedPostscreen: Check<RcptFacts> = ({ client }) => {
  const refusal = client.screening?.refusal;
  return refusal === undefined ? pass : reject("postscreen", refusal);
};
