/**
 * World: everything the build may know, as it was read. Nothing else goes in, so that the same world gives the same bytes.
 *
 * Stands between gather (cluster) or the manifests folder (embedded) and build. Lists may come in any order. `nowMs` judges what has expired and is never
 * rendered. Objects are parsed (`parseObject` of crds/), so every field is in bounds; what only the whole can tell (references, conflicts) is decided here.
 */
import type {
  AccessRule,
  Alias,
  MailDomain,
  Mailbox,
  MailObject,
  MailServer,
  RelayClientCert,
  Route,
  TLSPolicy,
} from "../../crds/kinds.ts";
import type { SecretText } from "./certificates.ts";

export type {
  AccessRule,
  Alias,
  MailDomain,
  Mailbox,
  MailObject,
  MailServer,
  RelayClientCert,
  Route,
  TLSPolicy,
} from "../../crds/kinds.ts";

/** `data` of a Secret, decoded from base64. */
export type SecretData = Readonly<Record<string, Buffer | string>>;

export interface World {
  readonly server: MailServer;
  /** All that refer to `server`, from whatever namespace; the build decides which of them may. */
  readonly domains: readonly MailDomain[];
  readonly mailboxes: readonly Mailbox[];
  readonly aliases: readonly Alias[];
  readonly tlsPolicies: readonly TLSPolicy[];
  readonly relayClientCerts: readonly RelayClientCert[];
  readonly accessRules: readonly AccessRule[];
  readonly routes: readonly Route[];
  /** Key: `namespace/name`. Only what is referred to need be here; absent means it does not exist. */
  readonly secrets: ReadonlyMap<string, SecretData>;
  /** Labels by name; absent means it is not known, and is not let in by a selector. */
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly nowMs: number;
  /**
   * Certificates of the set that runs now, by `namespace/name` of their Secret. Where the Secret is gone or damaged (cert-manager in the middle of
   * something), the last good one is served on, and the MailServer says so. Passwords have no such memory: taking one away must lock out.
   */
  readonly lastGoodCertificates?: ReadonlyMap<string, { readonly certificate: string; readonly privateKey: string }>;
}

export const namespaceOf = (object: MailObject): string => object.metadata.namespace ?? "default";

/** `namespace/name` of an object, or of what it refers to. */
export const nameKey = (object: MailObject): string => `${namespaceOf(object)}/${object.metadata.name}`;
/** Key of the verdicts: `Kind/namespace/name`. */
export const objectKey = (object: MailObject): string => `${object.kind}/${nameKey(object)}`;
/** As it is named in messages. */
export const describe = (object: MailObject): string => `${object.kind} ${nameKey(object)}`;

/** A Secret as text; undefined when it does not exist. What is not UTF-8 becomes U+FFFD, which no check lets through. */
export function secretText(world: World, key: string): SecretText | undefined {
  const data = world.secrets.get(key);
  return data === undefined
    ? undefined
    : new Map(
        Object.entries(data).map(([name, value]) => [name, typeof value === "string" ? value : value.toString("utf8")]),
      );
}
