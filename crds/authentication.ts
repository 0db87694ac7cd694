/** MailServer.spec.authentication: who may log in, by which mechanisms, and against which back ends; Postfix's smtpd_sasl_*. */
import { z } from "zod";
import {
  described,
  domainName,
  duration,
  hostName,
  lineOfText,
  list,
  matching,
  objectName,
  port,
  setOf,
  withRules,
} from "./schema.ts";

const distinguishedName = lineOfText.max(1024);

const ldap = withRules(
  z.strictObject({
    urls: list(
      z
        .string()
        .max(300)
        .regex(
          ...matching(
            /^ldaps?:\/\/[A-Za-z0-9_.:[\]-]+\/?$/,
            "must be a URL such as ldaps://ldap.example.org, without a path",
          ),
        ),
      8,
      1,
    ).meta({ description: "Servers, tried in this order: ldaps://host[:port] or ldap://host[:port]." }),
    startTLS: z
      .boolean()
      .default(true)
      .meta({ description: "Ask ldap:// servers for TLS, and send nothing without it." }),
    caSecretName: described(
      objectName,
      "Secret with ca.crt that the servers' certificates lead to; absent: the authorities of the system.",
    ).optional(),
    bindSecretName: described(
      objectName,
      "Secret whose username is the DN, and whose password the password, to search with; absent: anonymously.",
    ).optional(),
    baseDN: described(distinguishedName, "Where the search begins."),
    scope: z.enum(["Base", "OneLevel", "Subtree"]).default("Subtree").meta({ description: "How deep it goes." }),
    filter: z
      .string()
      .min(3)
      .max(1024)
      .regex(
        ...matching(String.raw`^\([^\x00-\x1F\x7F]*\)$`, "must be an LDAP filter in parentheses, such as (mail=%s)"),
      )
      .default("(mail=%s)")
      .meta({
        description: "Finds a user's entry: %s is the login name, %u what is before its @, %d what is behind it.",
      }),
    addressAttribute: z
      .string()
      .max(128)
      .regex(...matching(/^[A-Za-z][A-Za-z0-9.;-]*$/, "must be the name of an LDAP attribute"))
      .optional()
      .meta({ description: "Attribute that holds the user's address. Absent: the login name is the address." }),
    timeout: duration.default("10s").meta({ description: "How long a login may wait for the servers." }),
  }),
  [
    {
      cel: "self.filter.contains('%s') || self.filter.contains('%u')",
      message: "filter must name the user by %s or %u",
      holds: ({ filter }) => filter.includes("%s") || filter.includes("%u"),
    },
  ],
);

const dovecotAuthentication = withRules(
  z.strictObject({
    host: described(hostName, "Host of a Dovecot whose service auth has an inet_listener.").optional(),
    port: described(port, "Its port.").default(12345),
    socketPath: z
      .string()
      .min(1)
      .max(107)
      .regex(...matching(/^\/[\x21-\x7E]*$/, "must be an absolute path of printable ASCII without spaces"))
      .optional()
      .meta({ description: "Instead of host: its unix socket in the pod." }),
    timeout: duration.default("20s").meta({
      description: "How long a login may wait for it; Dovecot itself waits two seconds before it says no.",
    }),
  }),
  [
    {
      cel: "has(self.host) != has(self.socketPath)",
      message: "authentication.dovecot must have either host or socketPath",
      holds: ({ host, socketPath }) => (host === undefined) !== (socketPath === undefined),
    },
  ],
);

const ownMechanisms: ReadonlySet<string> = new Set(["PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL"]);
export const authentication = withRules(
  z.strictObject({
    mechanisms: setOf(
      list(
        z.enum([
          "PLAIN",
          "LOGIN",
          "SCRAM-SHA-256",
          "EXTERNAL",
          "SCRAM-SHA-1",
          "CRAM-MD5",
          "OAUTHBEARER",
          "XOAUTH2",
          "GSSAPI",
        ]),
        16,
        1,
      ),
    )
      .default(["PLAIN", "LOGIN", "EXTERNAL"])
      .meta({
        description:
          "SASL mechanisms, offered over TLS where they can succeed. EXTERNAL: a client certificate that a RelayClientCert maps to a mailbox. SCRAM-SHA-256: for mailboxes whose Secret holds a plaintext, a {SCRAM-SHA-256} or a PBKDF2-SHA256 hash; a verifier that is quicker to guess than argon2id is then stored beside it. The others are Dovecot's.",
      }),
    defaultDomain: described(domainName, "Put behind a login name without @.").optional(),
    mailboxes: z.boolean().default(true).meta({ description: "Passwords of Mailbox objects, asked first." }),
    ldap: ldap
      .optional()
      .meta({ ...ldap.meta(), description: "Search a directory, then bind as what was found; asked second." }),
    dovecot: dovecotAuthentication.optional().meta({
      ...dovecotAuthentication.meta(),
      description: "Dovecot's authentication socket (its auth client protocol), asked last.",
    }),
    failures: z
      .strictObject({
        perClient: z.int().min(0).max(1_000_000).default(20).meta({
          description:
            "Failed logins of one client address (IPv6: /64) in a window, after which it may try no more; answers to it grow later before that. 0: no limit and no delay.",
        }),
        perUser: z.int().min(0).max(1_000_000).default(50).meta({
          description:
            "Failed logins of one user in a window, after which only clients that this user has logged in from may try; 0: no limit.",
        }),
        window: duration.default("10m").meta({ description: "The window." }),
      })
      .prefault({})
      .meta({ description: "What guessing passwords leads to: later answers, then 454." }),
  }),
  [
    {
      cel: `has(self.dovecot) || self.mechanisms.all(m, m in ${JSON.stringify([...ownMechanisms]).replaceAll('"', "'")})`,
      message: `without authentication.dovecot, mechanisms may only be ${[...ownMechanisms].join(", ")}`,
      holds: ({ dovecot, mechanisms }) => dovecot !== undefined || mechanisms.every((name) => ownMechanisms.has(name)),
    },
  ],
);
