/**
 * The server's own certificate, for as long as the configuration names none: made at the first start, kept in `<data>/tls`.
 *
 * So STARTTLS works from the first minute, in the embedded default as in a cluster, and the rendered configuration has no random bytes in it. The primary makes
 * it before the first shard starts. Promises the same files at every later start as long as they fit together, name the hostname and have a month to live;
 * makes new ones otherwise. The key file is readable by its owner only. RFC 5280, RFC 9525 (names in subjectAltName).
 */
import "reflect-metadata";
import { createPrivateKey, randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import type { LiveConfig } from "../config/schema.ts";

export interface KeyPair {
  readonly certificate: string;
  readonly privateKey: string;
}

/** The name it goes by in `LiveConfig.certificates`; a Secret's key has a slash in another place. */
const OWN = "/self-signed";
const DAY_MS = 86_400_000;
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const serverAuth = "1.3.6.1.5.5.7.3.1";
const clientAuth = "1.3.6.1.5.5.7.3.2";

/** ECDSA P-256, ten years, for the hostname and for loopback. */
export async function makeSelfSigned(hostname: string, nowMs: number = Date.now()): Promise<KeyPair> {
  cryptoProvider.set(webcrypto as never);
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    // RFC 5280 §4.1.2.2: a positive serial number of at most 20 octets.
    serialNumber: `01${randomBytes(15).toString("hex")}`,
    name: [{ CN: [hostname.length <= 64 ? hostname : "packetboat"] }],
    notBefore: new Date(nowMs - DAY_MS),
    notAfter: new Date(nowMs + 3650 * DAY_MS),
    signingAlgorithm: algorithm,
    keys: keys as never,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([serverAuth, clientAuth]),
      new SubjectAlternativeNameExtension([
        { type: "dns", value: hostname },
        { type: "dns", value: "localhost" },
        { type: "ip", value: "127.0.0.1" },
        { type: "ip", value: "::1" },
      ]),
    ],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return {
    certificate: `${certificate.toString("pem")}\n`,
    privateKey: `-----BEGIN PRIVATE KEY-----\n${pkcs8.match(/.{1,64}/g)?.join("\n") ?? ""}\n-----END PRIVATE KEY-----\n`,
  };
}

/** Whether a kept pair still serves: it fits together, names the host and does not end within a month. */
function serves(pair: KeyPair, hostname: string, nowMs: number): boolean {
  try {
    const certificate = new X509Certificate(pair.certificate);
    return (
      certificate.checkPrivateKey(createPrivateKey(pair.privateKey)) &&
      Date.parse(certificate.validTo) > nowMs + 30 * DAY_MS &&
      certificate.checkHost(hostname) !== undefined
    );
  } catch {
    return false;
  }
}

async function writeWhole(path: string, content: string, mode: number): Promise<void> {
  await writeFile(`${path}.new`, content, { mode });
  await rename(`${path}.new`, path);
}

/** The pair in `folder`; undefined when there is none. */
export async function readSelfSigned(folder: string): Promise<KeyPair | undefined> {
  try {
    return {
      certificate: await readFile(join(folder, "tls.crt"), "utf8"),
      privateKey: await readFile(join(folder, "tls.key"), "utf8"),
    };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw cause;
  }
}

/** The pair in `folder`, made if there is none that serves. */
export async function selfSignedIn(folder: string, hostname: string, nowMs: number = Date.now()): Promise<KeyPair> {
  const kept = await readSelfSigned(folder);
  if (kept !== undefined && serves(kept, hostname, nowMs)) return kept;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const made = await makeSelfSigned(hostname, nowMs);
  await writeWhole(join(folder, "tls.key"), made.privateKey, 0o600);
  await writeWhole(join(folder, "tls.crt"), made.certificate, 0o644);
  return made;
}

/** The configuration with our own certificate where it names none. */
export function withOwnCertificate(config: LiveConfig, own: KeyPair | undefined): LiveConfig {
  if (own === undefined || config.serverCertificates.some((name) => config.certificates.has(name))) return config;
  return { ...config, certificates: new Map([...config.certificates, [OWN, own]]), serverCertificates: [OWN] };
}
