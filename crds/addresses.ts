/**
 * MailServer.spec.addresses: how addresses are read, and what is written in their place; canonical_maps, masquerade_domains, smtp_generic_maps and the like of Postfix.
 * Tables and results are judged by build/, which says what is wrong with them.
 */
import { z } from "zod";
import { described, domainName, list, mapBy, matching, setOf, SPACE, withRules } from "./schema.ts";

export const addressClassNames = ["EnvelopeSender", "EnvelopeRecipient", "HeaderSender", "HeaderRecipient"] as const;
const classes = setOf(list(z.enum(addressClassNames), 4, 1));
const CLASSES =
  "EnvelopeSender: MAIL FROM. EnvelopeRecipient: RCPT TO. HeaderSender: From, Sender, Reply-To and their like. HeaderRecipient: To, Cc, Bcc and their like.";

/** Without patterns: there may be thousands of them, and build/ says what is wrong with one. */
const entry = z.strictObject({
  from: described(z.string().min(1).max(320), "Address, @domain, or local part at hostname or complete.origin."),
  to: described(z.string().min(2).max(320), "Address in its place; @domain keeps the local part."),
});

const map = {
  entries: mapBy(list(entry, 1000), "from")
    .optional()
    .meta({ description: "Addresses and what replaces them. For more, a table." }),
  tables: setOf(list(z.string().min(1).max(63), 16))
    .optional()
    .meta({
      description: "Names in spec.tables (Hash, Regexp, PCRE), asked in this order after entries.",
    }),
};

const needsAMap = {
  cel: "(has(self.entries) && size(self.entries) > 0) || (has(self.tables) && size(self.tables) > 0)",
  message: "name what is replaced: entries, tables, or both",
  holds: ({ entries = [], tables = [] }: { entries?: unknown[] | undefined; tables?: unknown[] | undefined }) =>
    entries.length + tables.length > 0,
};

const canonicalMap = withRules(
  z.strictObject({
    classes: classes
      .optional()
      .meta({ ...classes.meta(), description: `Where it applies. Absent: everywhere. ${CLASSES}` }),
    ...map,
    propagateExtension: z.boolean().optional().meta({
      description: "An extension that the map does not name goes along. Absent: true.",
    }),
  }),
  [needsAMap],
);

const genericMap = withRules(
  z.strictObject({
    ...map,
    propagateExtension: z.boolean().optional().meta({
      description: "An extension that the map does not name goes along. Absent: false.",
    }),
  }),
  [needsAMap],
);

const localPart = z
  .string()
  .min(1)
  .max(64)
  .regex(...matching(`^[^${SPACE}@<>]+$`, "must be a local part, without @ and spaces"));

const masqueradeDomain = z
  .string()
  .min(1)
  .max(254)
  .regex(
    ...matching(`^!?[^${SPACE}@!]+$`, "must be a domain such as example.org, or !ml.example.org to leave it alone"),
  );

export const addresses = z.strictObject({
  recipientDelimiters: z
    .string()
    .max(8)
    .regex(
      ...matching(/^[!#$%&'*+\-/=?^_`{|}~.]*$/, "must be characters that a local part may contain, such as + and -"),
    )
    .default("+")
    .meta({ description: "Characters that separate a user from an extension: alice+lists reaches alice." }),
  canonical: list(canonicalMap, 8).default([]).meta({
    description:
      "Rewriting when mail is taken, before masquerade and aliases: each map in turn, until nothing changes.",
  }),
  masquerade: z
    .strictObject({
      domains: list(masqueradeDomain, 32).default([]).meta({
        description:
          "Domains whose children are hidden: alice@host.example.org becomes alice@example.org. !domain leaves it and its children alone. The first that fits counts.",
      }),
      exceptions: setOf(list(localPart, 32)).default([]).meta({ description: "Local parts that stay, such as root." }),
      classes: classes
        .default(["EnvelopeSender", "HeaderSender", "HeaderRecipient"])
        .meta({ ...classes.meta(), description: "Where it applies; as in canonical." }),
    })
    .prefault({})
    .meta({ description: "Hiding the hosts of a domain, after canonical." }),
  generic: list(genericMap, 8).default([]).meta({
    description: "Rewriting of envelope and header when mail leaves by SMTP, once; the first answer counts.",
  }),
  rewriteHeadersOf: setOf(list(z.enum(["TrustedNetworks", "Authenticated", "RelayClientCerts", "Everybody"]), 4))
    .default(["TrustedNetworks", "Authenticated", "RelayClientCerts"])
    .meta({
      description:
        "Clients whose headers are completed (Date, Message-ID, From) and rewritten by canonical and masquerade. Submission listeners always complete; envelopes are everybody's.",
    }),
  complete: z
    .strictObject({
      origin: described(domainName, "Put behind addresses without a domain: alice becomes alice@origin.").optional(),
      parent: described(
        domainName,
        "Put behind domains without a dot: alice@host becomes alice@host.parent.",
      ).optional(),
    })
    .prefault({})
    .meta({
      description:
        "What incomplete addresses become, in envelopes and in headers of rewriteHeadersOf. Absent: they stay.",
    }),
});
