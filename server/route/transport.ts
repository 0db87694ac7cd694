/**
 * Transport of a final address: by what means, to which next hop, under whose TLS policy.
 *
 * Last step of routing; pure over LiveConfig. Order: the mailbox's delivery, the domain's delivery, then (Relay class and foreign domains)
 * Route by destination (`domain`, `.parent` from the most specific, `*`), Route by sender, relayHost, MX of the domain.
 * What we failed to configure is a 4xx, never the sender's fault. RFC 5321 §5.1 (MX), §4.1.3 (literals).
 */
import { addressKey, domainKey, splitAddress } from "../config/address.ts";
import type { Delivery, LiveConfig, RouteEntry } from "../config/schema.ts";
import { findAddress, type ParsedAddress } from "./lookup.ts";
import { relocated, routeReplies } from "./replies.ts";
import type { Resolution, Transport } from "./resolve.ts";

export function transportFor(
  config: LiveConfig,
  address: string,
  sender: string,
): Exclude<Resolution, { kind: "expand" }> {
  const found = findAddress(config, address);
  switch (found.kind) {
    case "not-an-address":
      return { kind: "fail", reply: routeReplies.notAnAddress };
    case "unknown":
      return { kind: "fail", reply: routeReplies.unknownUser };
    case "postmaster":
    case "catch-all":
      // Nobody is named to read it; kept where an operator finds it (`queue list`) rather than lost.
      return { kind: "deliver", transport: plain({ kind: "hold" }, "hold") };
    case "remote":
      return { kind: "deliver", transport: outward(config, found.parsed, sender) };
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
  config: LiveConfig,
  parsed: ParsedAddress,
  delivery: Delivery | undefined,
  domainClass: "Mailbox" | "Alias" | "Relay",
  mailbox: string,
  sender: string,
): Exclude<Resolution, { kind: "expand" }> {
  if (delivery !== undefined) return { kind: "deliver", transport: transportOf(delivery, mailbox) };
  if (domainClass === "Relay") return { kind: "deliver", transport: outward(config, parsed, sender) };
  return { kind: "fail", reply: routeReplies.noDelivery };
}

function outward(config: LiveConfig, parsed: ParsedAddress, sender: string): Transport {
  const route = routeByDestination(config, parsed.domain) ?? routeBySender(config, sender);
  const mailbox = `${parsed.localKey}@${parsed.domain}`;
  if (route !== undefined) {
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
  const relayHost = config.server.outbound.relayHost;
  if (relayHost !== undefined) return transportOf({ kind: "smtp", ...relayHost }, mailbox);
  return {
    delivery: { kind: "mx", domain: parsed.domain },
    destination: `mx:${parsed.domain}`,
    tlsPolicyKey: parsed.domain,
  };
}

/** `domain`, then `.parent` from the longest to the shortest, then `*`. */
export function routeByDestination(config: LiveConfig, domain: string): RouteEntry | undefined {
  const exact = config.routes.get(domain);
  if (exact !== undefined) return exact;
  if (!domain.startsWith("[")) {
    for (let dot = domain.indexOf("."); dot >= 0; dot = domain.indexOf(".", dot + 1)) {
      const parent = config.routes.get(domain.slice(dot));
      if (parent !== undefined) return parent;
    }
  }
  return config.routes.get("*");
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
