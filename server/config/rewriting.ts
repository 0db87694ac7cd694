/**
 * Part of the rendered configuration: what addresses become, on the way in and on the way out.
 *
 * Part of `server.json` (schema.ts). Keys and results have been brought into their table form by the operator; tables are named here and lie in `lookups`
 * (kind `table`). What they mean is rewrite/rewriting.ts.
 */
import { z } from "zod";

/** Where an address stands, as canonical_classes and masquerade_classes of Postfix. */
export const addressClass = z.enum(["EnvelopeSender", "EnvelopeRecipient", "HeaderSender", "HeaderRecipient"]);

const domain = z.string().min(1).max(255);
const address = z.string().min(2).max(512);

const map = {
  /** Key: `addressKey`, `@domain`, or a local part for the server's own domain. Value: an address, or `@domain` that keeps the local part. */
  entries: z.record(z.string().min(1).max(512), address),
  /** Names of tables in `lookups`, asked after entries in this order. */
  tables: z.array(z.string().min(1).max(63)).max(16),
  /** An extension that nothing in the map names goes along. */
  propagateExtension: z.boolean(),
};

export const genericMapSchema = z.strictObject(map);
export const canonicalMapSchema = z.strictObject({ classes: z.array(addressClass).min(1).max(4), ...map });

/** Whose header is completed and rewritten; the envelope is everybody's. */
export const headerOwner = z.enum(["TrustedNetworks", "Authenticated", "RelayClientCerts", "Everybody"]);

export const rewritingSchema = z.strictObject({
  /** One after the other, each until nothing changes. */
  canonical: z.array(canonicalMapSchema).max(16),
  masquerade: z.strictObject({
    /** In this order: the first whose domain or child it is decides. */
    domains: z.array(z.strictObject({ domain, isHidden: z.boolean() })).max(256),
    /** Local parts, lower case. */
    exceptions: z.array(z.string().min(1).max(64)).max(256),
    classes: z.array(addressClass).max(4),
  }),
  /** When mail leaves by SMTP: the first answer, once. */
  generic: z.array(genericMapSchema).max(16),
  rewriteHeadersOf: z.array(headerOwner).max(4),
  complete: z.strictObject({ origin: domain.optional(), parent: domain.optional() }),
});

export type AddressClass = z.infer<typeof addressClass>;
export type AddressMap = z.infer<typeof genericMapSchema>;
export type CanonicalMap = z.infer<typeof canonicalMapSchema>;
export type RewritingSettings = z.infer<typeof rewritingSchema>;

/** What the operator writes for a MailServer that says nothing: nothing is rewritten; headers of our own clients are completed. */
export const noRewriting: RewritingSettings = {
  canonical: [],
  masquerade: { domains: [], exceptions: [], classes: ["EnvelopeSender", "HeaderRecipient", "HeaderSender"] },
  generic: [],
  rewriteHeadersOf: ["Authenticated", "RelayClientCerts", "TrustedNetworks"],
  complete: {},
};
