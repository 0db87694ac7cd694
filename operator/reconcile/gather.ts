/**
 * Gather: from the stores to the World of one MailServer. The only reader of a reconcile; nothing after it asks the cluster for anything.
 *
 * Pure over the stores. Which objects belong to a server is decided by references alone (objects → domain → server); whether they may is the build's business.
 * What refers to nothing that exists belongs to no server and is told so (`strays`). A stored object that no longer parses (written by another version) is told so too.
 */
import {
  type AccessRule,
  type Alias,
  type MailDomain,
  type Mailbox,
  type MailKind,
  type MailObject,
  type MailServer,
  parseObject,
  type RelayClientCert,
  type Route,
  type TLSPolicy,
} from "../../crds/kinds.ts";
import type { Verdict } from "../build/verdict.ts";
import { namespaceOf, nameKey, type SecretData, type World } from "../build/world.ts";
import type { KubeObject } from "../kube/types.ts";
import { mailKinds, type Stores } from "./stores.ts";

/** An object that no server's build will judge, and what to tell it. */
export interface Stray {
  readonly observed: KubeObject;
  readonly verdict: Verdict;
}

export interface Gathered {
  readonly servers: ReadonlyMap<string, MailServer>;
  /** Every parsed object of a server, by `namespace/name` of the server. */
  readonly members: ReadonlyMap<string, readonly MailObject[]>;
  readonly strays: readonly Stray[];
}

const refused = (reason: "InvalidReference" | "Invalid", message: string): Verdict => ({
  accepted: false,
  reason,
  message,
  warnings: [],
});

interface Reference {
  readonly name: string;
  readonly namespace?: string | undefined;
}

const target = (from: MailObject, reference: Reference): string =>
  `${reference.namespace ?? namespaceOf(from)}/${reference.name}`;

/** Parsing is the expensive part of gathering, and most objects are the same as a moment ago. */
const parsed = new WeakMap<KubeObject, ReturnType<typeof parseObject>>();

function parseOnce(observed: KubeObject): ReturnType<typeof parseObject> {
  const known = parsed.get(observed);
  if (known !== undefined) return known;
  const result = parseObject(observed);
  parsed.set(observed, result);
  return result;
}

/** Sort every object to the server it leads to. */
export function gather(stores: Stores): Gathered {
  const strays: Stray[] = [];
  const byKind = new Map<MailKind, MailObject[]>();
  const observedOf = new Map<MailObject, KubeObject>();
  for (const kind of mailKinds) {
    const objects: MailObject[] = [];
    for (const observed of stores.list<KubeObject>(kind)) {
      if (observed.metadata.deletionTimestamp !== undefined) continue;
      const result = parseOnce(observed);
      if (result.ok) {
        objects.push(result.object);
        observedOf.set(result.object, observed);
      } else strays.push({ observed, verdict: refused("Invalid", result.problems.slice(0, 5).join(" ")) });
    }
    byKind.set(kind, objects);
  }
  const servers = new Map((byKind.get("MailServer") as MailServer[]).map((server) => [nameKey(server), server]));
  const members = new Map<string, MailObject[]>([...servers].map(([key, server]) => [key, [server]]));
  const stray = (object: MailObject, message: string): void => {
    const observed = observedOf.get(object);
    if (observed !== undefined) strays.push({ observed, verdict: refused("InvalidReference", message) });
  };
  const join = (server: string, object: MailObject): void => {
    const list = members.get(server);
    if (list === undefined) stray(object, `MailServer ${server} does not exist; create it, or correct serverRef.`);
    else list.push(object);
  };

  const serverOfDomain = new Map<string, string>();
  for (const domain of byKind.get("MailDomain") as MailDomain[]) {
    const server = target(domain, domain.spec.serverRef);
    serverOfDomain.set(nameKey(domain), server);
    join(server, domain);
  }
  for (const object of [...(byKind.get("Mailbox") as Mailbox[]), ...(byKind.get("Alias") as Alias[])]) {
    const domain = target(object, object.spec.domainRef);
    const server = serverOfDomain.get(domain);
    if (server === undefined) stray(object, `MailDomain ${domain} does not exist; create it, or correct domainRef.`);
    else if (!servers.has(server))
      stray(
        object,
        `MailDomain ${domain} refers to MailServer ${server}, which does not exist; create it, or correct serverRef of the MailDomain.`,
      );
    else join(server, object);
  }
  for (const object of [
    ...(byKind.get("RelayClientCert") as RelayClientCert[]),
    ...(byKind.get("AccessRule") as AccessRule[]),
    ...(byKind.get("Route") as Route[]),
  ]) {
    join(target(object, object.spec.serverRef), object);
  }
  for (const policy of byKind.get("TLSPolicy") as TLSPolicy[]) {
    if (policy.spec.serverRef !== undefined) join(target(policy, policy.spec.serverRef), policy);
    else {
      const all = [...servers.values()].filter((server) => namespaceOf(server) === namespaceOf(policy));
      if (all.length === 0)
        stray(policy, `Namespace ${namespaceOf(policy)} has no MailServer; create one, or name one in serverRef.`);
      for (const server of all) members.get(nameKey(server))?.push(policy);
    }
  }
  return { servers, members, strays };
}

const data = (secret: KubeObject & { readonly data?: Readonly<Record<string, string>> }): SecretData =>
  Object.fromEntries(Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64")]));

/** Secrets are decoded when the build looks at them: most of a cluster's are none of ours. */
class LazySecrets extends Map<string, SecretData> {
  readonly #stores: Stores;
  /** What was asked for, there or not: a change of one of these is a reason to build again. */
  readonly asked = new Set<string>();

  constructor(stores: Stores) {
    super();
    this.#stores = stores;
  }

  override get(key: string): SecretData | undefined {
    this.asked.add(key);
    const secret = this.#stores.get<KubeObject>("Secret", key);
    return secret === undefined ? undefined : data(secret);
  }

  override has(key: string): boolean {
    this.asked.add(key);
    return this.#stores.get("Secret", key) !== undefined;
  }
}

export interface GatheredWorld {
  readonly world: World;
  readonly askedSecrets: ReadonlySet<string>;
}

export function worldOf(
  server: MailServer,
  gathered: Gathered,
  stores: Stores,
  nowMs: number,
  lastGoodCertificates: World["lastGoodCertificates"],
): GatheredWorld {
  const members = gathered.members.get(nameKey(server)) ?? [];
  const of = <T extends MailObject>(kind: T["kind"]): T[] =>
    members.filter((object): object is T => object.kind === kind);
  const secrets = new LazySecrets(stores);
  return {
    askedSecrets: secrets.asked,
    world: {
      server,
      domains: of<MailDomain>("MailDomain"),
      mailboxes: of<Mailbox>("Mailbox"),
      aliases: of<Alias>("Alias"),
      tlsPolicies: of<TLSPolicy>("TLSPolicy"),
      relayClientCerts: of<RelayClientCert>("RelayClientCert"),
      accessRules: of<AccessRule>("AccessRule"),
      routes: of<Route>("Route"),
      secrets,
      namespaces: new Map(
        stores
          .list<KubeObject>("Namespace")
          .map((namespace) => [namespace.metadata.name, namespace.metadata.labels ?? {}]),
      ),
      nowMs,
      ...(lastGoodCertificates === undefined ? {} : { lastGoodCertificates }),
    },
  };
}
