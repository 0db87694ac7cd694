/**
 * Domains: MailDomain objects → `domains`, and which of them hold their domain.
 *
 * Stands in build/ before addresses, whose objects refer to a MailDomain and not to a name. The older of two that claim a domain serves it; the younger, and
 * whatever refers to it, says so.
 */
import type { DomainEntry } from "../../server/config/schema.ts";
import { destinationAddress, tableAddress, tableDomain } from "./keys.ts";
import { Claims, conflictMessage, olderFirst } from "./claims.ts";
import { type Context, letIn, type ServedDomain } from "./context.ts";
import { deliveryOf } from "./deliveries.ts";
import { type MailDomain, nameKey, objectKey } from "./world.ts";

/** Who serves which domain: the first pass, before anything refers to it. */
export function servedDomains(context: Pick<Context, "world" | "findings">): Map<string, ServedDomain> {
  const { world, findings } = context;
  const served = new Map<string, ServedDomain>();
  const claims = new Claims<MailDomain>();
  for (const object of letIn(context, world.domains).sort(olderFirst)) {
    const domain = tableDomain(object.spec.domain);
    if (domain === undefined) {
      findings.refuse(
        objectKey(object),
        "Invalid",
        `"${object.spec.domain}" is not a domain name that mail can have; correct spec.domain.`,
      );
      continue;
    }
    const winner = claims.claim(domain, object);
    if (winner === undefined) served.set(nameKey(object), { object, domain });
    else findings.refuse(objectKey(object), "Conflict", conflictMessage(`Domain ${domain}`, winner));
  }
  return served;
}

/** Catch-all destinations, completed with the domain; decided here so that addresses.ts can claim `@domain` for them. */
export function catchAllOf({ object, domain }: ServedDomain, { findings }: Pick<Context, "findings">): string[] {
  const destinations: string[] = [];
  for (const written of object.spec.catchAll) {
    // `@other.example`: the same local part in another domain.
    const destination = written.startsWith("@") ? tableAddress(written) : destinationAddress(written, domain);
    if (destination === undefined)
      findings.refuse(objectKey(object), "Invalid", `"${written}" in spec.catchAll is not an address; correct it.`);
    else destinations.push(destination);
  }
  return destinations;
}

export function domainEntry(domain: ServedDomain, catchAll: readonly string[], context: Context): DomainEntry {
  const { object } = domain;
  const { spec } = object;
  const delivery = spec.delivery === undefined ? undefined : deliveryOf(spec.delivery, object, context);
  return {
    class: spec.class,
    recipients: spec.recipients.from,
    ...(delivery === undefined ? {} : { delivery }),
    catchAll: [...catchAll],
  };
}
