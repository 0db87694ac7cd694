/**
 * Building blocks of the kinds: bounded strings, names, addresses, references, quantities, and rules that both zod and the API server check.
 *
 * First of the three contracts. A field says once what it may hold; `generate.ts` turns that into the CRD. Metadata (description, CEL rules, list types) is
 * carried by zod's registry (`.meta`) beside the schema. Every string, list and map has a bound, so that CEL cost fits the API server's budget
 * and no object is a way to fill memory.
 */
import { z } from "zod";

export const GROUP = "mail.packetboat.io";
export const VERSION = "v1alpha1";
export const API_VERSION = `${GROUP}/${VERSION}`;

/** A rule over several fields. `cel` is what the API server runs, `holds` the same for the embedded mode; both show `message`. */
export interface Rule<T> {
  readonly cel: string;
  readonly message: string;
  /** Absent only for transition rules (oldSelf), which a folder of files does not have. */
  readonly holds?: (value: T) => boolean;
}

/** The schema with rules, known to zod and to the CRD. */
export function withRules<S extends z.ZodType>(schema: S, rules: readonly Rule<z.output<S>>[]): S {
  const checked = schema.superRefine((value, context) => {
    for (const rule of rules)
      if (rule.holds !== undefined && !rule.holds(value)) context.addIssue({ code: "custom", message: rule.message });
  });
  return checked.meta({
    ...schema.meta(),
    "x-kubernetes-validations": rules.map(({ cel, message }) => ({ rule: cel, message })),
  });
}

/** An identity field: the API server refuses to change it. */
export const immutable = <S extends z.ZodType>(schema: S, field: string): S =>
  withRules(schema, [
    {
      cel: "self == oldSelf",
      message: `${field} cannot be changed: it is the identity of this object. Create another object and delete this one.`,
    },
  ]);

export const described = <S extends z.ZodType>(schema: S, description: string): S =>
  schema.meta({ ...schema.meta(), description });

/** Pattern → what a person is told; the CRD says it in these words instead of showing the pattern. */
export const patternMessages = new Map<string, string>();

/** Arguments for `.regex`, remembered for the CRD. The pattern must mean the same to JavaScript and to RE2; one pattern has one message. */
export function matching(pattern: RegExp | string, message: string): [RegExp, string] {
  const expression = new RegExp(pattern);
  const known = patternMessages.get(expression.source);
  if (known !== undefined && known !== message)
    throw new Error(`two messages for ${expression.source}: share one building block`);
  patternMessages.set(expression.source, message);
  return [expression, message];
}

/** Inside a character class: white space and control characters of ASCII. Spelled out, because \s is more to JavaScript than to RE2. */
export const SPACE = String.raw`\x00-\x20\x7F`;
/** Inside a character class: control characters of ASCII. No string that reaches a reply, a header or a path may hold one. */
export const CONTROL = String.raw`\x00-\x1F\x7F`;

const LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";

/** RFC 1123 label: namespaces, listener names. */
export const labelName = z
  .string()
  .min(1)
  .max(63)
  .regex(...matching(new RegExp(`^${LABEL}$`), "must be a DNS label: lower-case letters, digits and hyphens"));
/** Name of a Kubernetes object (RFC 1123 subdomain). */
export const objectName = z
  .string()
  .min(1)
  .max(253)
  .regex(
    ...matching(
      /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/,
      "must be the name of a Kubernetes object: lower-case letters, digits, hyphens and dots",
    ),
  );

const DOMAIN_PART = String.raw`[^${SPACE}@<>"(),:;[\]\\.]+`;

/** A domain in ASCII or Unicode; build/ brings it into its A-label form. RFC 1035 §2.3.4, RFC 5890. */
export const domainName = z
  .string()
  .min(1)
  .max(253)
  .regex(...matching(`^${DOMAIN_PART}(\\.${DOMAIN_PART})*\\.?$`, "must be a domain such as example.org"));
/** A name or an IP address to connect to, without brackets and port. */
export const hostName = z
  .string()
  .min(1)
  .max(253)
  .regex(...matching(/^[A-Za-z0-9_.:-]+$/, "must be a host name or an IP address"));
/** `local@domain`. RFC 5321 §4.1.2; quoted local parts are written with their quotes. */
export const address = z
  .string()
  .min(3)
  .max(320)
  .regex(
    ...matching(
      `^[^${SPACE}@<>]+@[^${SPACE}@<>]+$|^"[^${CONTROL}]{1,64}"@[^${SPACE}@<>]+$`,
      "must be an address such as alice@example.org",
    ),
  );
/** `local@domain`, or `@domain` for all of a domain. */
export const addressOrDomain = z
  .string()
  .min(2)
  .max(320)
  .regex(
    ...matching(
      `^[^${SPACE}@<>]*@[^${SPACE}@<>]+$|^"[^${CONTROL}]{1,64}"@[^${SPACE}@<>]+$`,
      "must be an address such as alice@example.org, or @example.org for the whole domain",
    ),
  );
/** A local part, a full address, or `@domain`. */
export const addressOrLocalPart = z
  .string()
  .min(1)
  .max(320)
  .regex(...matching(`^[^${SPACE}<>]+$`, "must be a local part, an address, or @domain, without spaces"));
/** An IP address, or one with the length of its prefix; build/ checks the numbers. */
export const network = z
  .string()
  .min(2)
  .max(49)
  .regex(...matching(/^[0-9A-Fa-f:.]+(\/[0-9]{1,3})?$/, "must be a network such as 192.0.2.0/24 or 2001:db8::/32"));
/** One line of text, of whatever letters. */
export const lineOfText = z
  .string()
  .min(1)
  .max(320)
  .regex(...matching(`^[^${CONTROL}]+$`, "must be one line"));

export const port = z.int().min(1).max(65535);

/** `5m`, `1h30m`, `5d`; `0` is none. */
export const duration = z
  .string()
  .min(1)
  .max(32)
  .regex(...matching(/^(0|([0-9]{1,9}(ms|s|m|h|d|w)){1,6})$/, "must be a duration such as 30s, 5m, 1h30m or 5d"));

/** Where none would mean trying without a pause, or hanging up at once. */
export const positiveDuration = withRules(duration, [
  { cel: "self.matches('[1-9]')", message: "must be longer than 0", holds: (value) => /[1-9]/.test(value) },
]);

const POSITIVE_SIZE_MESSAGE = "must be a size above 0, such as 102400 or 100Ki";
const SIZE_MESSAGE = "must be a size such as 26214400 or 25Mi";
/** Octets: a number, or a Kubernetes quantity such as 25Mi. */
export const size = z
  .union(
    [
      z.int(SIZE_MESSAGE).min(0, SIZE_MESSAGE).max(Number.MAX_SAFE_INTEGER, SIZE_MESSAGE),
      z
        .string()
        .max(20, SIZE_MESSAGE)
        .regex(...matching(/^[0-9]{1,15}(k|M|G|T|Ki|Mi|Gi|Ti)?$/, SIZE_MESSAGE)),
    ],
    SIZE_MESSAGE,
  )
  .meta({ "x-kubernetes-int-or-string": true });

/** Where 0 would refuse everything. */
export const positiveSize = z
  .union(
    [
      z.int(POSITIVE_SIZE_MESSAGE).min(1, POSITIVE_SIZE_MESSAGE).max(Number.MAX_SAFE_INTEGER, POSITIVE_SIZE_MESSAGE),
      z
        .string()
        .max(20, POSITIVE_SIZE_MESSAGE)
        .regex(...matching(/^0{0,5}[1-9][0-9]{0,9}(k|M|G|T|Ki|Mi|Gi|Ti)?$/, POSITIVE_SIZE_MESSAGE)),
    ],
    POSITIVE_SIZE_MESSAGE,
  )
  .meta({ "x-kubernetes-int-or-string": true });

/** Anything of Kubernetes' own types that is passed on as it is; the API server judges it where it is used. */
export const opaque = z.record(z.string(), z.unknown()).meta({ "x-kubernetes-preserve-unknown-fields": true });

/** Labels or annotations: a prefix of 253 characters, a slash and a name of 63 are the longest key there is. */
export const stringMap = (maxEntries: number): z.ZodRecord<z.ZodString, z.ZodString> =>
  withRules(
    z.record(z.string(), z.string().max(4096)).superRefine((value, context) => {
      if (Object.keys(value).length > maxEntries)
        context.addIssue({ code: "custom", message: `must have at most ${maxEntries} entries` });
    }),
    [
      {
        cel: "self.all(key, size(key) <= 317)",
        message: "a key is at most 317 characters long",
        holds: (value) => Object.keys(value).every((key) => key.length <= 317),
      },
    ],
  ).meta({ maxProperties: maxEntries });

export const list = <S extends z.ZodType>(item: S, maxItems: number, minItems = 0): z.ZodArray<S> =>
  (minItems === 0 ? z.array(item) : z.array(item).min(minItems)).max(maxItems);

/** Addresses to send from: at most one of each family. */
export const sourceAddresses = withRules(
  list(
    z
      .string()
      .min(2)
      .max(45)
      .regex(...matching(/^[0-9A-Fa-f:.]+$/, "must be an IP address")),
    2,
  ),
  [
    {
      cel: "size(self) < 2 || self[0].contains(':') != self[1].contains(':')",
      message: "sourceAddresses takes one IPv4 and one IPv6 address",
      holds: ([first, second]) =>
        first === undefined || second === undefined || first.includes(":") !== second.includes(":"),
    },
  ],
);

function distinct<S extends z.ZodType>(
  schema: S,
  keyOf: (item: unknown) => unknown,
  listType: Readonly<Record<string, unknown>>,
): S {
  const checked = schema.superRefine((items, context) => {
    if (!Array.isArray(items)) return;
    const seen = new Set<unknown>();
    items.forEach((item, index) => {
      const key = keyOf(item);
      if (seen.has(key))
        context.addIssue({
          code: "custom",
          path: [index],
          message: `${String(key)} is there twice; remove one of them`,
        });
      seen.add(key);
    });
  });
  return checked.meta({ ...schema.meta(), ...listType });
}

/** A list without duplicates; the API server merges and refuses by the same key. */
export const setOf = <S extends z.ZodType>(schema: S): S =>
  distinct(schema, (item) => item, { "x-kubernetes-list-type": "set" });
/** A list of objects told apart by one member. */
export const mapBy = <S extends z.ZodType>(schema: S, key: string): S =>
  distinct(schema, (item) => (item as Record<string, unknown>)[key], {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": [key],
  });

/** By name in the same namespace, or in another one that the MailServer's allowedNamespaces lets in. */
export const reference = (kind: string) =>
  z
    .strictObject({
      name: described(objectName, `Name of the ${kind}.`),
      namespace: described(labelName, "Its namespace; absent: that of this object.").optional(),
    })
    .meta({ description: `The ${kind} this object belongs to.` });

/** Exactly one of these members must be there. */
export function exactlyOne<S extends z.ZodObject>(schema: S, field: string): S {
  const names = Object.keys(schema.shape);
  return withRules(schema, [
    {
      cel: `[${names.map((name) => `has(self.${name})`).join(", ")}].filter(x, x).size() == 1`,
      message: `${field} must have exactly one of: ${names.join(", ")}`,
      holds: (value) => names.filter((name) => (value as Record<string, unknown>)[name] !== undefined).length === 1,
    },
  ]);
}

/** What a peer is told; short enough for one reply line with its codes (RFC 5321 §4.5.3.1.5). */
export const replyText = z
  .string()
  .min(1)
  .max(400)
  .regex(...matching(/^[\x20-\x7E]+$/, "must be one line of printable ASCII"));

const reply = {
  code: z.int().min(400).max(599).default(550).meta({ description: "SMTP reply code, 400 to 599." }),
  enhancedCode: z
    .string()
    .max(11)
    .regex(...matching(/^[45]\.[0-9]{1,3}\.[0-9]{1,3}$/, "must be an enhanced status code such as 5.1.1"))
    .default("5.0.0")
    .meta({ description: "RFC 3463 status, of the same class as the code." }),
  text: replyText.default("Delivery to this address is not possible").meta({ description: "What the sender is told." }),
};

export const errorReply = withRules(z.strictObject(reply), [
  {
    cel: "self.enhancedCode.startsWith(self.code < 500 ? '4.' : '5.')",
    message: "code and enhancedCode must be of the same class: 4xx with 4.x.x, 5xx with 5.x.x",
    holds: (value) => String(value.code)[0] === value.enhancedCode[0],
  },
]);

/** Where mail of a domain or a mailbox goes. */
export const delivery = exactlyOne(
  z.strictObject({
    lmtp: withRules(
      z.strictObject({
        host: described(hostName, "Host or Service of the LMTP server.").optional(),
        port: described(port, "Its TCP port.").default(24),
        socketPath: z
          .string()
          .min(1)
          .max(107)
          .regex(...matching(/^\/[\x21-\x7E]*$/, "must be an absolute path of printable ASCII without spaces"))
          .meta({ description: "A unix socket instead, as a sidecar gives it." })
          .optional(),
      }),
      [
        {
          cel: "has(self.host) != has(self.socketPath)",
          message: "delivery.lmtp must have either host or socketPath",
          holds: (value) => (value.host === undefined) !== (value.socketPath === undefined),
        },
      ],
    )
      .meta({ description: "LMTP (RFC 2033), e.g. to Dovecot." })
      .optional(),
    smtp: z
      .strictObject({
        host: described(hostName, "Next hop."),
        port: described(port, "Its port.").default(25),
        lookupMX: z
          .boolean()
          .default(false)
          .meta({ description: "Take the MX records of host, instead of host itself." }),
        implicitTLS: z.boolean().default(false).meta({ description: "TLS from the first octet (RFC 8314)." }),
        credentialsSecretName: described(objectName, "Secret with username and password for AUTH.").optional(),
      })
      .meta({ description: "SMTP to one next hop." })
      .optional(),
    maildir: z
      .strictObject({
        base: z
          .string()
          .min(1)
          .max(200)
          .regex(...matching(/^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*$/, "must be a relative path of plain names"))
          .default("mail")
          .meta({ description: "Folder below the data volume; mailboxes lie in <base>/<domain>/<local part>." }),
      })
      .meta({ description: "Maildir on the pod's own volume; meant for the embedded default and small setups." })
      .optional(),
    discard: z.strictObject({}).meta({ description: "Accept and throw away." }).optional(),
    error: errorReply.meta({ ...errorReply.meta(), description: "Refuse with this reply." }).optional(),
  }),
  "delivery",
);

/** Metadata as far as the operator looks at it. */
export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A custom resource whose spec has been parsed: every default is in place. */
export interface Resource<Kind extends string, Spec> {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: Kind;
  readonly metadata: ObjectMeta;
  readonly spec: Spec;
  readonly status?: unknown;
}

export interface PrinterColumn {
  readonly name: string;
  readonly type: "string" | "integer" | "date" | "boolean";
  readonly jsonPath: string;
  readonly description?: string;
  readonly priority?: number;
}

/** Everything a CRD says besides the fields. */
export interface KindDefinition<Kind extends string = string, Spec extends z.ZodType = z.ZodType> {
  readonly kind: Kind;
  readonly plural: string;
  readonly singular: string;
  readonly shortName: string;
  readonly description: string;
  readonly spec: Spec;
  /** Members of status besides observedGeneration and conditions. */
  readonly status: z.ZodObject;
  readonly columns: readonly PrinterColumn[];
  readonly selectableFields: readonly string[];
  readonly scale?: {
    readonly specReplicasPath: string;
    readonly statusReplicasPath: string;
    readonly labelSelectorPath: string;
  };
  /** A whole object of the kind for the reference page; parsed by a test. */
  readonly example: string;
}

export const define = <Kind extends string, Spec extends z.ZodType>(
  definition: KindDefinition<Kind, Spec>,
): KindDefinition<Kind, Spec> => definition;

export const noStatus = z.object({});
