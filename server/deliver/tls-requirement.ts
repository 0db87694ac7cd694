/**
 * What TLS a delivery must have: the TLSPolicy of its destination, as one value.
 *
 * Decided before any connection, from the recipient's domain or the configured next hop, never from the MX host (a forged MX must not lower it).
 * Pure but for building secure contexts, which are kept as long as the configuration they came from. A policy that cannot be kept now
 * (level not built yet, authority missing) is a temporary failure, never a weaker session.
 * RFC 3207, RFC 7435 (opportunistic), RFC 6125 §6.4 (names), RFC 8689 (REQUIRETLS).
 */
import { createHash, X509Certificate } from "node:crypto";
import {
  checkServerIdentity,
  type ConnectionOptions,
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
  type SecureVersion,
  type TLSSocket,
} from "node:tls";
import type { LiveConfig, TlsLevel, TlsPolicyEntry } from "../config/schema.ts";
import type { Reply } from "../reply.ts";
import type { Transport } from "../route/resolve.ts";
import { policyFor } from "../route/tls-policy.ts";

export interface TlsRequirement {
  readonly level: "None" | "May" | "Encrypt" | "Fingerprint" | "Verify" | "Secure";
  /** Equal keys may share a connection. */
  readonly key: string;
  readonly policy: TlsPolicyEntry | undefined;
  readonly clientCertificate: string | undefined;
}

export type RequirementResult =
  | { readonly kind: "required"; readonly requirement: TlsRequirement }
  | { readonly kind: "refused"; readonly reply: Reply };

const refused = (text: string): RequirementResult => ({
  kind: "refused",
  reply: { code: 451, enhanced: "4.7.5", text },
});

const strength: Readonly<Record<TlsRequirement["level"], number>> = {
  None: 0,
  May: 1,
  Encrypt: 2,
  Fingerprint: 3,
  Verify: 3,
  Secure: 4,
};

export function requirementFor(
  config: LiveConfig,
  transport: Transport,
  message: { readonly requireTls: boolean },
): RequirementResult {
  // Nothing on this machine listens in on a unix socket.
  const policy =
    transport.delivery.kind === "lmtp-socket"
      ? undefined
      : (policyFor(config, transport.tlsPolicyKey) ?? transport.tlsPolicy);
  const asked: TlsLevel =
    transport.delivery.kind === "lmtp-socket" ? "None" : (policy?.level ?? config.server.outbound.tlsDefault);
  if (asked === "DANE" || asked === "DANEOnly") return refused(`TLS level ${asked} is not supported yet`);
  // RFC 8689 §4.2.1: such a message leaves only to a host whose name its certificate proves.
  const level = message.requireTls && strength[asked] < strength.Verify ? "Verify" : asked;
  if (level === "Fingerprint" && (policy?.fingerprints.length ?? 0) === 0)
    return refused("TLS policy names no fingerprint");
  if (policy?.authority !== undefined && !config.authorities.has(policy.authority)) {
    return refused("TLS policy names a certificate authority that is missing");
  }
  const { clientCertificate } = transport;
  if (clientCertificate !== undefined && !config.certificates.has(clientCertificate))
    return refused("Client certificate is missing");
  const key = JSON.stringify([level, policy ?? null, clientCertificate ?? null, config.hash]);
  return { kind: "required", requirement: { level, key, policy, clientCertificate } };
}

/** Names a session may be verified against. */
export interface PeerNames {
  /** The host dialled: MX host or configured next hop. */
  readonly host: string;
  /** The domain or next hop the recipient led to. */
  readonly nextHop: string;
}

export interface SessionTls {
  readonly startTls: "never" | "offered" | "required";
  readonly options: ConnectionOptions;
  readonly refusePeer: ((socket: TLSSocket) => string | undefined) | undefined;
}

export function sessionTls(config: LiveConfig, requirement: TlsRequirement, names: PeerNames): SessionTls {
  const { level, policy } = requirement;
  const verifies = level === "Verify" || level === "Secure";
  const patterns = patternsFor(level, policy?.match ?? [], names);
  const fingerprints = new Set(policy?.fingerprints ?? []);
  return {
    startTls: level === "None" ? "never" : level === "May" ? "offered" : "required",
    options: {
      secureContext: contextFor(config, requirement),
      // May and Encrypt take any certificate; Fingerprint judges the key itself, below.
      rejectUnauthorized: verifies,
      checkServerIdentity: (_host, certificate) => (verifies ? nameMismatch(certificate, patterns) : undefined),
    },
    refusePeer: level === "Fingerprint" ? (socket) => fingerprintMismatch(socket, fingerprints) : undefined,
  };
}

/** Postfix's smtp_tls_verify_cert_match (hostname) and smtp_tls_secure_cert_match (nexthop, dot-nexthop). */
function patternsFor(
  level: TlsRequirement["level"],
  match: readonly string[],
  { host, nextHop }: PeerNames,
): readonly string[] {
  const chosen = match.length > 0 ? match : level === "Secure" ? ["nexthop", "dot-nexthop"] : ["hostname"];
  return chosen.map((pattern) => {
    if (pattern === "hostname") return host;
    if (pattern === "nexthop") return nextHop;
    return pattern === "dot-nexthop" ? `.${nextHop}` : pattern;
  });
}

/** Undefined when one of the patterns is the certificate's name; `.domain` matches what lies below it. */
export function nameMismatch(certificate: PeerCertificate, patterns: readonly string[]): Error | undefined {
  const names = [...(certificate.subjectaltname ?? "").matchAll(/DNS:([^,\s"]{1,253})/g)].map((match) =>
    (match[1] ?? "").toLowerCase(),
  );
  for (const pattern of patterns) {
    if (pattern.startsWith(".")) {
      if (names.some((name) => name.replace(/^\*(?=\.)/, "x").endsWith(pattern.toLowerCase()))) return undefined;
    } else if (checkServerIdentity(pattern, certificate) === undefined) return undefined;
  }
  return new Error(`certificate is for ${names.slice(0, 4).join(", ") || "nobody"}, not for ${patterns.join(" or ")}`);
}

function fingerprintMismatch(socket: TLSSocket, allowed: ReadonlySet<string>): string | undefined {
  const der = socket.getPeerCertificate(false).raw;
  // No certificate at all: the type does not say so, the handshake of an anonymous cipher does.
  if ((der as Buffer | undefined) === undefined) return "no certificate";
  const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");
  const ofCertificate = sha256(der);
  const ofPublicKey = sha256(new X509Certificate(der).publicKey.export({ type: "spki", format: "der" }));
  return allowed.has(ofCertificate) || allowed.has(ofPublicKey)
    ? undefined
    : `certificate ${ofCertificate} is not among the fingerprints of the policy`;
}

/** Parsing a bundle of a hundred authorities costs milliseconds: once for a configuration, not once for a connection. */
const contexts = new WeakMap<LiveConfig, Map<string, SecureContext>>();

function contextFor(config: LiveConfig, { key, policy, clientCertificate }: TlsRequirement): SecureContext {
  const ofConfig = contexts.get(config) ?? new Map<string, SecureContext>();
  contexts.set(config, ofConfig);
  const known = ofConfig.get(key);
  if (known !== undefined) return known;
  const authority = policy?.authority === undefined ? undefined : config.authorities.get(policy.authority);
  const identity = clientCertificate === undefined ? undefined : config.certificates.get(clientCertificate);
  const minVersion: SecureVersion = policy?.minVersion ?? "TLSv1.2";
  const context = createSecureContext({
    minVersion,
    ...(policy?.ciphers === undefined ? {} : { ciphers: policy.ciphers }),
    ...(authority === undefined ? {} : { ca: authority }),
    ...(identity === undefined ? {} : { cert: identity.certificate, key: identity.privateKey }),
  });
  ofConfig.set(key, context);
  return context;
}
