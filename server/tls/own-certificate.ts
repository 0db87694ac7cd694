/**
 * The server's own certificate, for as long as the configuration names none: made at the first start, kept in `<data>/tls`.
 *
 * So STARTTLS works from the first minute, in the embedded default as in a cluster, and the rendered configuration has no random bytes in it. The primary makes
 * it before the first shard starts. Promises the same files at every later start as long as they fit together, name the hostname and have a month to live;
 * makes new ones otherwise. The key file is readable by its owner only.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LiveConfig } from "../config/schema.ts";

export interface KeyPair {
  readonly certificate: string;
  readonly privateKey: string;
}

/** The name it goes by in `LiveConfig.certificates`; a Secret's key has a slash in another place. */
const OWN = "/self-signed";
const DAY_MS = 86_400_000;

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
  const { makeSelfSigned } = await import("./self-signed.ts");
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
