/**
 * Gather: from the stores to the World of one MailServer. The only reader of a reconcile; nothing after it asks the cluster for anything.
 *
 * Pure over the stores. Which objects belong to a server is decided by references alone (objects → domain → server); whether they may is the build's business.
 * What refers to nothing that exists belongs to no server and is told so (`strays`). A stored object that no longer parses (written by another version) is told so too.
 */
import { type MailObject, type MailServer, parseObject } from "../../crds/kinds.ts";
import { objectsOf } from "../build/build.ts";
import { targetOf } from "../build/references.ts";
import type { Verdict } from "../build/verdict.ts";
import { nameKey, objectKey, type SecretData, type World } from "../build/world.ts";
import { strayRefusal, worldOf } from "../build/world-of.ts";
import type { KubeObject } from "../kube/types.ts";
import { mailKinds, type Stores } from "./stores.ts";

/** An object that no server's build will judge, and what to tell it. */
export interface Stray {
  readonly observed: KubeObject;
  readonly verdict: Verdict;
}

export interface Gathered {
  readonly servers: ReadonlyMap<string, MailServer>;
  /** Every object that parsed. */
  readonly objects: readonly MailObject[];
  readonly strays: readonly Stray[];
}

/** Parsing is the expensive part of gathering, and most objects are the same as a moment ago. */
const parsed = new WeakMap<KubeObject, ReturnType<typeof parseObject>>();

function parseOnce(observed: KubeObject): ReturnType<typeof parseObject> {
  const known = parsed.get(observed);
  if (known !== undefined) return known;
  const result = parseObject(observed);
  parsed.set(observed, result);
  return result;
}

/** What a Mailbox is told whose MailDomain is there but leads nowhere: nobody else's build would. */
function followsStray(object: MailObject, objects: readonly MailObject[]): string {
  if (object.kind !== "Mailbox" && object.kind !== "Alias")
    return "It belongs to no MailServer; correct its reference.";
  const target = targetOf(object, object.spec.domainRef);
  const domain = objects.find((other) => other.kind === "MailDomain" && nameKey(other) === target);
  const server = domain?.kind === "MailDomain" ? targetOf(domain, domain.spec.serverRef) : "";
  return `MailDomain ${target} refers to MailServer ${server}, which does not exist; create it or correct spec.serverRef of the MailDomain.`;
}

/** Everything that parses, and everything that no server's build will judge. */
export function gather(stores: Stores): Gathered {
  const objects: MailObject[] = [];
  const strays: Stray[] = [];
  const observedOf = new Map<MailObject, KubeObject>();
  for (const kind of mailKinds) {
    for (const observed of stores.list<KubeObject>(kind)) {
      if (observed.metadata.deletionTimestamp !== undefined) continue;
      const result = parseOnce(observed);
      if (result.ok) {
        objects.push(result.object);
        observedOf.set(result.object, observed);
      } else {
        const message = result.problems.slice(0, 5).join(" ");
        strays.push({ observed, verdict: { accepted: false, reason: "Invalid", message, warnings: [] } });
      }
    }
  }
  const servers = objects.filter((object) => object.kind === "MailServer");
  const nothing = { secrets: new Map(), namespaces: new Map(), nowMs: 0 };
  const judged = new Set(servers.flatMap((server) => objectsOf(worldOf(server, objects, nothing))).map(objectKey));
  const domains = new Set(objects.filter((object) => object.kind === "MailDomain").map(nameKey));
  for (const object of objects) {
    const observed = observedOf.get(object);
    if (judged.has(objectKey(object)) || observed === undefined) continue;
    const refusal = strayRefusal(object, servers, domains) ?? {
      reason: "InvalidReference",
      message: followsStray(object, objects),
    };
    strays.push({ observed, verdict: { accepted: false, ...refusal, warnings: [] } });
  }
  return { servers: new Map(servers.map((server) => [nameKey(server), server])), objects, strays };
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

/** The world of one server, ready to build. */
export function gatherWorld(
  server: MailServer,
  { objects }: Gathered,
  stores: Stores,
  nowMs: number,
  lastGoodCertificates: World["lastGoodCertificates"],
): GatheredWorld {
  const secrets = new LazySecrets(stores);
  const namespaces = new Map(
    stores.list<KubeObject>("Namespace").map(({ metadata }) => [metadata.name, metadata.labels ?? {}]),
  );
  const world = worldOf(server, objects, { secrets, namespaces, nowMs });
  return {
    askedSecrets: secrets.asked,
    world: lastGoodCertificates === undefined ? world : { ...world, lastGoodCertificates },
  };
}
