/**
 * Secure contexts: what the server shows in a handshake, made from the configuration and made anew when it changes.
 *
 * Several certificates at once: one of each key type (ECDSA and RSA) goes into a context; by SNI, those whose names fit the asked one, else the server's
 * first ones. A certificate that cannot be used (unreadable, key of another) is logged and counted, and the last good one under its name stays.
 * One that has expired is replaced by the last good one only while that is still valid; alone it is served all the same: encryption with an old
 * certificate serves opportunistic peers better than none. Without any certificate there is no context and TLS is not offered.
 * RFC 6066 §3 (SNI), RFC 9525 §6.3 (wildcards), RFC 5077 (tickets; their keys live as long as the process).
 */
import { createPrivateKey, randomBytes, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { domainKey } from "../config/address.ts";
import type { LiveConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { certificateProblems } from "../observe/metrics.ts";
import { profiles } from "./profiles.ts";

interface Identity {
  readonly certificate: string;
  readonly privateKey: string;
  /** `rsa`, `ec`, …: one of each fits into a context. */
  readonly keyType: string;
  readonly names: readonly string[];
  readonly validToMs: number;
  readonly fingerprint: string;
}

/** Names of a certificate that SNI can ask for; `*.` kept. */
function namesOf(x509: X509Certificate): readonly string[] {
  const names: string[] = [];
  for (const entry of (x509.subjectAltName ?? "").split(", ")) {
    const name = entry.startsWith("DNS:") ? entry.slice(4) : "";
    const key = name.startsWith("*.") ? domainKey(name.slice(2)) : domainKey(name);
    if (key !== undefined) names.push(name.startsWith("*.") ? `*.${key}` : key);
  }
  return names;
}

function readIdentity(pem: { readonly certificate: string; readonly privateKey: string }): Identity {
  const x509 = new X509Certificate(pem.certificate);
  const key = createPrivateKey(pem.privateKey);
  if (!x509.checkPrivateKey(key)) throw new Error("the private key does not belong to the certificate");
  return {
    ...pem,
    keyType: key.asymmetricKeyType ?? "unknown",
    names: namesOf(x509),
    validToMs: x509.validToDate.getTime(),
    fingerprint: x509.fingerprint256,
  };
}

export class TlsContexts {
  readonly #log: Log;
  readonly #now: () => number;
  readonly #ticketKeys = randomBytes(48);
  readonly #good = new Map<string, Identity>();
  #default: SecureContext | undefined;
  #byName: ReadonlyMap<string, SecureContext> = new Map();
  #built: string | undefined;

  constructor(log: Log, now: () => number = Date.now) {
    this.#log = log;
    this.#now = now;
  }

  get isAvailable(): boolean {
    return this.#default !== undefined;
  }

  /** The context for an SNI name, or the default one. */
  contextFor(servername: string | undefined): SecureContext | undefined {
    const name = servername === undefined ? undefined : domainKey(servername);
    if (name === undefined) return this.#default;
    return this.#byName.get(name) ?? this.#byName.get(`*.${name.slice(name.indexOf(".") + 1)}`) ?? this.#default;
  }

  /** Take the certificates and TLS settings of a configuration; sessions under way keep what they negotiated. */
  apply(config: LiveConfig): void {
    certificateProblems.reset();
    const identities = config.serverCertificates
      .map((name) => this.#usable(config, name))
      .filter((found) => found !== undefined);
    for (const name of this.#good.keys()) if (!config.serverCertificates.includes(name)) this.#good.delete(name);

    const { profile, sessionTimeoutMs } = config.server.tls;
    const built = JSON.stringify([
      profile,
      sessionTimeoutMs,
      config.server.hostname,
      identities.map(({ fingerprint }) => fingerprint),
    ]);
    if (built === this.#built) return;
    const options = {
      ...profiles[profile],
      sessionTimeout: Math.max(1, Math.round(sessionTimeoutMs / 1000)),
      sessionIdContext: "packetboat",
      ticketKeys: this.#ticketKeys,
    };
    const made = new Map<string, SecureContext>();
    const contextOf = (candidates: readonly Identity[]): SecureContext | undefined => {
      // The first of each key type, in the order of the configuration.
      const chosen = candidates.filter(
        (each, place) => candidates.findIndex(({ keyType }) => keyType === each.keyType) === place,
      );
      if (chosen.length === 0) return undefined;
      const key = chosen.map(({ fingerprint }) => fingerprint).join();
      let context = made.get(key);
      if (context === undefined) {
        context = createSecureContext({
          ...options,
          cert: chosen.map(({ certificate }) => certificate),
          key: chosen.map(({ privateKey }) => privateKey),
        });
        made.set(key, context);
      }
      return context;
    };
    try {
      const byName = new Map<string, SecureContext>();
      for (const name of new Set(identities.flatMap(({ names }) => names))) {
        const context = contextOf(identities.filter(({ names }) => names.includes(name)));
        if (context !== undefined) byName.set(name, context);
      }
      this.#default = contextOf(identities);
      this.#byName = byName;
      this.#built = built;
      const certificates = identities.map(({ names, validToMs }) => ({
        names,
        validTo: new Date(validToMs).toISOString(),
      }));
      this.#log.info({ profile, certificates }, "tls-certificates");
    } catch (error) {
      certificateProblems.inc({ reason: "unusable" });
      this.#log.error({ error: error instanceof Error ? error.message : String(error) }, "tls-context-failed");
    }
  }

  #usable(config: LiveConfig, name: string): Identity | undefined {
    const before = this.#good.get(name);
    const pem = config.certificates.get(name);
    try {
      if (pem === undefined) throw new Error("the certificate is named but not there");
      const same = before?.certificate === pem.certificate && before.privateKey === pem.privateKey;
      const identity = same ? before : readIdentity(pem);
      if (identity.validToMs <= this.#now()) {
        certificateProblems.inc({ reason: "expired" });
        const keepsOld = before !== undefined && before.validToMs > this.#now();
        this.#log.error(
          { certificate: name, validTo: new Date(identity.validToMs).toISOString(), keepsOld },
          "tls-certificate-expired",
        );
        if (keepsOld) return before;
      }
      this.#good.set(name, identity);
      return identity;
    } catch (error) {
      certificateProblems.inc({ reason: "unusable" });
      const keepsOld = before !== undefined;
      this.#log.error(
        { certificate: name, error: error instanceof Error ? error.message : String(error), keepsOld },
        "tls-certificate-unusable",
      );
      return before;
    }
  }
}
