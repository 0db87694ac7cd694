/**
 * What look-ups said of addresses: laid beside the configuration, so that routing stays pure.
 *
 * Given by asking.ts, read by lookup.ts and transport.ts. Objects go first: these are asked for only where no object decides, and each question is remembered, so that
 * asking.ts learns what must be known. What is `unanswered` has no answer now, which is 451 and never "unknown".
 */
import type { LiveConfig, TlsPolicyEntry } from "../config/schema.ts";
import type { TransportValue } from "../lookup/values.ts";
import type { Reply } from "../reply.ts";

/** What look-ups know of a recipient; destinations have been read and checked. `extended`: found without the extension. */
export type AskedRecipient =
  | { readonly kind: "not-ours" }
  | { readonly kind: "alias"; readonly destinations: readonly string[]; readonly extended: boolean }
  /** `@domain` of a look-up. */
  | { readonly kind: "catch-all"; readonly destinations: readonly string[] }
  | { readonly kind: "mailbox"; readonly extended: boolean }
  | { readonly kind: "unknown" }
  | { readonly kind: "unanswered" };

/** `isDefault`: found under `*`, so that what objects say of everything goes first. */
export type AskedTransport =
  | { readonly kind: "found"; readonly value: TransportValue; readonly isDefault: boolean }
  | { readonly kind: "none" }
  | { readonly kind: "failed"; readonly reply: Reply };

export type AskedTlsPolicy =
  | { readonly kind: "found"; readonly policy: TlsPolicyEntry }
  | { readonly kind: "none" }
  | { readonly kind: "failed"; readonly reply: Reply };

/** Undefined: not known yet, or nobody to ask. */
export interface Asked {
  /** Key: `local@domain` of the tables. */
  recipient(key: string): AskedRecipient | undefined;
  /** Of a final address. */
  transport(key: string): AskedTransport | undefined;
  /** Key: Transport.tlsPolicyKey. */
  tlsPolicy(key: string): AskedTlsPolicy | undefined;
}

/** The configuration, and what was asked; without, objects alone decide. */
export type Routing = LiveConfig & { readonly asked?: Asked };
