/**
 * Certificates: what a Secret of PEM text holds, checked before a server is told to use it.
 *
 * Stands in build/, used by the server's identity, client certificates for Routes, RelayClientCerts and CA bundles. Pure; what cannot be used is a
 * value with a sentence that names the Secret and the key, never its content. RFC 5280 (validity), RFC 7468 (PEM), RFC 6698 §2.1 (what is hashed).
 */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import type { SecretReason } from "./verdict.ts";

/** A Secret's data, decoded as text. */
export type SecretText = ReadonlyMap<string, string>;

export interface CertificateFacts {
  readonly subject: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Lower-case hex SHA-256 of the DER certificate and of its SubjectPublicKeyInfo. */
  readonly certificateSha256: string;
  readonly publicKeySha256: string;
}

export type KeyPairResult =
  | { readonly ok: true; readonly certificate: string; readonly privateKey: string; readonly facts: CertificateFacts }
  | { readonly ok: false; readonly reason: SecretReason; readonly message: string };

export type CertificateResult =
  | { readonly ok: true; readonly facts: CertificateFacts }
  | { readonly ok: false; readonly reason: SecretReason; readonly message: string };
export type AuthorityResult =
  | { readonly ok: true; readonly bundle: string }
  | { readonly ok: false; readonly reason: SecretReason; readonly message: string };

const MAX_CERTIFICATE_BYTES = 262_144;
const MAX_KEY_BYTES = 65_536;
const MAX_BUNDLE_BYTES = 524_288;
const pemCertificate = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

const sha256Hex = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

function factsOf(certificate: X509Certificate): CertificateFacts {
  return {
    subject:
      certificate.subject === undefined || certificate.subject === ""
        ? (certificate.subjectAltName ?? "(no subject)")
        : certificate.subject.split("\n").toReversed().join(", "),
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
    certificateSha256: sha256Hex(certificate.raw),
    publicKeySha256: sha256Hex(certificate.publicKey.export({ type: "spki", format: "der" })),
  };
}

interface Parsed {
  readonly certificate: X509Certificate;
  readonly facts: CertificateFacts;
}

/** undefined for what is no certificate, and for one whose key is of a kind that OpenSSL does not know. */
function parse(text: string): Parsed | undefined {
  try {
    const certificate = new X509Certificate(text);
    return { certificate, facts: factsOf(certificate) };
  } catch {
    return undefined;
  }
}

const missing = (secretName: string, keys: string) =>
  ({
    ok: false,
    reason: "SecretNotFound",
    message: `Secret ${secretName} does not exist; create it with ${keys}, or wait for cert-manager if it is to come from there.`,
  }) as const;
const invalid = (message: string) => ({ ok: false, reason: "SecretInvalid", message }) as const;

/** `tls.crt` (leaf first, then intermediates) and `tls.key` of a kubernetes.io/tls Secret. */
export function readKeyPair(secretName: string, data: SecretText | undefined): KeyPairResult {
  if (data === undefined) return missing(secretName, "tls.crt and tls.key");
  const certificate = data.get("tls.crt");
  const privateKey = data.get("tls.key");
  if (certificate === undefined || certificate === "")
    return invalid(`Secret ${secretName} has no tls.crt; put the PEM certificate chain there.`);
  if (privateKey === undefined || privateKey === "")
    return invalid(`Secret ${secretName} has no tls.key; put the PEM private key there.`);
  if (certificate.length > MAX_CERTIFICATE_BYTES || privateKey.length > MAX_KEY_BYTES)
    return invalid(
      `Secret ${secretName} is too large for a certificate chain and its key; keep only the chain in tls.crt.`,
    );
  const leaf = parse(certificate);
  if (leaf === undefined)
    return invalid(`tls.crt of Secret ${secretName} is not a PEM certificate; put the chain there, leaf first.`);
  let matches: boolean;
  try {
    matches = leaf.certificate.checkPrivateKey(createPrivateKey(privateKey));
  } catch {
    return invalid(
      `tls.key of Secret ${secretName} is not an unencrypted PEM private key; put the key without a passphrase there.`,
    );
  }
  if (!matches)
    return invalid(
      `tls.key of Secret ${secretName} does not belong to the first certificate in its tls.crt; put the leaf certificate first and its own key beside it.`,
    );
  return { ok: true, certificate, privateKey, facts: leaf.facts };
}

/** A certificate without need of its key: what a RelayClientCert recognises. */
export function readCertificate(secretName: string, data: SecretText | undefined): CertificateResult {
  if (data === undefined) return missing(secretName, "tls.crt");
  const text = data.get("tls.crt");
  const certificate = text === undefined || text.length > MAX_CERTIFICATE_BYTES ? undefined : parse(text);
  if (certificate === undefined)
    return invalid(`Secret ${secretName} has no PEM certificate under tls.crt; put the client's certificate there.`);
  return { ok: true, facts: certificate.facts };
}

/** `ca.crt` (or `tls.crt` where that is all there is): every certificate of the bundle must parse. */
export function readAuthority(secretName: string, data: SecretText | undefined): AuthorityResult {
  if (data === undefined) return missing(secretName, "ca.crt");
  const text = data.get("ca.crt") ?? data.get("tls.crt");
  if (text === undefined || text.length > MAX_BUNDLE_BYTES)
    return invalid(
      `Secret ${secretName} has no key ca.crt of at most ${MAX_BUNDLE_BYTES} bytes; put the PEM certificates of the authorities there.`,
    );
  const certificates = text.match(pemCertificate) ?? [];
  if (certificates.length === 0 || certificates.some((pem) => parse(pem) === undefined))
    return invalid(
      `ca.crt of Secret ${secretName} holds a certificate that cannot be read; put PEM certificates there.`,
    );
  return { ok: true, bundle: `${certificates.join("\n")}\n` };
}

/** Lower-case hex without separators; undefined when it is not a SHA-256 fingerprint. */
export function normaliseFingerprint(value: string): string | undefined {
  const hex = value
    .replaceAll(/[:\s]/g, "")
    .replace(/^sha256[=/]?/i, "")
    .toLowerCase();
  return /^[0-9a-f]{64}$/.test(hex) ? hex : undefined;
}
