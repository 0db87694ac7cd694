/**
 * Masquerading: hides the hosts below a domain. `alice@host.example.org` → `alice@example.org`.
 *
 * After the canonical maps, on the way in (rewrite/rewriting.ts). The first listed domain that is the address's own or its parent decides: hide, or leave alone.
 * Pure; an address without a valid domain stays as it is. masquerade_domains and masquerade_exceptions of postconf(5).
 */
import { domainKey, localPartKey, splitAddress } from "../config/address.ts";
import type { RewritingSettings } from "../config/rewriting.ts";

export function masqueraded(
  { domains, exceptions }: Pick<RewritingSettings["masquerade"], "domains" | "exceptions">,
  address: string,
): string {
  const parts = splitAddress(address);
  const domain = parts === undefined ? undefined : domainKey(parts.domain);
  if (parts === undefined || domain === undefined || exceptions.includes(localPartKey(parts.localPart))) return address;
  for (const { domain: parent, isHidden } of domains) {
    if (domain === parent) return address;
    if (domain.endsWith(`.${parent}`)) return isHidden ? `${parts.localPart}@${parent}` : address;
  }
  return address;
}
