/**
 * Limits of clients, messages and sessions, as the operator renders them; part of `server.json`.
 *
 * Checked when it is loaded; no field has a default. 0 is no limit where that is said; an absent rate is none.
 */
import { z } from "zod";

const bytes = z.int().min(0);
const milliseconds = z.int().min(0);

export const clientRateSchema = z.strictObject({ count: z.int().min(1), perMs: z.int().min(1) });

export const limitsSchema = z.strictObject({
  messageSizeBytes: bytes,
  headerSizeBytes: bytes,
  recipients: z.int().min(100), // RFC 5321 §4.5.3.1.8
  /** Refused recipients beyond the limit before each is an error. */
  recipientOvershoot: z.int().min(0),
  /** Of one shard. */
  connections: z.int().min(1),
  connectionsPerClient: z.int().min(0), // 0: no limit
  rates: z.strictObject({
    connections: clientRateSchema.optional(),
    messages: clientRateSchema.optional(),
    recipients: clientRateSchema.optional(),
    auths: clientRateSchema.optional(),
    tlsSessions: clientRateSchema.optional(),
  }),
  /** Bits in which the addresses of one client agree. */
  clientPrefix: z.strictObject({ ipv4: z.int().min(0).max(32), ipv6: z.int().min(0).max(128) }),
  /** CIDR blocks of clients that have neither rates nor connectionsPerClient. */
  exemptNetworks: z.array(z.string().max(64)),
  messagesPerConnection: z.int().min(0), // 0: no limit
  softErrors: z.int().min(0),
  hardErrors: z.int().min(1),
  junkCommands: z.int().min(0),
  idleTimeoutMs: milliseconds,
  heloTimeoutMs: milliseconds,
  /** Octets a second; 0: only silence is limited. */
  minDataRate: z.int().min(0),
});

/** Where the pods count together; in secret slice 00 only, because the URL may hold a password. */
export const sharedStateEndpointSchema = z.strictObject({
  url: z.string().min(1).max(1024),
  username: z.string().max(512).optional(),
  password: z.string().max(1024).optional(),
  /** PEM; absent: the system's trust store. */
  authority: z.string().max(1_048_576).optional(),
});

export type Limits = z.infer<typeof limitsSchema>;
export type ClientRate = z.infer<typeof clientRateSchema>;
export type SharedStateEndpoint = z.infer<typeof sharedStateEndpointSchema>;
