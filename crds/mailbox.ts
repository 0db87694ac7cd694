/** Mailbox: an address with a place for its mail, and the right to send. Deleting it deletes no mail. */
import { z } from "zod";
import {
  address,
  addressOrDomain,
  define,
  delivery,
  described,
  immutable,
  list,
  noStatus,
  objectName,
  reference,
  type Resource,
  matching,
} from "./schema.ts";

export const mailboxSpec = z.strictObject({
  address: immutable(address, "address").meta({
    ...immutable(address, "address").meta(),
    description: "Full address; its domain is that of domainRef.",
  }),
  domainRef: reference("MailDomain"),
  passwordSecretRef: z
    .strictObject({
      name: described(objectName, "Secret in the namespace of this object."),
      key: z
        .string()
        .min(1)
        .max(253)
        .regex(...matching(/^[-._a-zA-Z0-9]+$/, "must be a key of a Secret"))
        .default("password")
        .meta({
          description:
            "Its key: a hash ({SCHEME}… or $argon2id$, $2b$, $6$, $5$, $pbkdf2-sha256$), or a plaintext that the operator hashes.",
        }),
    })
    .optional()
    .meta({
      description:
        "The password for submission. Absent: none of its own; only another back end of MailServer.spec.authentication or a certificate can let this user in.",
    }),
  authentication: z
    .enum(["Enabled", "Disabled"])
    .default("Enabled")
    .meta({ description: "Disabled: receives, but cannot log in." }),
  sendAs: list(addressOrDomain, 256)
    .default([])
    .meta({ description: "Addresses, or @domain, this user may put into MAIL FROM besides its own." }),
  forwardTo: list(address, 100).default([]).meta({ description: "Send copies to these addresses." }),
  keepCopy: z.boolean().default(true).meta({ description: "With forwardTo: also deliver here." }),
  delivery: delivery.optional().meta({ ...delivery.meta(), description: "Instead of the domain's delivery." }),
  suspended: z.boolean().default(false).meta({ description: "Refuse mail and logins; nothing is deleted." }),
});

export type MailboxSpec = z.input<typeof mailboxSpec>;
export type Mailbox = Resource<"Mailbox", z.output<typeof mailboxSpec>>;

export const mailboxKind = define({
  kind: "Mailbox",
  plural: "mailboxes",
  singular: "mailbox",
  shortName: "mbx",
  description: "An address with a place for its mail, and the right to send.",
  spec: mailboxSpec,
  status: noStatus,
  columns: [
    { name: "Address", type: "string", jsonPath: ".spec.address" },
    { name: "Domain", type: "string", jsonPath: ".spec.domainRef.name" },
  ],
  selectableFields: [".spec.address", ".spec.domainRef.name"],
  example: `apiVersion: mail.packetboat.io/v1alpha1
kind: Mailbox
metadata: {name: alice}
spec:
  address: alice@example.org
  domainRef: {name: example-org}
  passwordSecretRef: {name: alice}
  sendAs: [sales@example.org]
`,
});
