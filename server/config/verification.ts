/**
 * Part of the rendered configuration: how addresses are verified at the server that would get their mail.
 *
 * Part of `server.json` (schema.ts), read by server/verify. postconf(5) address_verify_*, unverified_*_reject_code.
 */
import { z } from "zod";

const rejectCode = z.union([z.literal(450), z.literal(550)]);
/** Until a result is no longer believed, and until it is asked for again while it still is. */
const lifetime = z.strictObject({ expireMs: z.int().min(1), refreshMs: z.int().min(1) });

export const verificationSchema = z.strictObject({
  /** Of probes; "": the null sender. */
  sender: z.string().max(512),
  positive: lifetime,
  negative: lifetime,
  /** How long a client waits for a probe before it is told to come again. */
  waitMs: z.int().min(0),
  recipientRejectCode: rejectCode,
  senderRejectCode: rejectCode,
});

export type Verification = z.infer<typeof verificationSchema>;
