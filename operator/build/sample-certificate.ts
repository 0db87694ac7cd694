/** A certificate and its key for tests: as a Secret of cert-manager holds them, valid for the wanted time. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { cryptoProvider, SubjectAlternativeNameExtension, X509CertificateGenerator } from "@peculiar/x509";

export type SampleCertificate = { readonly "tls.crt": string; readonly "tls.key": string };

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export async function aCertificate(
  name: string,
  validity: { readonly notBefore?: string; readonly notAfter?: string } = {},
): Promise<SampleCertificate> {
  cryptoProvider.set(webcrypto as never);
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    notBefore: new Date(validity.notBefore ?? "2020-01-01T00:00:00Z"),
    notAfter: new Date(validity.notAfter ?? "2049-01-01T00:00:00Z"),
    signingAlgorithm: algorithm,
    keys: keys as never,
    extensions: [new SubjectAlternativeNameExtension([{ type: "dns", value: name }])],
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return {
    "tls.crt": `${certificate.toString("pem")}\n`,
    "tls.key": `-----BEGIN PRIVATE KEY-----\n${pkcs8.match(/.{1,64}/g)?.join("\n") ?? ""}\n-----END PRIVATE KEY-----\n`,
  };
}
