/**
 * Host names as Postfix's restrictions judge them: valid, and fully qualified.
 *
 * Pure, linear, for strangers' input. RFC 1123 §2.1 with the underscore that real names hold; a name of digits and dots alone is a mistyped address, not a name.
 */
import { isIP, isIPv4, isIPv6 } from "node:net";
import { domainKey } from "../config/address.ts";

const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** One dot at the end is the root's, two are a mistake. */
const bare = (name: string): string =>
  name.length > 2 && name.endsWith(".") && !name.endsWith("..") ? name.slice(0, -1) : name;

export function isHostname(written: string): boolean {
  const name = bare(written);
  const key = name.endsWith(".") ? undefined : domainKey(name);
  if (key === undefined || key.length > 255 || !/[^0-9.]/.test(key)) return false;
  return key.split(".").every((each) => label.test(each));
}

// oxlint-disable-next-line no-control-regex
const isAscii = (name: string): boolean => /^[\u0000-\u007f]*$/.test(name);

/** A host's own name is ASCII (RFC 5321 §2.3.5), whatever its domain is called in mail addresses. */
export const isHostnameInAscii = (name: string): boolean => isAscii(name) && isHostname(name);

/** A name, or a plain IP address, as `reject_invalid_helo_hostname` takes both. */
export const isHostnameOrAddress = (name: string): boolean => isHostnameInAscii(name) || isIP(name) !== 0;

export const isFullyQualified = (name: string): boolean => isHostname(name) && bare(name).includes(".");

export const isLiteral = (name: string): boolean => name.startsWith("[");

/** `[192.0.2.1]`, `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3). */
export function isValidLiteral(name: string): boolean {
  if (!name.startsWith("[") || !name.endsWith("]")) return false;
  const inside = name.slice(1, -1);
  return /^ipv6:/i.test(inside) ? isIPv6(inside.slice(5)) : isIPv4(inside);
}
