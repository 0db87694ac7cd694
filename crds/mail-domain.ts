/** MailDomain: a domain this mail system is responsible for, and where its mail goes. */
import { z } from "zod";
import {
  addressOrDomain,
  define,
  delivery,
  domainName,
  immutable,
  list,
  noStatus,
  reference,
  type Resource,
  withRules,
} from "./schema.ts";

export const mailDomainSpec = withRules(
  z.strictObject({
    domain: immutable(domainName, "domain").meta({
      ...immutable(domainName, "domain").meta(),
      description: "The domain, without its children.",
    }),
    serverRef: reference("MailServer"),
    class: z.enum(["Mailbox", "Alias", "Relay"]).meta({
      description:
        "Mailbox: final destination with Mailbox objects. Alias: only Alias objects, everything is forwarded. Relay: passed on to another system.",
    }),
    delivery: delivery
      .optional()
      .meta({ ...delivery.meta(), description: "Where its mail goes. Relay without it: MX lookup or a Route." }),
    catchAll: list(addressOrDomain, 32).default([]).meta({
      description: "Who gets mail to addresses that nothing else names. Empty: they are refused (550 5.1.1).",
    }),
    recipients: z
      .strictObject({
        from: z.enum(["Objects", "Lookups", "Verify", "Any"]).default("Objects").meta({
          description:
            "Objects: only addresses with a Mailbox or Alias exist. Lookups: besides them, those that MailServer.spec.lookups and tables know. Verify: besides them, those that the server behind says exist; it is asked by RCPT, and its answers are remembered (MailServer.spec.verification). Any: every address does (Relay).",
        }),
      })
      .prefault({})
      .meta({ description: "Which recipients exist." }),
  }),
  [
    {
      cel: "self.class != 'Mailbox' || has(self.delivery)",
      message: "a domain of class Mailbox needs delivery: where its mailboxes are (lmtp, maildir, smtp …)",
      holds: (value) => value.class !== "Mailbox" || value.delivery !== undefined,
    },
    {
      cel: "self.class != 'Alias' || !has(self.delivery)",
      message: "a domain of class Alias has no mailboxes and takes no delivery; use class Mailbox or remove delivery",
      holds: (value) => value.class !== "Alias" || value.delivery === undefined,
    },
    {
      cel: "self.recipients.from != 'Verify' || self.class == 'Relay' || (has(self.delivery) && (has(self.delivery.lmtp) || has(self.delivery.smtp)))",
      message: "recipients.from: Verify needs a server to ask: class Relay, or delivery by lmtp or smtp",
      holds: (value) =>
        value.recipients.from !== "Verify" ||
        value.class === "Relay" ||
        value.delivery?.lmtp !== undefined ||
        value.delivery?.smtp !== undefined,
    },
    {
      cel: "self.recipients.from != 'Any' || self.class == 'Relay'",
      message: "recipients.from: Any is for class Relay only; elsewhere use catchAll",
      holds: (value) => value.recipients.from !== "Any" || value.class === "Relay",
    },
  ],
);

export type MailDomainSpec = z.input<typeof mailDomainSpec>;
export type MailDomain = Resource<"MailDomain", z.output<typeof mailDomainSpec>>;

export const mailDomainKind = define({
  kind: "MailDomain",
  plural: "maildomains",
  singular: "maildomain",
  shortName: "mdom",
  description: "A domain this mail system is responsible for, and where its mail goes.",
  spec: mailDomainSpec,
  status: noStatus,
  columns: [
    { name: "Domain", type: "string", jsonPath: ".spec.domain" },
    { name: "Class", type: "string", jsonPath: ".spec.class" },
    { name: "Server", type: "string", jsonPath: ".spec.serverRef.name" },
  ],
  selectableFields: [".spec.domain", ".spec.serverRef.name"],
  example: `apiVersion: mail.packetboat.io/v1alpha1
kind: MailDomain
metadata: {name: example-org}
spec:
  domain: example.org
  serverRef: {name: mx}
  class: Mailbox
  delivery:
    lmtp: {host: dovecot.mail.svc, port: 24}
`,
});
