/** MailServer.spec.limits: what one client, message or session may use; what smtpd's limits and anvil are to Postfix. */
import { z } from "zod";
import { described, list, network, positiveDuration, positiveSize, size } from "./schema.ts";

/** Events of one client in a time. */
const rate = (description: string) =>
  z
    .strictObject({
      count: z.int().min(1).max(1_000_000).meta({ description: "How many are let through in that time." }),
      per: described(positiveDuration, "The time in which they are counted.").default("1m"),
    })
    .optional()
    .meta({ description: `${description} Absent: no limit.` });

export const limits = z.strictObject({
  messageSize: size
    .default("50Mi")
    .meta({ ...size.meta(), description: "Largest message (SIZE, RFC 1870); 0: no limit." }),
  headerSize: positiveSize.default("100Ki").meta({ ...positiveSize.meta(), description: "Largest header." }),
  recipients: z
    .int()
    .min(100)
    .max(50_000)
    .default(1000)
    .meta({ description: "Recipients a transaction; at least 100 (RFC 5321 §4.5.3.1.8)." }),
  recipientOvershoot: z
    .int()
    .min(0)
    .max(50_000)
    .default(1000)
    .meta({ description: "Recipients beyond that limit that are refused (452) before each counts as an error." }),
  connections: z.int().min(1).max(1_000_000).default(5000).meta({
    description:
      "Connections of one shard at once. From four fifths of it on the shard is under stress: it waits 10 s at most for a client and ends a session at its first error.",
  }),
  connectionsPerClient: z.int().min(0).max(1_000_000).default(50).meta({
    description:
      "Connections of one client (see clientPrefix) at once, of one pod, or with sharedState of all pods; 0: no limit.",
  }),
  connectionRatePerClient: rate("New connections of one client; more are closed with 421 4.7.0."),
  messageRatePerClient: rate("MAIL commands of one client; more get 450 4.7.1."),
  recipientRatePerClient: rate("RCPT commands of one client, whatever becomes of them; more get 450 4.7.1."),
  authRatePerClient: rate("AUTH commands of one client, right or wrong; more get 450 4.7.1."),
  newTLSSessionRatePerClient: rate("STARTTLS commands of one client; more get 454 4.7.0."),
  clientPrefix: z
    .strictObject({
      ipv4: z.int().min(8).max(32).default(32).meta({ description: "IPv4 addresses that agree in so many bits." }),
      ipv6: z.int().min(16).max(128).default(64).meta({ description: "The same of IPv6." }),
    })
    .prefault({})
    .meta({ description: "Who counts as one client." }),
  exempt: z
    .strictObject({
      trustedNetworks: z.boolean().default(true).meta({ description: "Those of networks.trusted." }),
      networks: list(network, 256).default([]).meta({ description: "And these." }),
    })
    .prefault({})
    .meta({ description: "For whom the limits of clients (connectionsPerClient and rates) do not hold." }),
  messagesPerConnection: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(0)
    .meta({ description: "Messages after which a connection is closed (421); 0: no limit." }),
  softErrors: z
    .int()
    .min(0)
    .max(1000)
    .default(10)
    .meta({ description: "Errors of a session after which answers are slowed." }),
  hardErrors: z
    .int()
    .min(1)
    .max(1000)
    .default(20)
    .meta({ description: "Errors of a session after which it is closed." }),
  junkCommands: z.int().min(0).max(100_000).default(100).meta({
    description: "EHLO, HELO, NOOP, VRFY, RSET and ETRN between two messages, after which each counts as an error.",
  }),
  idleTimeout: positiveDuration.default("5m").meta({
    ...positiveDuration.meta(),
    description: "Silence after which a session is closed (RFC 5321 §4.5.3.2.7).",
  }),
  heloTimeout: positiveDuration.default("5m").meta({
    ...positiveDuration.meta(),
    description: "How long a client may be connected without having said EHLO or HELO.",
  }),
  minDataRate: z.int().min(0).max(1_000_000_000).default(500).meta({
    description:
      "Octets a second that a client must send on the whole: a command, or a message, must be there within idleTimeout, with a second more for as many octets as came. 0: only silence is limited.",
  }),
  minFree: size.default("64Mi").meta({
    ...size.meta(),
    description: "Free space of the queue volume below which new mail is deferred (452).",
  }),
});
