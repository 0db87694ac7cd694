/**
 * Standing of a recipient: what RCPT needs to know before it accepts an address.
 *
 * Asked by the session's policy; pure over LiveConfig and answered from the same look-up order as delivery (`lookup.ts`). Refusals are values.
 * RFC 5321 §3.3 (RCPT), §3.4 (551), §4.5.1 (postmaster).
 */
import { findAddress } from "./lookup.ts";
import { relocated, routeReplies } from "./replies.ts";
import type { Routing } from "./asked.ts";
import type { RecipientStanding } from "./resolve.ts";

export const standingOf = (config: Routing, address: string): RecipientStanding => {
  const found = findAddress(config, address);
  switch (found.kind) {
    case "not-an-address":
      return { kind: "refused", reply: routeReplies.notAnAddress, reason: "not-an-address" };
    case "remote":
      return { kind: "remote" };
    case "postmaster":
      return { kind: "local", domainClass: "Mailbox" };
    case "catch-all":
      return { kind: "local", domainClass: found.domain.class };
    case "any": {
      const local = { kind: "local", domainClass: found.domain.class } as const;
      // RFC 5321 §4.5.1: postmaster exists, whatever the server behind says.
      const isUnverified = found.domain.recipients === "Verify" && found.parsed.localKey !== "postmaster";
      return isUnverified ? { ...local, unverified: true } : local;
    }
    case "unanswered":
      return { kind: "refused", reply: routeReplies.lookupFailed, reason: "lookup-failed" };
    case "unknown":
      return { kind: "refused", reply: routeReplies.unknownUser, reason: "unknown-user" };
    case "entry": {
      const { entry, domain } = found;
      if (entry.relocatedTo !== undefined)
        return { kind: "refused", reply: relocated(entry.relocatedTo), reason: "relocated" };
      if (entry.mailbox?.suspended === true)
        return { kind: "refused", reply: routeReplies.suspended, reason: "suspended" };
      if (entry.mailbox === undefined && entry.alias === undefined)
        return { kind: "refused", reply: routeReplies.unknownUser, reason: "unknown-user" };
      return { kind: "local", domainClass: domain?.class ?? "Alias" };
    }
  }
};
