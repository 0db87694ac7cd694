/**
 * Part of the rendered configuration: where domains, mailboxes, aliases and the like are asked for besides the objects.
 *
 * Part of `server.json` (schema.ts). A source answers one or more roles; sources stand in the order in which they are asked, the first match wins.
 * Passwords and keys are named here and lie in the secret slices. Queries, filters, patterns and tables have been parsed by the operator
 * (lookup-template.ts, sql-query.ts, table-text.ts), so that what is wrong is said on the MailServer and not at the first mail.
 */
import { z } from "zod";

/** What can be asked. The key is an address, a domain or, for `access`, whatever an access table is searched by. */
export const lookupRoles = [
  /** Is this domain ours? Any value means yes. */
  "domains",
  /** Does this address have a mailbox? Any value means yes. */
  "mailboxes",
  /** Address or `@domain` → addresses. */
  "aliases",
  /** Domain or address → `transport:nexthop`. */
  "transports",
  /** Destination → level and attributes, as smtp_tls_policy_maps. */
  "tlsPolicies",
  /** Client, HELO name, sender or recipient → action, as access(5). */
  "access",
  /** Address → logins that may use it in MAIL FROM. */
  "senders",
  /** Login → password hash. */
  "passwords",
] as const;
export const lookupRole = z.enum(lookupRoles);

const name = z.string().min(1).max(63);
const milliseconds = z.int().min(1);
/** `namespace/name` of a Secret: a key of the secret slices. */
const secret = z.string().min(1).max(512);

/** TCP, or the path of a unix socket. */
export const endpointSchema = z.union([
  z.strictObject({ host: z.string().min(1).max(255), port: z.int().min(1).max(65535) }),
  z.strictObject({ path: z.string().min(1).max(107) }),
]);

const tls = z.strictObject({
  /** Key of `authorities`; absent: the system's trust store. */
  authority: secret.optional(),
  /** Name the certificate must carry; absent: the host. */
  serverName: z.string().min(1).max(255).optional(),
  /** Key of `certificates`. */
  clientCertificate: secret.optional(),
});

/** How long an answer is believed. 0: not at all. */
const cache = z.strictObject({
  entries: z.int().min(0).max(1_000_000),
  ttlMs: z.int().min(0),
  negativeTtlMs: z.int().min(0),
});

/** What becomes of the values, as in mysql_table(5) and ldap_table(5). */
const shape = {
  /** `%s %u %d` of the value, `%S %U %D %1…%9` of the key. */
  resultFormat: z.string().min(1).max(512),
  /** Only keys with a local part in these domains are asked for; empty: every key. */
  domains: z.array(z.string().min(1).max(255)).max(1000),
  /** More values than this are an error, never a part of the truth. */
  expansionLimit: z.int().min(1).max(100_000),
};

const roles = <S extends z.ZodType>(question: S) => z.partialRecord(lookupRole, question);

export const mysqlQuerySchema = z.strictObject({
  query: z.string().min(1).max(4096),
  ...shape,
  /** No key with an `@` is in the table: none is asked for. Absent: any may be. */
  domainsOnly: z.boolean().optional(),
});
export const ldapSearchSchema = z.strictObject({
  base: z.string().max(1024),
  scope: z.enum(["base", "one", "sub"]),
  filter: z.string().min(1).max(1024),
  /** Values of these are the result. */
  attributes: z.array(z.string().min(1).max(255)).max(32),
  /** Values of these are DNs whose entries are read in turn. */
  referenceAttributes: z.array(z.string().min(1).max(255)).max(32),
  ...shape,
});

const common = { name, cache, connectTimeoutMs: milliseconds, timeoutMs: milliseconds };

export const lookupSourceSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("mysql"),
    ...common,
    /** In the order of preference. */
    hosts: z.array(endpointSchema).min(1).max(16),
    database: z.string().min(1).max(64),
    credentials: secret,
    tls: tls.optional(),
    /** Connections to one host, from one shard. */
    connections: z.int().min(1).max(100),
    queries: roles(mysqlQuerySchema),
  }),
  z.strictObject({
    kind: z.literal("ldap"),
    ...common,
    /** `ldap://host:port` or `ldaps://host:port`, in the order of preference. */
    urls: z.array(z.string().min(1).max(300)).min(1).max(16),
    /** On `ldap:`. */
    startTls: z.boolean(),
    tls: tls.optional(),
    /** username: the DN to bind as. Absent: anonymous. */
    credentials: secret.optional(),
    searches: roles(ldapSearchSchema),
  }),
  z.strictObject({
    kind: z.literal("socketmap"),
    ...common,
    hosts: z.array(endpointSchema).min(1).max(16),
    connections: z.int().min(1).max(100),
    /** The name of the map for each role. */
    maps: roles(z.string().min(1).max(255)),
  }),
  z.strictObject({
    kind: z.literal("table"),
    name,
    type: z.enum(["Hash", "CIDR", "Regexp", "PCRE"]),
    /** In Postfix's own notation: `key value`, `network value`, `/pattern/flags value`, `if … endif`. */
    text: z.string().max(600_000),
    /** Empty: only those who name the table read it. */
    roles: z.array(lookupRole),
  }),
  /** Holds the place of what cannot be used as written: whoever asks is told to come back. */
  z.strictObject({
    kind: z.literal("unusable"),
    name,
    roles: z.array(lookupRole),
    /** For the log. */
    reason: z.string().max(1024),
  }),
]);

/** In the order in which they are asked. */
export const lookupSourcesSchema = z.array(lookupSourceSchema).max(256);

export type LookupRole = z.infer<typeof lookupRole>;
export type Endpoint = z.infer<typeof endpointSchema>;
export type LookupSource = z.infer<typeof lookupSourceSchema>;
export type MysqlSource = Extract<LookupSource, { kind: "mysql" }>;
export type LdapSource = Extract<LookupSource, { kind: "ldap" }>;
export type SocketmapSource = Extract<LookupSource, { kind: "socketmap" }>;
export type UnusableSource = Extract<LookupSource, { kind: "unusable" }>;
export type TableSource = Extract<LookupSource, { kind: "table" }>;
export type MysqlQuery = z.infer<typeof mysqlQuerySchema>;
export type LdapSearch = z.infer<typeof ldapSearchSchema>;

/** What a source is asked. */
export function rolesOf(source: LookupSource): readonly LookupRole[] {
  switch (source.kind) {
    case "mysql":
      return Object.keys(source.queries) as LookupRole[];
    case "ldap":
      return Object.keys(source.searches) as LookupRole[];
    case "socketmap":
      return Object.keys(source.maps) as LookupRole[];
    case "table":
    case "unusable":
      return source.roles;
    default:
      return source satisfies never;
  }
}
