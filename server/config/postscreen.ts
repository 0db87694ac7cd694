/**
 * Part of the rendered configuration: what a client goes through before it may give us mail: postscreen, DNS lists, greylisting.
 *
 * Part of `server.json` (schema.ts). Absent is off. Reply filters have been read by the operator (reply-filter.ts), so that what is wrong is said on the MailServer.
 */
import { z } from "zod";
import { MAX_FILTER_LENGTH } from "./reply-filter.ts";

const milliseconds = z.int().min(0);
const network = z.string().max(64);

/** Ignore: log it. Enforce: refuse every recipient. Drop: say so and hang up. */
const action = z.enum(["Ignore", "Enforce", "Drop"]);

const list = {
  zone: z.string().min(1).max(253),
  /** What clients, log and metrics are told instead of the zone, which may hold a customer's key. */
  shownAs: z.string().min(1).max(253).optional(),
  /** Which answers count; absent: all in 127.0.0.0/8. */
  filter: z.string().max(MAX_FILTER_LENGTH).optional(),
};

export const postscreenSchema = z.strictObject({
  /** How long the whole greeting is kept back from a client that has not passed. */
  greetWaitMs: milliseconds.max(60_000),
  /** What becomes of one that talks before its turn. */
  greetAction: action,
  dnsbl: z.strictObject({
    sites: z.array(z.strictObject({ ...list, weight: z.int().min(-1000).max(1000) })).max(64),
    threshold: z.int().min(1),
    /** A sum this low lets the client skip all other tests; 0: none does. */
    allowlistThreshold: z.int().max(0),
    action,
    /** A list that has not answered by then lists nobody. */
    timeoutMs: milliseconds.max(60_000),
  }),
  /** After the greeting; absent: not tested. */
  deepTests: z.strictObject({
    pipelining: action.optional(),
    nonSmtpCommand: action.optional(),
    bareNewline: action.optional(),
  }),
  /** First match wins; a permitted client is not tested. Trusted networks stand in front of all. */
  access: z.array(z.strictObject({ network, action: z.enum(["Permit", "Reject"]) })).max(1024),
  accessAction: action,
  /** How long a passed test is remembered. */
  cacheMs: z.strictObject({
    preGreet: milliseconds,
    dnsbl: milliseconds,
    pipelining: milliseconds,
    nonSmtpCommand: milliseconds,
    bareNewline: milliseconds,
  }),
});

/** In the order in which they are asked; the first listing decides. */
export const dnsblRulesSchema = z
  .array(
    z.strictObject({
      ...list,
      /** What is looked up: an address (Client) or a domain. ReverseClient: the name the address leads to, confirmed or not; ClientName: the confirmed one. */
      kind: z.enum(["Client", "ClientName", "ReverseClient", "Helo", "Sender", "Recipient"]),
      action: z.enum(["Reject", "Permit"]),
      /** What the client is told; absent: the list's own words. */
      text: z.string().max(400).optional(),
    }),
  )
  .max(64);

export const greylistingSchema = z.strictObject({
  /** How long one must wait before it comes again. */
  delayMs: milliseconds,
  /** How long after its first try it may. */
  retryWindowMs: milliseconds,
  /** How long one that waited is known, from its last message on. */
  expireMs: milliseconds,
  /** Triplets that waited, after which the network is not asked to wait again; 0: never. */
  autoAllowAfter: z.int().min(0),
  ipv4Prefix: z.int().min(8).max(32),
  ipv6Prefix: z.int().min(16).max(128),
  exempt: z.strictObject({
    networks: z.array(network).max(1024),
    /** Names of clients, each with its children; lower-case ASCII. */
    clientDomains: z.array(z.string().max(253)).max(1024),
    /** Addresses and `@domain`, as addressKey writes them. */
    recipients: z.array(z.string().max(512)).max(1024),
  }),
});

export type PostscreenAction = z.infer<typeof action>;
export type PostscreenSettings = z.infer<typeof postscreenSchema>;
export type DnsblRule = z.infer<typeof dnsblRulesSchema>[number];
export type GreylistingSettings = z.infer<typeof greylistingSchema>;
