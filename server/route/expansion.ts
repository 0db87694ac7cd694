/**
 * Alias expansion: from one address to the addresses that are final.
 *
 * Runs before a transport is chosen; pure over the configuration and what look-ups said (asked.ts). An address is final when nothing rewrites it, or when its own alias or forwarding names it
 * (that is how a list keeps a copy). Bounded: deeper than 100 steps or wider than 1,000 addresses is 5.4.6, as is a circle that nothing leaves.
 * Unmatched extensions travel along (`sales+x` → `bob+x`), as Postfix does for virtual aliases, but only onto destinations that have none of their own,
 * so that an alias onto one of its own extensions ends. RFC 5321 §3.9.1 (alias), RFC 3463 §3.5 (X.4.6 routing loop).
 */
import { addressKey, splitAddress } from "../config/address.ts";
import type { Reply } from "../reply.ts";
import type { Routing } from "./asked.ts";
import { extensionAt, findAddress } from "./lookup.ts";
import { routeReplies } from "./replies.ts";

export const deepestExpansion = 100;
export const widestExpansion = 1000;

export type Expansion =
  | { readonly kind: "final"; readonly addresses: readonly string[] }
  | { readonly kind: "fail"; readonly reply: Reply };

/** What identifies an address in an expansion: equal keys are the same recipient. */
export const recipientKey = (address: string): string => addressKey(address) ?? address.toLowerCase();

/** One step: what the tables put in this address's place; undefined when it is final. */
export function replacedBy(config: Routing, address: string): readonly string[] | undefined {
  const found = findAddress(config, address);
  switch (found.kind) {
    case "not-an-address":
    case "remote":
    case "any":
    case "unknown":
    case "unanswered":
      return undefined;
    case "postmaster":
      return found.destinations.length === 0 ? undefined : found.destinations;
    case "catch-all":
      return found.destinations.map((destination) => intoDomain(destination, found.parsed.localPart));
    case "entry": {
      const { entry, extension, parsed } = found;
      // Refusals (moved, suspended) are final: they answer for themselves when their turn comes.
      if (entry.relocatedTo !== undefined || entry.mailbox?.suspended === true) return undefined;
      const delimiters = config.server.recipientDelimiters;
      if (entry.mailbox !== undefined) {
        if (entry.mailbox.forwardTo.length === 0) return undefined;
        const forwards = entry.mailbox.forwardTo.map((destination) =>
          withExtension(destination, extension, delimiters),
        );
        return entry.mailbox.keepCopy ? [address, ...forwards] : forwards;
      }
      if (entry.alias === undefined) return undefined;
      return entry.alias.destinations.map((destination) =>
        withExtension(intoDomain(destination, parsed.localPart), extension, delimiters),
      );
    }
  }
}

const unanswered: Expansion = { kind: "fail", reply: routeReplies.lookupFailed };
const isUnanswered = (config: Routing, address: string): boolean =>
  config.asked !== undefined && findAddress(config, address).kind === "unanswered";

export function expand(config: Routing, address: string): Expansion {
  const first = replacedBy(config, address);
  if (first === undefined) return isUnanswered(config, address) ? unanswered : { kind: "final", addresses: [address] };

  const finals = new Map<string, string>();
  const seen = new Set([recipientKey(address)]);
  let level: { address: string; replacements: readonly string[] }[] = [{ address, replacements: first }];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > deepestExpansion) return { kind: "fail", reply: routeReplies.aliasLoop };
    const next: typeof level = [];
    for (const { address: parent, replacements } of level) {
      const parentKey = recipientKey(parent);
      for (const child of replacements) {
        const key = recipientKey(child);
        if (key === parentKey) {
          finals.set(key, child);
        } else if (!seen.has(key)) {
          seen.add(key);
          if (seen.size > widestExpansion) return { kind: "fail", reply: routeReplies.aliasLoop };
          const further = replacedBy(config, child);
          // A part of an alias now and the rest later could reach the same reader twice.
          if (further === undefined && isUnanswered(config, child)) return unanswered;
          if (further === undefined) finals.set(key, child);
          else next.push({ address: child, replacements: further });
        }
      }
    }
    level = next;
  }
  // Everybody only points at somebody else of the circle.
  if (finals.size === 0)
    return { kind: "fail", reply: first.length === 0 ? routeReplies.aliasWithoutDestination : routeReplies.aliasLoop };
  return { kind: "final", addresses: [...finals.values()] };
}

/** A destination `@other` keeps the local part: `@old` → `@new` renames a domain. */
const intoDomain = (destination: string, localPart: string): string =>
  destination.startsWith("@") ? `${localPart}${destination}` : destination;

function withExtension(destination: string, extension: string, delimiters: string): string {
  if (extension === "") return destination;
  const parts = splitAddress(destination);
  if (parts === undefined || parts.localPart.endsWith('"') || extensionAt(parts.localPart, delimiters) > 0)
    return destination;
  return `${parts.localPart}${extension}@${parts.domain}`;
}
