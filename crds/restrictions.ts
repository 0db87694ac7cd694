/**
 * MailServer.spec.restrictions: lists of named checks, what smtpd_*_restrictions are to Postfix, and the checks an AccessRule may name.
 * Names are Postfix's in PascalCase; the server's own list (server/config/restrictions.ts) is held against this one by operator/build/restrictions.test.ts.
 */
import { z } from "zod";
import { list, matching, setOf, withRules } from "./schema.ts";

export const checkNames = [
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
  "WarnIfReject",
  "RejectUnknownClientHostname",
  "RejectUnknownReverseClientHostname",
  "RejectUnknownForwardClientHostname",
  "RejectPlaintextSession",
  "RejectInvalidHelo",
  "RejectNonFQDNHelo",
  "RejectUnknownHelo",
  "RejectNonFQDNSender",
  "RejectUnknownSenderDomain",
  "RejectUnlistedSender",
  "RejectUnverifiedSender",
  "RejectSenderLoginMismatch",
  "RejectAuthenticatedSenderLoginMismatch",
  "RejectKnownSenderLoginMismatch",
  "RejectUnauthenticatedSenderLoginMismatch",
  "RejectNonFQDNRecipient",
  "RejectUnknownRecipientDomain",
  "RejectUnlistedRecipient",
  "RejectUnverifiedRecipient",
  "RejectUnauthDestination",
  "DeferUnauthDestination",
  "RejectUnauthPipelining",
  "RejectMultiRecipientBounce",
] as const;
export const accessCheckNames = [
  "CheckClientAccess",
  "CheckHeloAccess",
  "CheckSenderAccess",
  "CheckRecipientAccess",
  "CheckEtrnAccess",
] as const;

/** How any of them looks; which there are is a rule of the list, because as a pattern their names would cost the API server too much. */
const check = z
  .string()
  .min(1)
  .max(110)
  .regex(
    ...matching(
      /^[A-Z][A-Za-z]{1,44}( [-a-z0-9]{1,63})?$/,
      "must be the name of a check such as RejectUnknownHelo, or CheckClientAccess with the name of a table behind it",
    ),
  );

const withTable = `^(${[...accessCheckNames, "CheckPolicyService"].join("|")}) [a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`;
const tablePattern = new RegExp(withTable);
const plain: readonly string[] = [...checkNames, ...accessCheckNames];

/** Named checks, asked as they are written. */
export const checkList = (maxItems: number): z.ZodArray<typeof check> =>
  withRules(list(check, maxItems), [
    {
      cel: `self.all(c, c in [${plain.map((name) => `'${name}'`).join(", ")}] || c.matches('${withTable}'))`,
      message: "names a check that does not exist; the reference page of MailServer has them all",
      holds: (names) => names.every((name) => plain.includes(name) || tablePattern.test(name)),
    },
    {
      cel: "size(self) == 0 || self[size(self) - 1] != 'WarnIfReject'",
      message: "WarnIfReject is about the check behind it; a list cannot end with it",
      holds: (names) => names.at(-1) !== "WarnIfReject",
    },
  ]);

const NAMES = `Checks: ${checkNames.join(", ")}; ${accessCheckNames.join(", ")}, each also with the name of a table of AccessRules behind it; CheckPolicyService with the name of one of spec.policyServices behind it.`;
const stage = (description: string) => checkList(32).default([]).meta({ description });

/** Members of spec.restrictions. */
export const restrictionFields = {
  client: stage(
    `Who connects: checks in the order in which they are asked, each with the meaning of Postfix's restriction of that name. The first refusal counts, a permit ends its list only. ${NAMES}`,
  ),
  helo: stage("What it calls itself. That it does so is always required."),
  sender: stage("MAIL FROM."),
  recipient: stage("RCPT TO. Unknown recipients and relaying are refused whatever stands here."),
  data: stage("DATA and BDAT."),
  etrn: stage("ETRN."),
  exempt: setOf(
    list(z.enum(["PermitMynetworks", "PermitSASLAuthenticated", "PermitTLSClientCerts", "PermitInetInterfaces"]), 4),
  )
    .default(["PermitMynetworks", "PermitSASLAuthenticated"])
    .meta({
      description:
        "Put in front of each of client, helo, sender, recipient and etrn that names none of these itself: whom the list is not for. Empty: lists count as they are written, as in Postfix. AccessRules of the list's scope are asked before, unless a list names their check.",
    }),
  delayReject: z.boolean().default(true).meta({
    description:
      "Say at RCPT what client, helo and sender refuse, so that the log names the recipient and clients understand. false: at once, the client before the greeting.",
  }),
};
