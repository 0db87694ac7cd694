/** TLSPolicy: what TLS an outgoing connection must have, by destination; Postfix's smtp_tls_policy_maps. */
import { z } from "zod";
import {
  define,
  described,
  list,
  noStatus,
  objectName,
  reference,
  type Resource,
  matching,
  setOf,
  SPACE,
  withRules,
} from "./schema.ts";

export const fingerprint = z
  .string()
  .min(64)
  .max(95)
  .regex(
    ...matching(
      /^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$/,
      "must be a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons",
    ),
  );

const destination = z
  .string()
  .min(1)
  .max(262)
  .regex(
    ...matching(
      String.raw`^(\.?[^${SPACE}@[\]]+|\[[^${SPACE}\][]+\](:[0-9]{1,5})?)$`,
      "must be a domain, .domain for its children, or [host]:port",
    ),
  );

export const tlsPolicySpec = withRules(
  z.strictObject({
    destinations: described(
      setOf(list(destination, 100, 1)),
      "Recipient domains, `.domain` for children, or next hops as `[host]:port`. Most specific wins.",
    ),
    serverRef: reference("MailServer")
      .optional()
      .meta({ description: "The MailServer it is for; absent: every MailServer of this namespace." }),
    level: z.enum(["None", "May", "Encrypt", "DANE", "DANEOnly", "Fingerprint", "Verify", "Secure"]).meta({
      description:
        "None: no TLS. May: where offered. Encrypt: always. Fingerprint, Verify, Secure: always, with that proof. DANE and DANEOnly are refused by this version.",
    }),
    match: list(
      z
        .string()
        .min(1)
        .max(254)
        .regex(...matching(`^[^${SPACE}]+$`, "must not be empty or contain spaces")),
      32,
    )
      .default([])
      .meta({
        description:
          "Names the certificate may carry, for Verify and Secure; `.domain` for children, `nexthop`, `dot-nexthop`, `hostname`. Empty: hostname for Verify, nexthop and dot-nexthop for Secure.",
      }),
    protocols: list(z.enum(["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]), 4)
      .default([])
      .meta({ description: "Allowed versions; the lowest counts. Empty: TLSv1.2 and later where TLS is required." }),
    ciphers: z
      .string()
      .max(900)
      .regex(...matching(/^[A-Za-z0-9:+!@=_-]+$/, "must be an OpenSSL cipher list"))
      .optional()
      .meta({ description: "OpenSSL cipher list for TLS 1.2 and below." }),
    excludeCiphers: list(
      z
        .string()
        .min(1)
        .max(64)
        .regex(...matching(/^[A-Za-z0-9+_-]+$/, "must be an OpenSSL cipher or class, without !")),
      32,
    )
      .default([])
      .meta({ description: "Ciphers and classes never to use, such as aNULL or RC4." }),
    fingerprints: list(fingerprint, 32)
      .default([])
      .meta({ description: "SHA-256 of the certificate or of its public key, for level Fingerprint." }),
    caSecretName: described(
      objectName,
      "Secret whose ca.crt verifies the peer; absent: the system's authorities.",
    ).optional(),
  }),
  [
    {
      cel: "self.level != 'Fingerprint' || size(self.fingerprints) > 0",
      message: "level Fingerprint needs fingerprints",
      holds: (value) => value.level !== "Fingerprint" || value.fingerprints.length > 0,
    },
    {
      cel: "size(self.fingerprints) == 0 || self.level == 'Fingerprint'",
      message: "fingerprints only mean something with level Fingerprint",
      holds: (value) => value.fingerprints.length === 0 || value.level === "Fingerprint",
    },
    {
      cel: "!has(self.caSecretName) || self.level == 'Verify' || self.level == 'Secure'",
      message: "caSecretName only means something with level Verify or Secure",
      holds: (value) => value.caSecretName === undefined || value.level === "Verify" || value.level === "Secure",
    },
    {
      cel: "size(self.match) == 0 || self.level == 'Verify' || self.level == 'Secure'",
      message: "match only means something with level Verify or Secure",
      holds: (value) => value.match.length === 0 || value.level === "Verify" || value.level === "Secure",
    },
  ],
);

export type TLSPolicySpec = z.input<typeof tlsPolicySpec>;
export type TLSPolicy = Resource<"TLSPolicy", z.output<typeof tlsPolicySpec>>;

export const tlsPolicyKind = define({
  kind: "TLSPolicy",
  plural: "tlspolicies",
  singular: "tlspolicy",
  shortName: "tlsp",
  description: "What TLS an outgoing connection must have, by destination.",
  spec: tlsPolicySpec,
  status: noStatus,
  columns: [
    { name: "Level", type: "string", jsonPath: ".spec.level" },
    { name: "Destinations", type: "string", jsonPath: ".spec.destinations" },
  ],
  selectableFields: [".spec.level", ".spec.serverRef.name"],
  example: `apiVersion: mail.packetboat.io/v1alpha1
kind: TLSPolicy
metadata: {name: partner}
spec:
  destinations: [partner.example, .partner.example]
  serverRef: {name: mx}
  level: Secure
`,
});
