/**
 * The server's own section: MailServer → `server.json`, its certificates, and where <postmaster> leads.
 *
 * Stands in build/, last, because the postmaster is looked up among the addresses. What is wrong with one network, resolver or certificate is said and left out;
 * a server always comes out. RFC 5321 §4.5.1 (postmaster), §4.1.1.1 (EHLO name).
 */
import type { AccessRule, AddressEntry, Outbound, ServerSection } from "../../server/config/schema.ts";
import { CONFIG_VERSION } from "../../server/config/schema.ts";
import { networkKey } from "./access-rules.ts";
import { authenticationOf } from "./authentication.ts";
import type { Context } from "./context.ts";
import { credentialsKey, sourceAddresses } from "./deliveries.ts";
import { debugPeersOf } from "./debug.ts";
import { destinationAddress, domainOf, tableDomain } from "./keys.ts";
import { buildLookups, lookedUpDomainsOf } from "./lookups.ts";
import { limitsOf } from "./limits.ts";
import { listenersOf } from "./listeners.ts";
import { MAX_SERVER_NAME } from "./names.ts";
import { policyServicesOf } from "./policy-services.ts";
import { verificationOf } from "./verification.ts";
import { dnsblRulesOf, greylistingOf, postscreenOf } from "./postscreen.ts";
import { durationMs, sizeBytes } from "./quantities.ts";
import { secretKey } from "./references.ts";
import { rewritingOf } from "./rewriting.ts";
import { buildRestrictions } from "./restrictions.ts";
import type { Refusal } from "./verdict.ts";
import { nameKey, objectKey } from "./world.ts";
import { WARNING_MS } from "./relay-client-certs.ts";

export interface ServerCertificates {
  /** Keys in the order to offer them; also of those that cannot be read now, so that a running server keeps its last good one. */
  readonly names: string[];
  readonly recheckAtMs: number | undefined;
}

export function buildServerCertificates({ world, findings, secrets }: Context): ServerCertificates {
  const { server, nowMs } = world;
  const key = objectKey(server);
  const names = [...new Set(server.spec.tls.certificates.map(({ secretName }) => secretKey(server, secretName)))];
  const unreadable: (readonly [refusal: Refusal, name: string])[] = [];
  let recheckAtMs: number | undefined;
  const recheck = (ms: number): void => {
    if (ms > nowMs) recheckAtMs = Math.min(recheckAtMs ?? ms, ms);
  };
  for (const name of names) {
    const read = secrets.useKeyPair(name);
    if (!read.ok) {
      unreadable.push([read, name]);
      continue;
    }
    const { notAfterMs } = read.facts;
    const ends = new Date(notAfterMs).toISOString();
    // Served all the same: encryption with an old certificate serves opportunistic peers better than none.
    if (notAfterMs <= nowMs)
      findings.warn(
        key,
        `CertificateExpired: the certificate in Secret ${name} expired at ${ends}; renew it. It is still served.`,
      );
    else if (notAfterMs - nowMs < WARNING_MS / 2)
      findings.warn(key, `The certificate in Secret ${name} expires at ${ends}; renew it before then.`);
    recheck(notAfterMs - WARNING_MS / 2);
    recheck(notAfterMs);
  }
  const none = names.every((name) => !secrets.certificates.has(name));
  for (const [{ reason, message }, name] of unreadable) {
    const instead = secrets.certificates.has(name)
      ? "the certificate last read is served"
      : none
        ? "each pod keeps its last good one or serves a self-signed one"
        : "it is not served";
    findings.refuse(key, reason, `${message} Until then ${instead}.`);
  }
  return { names, recheckAtMs };
}

/** `ip`, `ip:port` or `[ip6]:port`. */
function resolverKey(text: string): string | undefined {
  const bracketed = /^\[([0-9A-Fa-f:.]+)\]:([0-9]{1,5})$/.exec(text);
  const plain = bracketed === null ? /^([0-9.]+):([0-9]{1,5})$/.exec(text) : bracketed;
  const host = plain?.[1] ?? text;
  const port = plain?.[2];
  const network = host.includes("/") ? undefined : networkKey(host);
  if (network === undefined || (port !== undefined && (Number(port) < 1 || Number(port) > 65_535))) return undefined;
  const address = network.slice(0, network.indexOf("/"));
  if (port === undefined) return address;
  return address.includes(":") ? `[${address}]:${Number(port)}` : `${address}:${Number(port)}`;
}

function usable(
  list: readonly string[],
  read: (text: string) => string | undefined,
  complain: (text: string) => void,
): string[] {
  return list.flatMap((text) => {
    const found = read(text);
    if (found === undefined) complain(text);
    return found === undefined ? [] : [found];
  });
}

/**
 * Where <postmaster> leads when spec.postmaster is empty: postmaster@ of a served domain that has such an entry, else an unsuspended mailbox (one that can
 * authenticate first: a person reads it). By name, not by age, so that the embedded mode and a restored cluster choose the same.
 */
function defaultPostmaster(addresses: ReadonlyMap<string, AddressEntry>): string[] {
  const keys = [...addresses.keys()]
    .filter((key) => !key.startsWith("@"))
    .sort((a, b) => {
      const [left, right] = [`${domainOf(a)}\0${a}`, `${domainOf(b)}\0${b}`];
      return left < right ? -1 : left > right ? 1 : 0;
    });
  const works = (key: string): boolean => {
    const entry = addresses.get(key);
    return entry?.relocatedTo === undefined && entry?.mailbox?.suspended !== true;
  };
  const named = keys.find((key) => key.startsWith("postmaster@") && works(key));
  const mailboxes = keys.filter((key) => addresses.get(key)?.mailbox?.suspended === false);
  const person = named ?? mailboxes.find((key) => addresses.get(key)?.mailbox?.authentication === true) ?? mailboxes[0];
  return person === undefined ? [] : [person];
}

function outboundOf(context: Context, hostname: string): Outbound {
  const { server } = context.world;
  const { findings } = context;
  const key = objectKey(server);
  const { outbound } = server.spec;
  const relay = outbound.relayHost;
  const credentials = relay === undefined ? undefined : credentialsKey(server, relay.credentialsSecretName, context);
  const resolvers = usable(outbound.dns.resolvers, resolverKey, (text) =>
    findings.refuse(
      key,
      "Invalid",
      `"${text}" in spec.outbound.dns.resolvers is not an IP address with or without a port; correct it.`,
    ),
  );
  const networks = (field: "allowedNetworks" | "deniedNetworks"): string[] =>
    [
      ...new Set(
        usable(outbound[field], networkKey, (text) =>
          findings.refuse(
            key,
            "Invalid",
            `"${text}" in spec.outbound.${field} is not a network; write its address and length, such as 192.0.2.0/24.`,
          ),
        ),
      ),
    ].sort();
  const level = outbound.tls.default;
  if (level === "DANE" || level === "DANEOnly") {
    findings.refuse(
      key,
      "Unsupported",
      `spec.outbound.tls.default ${level} is not available yet; choose May, Encrypt, Verify or Secure. Until then ${level === "DANE" ? "May is used" : "outgoing mail waits, because sending it without DANE is what DANEOnly forbids"}.`,
    );
  }
  return {
    heloName: (outbound.heloName === undefined ? undefined : tableDomain(outbound.heloName)) ?? hostname,
    ...(relay === undefined
      ? {}
      : {
          relayHost: {
            host: relay.host,
            port: relay.port,
            lookupMX: relay.lookupMX,
            implicitTLS: relay.implicitTLS,
            ...(credentials === undefined ? {} : { credentials }),
          },
        }),
    addressPreference: outbound.addressPreference,
    tlsDefault: level === "DANE" ? "May" : level,
    resolvers,
    destinationConcurrency: outbound.concurrency.perDestination,
    concurrency: outbound.concurrency.total,
    smtpPort: outbound.port,
    allowPrivateNextHops: outbound.allowPrivateNextHops,
    allowedNetworks: networks("allowedNetworks"),
    deniedNetworks: networks("deniedNetworks"),
    sourceAddresses: sourceAddresses(server, outbound.sourceAddresses, context),
  };
}

export function serverSection(
  context: Context,
  parts: { readonly accessRules: AccessRule[]; readonly addresses: ReadonlyMap<string, AddressEntry> },
): ServerSection {
  const { findings } = context;
  const { server } = context.world;
  const { spec } = server;
  const key = objectKey(server);
  const invalid = (field: string, advice: string) => (text: string) =>
    findings.refuse(key, "Invalid", `"${text}" in ${field} ${advice}`);
  const hostname = tableDomain(spec.hostname);
  if (hostname === undefined)
    findings.refuse(
      key,
      "Invalid",
      `"${spec.hostname}" is not a host name; correct spec.hostname. Until then the server calls itself mail.invalid.`,
    );
  if (server.metadata.name.length > MAX_SERVER_NAME || server.metadata.name.includes(".")) {
    findings.refuse(
      key,
      "Invalid",
      `The name of a MailServer becomes that of its Services and pods: at most ${MAX_SERVER_NAME} characters, without dots. Create one with a shorter name.`,
    );
  }
  const name = hostname ?? "mail.invalid";
  const postmaster = usable(
    spec.postmaster,
    (text) => destinationAddress(text),
    invalid("spec.postmaster", "is not an address; correct it."),
  );
  const { limits, queue } = spec;
  const lookups = buildLookups(context);
  return {
    version: CONFIG_VERSION,
    name: nameKey(server),
    hostname: name,
    listeners: listenersOf(context),
    tls: { profile: spec.tls.profile, sessionTimeoutMs: durationMs(spec.tls.sessionTimeout) },
    trustedNetworks: [
      ...new Set(
        usable(
          spec.networks.trusted,
          networkKey,
          invalid("spec.networks.trusted", "is not a network; write its address and length, such as 192.0.2.0/24."),
        ),
      ),
    ].sort(),
    limits: limitsOf(context),
    queue: {
      minBackoffMs: durationMs(queue.minBackoff),
      maxBackoffMs: durationMs(queue.maxBackoff),
      lifetimeMs: durationMs(queue.lifetime),
      bounceLifetimeMs: durationMs(queue.bounceLifetime),
      delayWarningMs: durationMs(queue.delayWarning),
      confirmDelayCleared: queue.confirmDelayCleared,
      softBounce: queue.softBounce,
      hold: queue.hold,
      notify: [...queue.notify].sort(),
      minFreeBytes: sizeBytes(limits.minFree),
    },
    outbound: outboundOf(context, name),
    recipientDelimiters: spec.addresses.recipientDelimiters,
    rewriting: rewritingOf(context),
    postmaster: postmaster.length > 0 ? [...new Set(postmaster)] : defaultPostmaster(parts.addresses),
    strictEnvelopes: spec.restrictions.strictEnvelopes,
    authentication: authenticationOf(context),
    accessRules: parts.accessRules,
    restrictions: buildRestrictions(context),
    lookups,
    ...lookedUpDomainsOf(context, lookups),
    policyServices: policyServicesOf(context),
    verification: verificationOf(context),
    ...postscreenOf(context),
    ...dnsblRulesOf(context),
    ...greylistingOf(context),
    debugPeers: debugPeersOf(context),
  };
}
