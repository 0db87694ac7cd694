/**
 * Transport of a final address: by what means, to which next hop, under whose TLS policy.
 *
 * Last step of routing; pure over the configuration and what look-ups said (asked.ts). Order: the mailbox's delivery, the domain's delivery, then (Relay class and foreign
 * domains) Route by destination (`domain`, `.parent` from the most specific), transport of a look-up, delivery of looked-up domains, Route `*`, Route by sender, a
 * look-up's `*`, relayHost, MX of the domain. transport(5).
 * What we failed to configure is a 4xx, never the sender's fault. RFC 5321 §5.1 (MX), §4.1.3 (literals).
 */
import { addressKey, domainKey, splitAddress } from "../config/address.ts";
import type { Delivery, LiveConfig, RouteEntry } from "../config/schema.ts";
import type { Routing } from "./asked.ts";
import { findAddress, type ParsedAddress } from "./lookup.ts";
import { relocated, routeReplies } from "./replies.ts";
import type { Resolution, Transport } from "./resolve.ts";
import { policyFor } from "./tls-policy.ts";

type Outcome = Exclude<Resolution, { kind: "expand" }>;

export function transportFor(config: Routing, address: string, sender: string): Outcome {
  const outcome = withoutTlsPolicy(config, address, sender);
  if (outcome.kind !== "deliver" || config.asked === undefined) return outcome;
  const { tlsPolicyKey } = outcome.transport;
  if (tlsPolicyKey === "" || policyFor(config, tlsPolicyKey) !== undefined) return outcome;
  const asked = config.asked.tlsPolicy(tlsPolicyKey);
  if (asked === undefined || asked.kind === "none") return outcome;
  if (asked.kind === "failed") return { kind: "fail", reply: asked.reply };
  return { kind: "deliver", transport: { ...outcome.transport, tlsPolicy: asked.policy } };
}

function withoutTlsPolicy(config: Routing, address: string, sender: string): Outcome {
  const found = findAddress(config, address);
  switch (found.kind) {
    case "not-an-address":
      return { kind: "fail", reply: routeReplies.notAnAddress };
    case "unknown":
      return { kind: "fail", reply: routeReplies.unknownUser };
    case "unanswered":
      return { kind: "fail", reply: routeReplies.lookupFailed };
    case "postmaster":
    case "catch-all":
      // Nobody is named to read it; kept where an operator finds it (`queue list`) rather than lost.
      return { kind: "deliver", transport: plain({ kind: "hold" }, "hold") };
    case "remote":
      return outward(config, found.parsed, sender, undefined);
    case "any":
      return inward(
        config,
        found.parsed,
        found.domain.delivery,
        found.domain.class,
        withoutExtension(found.parsed, ""),
        sender,
      );
    case "entry": {
      const { entry, domain, parsed, extension } = found;
      if (entry.relocatedTo !== undefined) return { kind: "fail", reply: relocated(entry.relocatedTo) };
      if (entry.mailbox?.suspended === true) return { kind: "fail", reply: routeReplies.suspended };
      if (entry.mailbox === undefined && entry.alias === undefined)
        return { kind: "fail", reply: routeReplies.unknownUser };
      const delivery = entry.mailbox?.delivery ?? domain?.delivery;
      return inward(config, parsed, delivery, domain?.class ?? "Mailbox", withoutExtension(parsed, extension), sender);
    }
  }
}

function inward(
  config: Routing,
  parsed: ParsedAddress,
  delivery: Delivery | undefined,
  domainClass: "Mailbox" | "Alias" | "Relay",
  mailbox: string,
  sender: string,
): Outcome {
  const own = delivery === undefined ? undefined : transportOf(delivery, mailbox);
  // What an object says goes before look-ups; the delivery of domains that only look-ups know goes behind them.
  if (own !== undefined && config.domains.has(parsed.domain)) return { kind: "deliver", transport: own };
  if (domainClass === "Relay") return outward(config, parsed, sender, own);
  return (
    askedTransport(config, parsed, mailbox, true) ??
    (own === undefined ? noDelivery : { kind: "deliver", transport: own })
  );
}

const noDelivery: Outcome = { kind: "fail", reply: routeReplies.noDelivery };

/** What a look-up says of this address; undefined: nothing, or that it is to go its own way. */
function askedTransport(
  config: Routing,
  parsed: ParsedAddress,
  mailbox: string,
  defaults: boolean,
): Outcome | undefined {
  const asked = config.asked?.transport(`${parsed.localKey}@${parsed.domain}`);
  if (asked === undefined || asked.kind === "none") return undefined;
  if (asked.kind === "failed") return { kind: "fail", reply: asked.reply };
  if (asked.isDefault && !defaults) return undefined;
  switch (asked.value.kind) {
    case "own":
      return undefined;
    case "mx":
      return { kind: "deliver", transport: byMx(parsed.domain) };
    case "delivery":
      return { kind: "deliver", transport: transportOf(asked.value.delivery, mailbox) };
  }
}

function outward(config: Routing, parsed: ParsedAddress, sender: string, own: Transport | undefined): Outcome {
  const mailbox = `${parsed.localKey}@${parsed.domain}`;
  const special = routeByDestination(config, parsed.domain, false);
  if (special !== undefined) return { kind: "deliver", transport: routed(special, mailbox) };
  const asked = askedTransport(config, parsed, mailbox, false);
  if (asked !== undefined) return asked;
  if (own !== undefined) return { kind: "deliver", transport: own };
  const route = config.routes.get("*") ?? routeBySender(config, sender);
  if (route !== undefined) return { kind: "deliver", transport: routed(route, mailbox) };
  const byDefault = askedTransport(config, parsed, mailbox, true);
  if (byDefault !== undefined) return byDefault;
  const relayHost = config.server.outbound.relayHost;
  const transport =
    relayHost === undefined ? byMx(parsed.domain) : transportOf({ kind: "smtp", ...relayHost }, mailbox);
  return { kind: "deliver", transport };
}

const byMx = (domain: string): Transport => ({
  delivery: { kind: "mx", domain },
  destination: `mx:${domain}`,
  tlsPolicyKey: domain,
});

function routed(route: RouteEntry, mailbox: string): Transport {
  const { sourceAddresses } = route;
  const transport = transportOf(route.delivery, mailbox);
  return {
    ...transport,
    // Whoever sends from another address has another reputation there: its own connections, its own back-off.
    ...(sourceAddresses === undefined
      ? {}
      : { sourceAddresses, destination: `${transport.destination};from=${sourceAddresses.join(",")}` }),
    ...(route.connections === undefined ? {} : { connections: route.connections }),
    ...(route.messagesPerConnection === undefined ? {} : { messagesPerConnection: route.messagesPerConnection }),
    ...(route.rate === undefined ? {} : { rate: route.rate }),
    ...(route.tls?.clientCertificate === undefined ? {} : { clientCertificate: route.tls.clientCertificate }),
  };
}

/** `domain`, then `.parent` from the longest to the shortest, then, as `defaults`, `*`. */
export function routeByDestination(config: LiveConfig, domain: string, defaults = true): RouteEntry | undefined {
  const exact = config.routes.get(domain);
  if (exact !== undefined) return exact;
  if (!domain.startsWith("[")) {
    for (let dot = domain.indexOf("."); dot >= 0; dot = domain.indexOf(".", dot + 1)) {
      const parent = config.routes.get(domain.slice(dot));
      if (parent !== undefined) return parent;
    }
  }
  return defaults ? config.routes.get("*") : undefined;
}

function routeBySender(config: LiveConfig, sender: string): RouteEntry | undefined {
  if (sender === "" || config.senderRoutes.size === 0) return undefined;
  const key = addressKey(sender);
  const byAddress = key === undefined ? undefined : config.senderRoutes.get(key);
  if (byAddress !== undefined) return byAddress;
  const domain = domainKey(splitAddress(sender)?.domain ?? "");
  return domain === undefined ? undefined : config.senderRoutes.get(`@${domain}`);
}

const plain = (delivery: Delivery, destination: string): Transport => ({ delivery, destination, tlsPolicyKey: "" });

/** `destination` names next hop, port, implicit TLS and credentials: whoever shares all of them may share a connection and a back-off. */
function transportOf(delivery: Delivery, mailbox: string): Transport {
  switch (delivery.kind) {
    case "lmtp": {
      const hop = `[${delivery.host}]:${delivery.port}`;
      return { delivery, destination: `lmtp:${hop}`, tlsPolicyKey: hop, mailbox };
    }
    case "lmtp-socket":
      return { ...plain(delivery, `lmtp:unix:${delivery.path}`), mailbox };
    case "smtp": {
      const host = delivery.host.toLowerCase();
      const hop = delivery.lookupMX ? `${host}:${delivery.port}` : `[${host}]:${delivery.port}`;
      const extras = `${delivery.implicitTLS ? ";tls" : ""}${delivery.credentials === undefined ? "" : `;auth=${delivery.credentials}`}`;
      return { delivery, destination: `smtp:${hop}${extras}`, tlsPolicyKey: delivery.lookupMX ? host : hop };
    }
    case "maildir":
      // One mailbox, one destination: a slow or full one holds up nobody else's.
      return { ...plain(delivery, `maildir:${delivery.base}/${mailbox}`), mailbox };
    case "discard":
    case "hold":
      return plain(delivery, delivery.kind);
    case "error":
      return plain(delivery, `error:${delivery.code} ${delivery.enhanced} ${delivery.text}`);
  }
}

/** The mailbox's own address in its table form, extension removed. */
function withoutExtension(parsed: ParsedAddress, extension: string): string {
  const local =
    extension === "" ? parsed.localKey : parsed.localKey.slice(0, parsed.localKey.length - extension.length);
  return `${local}@${parsed.domain}`;
}
