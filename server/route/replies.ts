/**
 * What routing may answer: every reply of `server/route`, in one table. Pure.
 *
 * RCPT gives them to the client, the scheduler writes them into bounces; both read the same sentence. RFC 3463 §3 (enhanced codes),
 * RFC 5321 §4.2.3 (550, 551, 501).
 */
import type { Reply } from "../reply.ts";

export const routeReplies = {
  notAnAddress: { code: 501, enhanced: "5.1.3", text: "Bad recipient address syntax" },
  unknownUser: { code: 550, enhanced: "5.1.1", text: "User unknown" },
  suspended: { code: 550, enhanced: "5.2.1", text: "Mailbox disabled, not accepting messages" },
  aliasLoop: { code: 554, enhanced: "5.4.6", text: "Alias expansion is too deep or too wide" },
  // Our own trouble is never the sender's fault: 4xx, so that mail waits for whoever repairs it.
  noDelivery: { code: 451, enhanced: "4.3.5", text: "No delivery configured for this domain" },
  aliasWithoutDestination: { code: 451, enhanced: "4.3.5", text: "Alias leads nowhere" },
} as const satisfies Record<string, Reply>;

/** RFC 5321 §3.4: 551 names the new address. */
export const relocated = (address: string): Reply => ({
  code: 551,
  enhanced: "5.1.6",
  text: `User has moved; please try ${address}`,
});
