/**
 * Lookups and tables of MailServer: databases, directories, daemons and inline maps that answer besides the objects, what `mysql:`, `ldap:`, `socketmap:`, `hash:`, `cidr:`,
 * `regexp:` and `pcre:` are to Postfix. Queries, filters and patterns are judged by build/, which says what is wrong with them.
 */
import { z } from "zod";
import {
  delivery,
  described,
  duration,
  exactlyOne,
  hostName,
  labelName,
  list,
  mapBy,
  matching,
  objectName,
  positiveDuration,
  setOf,
  withRules,
} from "./schema.ts";

/** `host`, `host:port`, `[ip6]:port` or `unix:/path`. */
const server = z
  .string()
  .min(1)
  .max(255)
  .regex(
    ...matching(
      /^(unix:\/[\x21-\x7E]{1,106}|[A-Za-z0-9_.-]{1,249}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?)$/,
      "must be a host such as db.example.org:3306 or [2001:db8::1]:3306, or unix:/path of a socket",
    ),
  );

export const lookupRoleNames = [
  "Domains",
  "Mailboxes",
  "Aliases",
  "Transports",
  "TLSPolicies",
  "Access",
  "Senders",
  "Passwords",
] as const;
const role = z.enum(lookupRoleNames);
const ROLES =
  "Domains: is this domain ours? Mailboxes: has this address a mailbox? Aliases: address or @domain to addresses. Transports: domain or address to transport:nexthop. TLSPolicies: destination to level and attributes. Access: client, name or address to action; asked by the lists whose checks name the source, and if none does by all of them. Senders: address to logins that may use it. Passwords: login to hash.";

const shape = {
  resultFormat: z
    .string()
    .min(1)
    .max(512)
    .optional()
    .meta({ description: "What becomes of a value: %s %u %d of the value, %S %U %D %1 to %9 of the key. Absent: %s." }),
  domains: list(z.string().min(1).max(255), 256)
    .optional()
    .meta({ description: "Ask only for addresses in these domains. Absent: for every key." }),
  expansionLimit: z
    .int()
    .min(1)
    .max(100_000)
    .optional()
    .meta({ description: "Values of one answer; more is an error, and mail waits. Absent: 1000." }),
};

const tls = z
  .strictObject({
    caSecretName: described(objectName, "Secret with ca.crt; absent: the system's trust store.").optional(),
    serverName: described(
      hostName,
      "Name the certificate must carry; absent: the host. Needed where hosts are addresses.",
    ).optional(),
    clientCertificateSecretName: described(objectName, "TLS Secret to show to the server.").optional(),
  })
  .optional()
  .meta({ description: "Encrypt, and verify the server. Absent: in the clear." });

const timing = {
  connectTimeout: described(
    positiveDuration,
    "How long a host may take to connect, and how long it may be silent before the next one is asked as well. Absent: 500ms, or 3s for a single host.",
  ).optional(),
  timeout: described(positiveDuration, "How long an answer may take. Absent: 5s.").optional(),
  cache: z
    .strictObject({
      entries: z
        .int()
        .min(0)
        .max(1_000_000)
        .optional()
        .meta({ description: "Answers kept by one shard; 0: none. Absent: 10000." }),
      ttl: described(duration, "How long an answer is believed. Absent: 10s.").optional(),
      negativeTTL: described(duration, "How long it is believed that something does not exist. Absent: 3s.").optional(),
    })
    .optional()
    .meta({ description: "Remembered answers. Passwords are never remembered." }),
};
const connections = z
  .int()
  .min(1)
  .max(100)
  .optional()
  .meta({ description: "Connections of one shard to one host. Absent: 4." });
const name = described(labelName, "Name of this source, for its metrics, its log lines and spec.lookups.order.");

const mysql = z.strictObject({
  name,
  hosts: list(server, 16, 1).meta({
    description: "Hosts with the same data; the first one that answers is asked. Port 3306 where none is written.",
  }),
  database: z
    .string()
    .min(1)
    .max(64)
    .regex(...matching(/^[\x21-\x7E]+$/, "must be a name of printable ASCII without spaces"))
    .meta({ description: "Name of the database." }),
  credentialsSecretName: described(objectName, "Secret with username and password."),
  tls,
  schema: z.enum(["Vimbadmin"]).optional().meta({
    description:
      "Ready queries for Domains, Mailboxes, Aliases, Transports, Senders and Passwords of this schema; those in queries go before them.",
  }),
  queries: mapBy(
    list(
      z.strictObject({
        role: role.meta({ description: ROLES }),
        query: z.string().min(1).max(4096).meta({
          description:
            "SELECT with Postfix's placeholders %s %u %d %1 to %9, in quotes as there; it becomes a prepared statement.",
        }),
        ...shape,
      }),
      8,
    ),
    "role",
  )
    .optional()
    .meta({ description: "What to ask for each role." }),
  connections,
  ...timing,
});

const attributes = list(z.string().min(1).max(255), 32);
const ldap = z.strictObject({
  name,
  servers: list(
    z
      .string()
      .min(8)
      .max(300)
      .regex(
        ...matching(
          /^ldaps?:\/\/([A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?\/?$/,
          "must be a URL such as ldap://ldap.example.org or ldaps://ldap.example.org:636",
        ),
      ),
    16,
    1,
  ).meta({ description: "Servers with the same data; the first one that answers is asked." }),
  startTLS: z.boolean().optional().meta({ description: "STARTTLS on ldap:// servers. Absent: where tls is set." }),
  tls,
  credentialsSecretName: described(
    objectName,
    "Secret with username (the DN to bind as) and password; absent: anonymous.",
  ).optional(),
  searches: mapBy(
    list(
      z.strictObject({
        role: role.meta({ description: ROLES }),
        base: z.string().max(1024).meta({ description: "Search base; may hold placeholders." }),
        scope: z.enum(["Base", "One", "Subtree"]).optional().meta({ description: "Absent: Subtree." }),
        filter: z.string().min(1).max(1024).meta({ description: "Filter with placeholders, e.g. (mail=%s)." }),
        resultAttributes: attributes.optional().meta({ description: "Attributes whose values are the answer." }),
        referenceAttributes: attributes.optional().meta({
          description: "Attributes whose values are DNs of entries to read in turn (special_result_attribute).",
        }),
        ...shape,
      }),
      8,
      1,
    ),
    "role",
  ).meta({ description: "What to ask for each role." }),
  ...timing,
});

const socketmap = z.strictObject({
  name,
  hosts: list(server, 16, 1).meta({ description: "host:port or unix:/path of the daemon." }),
  maps: mapBy(
    list(
      z.strictObject({
        role: role.meta({ description: ROLES }),
        map: z
          .string()
          .min(1)
          .max(255)
          .regex(...matching(/^[\x21-\x7E]+$/, "must be a name of printable ASCII without spaces"))
          .meta({ description: "Name of the map at the daemon." }),
      }),
      8,
      1,
    ),
    "role",
  ).meta({ description: "Which map answers for each role." }),
  connections,
  ...timing,
});

const domains = withRules(
  z.strictObject({
    class: z
      .enum(["Mailbox", "Alias", "Relay"])
      .default("Relay")
      .meta({ description: "As of a MailDomain: Mailbox, Alias or Relay." }),
    delivery: delivery
      .optional()
      .meta({ ...delivery.meta(), description: "Where their mail goes if no Transports look-up says otherwise." }),
    recipientsFrom: z.enum(["Lookups", "Verify", "Any"]).default("Lookups").meta({
      description:
        "Lookups: only addresses that a look-up knows exist. Verify: besides them, those of which the server behind says so. Any: every address does (Relay).",
    }),
  }),
  [
    {
      cel: "self.class != 'Alias' || !has(self.delivery)",
      message: "domains of class Alias have no mailboxes and take no delivery; use class Mailbox or remove delivery",
      holds: (value) => value.class !== "Alias" || value.delivery === undefined,
    },
    {
      cel: "self.recipientsFrom != 'Any' || self.class == 'Relay'",
      message: "recipientsFrom: Any is for class Relay only",
      holds: (value) => value.recipientsFrom !== "Any" || value.class === "Relay",
    },
    {
      cel: "self.recipientsFrom != 'Verify' || self.class != 'Alias'",
      message: "recipientsFrom: Verify needs a server to ask: class Relay or Mailbox",
      holds: (value) => value.recipientsFrom !== "Verify" || value.class !== "Alias",
    },
  ],
);

export const lookups = z.strictObject({
  domains: domains.prefault({}).meta({
    description: "What domains are that only look-ups of the role Domains know. A MailDomain object goes before.",
  }),
  mysql: mapBy(list(mysql, 16), "name").default([]).meta({ description: "MySQL and MariaDB." }),
  ldap: mapBy(list(ldap, 16), "name").default([]).meta({ description: "LDAP directories." }),
  socketmap: mapBy(list(socketmap, 16), "name")
    .default([])
    .meta({ description: "Daemons that speak socketmap, e.g. MTA-STS resolvers." }),
  order: setOf(list(labelName, 80)).default([]).meta({
    description:
      "Names of sources and tables in the order to ask them; the first match wins. Those not named follow: tables, mysql, ldap, socketmap, each as written.",
  }),
});

export const tables = mapBy(
  list(
    z.strictObject({
      name: described(labelName, "Name of this table."),
      type: z.enum(["Hash", "CIDR", "Regexp", "PCRE"]).meta({
        description:
          "Hash: exact keys. CIDR: networks. Regexp, PCRE: patterns, in linear time, without back references and look-around.",
      }),
      roles: setOf(list(role, 8))
        .optional()
        .meta({ description: `Questions this table answers. Absent: only settings that name it. ${ROLES}` }),
      content: exactlyOne(
        z.strictObject({
          text: z.string().min(1).max(262_144).optional().meta({
            description:
              "As in Postfix's file of this type: a key, network or /pattern/ and its value on each line; if and endif.",
          }),
          entries: list(
            z.strictObject({
              key: z.string().min(1).max(4096),
              value: z.string().min(1).max(4096),
            }),
            2000,
          )
            .optional()
            .meta({
              description: "The same as a list, each of one line. Keys of patterns are written /pattern/flags.",
            }),
        }),
        "content",
      ),
    }),
    32,
  ),
  "name",
);
