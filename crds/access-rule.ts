/** AccessRule: one line, or many, of a Postfix access table. */
import { z } from "zod";
import {
  define,
  described,
  domainName,
  exactlyOne,
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

export const accessRuleSpec = z.strictObject({
  scope: z
    .enum(["Client", "Helo", "Sender", "Recipient"])
    .meta({ description: "What is looked at: address and name of the client, its HELO name, MAIL FROM, or RCPT TO." }),
  serverRef: reference("MailServer"),
  priority: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(1000)
    .meta({ description: "Lower is asked first; the first match of a scope decides." }),
  match: list(
    exactlyOne(
      z.strictObject({
        exact: z
          .string()
          .min(1)
          .max(320)
          .regex(...matching(`^[^${SPACE}]+$`, "must not be empty or contain spaces"))
          .optional()
          .meta({ description: "An address, a HELO name, or a client's name." }),
        domain: domainName.optional().meta({ description: "The domain and its children." }),
        cidr: network.optional().meta({ description: "A network; for scope Client." }),
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
          .meta({ description: "Skip the remaining checks of this stage. Never permits relaying." }),
        reject: z.strictObject({ text }).optional().meta({ description: "554 5.7.1." }),
        defer: z.strictObject({ text }).optional().meta({ description: "450 4.7.1." }),
        discard: z.strictObject({}).optional().meta({ description: "Accept and throw away." }),
        dunno: z
          .strictObject({})
          .optional()
          .meta({ description: "Stop asking further rules of this scope, decide nothing." }),
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
  description: "Permit, reject, defer or discard by client, HELO name, sender or recipient.",
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
