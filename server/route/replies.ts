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
  lookupFailed: { code: 451, enhanced: "4.3.0", text: "Address cannot be looked up now, try again later" },
  transportUnreadable: { code: 451, enhanced: "4.3.5", text: "Transport of this address cannot be used" },
  tlsPolicyUnreadable: { code: 451, enhanced: "4.7.5", text: "TLS policy of this destination cannot be used" },
  // Our own trouble is never the sender's fault: 4xx, so that mail waits for whoever repairs it.
  noDelivery: { code: 451, enhanced: "4.3.5", text: "No delivery configured for this domain" },
  aliasWithoutDestination: { code: 451, enhanced: "4.3.5", text: "Alias leads nowhere" },
  // RFC 3463 §3.7: the maps of rewrite/ lead in a circle, or to no address.
  rewriting: { code: 451, enhanced: "4.6.0", text: "Address rewriting error" },
} as const satisfies Record<string, Reply>;

/** RFC 5321 §3.4: 551 names the new address; in the words of Postfix (relocated(5)). */
export const relocated = (address: string): Reply => ({
  code: 551,
  enhanced: "5.1.6",
  text: `User has moved to ${address}`,
});
