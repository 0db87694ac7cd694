/**
 * Next hops: from a transport to the addresses to dial, in order.
 *
 * Asked at every attempt that needs a new connection. MX by preference and shuffled among equals; without MX the domain's own address; a null MX,
 * ourselves among the MX, or an address that no stranger may make us dial end the search with the reply for it. What DNS could not say is
 * temporary. Only exchanges found in DNS are screened: what the configuration names (Route, relayHost, delivery) may be a Service of the cluster.
 * RFC 5321 §5.1 (MX, implicit MX, own name in the list), RFC 7505 (null MX), RFC 6890 (special addresses).
 */
import { randomInt } from "node:crypto";
import { isIPv4 } from "node:net";
import { networkInterfaces } from "node:os";
import ipaddr from "ipaddr.js";
import type { LiveConfig } from "../config/schema.ts";
import type { MailExchange, Resolver } from "../dns/resolver.ts";
import { isInNetworks } from "../policy/networks.ts";
import type { Reply } from "../reply.ts";
import { literalHost } from "../route/lookup.ts";
import type { Transport } from "../route/resolve.ts";
import type { Endpoint } from "./connect.ts";
import type { PeerNames } from "./tls-requirement.ts";

export interface NextHop {
  readonly endpoint: Endpoint;
  readonly names: PeerNames;
  readonly implicitTls: boolean;
  /** Of the exchange found in DNS; absent for a host the configuration names. */
  readonly preference?: number;
}

export type NextHops =
  | { readonly kind: "hops"; readonly hops: readonly NextHop[] }
  | { readonly kind: "none"; readonly reply: Reply };

/** Addresses tried in one attempt (Postfix smtp_mx_address_limit is 5), and MX hosts looked up for them. */
const mostAddresses = 5;
const mostExchanges = 8;

const none = (code: number, enhanced: string, text: string): NextHops => ({
  kind: "none",
  reply: { code, enhanced, text },
});

export async function nextHops(config: LiveConfig, resolver: Resolver, transport: Transport): Promise<NextHops> {
  const { delivery } = transport;
  switch (delivery.kind) {
    case "lmtp-socket":
      return {
        kind: "hops",
        hops: [
          {
            endpoint: { kind: "unix", path: delivery.path },
            names: { host: "localhost", nextHop: "localhost" },
            implicitTls: false,
          },
        ],
      };
    case "lmtp":
      return await configuredHost(config, resolver, delivery.host, delivery.port, false);
    case "smtp":
      return delivery.lookupMX
        ? await exchangesOf(config, resolver, delivery.host, delivery.port, delivery.implicitTLS, true)
        : await configuredHost(config, resolver, delivery.host, delivery.port, delivery.implicitTLS);
    case "mx": {
      const port = config.server.outbound.smtpPort;
      const literal = literalHost(delivery.domain);
      if (literal === undefined) return await exchangesOf(config, resolver, delivery.domain, port, false, false);
      const usable = screen(config, [literal], port, false);
      if (usable.addresses.length === 0) return usable.own ? loops(delivery.domain) : forbidden(delivery.domain);
      return {
        kind: "hops",
        hops: [
          {
            endpoint: { kind: "tcp", address: literal, port },
            names: { host: literal, nextHop: literal },
            implicitTls: false,
            preference: 0,
          },
        ],
      };
    }
    case "maildir":
    case "discard":
    case "hold":
    case "error":
      return none(451, "4.3.5", `Transport ${delivery.kind} has no next hop`);
  }
}

async function configuredHost(
  config: LiveConfig,
  resolver: Resolver,
  host: string,
  port: number,
  implicitTls: boolean,
): Promise<NextHops> {
  const found = await resolver.hostAddresses(host);
  // Our own configuration: a service that is gone may come back, its mail waits.
  if (found.kind !== "found") return none(451, "4.4.3", `Host ${host} not found`);
  const hops = inOrder(config, found.answers).map(
    (address): NextHop => ({ endpoint: { kind: "tcp", address, port }, names: { host, nextHop: host }, implicitTls }),
  );
  return { kind: "hops", hops: balanced(hops) };
}

async function exchangesOf(
  config: LiveConfig,
  resolver: Resolver,
  domain: string,
  port: number,
  implicitTls: boolean,
  configured: boolean,
): Promise<NextHops> {
  const mx = await resolver.mx(domain);
  if (mx.kind === "temporary")
    return none(
      451,
      "4.4.3",
      `Host or domain name not found. Name service error for name=${domain} type=MX: try again`,
    );
  if (mx.kind === "nxdomain" && !configured) return none(550, "5.4.4", `Domain ${domain} not found`);
  if (mx.kind === "nxdomain") return await configuredHost(config, resolver, domain, port, implicitTls);
  // RFC 7505 §3: alone and empty. Beside others it means nothing.
  if (mx.kind === "found" && mx.answers.every(({ exchange }) => exchange === "")) {
    return none(556, "5.1.10", `Domain ${domain} does not accept mail (null MX)`);
  }
  // RFC 5321 §5.1: without MX, the domain is its own exchange at preference 0.
  if (mx.kind === "nodata" && configured) return await configuredHost(config, resolver, domain, port, implicitTls);
  const exchanges = mx.kind === "found" ? ordered(mx.answers) : [{ preference: 0, exchange: domain }];
  const looked = await Promise.all(
    exchanges
      .slice(0, mostExchanges)
      .map(async ({ preference, exchange }) => ({ preference, exchange, found: await resolver.addresses(exchange) })),
  );

  const ownNames = new Set([config.server.hostname, config.server.outbound.heloName]);
  const hops: NextHop[] = [];
  let anyTemporary = false;
  let anyForbidden = false;
  let ownPreference = Number.POSITIVE_INFINITY;
  for (const { preference, exchange, found } of looked) {
    // RFC 5321 §5.1: what is not preferred over ourselves would only send it back here.
    if (preference >= ownPreference) break;
    const screened = found.kind === "found" ? screen(config, found.answers, port, configured) : undefined;
    if (ownNames.has(exchange) || screened?.own === true) {
      ownPreference = preference;
      continue;
    }
    if (found.kind === "temporary") anyTemporary = true;
    if (screened === undefined) continue;
    if (screened.addresses.length === 0) anyForbidden = true;
    for (const address of inOrder(config, screened.addresses)) {
      hops.push({
        endpoint: { kind: "tcp", address, port },
        names: { host: exchange, nextHop: domain },
        implicitTls,
        preference,
      });
    }
  }
  // An exchange of our own preference that came before us in the shuffle is no better than one that came after.
  const usable = hops.filter(({ preference = 0 }) => preference < ownPreference);
  if (usable.length > 0) return { kind: "hops", hops: balanced(usable) };
  if (anyTemporary) return none(451, "4.4.3", `No address of a mail server of ${domain} could be looked up: try again`);
  if (Number.isFinite(ownPreference)) return loops(domain);
  if (anyForbidden) return forbidden(domain);
  return none(550, "5.4.4", `Domain ${domain} has no mail server with an address`);
}

export const loopReply = (domain: string): Reply => ({
  code: 554,
  enhanced: "5.4.6",
  text: `Mail for ${domain} loops back to myself`,
});
const loops = (domain: string): NextHops => ({ kind: "none", reply: loopReply(domain) });

/** What is left when `own` turned out to be this server: nothing that is not preferred over it. RFC 5321 §5.1. */
export const preferredOver = (own: NextHop, hops: readonly NextHop[]): readonly NextHop[] =>
  hops.filter(({ preference }) => preference !== undefined && preference < (own.preference ?? 0));

/** Temporary: it may be the operator's own private network with `allowedNetworks` still to be set. */
const forbidden = (domain: string): NextHops => none(451, "4.4.4", `Mail server of ${domain} has no public address`);

/** By preference; equal ones in random order, so that they share the load (RFC 5321 §5.1). */
export function ordered(exchanges: readonly MailExchange[]): readonly MailExchange[] {
  return shuffled(exchanges.filter(({ exchange }) => exchange !== "")).toSorted((a, b) => a.preference - b.preference);
}

function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, place: randomInt(0x7fffffff) }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ item }) => item);
}

/** Of one host: the preferred family first; without a preference in turn, so that a family that does not work here costs one attempt, not all. */
function inOrder(config: LiveConfig, addresses: readonly string[]): readonly string[] {
  const preference = config.server.outbound.addressPreference;
  const mixed = shuffled(addresses);
  const four = mixed.filter((address) => isIPv4(address));
  const six = mixed.filter((address) => !isIPv4(address));
  if (preference !== "Any") return preference === "IPv4" ? [...four, ...six] : [...six, ...four];
  const [first, second] = mixed[0] !== undefined && isIPv4(mixed[0]) ? [four, six] : [six, four];
  return first.flatMap((address, at) => [address, ...second.slice(at, at + 1)]).concat(second.slice(first.length));
}

/** As many as one attempt tries, in order; where both families are there, neither takes all places (Postfix smtp_balance_inet_protocols). */
function balanced(hops: readonly NextHop[]): readonly NextHop[] {
  if (hops.length <= mostAddresses) return hops;
  const isFour = ({ endpoint }: NextHop): boolean => endpoint.kind === "tcp" && isIPv4(endpoint.address);
  const most = Math.ceil(mostAddresses / 2);
  const four = hops.filter(isFour).slice(0, Math.max(most, mostAddresses - hops.filter((hop) => !isFour(hop)).length));
  const six = hops.filter((hop) => !isFour(hop)).slice(0, Math.max(most, mostAddresses - four.length));
  const chosen = new Set([...four, ...six]);
  return hops.filter((hop) => chosen.has(hop)).slice(0, mostAddresses);
}

/** Drops what must not be dialled, and says whether one of the addresses is this very server. */
function screen(
  config: LiveConfig,
  addresses: readonly string[],
  port: number,
  configured: boolean,
): { readonly addresses: readonly string[]; readonly own: boolean } {
  if (configured) return { addresses, own: false };
  const own = config.server.listeners.some((listener) => listener.port === port) && addresses.some(isOwnAddress);
  return { addresses: addresses.filter((address) => mayDial(config, address)), own };
}

/** May a stranger's DNS make us speak to this address? */
export function mayDial(config: LiveConfig, address: string): boolean {
  const { allowPrivateNextHops, allowedNetworks, deniedNetworks } = config.server.outbound;
  const within = embedded(address);
  // A translated address leads where the IPv4 address within leads: both must be free of objections.
  const either = (networks: readonly string[]): boolean =>
    isInNetworks(networks, address) || (within !== undefined && isInNetworks(networks, within));
  if (either(deniedNetworks)) return false;
  return allowPrivateNextHops || isPublic(address) || either(allowedNetworks);
}

/** Only what is routed on the Internet: a stranger's DNS must not make us speak to the cluster, the node or its metadata service. */
export function isPublic(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const within = embedded(address);
  return ipaddr.process(within ?? address).range() === "unicast";
}

/** 64:ff9b::/96 (NAT64, RFC 6052): the IPv4 address within. */
function embedded(address: string): string | undefined {
  if (!ipaddr.isValid(address)) return undefined;
  const parsed = ipaddr.process(address);
  if (parsed.kind() !== "ipv6" || parsed.range() !== "rfc6052") return undefined;
  return ipaddr.fromByteArray(parsed.toByteArray().slice(12)).toString();
}

function isOwnAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const wanted = ipaddr.process(address).toNormalizedString();
  return Object.values(networkInterfaces()).some((list) =>
    (list ?? []).some(
      (own) => ipaddr.isValid(own.address) && ipaddr.process(own.address).toNormalizedString() === wanted,
    ),
  );
}
