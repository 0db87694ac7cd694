/**
 * Part of the rendered configuration: daemons that are asked what to do with a client, an address or a message (policy delegation).
 *
 * Part of `server.json` (schema.ts), written by the operator, read by server/delegate and policy/checks/policy-service.ts.
 */
import { z } from "zod";
import { endpointSchema } from "./lookups.ts";

/** When it is asked. */
export const policyStage = z.enum(["Client", "Helo", "Sender", "Recipient", "Data", "EndOfMessage", "Etrn"]);

export const policyServiceSchema = z.strictObject({
  name: z.string().min(1).max(63),
  endpoint: endpointSchema,
  /** Absent: only where a list of restrictions or an access rule names it. */
  stage: policyStage.optional(),
  /** Untrusted: not about those who may relay. */
  clients: z.enum(["Untrusted", "All"]),
  /** Connections of one shard. */
  connections: z.int().min(1).max(1000),
  /** To connect, and for each answer. */
  timeoutMs: z.int().min(1),
  /** How long a connection nobody uses is kept, and how long any. */
  maxIdleMs: z.int().min(0),
  maxLifetimeMs: z.int().min(1),
  /** Attempts at one question, and the pause between them. */
  tries: z.int().min(1).max(10),
  retryDelayMs: z.int().min(0),
  /** Action (access(5)) when the service cannot be asked or says what nobody understands. */
  defaultAction: z.string().min(1).max(512),
  /** What it is told as policy_context. */
  context: z.string().max(512),
});

/** In the order in which they are asked. */
export const policyServicesSchema = z.array(policyServiceSchema).max(32);

export type PolicyStage = z.infer<typeof policyStage>;
export type PolicyService = z.infer<typeof policyServiceSchema>;
