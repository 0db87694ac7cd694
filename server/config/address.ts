/**
 * Keys of the tables: how an address or a domain is written so that writer and reader mean the same entry.
 *
 * Domains are compared as lower-case A-labels (RFC 5891 §4.4), local parts case-insensitively as every Postfix table does
 * (RFC 5321 §2.4 would allow case to matter; no reference setup wants it). Nothing here does I/O; what is not an address is `undefined`.
 */
import { isIPv4 } from "node:net";
import { domainToASCII } from "node:url";

const asciiDomain = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;
const internationalDomain = /^[A-Za-z0-9_.\u0080-\u{10ffff}-]+$/u;

/** An address split at its last `@`, both parts as written. */
export interface SplitAddress {
  readonly localPart: string;
  readonly domain: string;
}

/** Split at the last `@`; undefined without one. A quoted local part may hold `@`. */
export function splitAddress(address: string): SplitAddress | undefined {
  const at = address.lastIndexOf("@");
  if (at < 0) return undefined;
  return { localPart: address.slice(0, at), domain: address.slice(at + 1) };
}

/** Lower-case ASCII form of a domain without trailing dot; undefined when it is not a domain name. Literals `[…]` stay as they are. */
export function domainKey(domain: string): string | undefined {
  if (domain.startsWith("[") && domain.endsWith("]")) return domain.toLowerCase();
  const bare = domain.endsWith(".") ? domain.slice(0, -1) : domain;
  if (bare === "" || bare.length > 255) return undefined;
  // The common case first: domainToASCII costs a URL parse.
  if (asciiDomain.test(bare)) return bare;
  const lower = bare.toLowerCase();
  if (asciiDomain.test(lower)) return lower;
  // A URL's host ends at a slash and may be an IPv4 address in disguise (０x7f.1); a domain does neither.
  if (!internationalDomain.test(bare)) return undefined;
  const ascii = domainToASCII(bare);
  return asciiDomain.test(ascii) && !isIPv4(ascii) ? ascii : undefined;
}

/** Unquoted, lower-case local part: `"a.b"` and `A.B` are the same mailbox. */
export function localPartKey(localPart: string): string {
  const quoted = localPart.length >= 2 && localPart.startsWith('"') && localPart.endsWith('"');
  const bare = quoted ? localPart.slice(1, -1).replaceAll(/\\(.)/g, "$1") : localPart;
  return bare.toLowerCase();
}

/** The table key of an address: `local@domain`, or `@domain` where the local part is empty; undefined when it has no valid domain. */
export function addressKey(address: string): string | undefined {
  const parts = splitAddress(address);
  if (parts === undefined) return undefined;
  const domain = domainKey(parts.domain);
  return domain === undefined ? undefined : `${localPartKey(parts.localPart)}@${domain}`;
}
