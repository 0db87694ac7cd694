/**
 * Trouble: from what went wrong, and whose fault it was, to what becomes of the recipient and of the destination.
 *
 * The one place that turns scope and code into deliver, defer, bounce or throttle; the client only names the scope. Pure.
 * A host's 5xx (greeting, EHLO) is never the recipient's: it waits. Time ends all waiting; but with soft bounce nothing
 * bounces, neither for a 5xx nor for its age (Postfix's soft_bounce).
 * RFC 5321 §4.2.1 (4yz and 5yz), §4.5.4.1 (give-up time).
 */
import { isPermanent } from "../reply.ts";
import type { DeliveryOutcome, DeliveryReport } from "../deliver/deliver.ts";

export type Verdict = "delivered" | "deferred" | "failed";

export interface Patience {
  readonly softBounce: boolean;
  /** Its life is over, see lifetime.ts. */
  readonly expired: boolean;
}

export function judge(outcome: DeliveryOutcome, { softBounce, expired }: Patience): Verdict {
  if (outcome.kind === "delivered") return "delivered";
  const permanent = isPermanent(outcome.reply) && outcome.scope !== "host";
  return (permanent || expired) && !softBounce ? "failed" : "deferred";
}

/** How the destination did: what the concurrency window and the dead list hear. */
export type Feedback =
  | { readonly kind: "good" }
  /** `unreachable`: no session came about, so dialling again at once is of no use to anybody. */
  | { readonly kind: "bad"; readonly unreachable: boolean }
  /** Says nothing about the destination (the message or a recipient was at fault). */
  | { readonly kind: "neutral" };

export function feedbackOf(report: DeliveryReport): Feedback {
  if (report.outcomes.some(({ kind }) => kind === "delivered")) return { kind: "good" };
  const ofDestination = report.outcomes.some(
    (outcome) =>
      outcome.kind === "failed" &&
      (outcome.scope === "host" || (outcome.scope === "destination" && !isPermanent(outcome.reply))),
  );
  return ofDestination ? { kind: "bad", unreachable: report.transmitMs === 0 } : { kind: "neutral" };
}
