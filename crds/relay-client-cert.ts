/** RelayClientCert: a client that may relay because of the certificate it shows; Postfix's relay_clientcerts. */
import { z } from "zod";
import {
  address,
  addressOrDomain,
  define,
  described,
  list,
  objectName,
  reference,
  type Resource,
  withRules,
} from "./schema.ts";
import { fingerprint } from "./tls-policy.ts";

const INSTANT =
  "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";

/** RFC 3339 §5.6. Not OpenAPI's date-time: the API server would take a time without offset, which is a different instant everywhere. */
const instant = withRules(z.string().max(40), [
  {
    cel: `self.matches(${JSON.stringify(INSTANT)}) && timestamp(self) >= timestamp('1970-01-01T00:00:00Z')`,
    message: "must be an instant with its offset, such as 2027-01-31T12:00:00Z",
    holds: (value) =>
      new RegExp(INSTANT).test(value) &&
      z.iso.datetime({ offset: true }).safeParse(value).success &&
      Date.parse(value) >= 0,
  },
]);

export const relayClientCertSpec = withRules(
  z.strictObject({
    fingerprints: list(
      z.strictObject({
        algorithm: z.enum(["SHA256"]).meta({ description: "Digest." }),
        of: z
          .enum(["Certificate", "PublicKey"])
          .meta({ description: "PublicKey survives a renewal with the same key." }),
        value: fingerprint,
      }),
      32,
    )
      .default([])
      .meta({ description: "What identifies the client." }),
    certificateSecretName: described(
      objectName,
      "Secret whose tls.crt is the client's certificate, instead of fingerprints.",
    ).optional(),
    serverRef: reference("MailServer"),
    allow: z
      .strictObject({
        senders: list(addressOrDomain, 256)
          .default([])
          .meta({ description: "Envelope senders, or @domain; empty: any." }),
        recipients: list(addressOrDomain, 256).default([]).meta({ description: "Recipients, or @domain; empty: any." }),
      })
      .prefault({})
      .meta({ description: "What it may relay." }),
    authenticatesAs: address.optional().meta({
      ...address.meta(),
      description:
        "Address of a Mailbox that AUTH EXTERNAL with this certificate logs in as, on Submission listeners that ask for certificates.",
    }),
    expires: instant.optional().meta({ description: "Instant after which it lets nobody in (RFC 3339)." }),
  }),
  [
    {
      cel: "(size(self.fingerprints) > 0) != has(self.certificateSecretName)",
      message: "give either fingerprints or certificateSecretName",
      holds: (value) => value.fingerprints.length > 0 !== (value.certificateSecretName !== undefined),
    },
  ],
);

export type RelayClientCertSpec = z.input<typeof relayClientCertSpec>;
export type RelayClientCert = Resource<"RelayClientCert", z.output<typeof relayClientCertSpec>>;

export const relayClientCertKind = define({
  kind: "RelayClientCert",
  plural: "relayclientcerts",
  singular: "relayclientcert",
  shortName: "rcc",
  description: "A client that may relay because of the certificate it shows.",
  spec: relayClientCertSpec,
  status: z.object({}),
  columns: [
    { name: "Server", type: "string", jsonPath: ".spec.serverRef.name" },
    { name: "Expires", type: "string", jsonPath: ".spec.expires" },
  ],
  selectableFields: [".spec.serverRef.name"],
  example: `apiVersion: mail.packetboat.io/v1alpha1
kind: RelayClientCert
metadata: {name: web-frontend}
spec:
  serverRef: {name: mx}
  fingerprints:
    - algorithm: SHA256
      of: PublicKey
      value: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  allow:
    senders: ["@shop.example.org"]
`,
});
