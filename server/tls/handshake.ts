/**
 * Handshake facts: what a finished TLS handshake tells, as plain values for policy, Received field and log.
 *
 * Reads the socket once and keeps nothing of it. A client certificate is known by its fingerprints only: who signed it does not matter here
 * (RelayClientCert names fingerprints), so it is asked for without being verified. RFC 8446 §4.3.2.
 */
import { createHash } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { TlsFacts } from "../policy/facts.ts";

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** Key length, from the cipher's name: Node does not tell it. */
export function cipherBits(cipher: string): number {
  if (/CHACHA20|AES_?256/.test(cipher)) return 256;
  if (/DES-CBC3|3DES/.test(cipher)) return 112;
  return 128;
}

export function handshakeFacts(socket: TLSSocket): TlsFacts {
  const cipher = socket.getCipher();
  const x509 = socket.getPeerX509Certificate();
  const protocol = socket.getProtocol() ?? "TLS";
  return {
    protocol,
    cipher: cipher.name,
    bits: cipherBits(cipher.name),
    servername: typeof socket.servername === "string" ? socket.servername : undefined,
    clientCertificate:
      x509 === undefined
        ? undefined
        : { certificate: sha256(x509.raw), publicKey: sha256(x509.publicKey.export({ type: "spki", format: "der" })) },
    // RFC 9266 §3: before TLS 1.3 it would need the extended master secret, of which Node does not tell.
    ...(protocol === "TLSv1.3" ? { channelBinding: () => exported(socket) } : {}),
  };
}

function exported(socket: TLSSocket): Buffer | undefined {
  try {
    return socket.exportKeyingMaterial(32, "EXPORTER-Channel-Binding", Buffer.alloc(0));
  } catch {
    // Closed meanwhile.
    return undefined;
  }
}
