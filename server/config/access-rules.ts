/**
 * Part of the rendered configuration: access rules, what access(5) tables are to Postfix.
 *
 * Part of `server.json` (schema.ts). Sorted: the first match of a scope and table wins. Rules without a table are asked in the list of their scope; those of a table only
 * where a list, or another rule, names it. Patterns have been compiled once by the operator, so that what is wrong is said on the AccessRule.
 */
import { RE2JS } from "re2js";
import { z } from "zod";
import { checkList } from "./restrictions.ts";

const text = z.string().max(512).optional();
/** Absent: 554 5.7.1, or 450 4.7.1. */
const worded = {
  code: z.int().min(400).max(599).optional(),
  enhanced: z
    .string()
    .regex(/^[45]\.\d{1,3}\.\d{1,3}$/)
    .optional(),
  text,
};

export const accessMatchSchema = z.discriminatedUnion("kind", [
  /** An address (for senders and recipients also `local@`), a name, `<>`, or `unknown`: a client without a confirmed name. */
  z.strictObject({ kind: z.literal("exact"), value: z.string().max(512) }),
  /** The domain itself and its children. */
  z.strictObject({ kind: z.literal("domain"), value: z.string().min(1).max(255) }),
  z.strictObject({ kind: z.literal("cidr"), value: z.string().max(64) }),
  /** RE2 syntax, without regard to case, anywhere in the key: name and address of the client, a HELO name, an address, a domain. */
  z.strictObject({ kind: z.literal("regexp"), value: z.string().min(1).max(512) }),
  /** A host name in which `*` stands for any part of a label. */
  z.strictObject({ kind: z.literal("dnsName"), value: z.string().min(1).max(255) }),
]);

export const accessActionSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("Permit") }),
  z.strictObject({ kind: z.literal("Reject"), ...worded }),
  z.strictObject({ kind: z.literal("Defer"), ...worded }),
  z.strictObject({ kind: z.literal("DeferIfPermit"), text }),
  z.strictObject({ kind: z.literal("DeferIfReject"), text }),
  z.strictObject({ kind: z.literal("Discard"), text }),
  z.strictObject({ kind: z.literal("Hold"), text }),
  z.strictObject({ kind: z.literal("Redirect"), address: z.string().min(3).max(512) }),
  z.strictObject({ kind: z.literal("Prepend"), field: z.string().min(2).max(998) }),
  z.strictObject({ kind: z.literal("Bcc"), address: z.string().min(3).max(512) }),
  z.strictObject({ kind: z.literal("Warn"), text }),
  z.strictObject({ kind: z.literal("Dunno") }),
  /** Ask these instead: restriction classes. */
  z.strictObject({ kind: z.literal("Checks"), checks: checkList }),
]);

export const accessRuleSchema = z.strictObject({
  name: z.string(),
  scope: z.enum(["Client", "Helo", "Sender", "Recipient", "Etrn"]),
  table: z.string().max(63).optional(),
  match: z.array(accessMatchSchema),
  action: accessActionSchema,
});

/** Undefined: not a pattern. Time is linear in the text, whatever the pattern. */
export function regexpOf(pattern: string): RE2JS | undefined {
  try {
    return RE2JS.compile(pattern, RE2JS.CASE_INSENSITIVE);
  } catch {
    return undefined;
  }
}

export type AccessRule = z.infer<typeof accessRuleSchema>;
export type AccessAction = AccessRule["action"];
export type AccessScope = AccessRule["scope"];
