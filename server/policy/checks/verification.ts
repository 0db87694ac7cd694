/**
 * Verification: addresses that the server behind them does not know are refused, or put off while nobody can say.
 * List of standing (MailDomain recipients.from: Verify), lists recipient and sender (RejectUnverified…) · asks what server/verify remembers, or it probes, bounded in time
 *
 * The client hears that an address does not exist, not what the other server said of it; the log has both. postconf(5) reject_unverified_recipient, reject_unverified_sender.
 */
import { replies } from "../../session/replies.ts";
import type { AskingCheck, Check } from "../chain.ts";
import type { ClientFacts, RcptFacts, RestrictionFacts } from "../facts.ts";
import { defer, pass, reject, type Verdict } from "../verdict.ts";

const texts = {
  recipient: {
    reason: "unverified-recipient",
    unknown: replies.recipientUnverified,
    450: replies.recipientUndeliverable,
    550: replies.recipientUnknownBehind,
  },
  sender: {
    reason: "unverified-sender",
    unknown: replies.senderUnverified,
    450: replies.senderUndeliverable,
    550: replies.senderUnknownBehind,
  },
} as const;

async function verified(client: ClientFacts, address: string, what: "recipient" | "sender"): Promise<Verdict> {
  const { verify } = client;
  if (verify === undefined) return pass;
  const { reason, unknown, ...undeliverable } = texts[what];
  const { recipientRejectCode, senderRejectCode } = client.config.server.verification;
  const code = what === "recipient" ? recipientRejectCode : senderRejectCode;
  switch ((await verify(address)).kind) {
    case "deliverable":
      return pass;
    case "undeliverable":
      return (code === 550 ? reject : defer)(reason, undeliverable[code]);
    case "unknown":
      return defer(reason, unknown);
  }
}

/** Of a domain whose recipients are known only behind it. */
export const recipientUnverified: Check<RcptFacts> = (facts) => {
  const standing = facts.standing();
  if (standing.kind !== "local" || standing.unverified !== true) return pass;
  return verified(facts.client, facts.recipient.address, "recipient");
};

export const unverifiedRecipient: AskingCheck<RestrictionFacts> = ({ client, rcpt }) =>
  rcpt === undefined ? pass : verified(client, rcpt.recipient.address, "recipient");

/** The null sender is nobody's address. */
export const unverifiedSender: AskingCheck<RestrictionFacts> = ({ client, sender }) =>
  sender === undefined || sender === "" ? pass : verified(client, sender, "sender");
