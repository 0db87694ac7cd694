/**
 * TLS profiles: Mozilla's Modern, Intermediate and Old (Server Side TLS, version 5.7) as Node's context options.
 *
 * Pure data. Ciphers of TLS 1.3 are named in each list because Node leaves that version out where they are missing.
 * No compression (OpenSSL has none), no renegotiation, safe groups for finite-field exchange. RFC 8996 (TLS 1.0 and 1.1 are deprecated: Old only), RFC 8997, RFC 9325.
 */
import { constants } from "node:crypto";
import type { SecureContextOptions } from "node:tls";
import type { ServerSection } from "../config/schema.ts";

type Profile = ServerSection["tls"]["profile"];

const tls13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
const intermediate = [
  ...tls13,
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "DHE-RSA-AES128-GCM-SHA256",
  "DHE-RSA-AES256-GCM-SHA384",
  "DHE-RSA-CHACHA20-POLY1305",
];
const old = [
  ...intermediate,
  "ECDHE-ECDSA-AES128-SHA256",
  "ECDHE-RSA-AES128-SHA256",
  "ECDHE-ECDSA-AES128-SHA",
  "ECDHE-RSA-AES128-SHA",
  "ECDHE-ECDSA-AES256-SHA384",
  "ECDHE-RSA-AES256-SHA384",
  "ECDHE-ECDSA-AES256-SHA",
  "ECDHE-RSA-AES256-SHA",
  "DHE-RSA-AES128-SHA256",
  "DHE-RSA-AES256-SHA256",
  "AES128-GCM-SHA256",
  "AES256-GCM-SHA384",
  "AES128-SHA256",
  "AES256-SHA256",
  "AES128-SHA",
  "AES256-SHA",
  // TLS 1.0 and 1.1 need SHA-1 in their handshake, which OpenSSL 3 allows at this level only.
  "@SECLEVEL=0",
];

const common = {
  secureOptions: constants.SSL_OP_NO_COMPRESSION | constants.SSL_OP_NO_RENEGOTIATION,
  ecdhCurve: "auto",
  dhparam: "auto",
} as const;

export const profiles: Readonly<Record<Profile, SecureContextOptions>> = {
  Modern: { ...common, minVersion: "TLSv1.3", ciphers: tls13.join(":"), honorCipherOrder: false },
  Intermediate: { ...common, minVersion: "TLSv1.2", ciphers: intermediate.join(":"), honorCipherOrder: true },
  Old: { ...common, minVersion: "TLSv1", ciphers: old.join(":"), honorCipherOrder: true },
};
