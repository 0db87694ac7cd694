/**
 * Routes: Route objects → `routes` (by destination) and `senderRoutes` (by envelope sender).
 *
 * Stands in build/. A Route with both lists says two things: mail to these destinations, and mail from these senders, goes this way; the server asks for the
 * destination first. What cannot be used as written makes its mail wait, never go by another way that somebody meant to avoid.
 */
import type { Delivery, RouteEntry } from "../../server/config/schema.ts";
import { Claims, conflictMessage, olderFirst } from "./claims.ts";
import { type Context, letIn } from "./context.ts";
import { credentialsKey, notConfigured, sourceAddresses } from "./deliveries.ts";
import { tableAddress, tableDomain } from "./keys.ts";
import { messageRate } from "./quantities.ts";
import { secretKey } from "./references.ts";
import { objectKey, type Route } from "./world.ts";

export interface RouteTables {
  readonly routes: Map<string, RouteEntry>;
  readonly senderRoutes: Map<string, RouteEntry>;
}

/** `domain`, `.domain` (children) or `*`. */
export function routeKey(destination: string): string | undefined {
  if (destination === "*") return "*";
  const children = destination.startsWith(".");
  const domain = tableDomain(children ? destination.slice(1) : destination);
  return domain === undefined ? undefined : `${children ? "." : ""}${domain}`;
}

function deliveryOf(route: Route, context: Context): Delivery {
  const { nextHop, transport, error, credentialsSecretName } = route.spec;
  switch (transport) {
    case "Discard":
      return { kind: "discard" };
    case "Hold":
      return { kind: "hold" };
    case "Error":
      return {
        kind: "error",
        code: error?.code ?? 550,
        enhanced: error?.enhancedCode ?? "5.7.1",
        text: error?.text ?? "Mail to this destination is not accepted",
      };
    case "LMTP":
      return nextHop === undefined
        ? notConfigured("No next hop is configured")
        : { kind: "lmtp", host: nextHop.host, port: nextHop.port ?? 24 };
    case "SMTP": {
      if (nextHop === undefined) return notConfigured("No next hop is configured");
      const credentials = credentialsKey(route, credentialsSecretName, context);
      const { host, port = 25, lookupMX, implicitTLS } = nextHop;
      return { kind: "smtp", host, port, lookupMX, implicitTLS, ...(credentials === undefined ? {} : { credentials }) };
    }
  }
}

function entryOf(route: Route, context: Context): RouteEntry {
  const { spec } = route;
  const delivery = deliveryOf(route, context);
  const clientCertificate =
    spec.tls.clientCertificateSecretName === undefined
      ? undefined
      : secretKey(route, spec.tls.clientCertificateSecretName);
  if (clientCertificate !== undefined) {
    const read = context.secrets.useKeyPair(clientCertificate);
    if (!read.ok) context.findings.refuse(objectKey(route), read.reason, `${read.message} Until then its mail waits.`);
    else if (read.facts.notAfterMs <= context.world.nowMs)
      context.findings.warn(
        objectKey(route),
        `The certificate in Secret ${clientCertificate} expired at ${new Date(read.facts.notAfterMs).toISOString()}; renew it.`,
      );
  }
  const { connections, messagesPerConnection } = spec.shaping;
  const rate = spec.shaping.rate === undefined ? undefined : messageRate(spec.shaping.rate);
  const sources = sourceAddresses(route, spec.sourceAddresses, context);
  return {
    delivery,
    ...(sources.length === 0 ? {} : { sourceAddresses: sources }),
    ...(clientCertificate === undefined ? {} : { tls: { clientCertificate } }),
    ...(connections === undefined ? {} : { connections }),
    ...(messagesPerConnection === undefined ? {} : { messagesPerConnection }),
    ...(rate === undefined ? {} : { rate }),
  };
}

export function buildRoutes(context: Context): RouteTables {
  const { world, findings } = context;
  const tables: RouteTables = { routes: new Map(), senderRoutes: new Map() };
  const claims = new Claims<Route>();
  for (const route of letIn(context, world.routes).sort(olderFirst)) {
    const key = objectKey(route);
    const entry = entryOf(route, context);
    const put = (table: Map<string, RouteEntry>, what: string, written: string, found: string | undefined): void => {
      if (found === undefined)
        return findings.refuse(
          key,
          "Invalid",
          `${what} "${written}" cannot be used; write ${what === "Destination" ? "a domain, .domain or *" : "an address or @domain"}.`,
        );
      const winner = claims.claim(`${what} ${found}`, route);
      if (winner !== undefined) findings.refuse(key, "Conflict", conflictMessage(`${what} ${found}`, winner));
      else table.set(found, entry);
    };
    for (const destination of route.spec.destinations)
      put(tables.routes, "Destination", destination, routeKey(destination));
    for (const sender of route.spec.senders) put(tables.senderRoutes, "Sender", sender, tableAddress(sender));
    warnOfUnused(route, context);
  }
  return tables;
}

/** A Route for a domain that is delivered here does nothing; its author thinks otherwise. */
function warnOfUnused(route: Route, { findings, served }: Context): void {
  const key = objectKey(route);
  const { spec } = route;
  for (const { domain, object } of served.values()) {
    if (object.spec.class !== "Relay" && spec.destinations.some((destination) => routeKey(destination) === domain)) {
      findings.warn(
        key,
        `${domain} is delivered here, by MailDomain ${object.metadata.namespace ?? "default"}/${object.metadata.name}; this Route does not touch it.`,
      );
    }
  }
}
