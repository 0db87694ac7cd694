/**
 * Stores: everything the operator reads, held in memory and kept true by reflectors. The first thing gather looks at, and the only one.
 *
 * Kinds of people (mail objects, Secrets, Namespaces) are held whole; kinds we make ourselves only where they carry our label. With a list of watched
 * namespaces each is one reflector, otherwise one for the cluster.
 */
import type { KubeClient } from "../kube/client.ts";
import type { Log } from "../kube/log.ts";
import type { Metrics } from "../kube/metrics.ts";
import { Reflector } from "../kube/reflector.ts";
import { type KubeObject, type Resource, resources } from "../kube/types.ts";

export const mailKinds = [
  "MailServer",
  "MailDomain",
  "Mailbox",
  "Alias",
  "TLSPolicy",
  "RelayClientCert",
  "AccessRule",
  "Route",
] as const;
export type MailKind = (typeof mailKinds)[number];
const ownKinds = [
  "ConfigMap",
  "Service",
  "ServiceAccount",
  "StatefulSet",
  "PodDisruptionBudget",
  "NetworkPolicy",
] as const;
type WatchedKind = MailKind | (typeof ownKinds)[number] | "Secret" | "Namespace" | "Pod";

const OWN = "app.kubernetes.io/managed-by=packetboat-operator";
const MTA = "app.kubernetes.io/name=packetboat,app.kubernetes.io/component=mta";

export interface StoresOptions {
  readonly client: KubeClient;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Empty: the whole cluster. */
  readonly namespaces: readonly string[];
}

function selection(kind: WatchedKind): { readonly labelSelector?: string; readonly fieldSelector?: string } {
  if (kind === "Pod") return { labelSelector: MTA };
  // Helm keeps a megabyte of history in Secrets that nobody may refer to.
  if (kind === "Secret") return { fieldSelector: "type!=helm.sh/release.v1" };
  return (ownKinds as readonly string[]).includes(kind) ? { labelSelector: OWN } : {};
}

export class Stores {
  readonly #byKind = new Map<string, readonly Reflector[]>();

  constructor(options: StoresOptions) {
    for (const kind of [...mailKinds, ...ownKinds, "Secret", "Namespace", "Pod"] as const) {
      const resource: Resource = resources[kind];
      const namespaces = resource.namespaced && options.namespaces.length > 0 ? options.namespaces : [undefined];
      this.#byKind.set(
        kind,
        namespaces.map(
          (namespace) =>
            new Reflector({
              client: options.client,
              log: options.log,
              metrics: options.metrics,
              resource,
              ...selection(kind),
              ...(namespace === undefined ? {} : { namespace }),
            }),
        ),
      );
    }
  }

  reflectors(): readonly Reflector[] {
    return [...this.#byKind.values()].flat();
  }

  onChange(kind: WatchedKind, handler: (key: string) => void): void {
    for (const reflector of this.#byKind.get(kind) ?? []) reflector.onChange(handler);
  }

  get<T extends KubeObject>(kind: string, key: string): T | undefined {
    for (const reflector of this.#byKind.get(kind) ?? []) {
      const found = reflector.get(key);
      if (found !== undefined) return found as T;
    }
    return undefined;
  }

  list<T extends KubeObject>(kind: WatchedKind, namespace?: string): readonly T[] {
    return (this.#byKind.get(kind) ?? []).flatMap((reflector) =>
      reflector.list(namespace),
    ) as readonly KubeObject[] as readonly T[];
  }

  /** Objects of ours that belong to this owner. */
  ownedBy(uid: string, namespace: string): readonly KubeObject[] {
    return [...ownKinds, "Secret" as const].flatMap((kind) =>
      this.list(kind, namespace).filter((object) =>
        object.metadata.ownerReferences?.some((owner) => owner.uid === uid && owner.controller === true),
      ),
    );
  }

  async start(): Promise<void> {
    for (const reflector of this.reflectors()) reflector.start();
    await Promise.all(this.reflectors().map((reflector) => reflector.synced()));
  }

  hasSynced(): boolean {
    return this.reflectors().every((reflector) => reflector.hasSynced());
  }

  async stop(): Promise<void> {
    await Promise.all(this.reflectors().map((reflector) => reflector.stop()));
  }
}

/** `namespace/name` → the label of the fleet a pod belongs to. */
export const fleetOf = (pod: KubeObject): string =>
  `${pod.metadata.namespace ?? ""}/${pod.metadata.labels?.["app.kubernetes.io/instance"] ?? ""}`;
