/**
 * The rendered configuration: everything the operator may hand to a mail server, and nothing else.
 *
 * Second of the three contracts (ARCHITECTURE.md). The server owns this schema; the operator writes through it
 * (`files.ts`), the server reads through it (`load.ts`), so neither can say what the other cannot understand.
 * No field has a default here: defaults belong to the custom resources, a rendered set is explicit.
 * Parsing failure is a value of `load.ts`, never an exception that stops a running server.
 */
import { z } from "zod";
import { accessRuleSchema } from "./access-rules.ts";
import { limitsSchema, type SharedStateEndpoint, sharedStateEndpointSchema } from "./limits.ts";
import { lookupSourcesSchema } from "./lookups.ts";
import { policyServicesSchema } from "./policy-services.ts";
import { verificationSchema } from "./verification.ts";
import { dnsblRulesSchema, greylistingSchema, postscreenSchema } from "./postscreen.ts";
import { restrictionsSchema } from "./restrictions.ts";
import { rewritingSchema } from "./rewriting.ts";

/** Bump only for a change that an older server would misread; a server refuses a version it does not know. */
export const CONFIG_VERSION = 1;

const port = z.int().min(1).max(65535);
const bytes = z.int().min(0);
const milliseconds = z.int().min(0);
/** `host` is a name or an IP literal without brackets. */
const host = z.string().min(1).max(255);
/** A lower-case ASCII (A-label) domain; see `domainKey`. */
const domain = z.string().min(1).max(255);
/** A full address as `addressKey` writes it, or `@domain` for everything of a domain. */
const address = z.string().min(2).max(512);

export const listenerRole = z.enum(["MX", "Submission", "Reinject", "LMTP"]);
export const tlsMode = z.enum(["None", "StartTLS", "Implicit"]);

export const listenerSchema = z.strictObject({
  name: z.string().min(1).max(63),
  role: listenerRole,
  /** The port inside the pod; embedded mode adds its `--offset`. */
  port,
  tls: z.strictObject({
    mode: tlsMode,
    /** MX: 530 5.7.0 to MAIL before STARTTLS. Submission listeners always require TLS before AUTH. */
    required: z.boolean(),
    clientCertificates: z.enum(["Ignore", "Ask", "Require"]),
    /** Put TLS version, cipher and client certificate into the Received field. */
    receivedHeader: z.boolean(),
  }),
  /** CIDR blocks whose connections begin with a PROXY header; nobody else's is read. */
  proxyProtocol: z.array(z.string().max(64)).optional(),
  /** What to bind within the addresses the server was started with; absent: all of those. */
  addresses: z.array(z.string().max(45)).optional(),
  /** CIDR blocks whose clients may use XCLIENT and XFORWARD; absent: nobody. */
  trustedProxies: z.array(z.string().max(64)).optional(),
  /** ETRN for domains of class Relay; absent: no. */
  etrn: z.boolean().optional(),
  /** Name the authenticated user in the Received field; absent: no. */
  authenticatedHeader: z.boolean().optional(),
  /** What is taken from the headers of our users; absent: nothing. */
  cleanHeaders: z
    .strictObject({
      hideClientAddress: z.boolean(),
      /** Names of fields, lower case. */
      removeFields: z.array(z.string().min(1).max(76)).max(32),
    })
    .optional(),
});

export const queueSchema = z.strictObject({
  minBackoffMs: milliseconds,
  maxBackoffMs: milliseconds,
  lifetimeMs: milliseconds,
  bounceLifetimeMs: milliseconds,
  /** 0: no delay warnings. */
  delayWarningMs: milliseconds,
  /** Who was warned hears when it was delivered after all. */
  confirmDelayCleared: z.boolean(),
  softBounce: z.boolean(),
  /** All new mail is put on hold. */
  hold: z.boolean(),
  /** What postmasters hear of: copies of reports, and transcripts of sessions. */
  notify: z.array(z.enum(["Bounce", "DoubleBounce", "Delay", "Policy", "Protocol", "Resource", "Software"])),
  /** Free bytes below which new mail gets 452 4.3.1. */
  minFreeBytes: bytes,
});

export const tlsLevel = z.enum(["None", "May", "Encrypt", "DANE", "DANEOnly", "Fingerprint", "Verify", "Secure"]);

export const outboundSchema = z.strictObject({
  heloName: domain,
  /** Deliver everything that no Route or domain delivery claims through this host. */
  relayHost: z
    .strictObject({ host, port, lookupMX: z.boolean(), implicitTLS: z.boolean(), credentials: z.string().optional() })
    .optional(),
  addressPreference: z.enum(["Any", "IPv4", "IPv6"]),
  tlsDefault: tlsLevel,
  /** Resolvers as `ip` or `ip:port` / `[ip6]:port`; empty means those of /etc/resolv.conf. */
  resolvers: z.array(z.string()),
  /** Parallel deliveries: to one destination, and altogether in one shard. */
  destinationConcurrency: z.int().min(1),
  concurrency: z.int().min(1),
  /** Destination ports for lookups by MX; 25 everywhere but in tests. */
  smtpPort: port,
  /** Next hops found in public DNS that must never be dialled unless this says so (loopback, link-local, private). */
  allowPrivateNextHops: z.boolean(),
  /** CIDR blocks that such next hops may lie in although they are not public; and those they must not, although they are. The second wins. */
  allowedNetworks: z.array(z.string().max(64)),
  deniedNetworks: z.array(z.string().max(64)),
  /** Local addresses to bind, at most one of each family; without one of a family, the system chooses. */
  sourceAddresses: z.array(z.string().max(45)).max(2),
});

export const deliverySchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("lmtp"), host, port }),
  z.strictObject({ kind: z.literal("lmtp-socket"), path: z.string().min(1).max(107) }),
  z.strictObject({
    kind: z.literal("smtp"),
    host,
    port,
    lookupMX: z.boolean(),
    implicitTLS: z.boolean(),
    credentials: z.string().optional(),
  }),
  /** `base` is relative to the server's data folder: `<data>/<base>/<domain>/<local part>/{tmp,new,cur}`. */
  z.strictObject({ kind: z.literal("maildir"), base: z.string().min(1).max(255) }),
  z.strictObject({ kind: z.literal("discard") }),
  z.strictObject({ kind: z.literal("hold") }),
  z.strictObject({
    kind: z.literal("error"),
    code: z.int().min(400).max(599),
    enhanced: z.string().max(11),
    text: z.string().max(512),
  }),
]);

/** Key: the domain (`domainKey`). */
export const domainEntrySchema = z.strictObject({
  class: z.enum(["Mailbox", "Alias", "Relay"]),
  /**
   * Objects: only addresses of the tables exist. Lookups: and those that look-ups know. Verify: and those of which the server behind says so. Any: every local part
   * is accepted (Relay).
   */
  recipients: z.enum(["Objects", "Lookups", "Verify", "Any"]),
  delivery: deliverySchema.optional(),
  /** Destinations of everything that no other entry names. */
  catchAll: z.array(address),
});

/** Key: the full address (`addressKey`), or `@domain`. One address may be a mailbox and an alias's name never at once. */
export const addressEntrySchema = z.strictObject({
  mailbox: z
    .strictObject({
      delivery: deliverySchema.optional(),
      authentication: z.boolean(),
      suspended: z.boolean(),
      forwardTo: z.array(address),
      keepCopy: z.boolean(),
      /** Addresses and `@domain` this user may put into MAIL FROM besides its own. */
      sendAs: z.array(address),
    })
    .optional(),
  alias: z
    .strictObject({
      destinations: z.array(address),
      /** Who (mailbox addresses) may use this address in MAIL FROM. */
      senders: z.array(address),
    })
    .optional(),
  /** A mailbox or alias that moved: 551-style refusal 5.1.6 with the new address. */
  relocatedTo: z.string().max(512).optional(),
});

/** Key: `domain`, `.domain` (its children) or `*`. */
export const routeEntrySchema = z.strictObject({
  delivery: deliverySchema,
  tls: z.strictObject({ clientCertificate: z.string().optional() }).optional(),
  /** Parallel connections to this destination; absent: outbound.destinationConcurrency. */
  connections: z.int().min(1).optional(),
  messagesPerConnection: z.int().min(1).optional(),
  /** Messages to this destination in a time, from one pod. */
  rate: z.strictObject({ messages: z.int().min(1), perMs: z.int().min(1) }).optional(),
  /** Absent: those of `outbound`. */
  sourceAddresses: z.array(z.string().max(45)).max(2).optional(),
});

/** Key: `domain`, `.domain` (its children) or `[host]:port` of a next hop. */
export const tlsPolicyEntrySchema = z.strictObject({
  level: tlsLevel,
  /** Names a certificate may carry, for Verify and Secure; `.domain` matches children; empty: the destination's own name. */
  match: z.array(z.string().max(255)),
  minVersion: z.enum(["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]).optional(),
  ciphers: z.string().max(1024).optional(),
  /** Lower-case hex SHA-256, without colons, of the certificate or of its public key (SPKI). */
  fingerprints: z.array(z.string().regex(/^[0-9a-f]{64}$/)),
  /** Name in `secrets.authorities`; absent: the system's trust store. */
  authority: z.string().optional(),
});

/** Key: `certificate:<hex sha256>` or `publickey:<hex sha256>`. */
export const relayClientCertEntrySchema = z.strictObject({
  name: z.string(),
  /** Empty: any. Addresses or `@domain`. */
  senders: z.array(address),
  recipients: z.array(address),
  /** ISO 8601 instant. */
  expires: z.string().optional(),
  /** The mailbox that AUTH EXTERNAL with this certificate logs in as. */
  authenticatesAs: address.optional(),
});

export const mechanism = z.enum([
  "PLAIN",
  "LOGIN",
  "SCRAM-SHA-256",
  "SCRAM-SHA-1",
  "CRAM-MD5",
  "EXTERNAL",
  "OAUTHBEARER",
  "XOAUTH2",
  "GSSAPI",
]);

/** Who may log in: back ends in the order in which they are asked, and what failures lead to. */
export const authenticationSchema = z.strictObject({
  /** Mechanisms to offer where a back end can serve them. */
  mechanisms: z.array(mechanism).max(16),
  /** Put behind a login name without `@`. */
  defaultDomain: domain.optional(),
  /** Passwords of the tables. */
  mailboxes: z.boolean(),
  /** Hex; makes the salts that strangers are shown for users that do not exist look like those of users that do. Not a secret. */
  saltKey: z.string().regex(/^[0-9a-f]{64}$/),
  ldap: z
    .strictObject({
      urls: z.array(z.string().max(512)).min(1).max(8),
      startTls: z.boolean(),
      /** Name in `secrets.authorities`; absent: the system's trust store. */
      authority: z.string().optional(),
      /** Key into `secrets.credentials`: DN and password of the search; absent: anonymous. */
      credentials: z.string().optional(),
      baseDn: z.string().max(1024),
      scope: z.enum(["Base", "OneLevel", "Subtree"]),
      /** `%s` login name, `%u` its local part, `%d` its domain. */
      filter: z.string().min(3).max(1024),
      /** Attribute that holds the user's address; absent: the login name is it. */
      addressAttribute: z.string().max(128).optional(),
      timeoutMs: milliseconds,
    })
    .optional(),
  dovecot: z
    .strictObject({
      target: z.discriminatedUnion("kind", [
        z.strictObject({ kind: z.literal("tcp"), host, port }),
        z.strictObject({ kind: z.literal("socket"), path: z.string().min(1).max(107) }),
      ]),
      timeoutMs: milliseconds,
    })
    .optional(),
  failures: z.strictObject({
    /** 0: no limit. */
    perClient: z.int().min(0),
    perUser: z.int().min(0),
    windowMs: milliseconds,
  }),
});

/** `server.json`: what is small and belongs to the whole server. */
export const serverSectionSchema = z.strictObject({
  version: z.literal(CONFIG_VERSION),
  /** `namespace/name` of the MailServer. */
  name: z.string(),
  hostname: domain,
  listeners: z.array(listenerSchema).max(32),
  tls: z.strictObject({ profile: z.enum(["Modern", "Intermediate", "Old"]), sessionTimeoutMs: milliseconds }),
  /** CIDR blocks whose clients may relay. */
  trustedNetworks: z.array(z.string().max(64)),
  limits: limitsSchema,
  queue: queueSchema,
  outbound: outboundSchema,
  recipientDelimiters: z.string().max(8),
  rewriting: rewritingSchema,
  /** Where `<postmaster>` without a domain and double bounces go; empty: `postmaster@hostname`, kept in the queue's own bounce log. */
  postmaster: z.array(address),
  strictEnvelopes: z.boolean(),
  authentication: authenticationSchema,
  /** Sorted: first match of a scope wins. */
  accessRules: z.array(accessRuleSchema),
  restrictions: restrictionsSchema,
  /** In the order in which they are asked. */
  lookups: lookupSourcesSchema,
  /** What domains are that only look-ups know; absent: Relay, with recipients from look-ups. */
  lookedUpDomains: z
    .strictObject({
      class: z.enum(["Mailbox", "Alias", "Relay"]),
      recipients: z.enum(["Lookups", "Verify", "Any"]),
      delivery: deliverySchema.optional(),
    })
    .optional(),
  policyServices: policyServicesSchema,
  verification: verificationSchema,
  postscreen: postscreenSchema.optional(),
  dnsbl: dnsblRulesSchema.optional(),
  greylisting: greylistingSchema.optional(),
  /** CIDR blocks, names and `.domain`s of clients whose dialogue is logged. */
  debugPeers: z.array(z.string().max(253)),
});

const table = <V extends z.ZodType>(value: V) => z.record(z.string(), value);

/** `table-NN.json`: slices of the big tables, an entry in the slice its key hashes to. */
export const tableSliceSchema = z.strictObject({
  domains: table(domainEntrySchema),
  addresses: table(addressEntrySchema),
  routes: table(routeEntrySchema),
  /** Key: full address or `@domain` of the envelope sender; wins over relayHost, loses to `routes`. */
  senderRoutes: table(routeEntrySchema),
  tlsPolicies: table(tlsPolicyEntrySchema),
  relayClientCerts: table(relayClientCertEntrySchema),
});

/** `secret-NN.json`: the only files that hold secrets; they live in Kubernetes Secrets, never in ConfigMaps. */
export const secretSliceSchema = z.strictObject({
  /** Key: mailbox address. Value: `{SCHEME}hash` or a crypt string `$…`; never a plaintext. */
  passwords: table(z.string().max(1024)),
  /** Key: mailbox address. SCRAM-SHA-256 verifiers made of plaintexts, beside the hash in `passwords`: `{SCRAM-SHA-256}…`. */
  scramVerifiers: table(z.string().max(512)),
  /** Key: what `credentials` fields name (`namespace/name` of the Secret). */
  credentials: table(z.strictObject({ username: z.string().max(512), password: z.string().max(1024) })),
  /** Key: `namespace/name` of the Secret. PEM. */
  certificates: table(z.strictObject({ certificate: z.string().max(262144), privateKey: z.string().max(65536) })),
  /** Certificate authorities, PEM bundles; public, but they travel with the keys they verify. */
  authorities: table(z.string().max(1048576)),
  /** Keys into `certificates`, in the order to offer them: the server's own identity. In slice 00 only. */
  serverCertificates: z.array(z.string()),
  /** In slice 00 only; absent: each pod counts for itself. */
  sharedState: sharedStateEndpointSchema.optional(),
});

/** `manifest.json`: written last; a set is complete when every file named here has this SHA-256. */
export const manifestSchema = z.strictObject({
  version: z.literal(CONFIG_VERSION),
  /** SHA-256 (hex) of the canonical bytes of `files`: the name of the whole set. */
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  files: z.record(z.string().regex(/^(server|table-\d{2}|secret-\d{2})\.json$/), z.string().regex(/^[0-9a-f]{64}$/)),
});

export type Listener = z.infer<typeof listenerSchema>;
export type { Limits } from "./limits.ts";
export type QueueSettings = z.infer<typeof queueSchema>;
export type Outbound = z.infer<typeof outboundSchema>;
export type Delivery = z.infer<typeof deliverySchema>;
export type DomainEntry = z.infer<typeof domainEntrySchema>;
export type AddressEntry = z.infer<typeof addressEntrySchema>;
export type RouteEntry = z.infer<typeof routeEntrySchema>;
export type TlsLevel = z.infer<typeof tlsLevel>;
export type TlsPolicyEntry = z.infer<typeof tlsPolicyEntrySchema>;
export type RelayClientCertEntry = z.infer<typeof relayClientCertEntrySchema>;
export type { AccessRule } from "./access-rules.ts";
export type Mechanism = z.infer<typeof mechanism>;
export type AuthenticationSettings = z.infer<typeof authenticationSchema>;
export type ServerSection = z.infer<typeof serverSectionSchema>;
export type TableSlice = z.infer<typeof tableSliceSchema>;
export type SecretSlice = z.infer<typeof secretSliceSchema>;
export type Manifest = z.infer<typeof manifestSchema>;

/** What the operator builds before it is cut into files: whole tables, one of each. */
export interface RenderedConfig {
  readonly server: ServerSection;
  readonly tables: TableSlice;
  readonly secrets: SecretSlice;
  /** How many table and secret slices to cut (MailServer.spec.configShards), 1 to 99. */
  readonly slices: number;
}

/** What a running server looks things up in: the same content with maps, and the name of the set. */
export interface LiveConfig {
  readonly hash: string;
  readonly loadedAtMs: number;
  readonly server: ServerSection;
  readonly domains: ReadonlyMap<string, DomainEntry>;
  readonly addresses: ReadonlyMap<string, AddressEntry>;
  readonly routes: ReadonlyMap<string, RouteEntry>;
  readonly senderRoutes: ReadonlyMap<string, RouteEntry>;
  readonly tlsPolicies: ReadonlyMap<string, TlsPolicyEntry>;
  readonly relayClientCerts: ReadonlyMap<string, RelayClientCertEntry>;
  readonly passwords: ReadonlyMap<string, string>;
  readonly scramVerifiers: ReadonlyMap<string, string>;
  readonly credentials: ReadonlyMap<string, { readonly username: string; readonly password: string }>;
  readonly certificates: ReadonlyMap<string, { readonly certificate: string; readonly privateKey: string }>;
  readonly authorities: ReadonlyMap<string, string>;
  readonly serverCertificates: readonly string[];
  readonly sharedState?: SharedStateEndpoint;
}
