/**
 * Where an address leads: the question RCPT asks before acceptance and the scheduler asks before delivery.
 *
 * Pure over LiveConfig. Order: exact address, then without the delimiter extension (exact match wins first), then the domain's catch-all;
 * then the transport: mailbox delivery, domain delivery, Route by destination, Route by sender, relayHost, MX of the domain.
 * Fails as a value: unknown user, unknown here, suspended, relocated, alias loop (5.4.6) or width (5.4.6); never throws.
 */
import type { Delivery, LiveConfig, TlsPolicyEntry } from "../config/schema.ts";
import type { Reply } from "../reply.ts";
import type { Routing } from "./asked.ts";

export type RecipientStanding =
  /** One of ours: a mailbox, alias, or relay recipient. */
  | {
      readonly kind: "local";
      readonly domainClass: "Mailbox" | "Alias" | "Relay";
      /** Whether it exists only the server behind knows. */
      readonly unverified?: true;
    }
  /** A domain we do not serve: relaying, for those who may. */
  | { readonly kind: "remote" }
  | {
      readonly kind: "refused";
      readonly reply: Reply;
      readonly reason: "unknown-user" | "suspended" | "relocated" | "not-an-address" | "internal" | "lookup-failed";
    };

/** RFC 5321 §5: what delivery needs to know. */
export type Resolution =
  | { readonly kind: "deliver"; readonly transport: Transport }
  /** Aliases applied to the end: every address is final (expanded = true). */
  | { readonly kind: "expand"; readonly into: readonly string[] }
  | { readonly kind: "fail"; readonly reply: Reply };

/** At most so many messages in so much time; a fraction where the shards of a pod share it. */
export interface Rate {
  readonly messages: number;
  readonly perMs: number;
}

export interface Transport {
  readonly delivery: Delivery | { readonly kind: "mx"; readonly domain: string };
  /** Key for concurrency, back-off and connection reuse: next hop and what TLS requires of it. */
  readonly destination: string;
  /** The domain whose TLSPolicy decides (the recipient's domain, never the MX host), or the next hop as `[host]:port`. */
  readonly tlsPolicyKey: string;
  /** From a look-up, where no TLSPolicy object decides. */
  readonly tlsPolicy?: TlsPolicyEntry;
  /** The mailbox address a maildir or LMTP delivery is for: alias and extension removed for maildir, kept for LMTP. */
  readonly mailbox?: string;
  readonly connections?: number;
  /** Messages over one connection; absent: the usual number. */
  readonly messagesPerConnection?: number;
  /** Of this pod, to this destination; bounces are exempt. */
  readonly rate?: Rate;
  readonly clientCertificate?: string;
  /** Local addresses to bind; absent: those of the server. */
  readonly sourceAddresses?: readonly string[];
}

export type ResolveRecipient = (
  config: Routing,
  address: string,
  options: { readonly sender: string; readonly expanded: boolean },
) => Resolution;
/** A promise where look-ups must be asked first. */
export type StandingOf = (config: LiveConfig, address: string) => RecipientStanding | Promise<RecipientStanding>;
