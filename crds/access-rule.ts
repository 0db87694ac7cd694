/** AccessRule: one line, or many, of a Postfix access table. */
import { z } from "zod";
import { checkList } from "./restrictions.ts";
import {
  address,
  CONTROL,
  define,
  described,
  domainName,
  exactlyOne,
  hostName,
  labelName,
  list,
  matching,
  network,
  noStatus,
  reference,
  replyText,
  type Resource,
  SPACE,
} from "./schema.ts";

const text = replyText.optional().meta({ description: "What the client is told; absent: our own words." });
const logText = replyText.optional().meta({ description: "What the log says besides; absent: the name of the rule." });

/** A reply of the rule's own; the class of the enhanced code follows from the code. */
const worded = (code: string, lowest: number, highest: number) =>
  z.strictObject({
    code: z
      .int()
      .min(lowest)
      .max(highest)
      .optional()
      .meta({ description: `SMTP reply code; absent: ${code}. 421 and 521 also end the session.` }),
    enhancedCode: z
      .string()
      .max(11)
      .regex(...matching(/^[45]\.[0-9]{1,3}\.[0-9]{1,3}$/, "must be an enhanced status code such as 5.1.1"))
      .optional()
      .meta({ description: "RFC 3463 status; its class becomes that of the code. Absent: x.7.1." }),
    text,
  });

const target = (description: string) =>
  z
    .strictObject({ address: described(address, "Its address.") })
    .optional()
    .meta({ description });

export const accessRuleSpec = z.strictObject({
  scope: z.enum(["Client", "Helo", "Sender", "Recipient", "Etrn"]).meta({
    description:
      "What is looked at: address and name of the client, its HELO name, MAIL FROM, RCPT TO, or the domain of ETRN.",
  }),
  serverRef: reference("MailServer"),
  table: described(
    labelName,
    "A table of its own: asked only where a list of MailServer.spec.restrictions or another rule names it, as in CheckSenderAccess insiders. Absent: asked in the list of its scope.",
  ).optional(),
  priority: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(1000)
    .meta({ description: "Lower is asked first; the first match of a scope and table decides." }),
  match: list(
    exactlyOne(
      z.strictObject({
        exact: z
          .string()
          .min(1)
          .max(320)
          .regex(...matching(`^[^${SPACE}]+$`, "must not be empty or contain spaces"))
          .optional()
          .meta({
            description:
              "An address, a HELO name, or a client's name; unknown: a client without a confirmed name. For Sender and Recipient an address, user@ for a local part of whatever domain, or <> for the null sender; user@example.org holds for user+extension@example.org too.",
          }),
        domain: domainName.optional().meta({ description: "The domain and its children." }),
        cidr: network.optional().meta({ description: "A network; for scopes Client and Helo (address literals)." }),
        regexp: z
          .string()
          .min(1)
          .max(512)
          .regex(...matching(`^[^${CONTROL}]+$`, "must be one line"))
          .optional()
          .meta({
            description:
              "A regular expression (RE2 syntax), found anywhere, without regard to case: in the name or the address of the client, the HELO name, the whole address, the domain.",
          }),
        dnsName: z
          .string()
          .min(1)
          .max(253)
          .regex(
            ...matching(
              /^[A-Za-z0-9_*-]+([.][A-Za-z0-9_*-]+)*$/,
              "must be a host name, in which * may stand for any part of a label, such as *.dyn.example.net",
            ),
          )
          .optional()
          .meta({
            description:
              "A host name in which * stands for any part of a label: the client's confirmed name, the HELO name, the domain of the address.",
          }),
      }),
      "match",
    ),
    256,
    1,
  ).meta({ description: "Any of these." }),
  action: described(
    exactlyOne(
      z.strictObject({
        permit: z
          .strictObject({})
          .optional()
          .meta({ description: "Skip the remaining checks of this list. Never permits relaying." }),
        reject: worded("554", 500, 599).optional().meta({ description: "Refuse for good: 554 5.7.1." }),
        defer: worded("450", 400, 499).optional().meta({ description: "Refuse for now: 450 4.7.1." }),
        deferIfPermit: z
          .strictObject({ text })
          .optional()
          .meta({ description: "Ask on; what would be accepted gets 450 4.7.1." }),
        deferIfReject: z
          .strictObject({ text })
          .optional()
          .meta({ description: "Ask on; what would be refused for good gets 450 4.7.1." }),
        discard: z
          .strictObject({ text: logText })
          .optional()
          .meta({ description: "Accept and throw away: the recipient for scope Recipient, else the message." }),
        hold: z
          .strictObject({ text: logText })
          .optional()
          .meta({ description: "Accept and put on hold, until the queue command releases it." }),
        redirect: target("Who gets the message in place of all its recipients."),
        prepend: z
          .strictObject({
            field: z
              .string()
              .min(3)
              .max(900)
              .regex(...matching(/^[!-9;-~]{1,76}: ?[\t -~]*$/, "must be a header field such as X-Checked: yes"))
              .meta({ description: "The header field, Name: value." }),
          })
          .optional()
          .meta({ description: "Put a field on top of the header." }),
        bcc: target("Who gets a copy; nobody is told."),
        warn: z.strictObject({ text: logText }).optional().meta({ description: "Write a warning into the log." }),
        filter: z
          .strictObject({ nextHop: hostName.optional().meta({ description: "Host of the filter." }) })
          .optional()
          .meta({ description: "Refused by this version: there are no content filters yet." }),
        dunno: z
          .strictObject({})
          .optional()
          .meta({ description: "Stop asking further rules of this scope and table, decide nothing." }),
        checks: checkList(16).min(1).optional().meta({
          description:
            "Ask these checks in the place of this rule, as Postfix's restriction classes; named as in MailServer.spec.restrictions.",
        }),
      }),
      "action",
    ),
    "What is done with what matches.",
  ),
  comment: z.string().max(1024).optional().meta({ description: "Why." }),
});

export type AccessRuleSpec = z.input<typeof accessRuleSpec>;
export type AccessRule = Resource<"AccessRule", z.output<typeof accessRuleSpec>>;

export const accessRuleKind = define({
  kind: "AccessRule",
  plural: "accessrules",
  singular: "accessrule",
  shortName: "acr",
  description:
    "Permit, reject, defer, hold, redirect and the like by client, HELO name, sender, recipient or ETRN domain.",
  spec: accessRuleSpec,
  status: noStatus,
  columns: [
    { name: "Scope", type: "string", jsonPath: ".spec.scope" },
    { name: "Priority", type: "integer", jsonPath: ".spec.priority" },
    { name: "Server", type: "string", jsonPath: ".spec.serverRef.name" },
  ],
  selectableFields: [".spec.scope", ".spec.serverRef.name"],
  example: `apiVersion: mail.packetboat.io/v1alpha1
kind: AccessRule
metadata: {name: known-spammers}
spec:
  scope: Client
  serverRef: {name: mx}
  match:
    - cidr: 198.51.100.0/24
    - domain: spam.example
  action:
    reject: {text: "We know you"}
`,
});
