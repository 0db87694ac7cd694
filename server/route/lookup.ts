/**
 * Look-up order of an address: which entry of the tables speaks for it.
 *
 * Shared by `standing.ts` (RCPT asks) and `recipient.ts` (the scheduler asks), so that what is accepted can also be delivered. Pure; never throws.
 * Order: exact address, address without its extension, what look-ups said of it (asked.ts), `@domain` entry, the domain's catch-all, a look-up's catch-all,
 * "any local part" domains, postmaster.
 * RFC 5321 §4.1.1.3 and §4.5.1 (postmaster without a domain, case-insensitive), §4.1.3 (address literals).
 */
import { isIP } from "node:net";
import { domainKey, localPartKey, splitAddress } from "../config/address.ts";
import type { AddressEntry, DomainEntry, LiveConfig } from "../config/schema.ts";
import type { AskedRecipient, Routing } from "./asked.ts";

/** An address taken apart the way the tables need it. */
export interface ParsedAddress {
  /** As written, without change. */
  readonly address: string;
  /** As written, quotes kept. */
  readonly localPart: string;
  /** Table forms. */
  readonly localKey: string;
  readonly domain: string;
}

export type Found =
  | { readonly kind: "not-an-address" }
  /** Nothing of ours; relaying. */
  | { readonly kind: "remote"; readonly parsed: ParsedAddress }
  /** An address of the tables. `extension` is what was cut off to find it, delimiter included; "" where nothing was. */
  | {
      readonly kind: "entry";
      readonly parsed: ParsedAddress;
      readonly domain: DomainEntry | undefined;
      readonly entry: AddressEntry;
      readonly extension: string;
    }
  /** Everything of this domain goes to these. */
  | {
      readonly kind: "catch-all";
      readonly parsed: ParsedAddress;
      readonly domain: DomainEntry;
      readonly destinations: readonly string[];
    }
  /** A domain whose every local part exists, or of which only the server behind knows which do (Verify). */
  | { readonly kind: "any"; readonly parsed: ParsedAddress; readonly domain: DomainEntry }
  | { readonly kind: "postmaster"; readonly destinations: readonly string[] }
  | { readonly kind: "unknown"; readonly parsed: ParsedAddress; readonly domain: DomainEntry }
  /** A look-up that must know cannot be asked now. */
  | { readonly kind: "unanswered"; readonly parsed: ParsedAddress };

/** RFC 5321 §4.5.3.1.3: a path has at most 256 octets; the tables know up to 512 for A-label forms. */
const longestAddress = 512;

/** Undefined when it has no local part, no domain, or a domain that cannot be one. */
export function parseAddress(address: string): ParsedAddress | undefined {
  if (address.length > longestAddress) return undefined;
  const parts = splitAddress(address);
  if (parts === undefined || parts.localPart === "") return undefined;
  const domain = domainKey(parts.domain);
  if (domain === undefined) return undefined;
  if (domain.startsWith("[") && literalHost(domain) === undefined) return undefined;
  const localKey = localPartKey(parts.localPart);
  // `""@d` is a legal path, but its key is the domain's own `@d` entry: nobody may name that one from outside.
  return localKey === "" ? undefined : { address, localPart: parts.localPart, localKey, domain };
}

/** The IP address within `[192.0.2.1]` or `[IPv6:2001:db8::1]`; undefined when it is no such literal. RFC 5321 §4.1.3. */
export function literalHost(domain: string): string | undefined {
  if (!domain.startsWith("[") || !domain.endsWith("]")) return undefined;
  const inner = domain.slice(1, -1);
  if (isIP(inner) === 4) return inner;
  const six = /^ipv6:/i.test(inner) ? inner.slice(5) : undefined;
  return six !== undefined && isIP(six) === 6 ? six : undefined;
}

/** Where the extension begins: the first delimiter that is not the first character; -1 without one. */
export function extensionAt(localPart: string, delimiters: string): number {
  if (delimiters === "") return -1;
  for (let at = 1; at < localPart.length; at++) {
    const character = localPart[at];
    if (character !== undefined && delimiters.includes(character)) return at;
  }
  return -1;
}

/** A domain that only look-ups know. */
function lookedUpDomain({ server }: LiveConfig): DomainEntry {
  const { lookedUpDomains } = server;
  return { class: "Relay", recipients: "Lookups", ...lookedUpDomains, catchAll: [] };
}

/** An entry as an object would make it. */
function entryOf(asked: AskedRecipient | undefined, domain: DomainEntry): AddressEntry | undefined {
  if (asked?.kind === "alias") return { alias: { destinations: [...asked.destinations], senders: [] } };
  // A domain of class Alias holds no mailboxes, whatever a look-up says.
  if (asked?.kind !== "mailbox" || domain.class === "Alias") return undefined;
  return { mailbox: { authentication: true, suspended: false, forwardTo: [], keepCopy: false, sendAs: [] } };
}

export function findAddress(config: Routing, address: string): Found {
  if (address.toLowerCase() === "postmaster") return { kind: "postmaster", destinations: config.server.postmaster };
  const parsed = parseAddress(address);
  if (parsed === undefined) return { kind: "not-an-address" };
  const key = `${parsed.localKey}@${parsed.domain}`;
  const object = config.domains.get(parsed.domain);
  let asked = object === undefined && !parsed.domain.startsWith("[") ? config.asked?.recipient(key) : undefined;
  if (asked?.kind === "unanswered") return { kind: "unanswered", parsed };
  const domain = object ?? (asked === undefined || asked.kind === "not-ours" ? undefined : lookedUpDomain(config));

  const isPostmaster = parsed.localKey === "postmaster";
  const isOwnHostname = parsed.domain === config.server.hostname;
  if (domain === undefined && !(isPostmaster && isOwnHostname)) return { kind: "remote", parsed };

  const exact = config.addresses.get(key);
  if (exact !== undefined) return { kind: "entry", parsed, domain, entry: exact, extension: "" };

  const at = extensionAt(parsed.localKey, config.server.recipientDelimiters);
  if (at > 0) {
    const entry = config.addresses.get(`${parsed.localKey.slice(0, at)}@${parsed.domain}`);
    if (entry !== undefined)
      return {
        kind: "entry",
        parsed,
        domain,
        entry,
        extension: extensionAsWritten(parsed, config.server.recipientDelimiters),
      };
  }
  if (domain !== undefined) {
    if (object?.recipients === "Lookups") asked = config.asked?.recipient(key);
    if (asked?.kind === "unanswered") return { kind: "unanswered", parsed };
    const entry = entryOf(asked, domain);
    if (entry !== undefined && asked !== undefined && "extended" in asked) {
      const extension = asked.extended ? extensionAsWritten(parsed, config.server.recipientDelimiters) : "";
      return { kind: "entry", parsed, domain, entry, extension };
    }
    const whole = config.addresses.get(`@${parsed.domain}`);
    if (whole?.alias !== undefined)
      return { kind: "catch-all", parsed, domain, destinations: whole.alias.destinations };
    if (whole?.relocatedTo !== undefined) return { kind: "entry", parsed, domain, entry: whole, extension: "" };
    if (domain.catchAll.length > 0) return { kind: "catch-all", parsed, domain, destinations: domain.catchAll };
    if (asked?.kind === "catch-all") return { kind: "catch-all", parsed, domain, destinations: asked.destinations };
    if ((domain.recipients === "Any" || domain.recipients === "Verify") && domain.class !== "Alias")
      return { kind: "any", parsed, domain };
  }
  // RFC 5321 §4.5.1: postmaster of every domain we serve reaches a person, whether or not somebody wrote an entry for it.
  if (isPostmaster || domain === undefined) return { kind: "postmaster", destinations: config.server.postmaster };
  return { kind: "unknown", parsed, domain };
}

/** The extension in the case the sender wrote it: what a person tags an address with may matter to the reader behind it. */
function extensionAsWritten(parsed: ParsedAddress, delimiters: string): string {
  const at = extensionAt(parsed.localPart, delimiters);
  // A quoted local part is written differently from its key; then the key's form must do.
  return parsed.localPart.startsWith('"') || at < 0
    ? parsed.localKey.slice(extensionAt(parsed.localKey, delimiters))
    : parsed.localPart.slice(at);
}
