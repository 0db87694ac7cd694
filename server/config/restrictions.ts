/**
 * Part of the rendered configuration: which named checks each stage of a session asks, in their order.
 *
 * Part of `server.json` (schema.ts). Names are Postfix's in PascalCase; server/policy/restrictions.ts holds what each means and is checked against this list by its types.
 * The operator writes lists that are complete: what stands in front of every list by default is written in front of each. A table of access rules is named behind its check.
 */
import { z } from "zod";

/** Checks that need no argument. */
export const plainChecks = [
  // Who is exempt, and what ends a list.
  "PermitMynetworks",
  "PermitSASLAuthenticated",
  "PermitTLSClientCerts",
  "PermitInetInterfaces",
  "PermitAuthDestination",
  "Permit",
  "Reject",
  "Defer",
  "DeferIfPermit",
  "DeferIfReject",
  /** Makes of the next check's refusal a line in the log. */
  "WarnIfReject",
  // The client.
  "RejectUnknownClientHostname",
  "RejectUnknownReverseClientHostname",
  "RejectUnknownForwardClientHostname",
  "RejectPlaintextSession",
  // Its greeting.
  "RejectInvalidHelo",
  "RejectNonFQDNHelo",
  "RejectUnknownHelo",
  // The sender.
  "RejectNonFQDNSender",
  "RejectUnknownSenderDomain",
  "RejectUnlistedSender",
  "RejectUnverifiedSender",
  "RejectSenderLoginMismatch",
  "RejectAuthenticatedSenderLoginMismatch",
  "RejectKnownSenderLoginMismatch",
  "RejectUnauthenticatedSenderLoginMismatch",
  // The recipient.
  "RejectNonFQDNRecipient",
  "RejectUnknownRecipientDomain",
  "RejectUnlistedRecipient",
  "RejectUnverifiedRecipient",
  "RejectUnauthDestination",
  "DeferUnauthDestination",
  // The dialogue.
  "RejectUnauthPipelining",
  "RejectMultiRecipientBounce",
] as const;
export type PlainCheck = (typeof plainChecks)[number];

/** Ask the access rules of a scope; with the name of a table behind a space: those of that table. */
export const accessChecks = [
  "CheckClientAccess",
  "CheckHeloAccess",
  "CheckSenderAccess",
  "CheckRecipientAccess",
  "CheckEtrnAccess",
] as const;
export type AccessCheck = (typeof accessChecks)[number];

/** Checks that say whom a list is not for; a list with none of them gets the usual exemptions in front. */
export const exemptions = [
  "PermitMynetworks",
  "PermitSASLAuthenticated",
  "PermitTLSClientCerts",
  "PermitInetInterfaces",
] as const satisfies readonly PlainCheck[];

const TABLE = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
/** `RejectUnknownHelo`, `CheckClientAccess`, `CheckClientAccess partners`. */
export const checkPattern = new RegExp(
  `^(${plainChecks.join("|")}|(${accessChecks.join("|")})( ${TABLE})?|CheckPolicyService ${TABLE})$`,
);

export const checkList = z.array(z.string().max(128).regex(checkPattern)).max(128);

export const restrictionsSchema = z.strictObject({
  /** Client, HELO and sender are refused at RCPT, so that the log names the recipient; false: as soon as they are known. */
  delayReject: z.boolean(),
  client: checkList,
  helo: checkList,
  sender: checkList,
  recipient: checkList,
  data: checkList,
  etrn: checkList,
});

export type Restrictions = z.infer<typeof restrictionsSchema>;
/** The lists by their names. */
export type RestrictionStage = Exclude<keyof Restrictions, "delayReject">;

/** What is asked where nothing is configured: the access rules, each in the list of its scope. */
export const noRestrictions: Restrictions = {
  delayReject: true,
  client: ["CheckClientAccess"],
  helo: ["CheckHeloAccess"],
  sender: ["CheckSenderAccess"],
  recipient: ["CheckRecipientAccess"],
  data: [],
  etrn: ["CheckEtrnAccess"],
};
