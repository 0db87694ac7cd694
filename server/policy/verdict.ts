/**
 * Verdicts: what a check may answer, as values. The reason comes from a closed set that logs and metrics share.
 *
 * - pass: no opinion, ask the next check.
 * - permit: ends its list (as Postfix' OK does); the lists after it are still asked, and it never allows relaying.
 * - reject, defer: the reply is given now.
 * - discard: the client is told yes, the mail is thrown away; nothing more is asked.
 * - uncertain: a look-up failed; the rest is asked, and what would have been a yes becomes 451 (Postfix defer_if_permit).
 * - unsettled: the rest is asked, and what would have been a no for good becomes this reply (Postfix defer_if_reject).
 * - note: no opinion, but a line in the log (Postfix WARN, INFO).
 * - effect: no opinion, but something is to happen to the message if it is taken (Postfix HOLD, REDIRECT, PREPEND, BCC).
 */
import type { Reply } from "../reply.ts";
import type { Effect } from "./effect.ts";

/** Label values of packetboat_rejected_total and the `reason` of log lines. */
export const REASONS = [
  "access-client",
  "access-etrn",
  "access-helo",
  "access-recipient",
  "access-sender",
  "authentication-failed",
  "authentication-limited",
  "authentication-required",
  "authentication-unavailable",
  "bad-address",
  "bad-command",
  "bad-helo",
  "bad-parameter",
  "bad-sequence",
  "bare-newline",
  "client-certificate-required",
  "client-rate",
  "dnsbl",
  "greylisted",
  "header-too-large",
  "internal",
  "lookup-failed",
  "message-too-large",
  "multi-recipient-bounce",
  "not-a-proxy",
  "not-an-address",
  "nul-byte",
  "pipelining",
  "policy-service",
  "policy-service-failed",
  "postscreen",
  "queue-failed",
  "queue-full",
  "relay-denied",
  "relocated",
  "restricted",
  "sender-not-owned",
  "suspended",
  "tls-required",
  "too-many-client-connections",
  "too-many-connections",
  "too-many-errors",
  "too-many-hops",
  "too-many-messages",
  "too-many-recipients",
  "too-slow",
  "unknown-client-name",
  "unknown-domain",
  "unknown-helo",
  "unknown-user",
  "unlisted-sender",
  "unverified-recipient",
  "unverified-sender",
] as const;
export type Reason = (typeof REASONS)[number];

export type Stage = "connect" | "helo" | "auth" | "mail" | "rcpt" | "data" | "etrn";

export type Refusal = { readonly kind: "reject" | "defer"; readonly reason: Reason; readonly reply: Reply };
export type Verdict =
  | { readonly kind: "pass" }
  | { readonly kind: "permit"; readonly reason: Reason }
  | Refusal
  | { readonly kind: "discard"; readonly reason: Reason }
  | { readonly kind: "uncertain"; readonly reason: Reason; readonly reply: Reply }
  | { readonly kind: "unsettled"; readonly reason: Reason; readonly reply: Reply }
  | { readonly kind: "effect"; readonly effect: Effect }
  | { readonly kind: "note"; readonly level: "warn" | "info"; readonly text: string };

export const pass: Verdict = { kind: "pass" };
export const permit = (reason: Reason): Verdict => ({ kind: "permit", reason });
export const reject = (reason: Reason, reply: Reply): Refusal => ({ kind: "reject", reason, reply });
export const defer = (reason: Reason, reply: Reply): Refusal => ({ kind: "defer", reason, reply });
export const discard = (reason: Reason): Verdict => ({ kind: "discard", reason });
export const uncertain = (reason: Reason, reply: Reply): Verdict => ({ kind: "uncertain", reason, reply });
export const unsettled = (reason: Reason, reply: Reply): Verdict => ({ kind: "unsettled", reason, reply });
export const effect = (what: Effect): Verdict => ({ kind: "effect", effect: what });
