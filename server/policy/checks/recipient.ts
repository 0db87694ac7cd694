/**
 * Recipients of our own domains: unknown, suspended, relocated ones are refused here and now, never bounced later.
 * Stage rcpt · pure over the configuration · RFC 5321 §3.6.2 (550 5.1.1), §3.4 (551); the replies are route/standing's
 */
import { isPermanent } from "../../reply.ts";
import type { Check } from "../chain.ts";
import type { RcptFacts } from "../facts.ts";
import { defer, pass, reject, uncertain } from "../verdict.ts";

export const recipientRefused: Check<RcptFacts> = (facts) => {
  const standing = facts.standing();
  if (standing.kind !== "refused") return pass;
  // Whether it exists nobody can say now: other checks may still refuse it, none may make a yes of it.
  if (standing.reason === "lookup-failed") return uncertain("lookup-failed", standing.reply);
  return (isPermanent(standing.reply) ? reject : defer)(standing.reason, standing.reply);
};
