/**
 * The shapes the controller runtime moves: Kubernetes objects as the JSON they are, and the resources they are served under.
 *
 * Times stay strings and nothing becomes a class, so what was read can be compared with, and written back as, the bytes the API server gave.
 * `Resource` is the whole knowledge of an address; a kind that is not listed here cannot be read or written by the operator, and the
 * chart's RBAC test compares with this list.
 */

/** The part of metadata this operator reads or writes. */
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
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
  readonly managedFields?: readonly ManagedFields[];
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface ManagedFields {
  readonly manager?: string;
  readonly operation?: string;
  readonly subresource?: string;
  readonly fieldsV1?: Readonly<Record<string, unknown>>;
}

/** Any object as read. Kinds with a known shape extend it (`interface Pod extends KubeObject { … }`). */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
  readonly spec?: unknown;
  readonly status?: unknown;
}

/** An object as built for writing: a literal with whatever top-level fields its kind has (`data`, `rules`, …). */
export type Manifest = KubeObject & { readonly [field: string]: unknown };

/** One condition of `status.conditions` (KEP-1623). */
export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number;
}

/** Group, version, plural: where a kind is served. */
export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

function resource(groupVersion: string, kind: string, plural: string, namespaced = true): Resource {
  const [group, version] = groupVersion.includes("/") ? groupVersion.split("/") : ["", groupVersion];
  return { group: group ?? "", version: version ?? "", kind, plural, namespaced };
}

const mail = "mail.packetboat.io/v1alpha1";

/** Every kind the operator touches. */
export const resources = {
  MailServer: resource(mail, "MailServer", "mailservers"),
  MailDomain: resource(mail, "MailDomain", "maildomains"),
  Mailbox: resource(mail, "Mailbox", "mailboxes"),
  Alias: resource(mail, "Alias", "aliases"),
  TLSPolicy: resource(mail, "TLSPolicy", "tlspolicies"),
  RelayClientCert: resource(mail, "RelayClientCert", "relayclientcerts"),
  AccessRule: resource(mail, "AccessRule", "accessrules"),
  Route: resource(mail, "Route", "routes"),
  ConfigMap: resource("v1", "ConfigMap", "configmaps"),
  Secret: resource("v1", "Secret", "secrets"),
  Service: resource("v1", "Service", "services"),
  ServiceAccount: resource("v1", "ServiceAccount", "serviceaccounts"),
  Pod: resource("v1", "Pod", "pods"),
  PersistentVolumeClaim: resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
  Namespace: resource("v1", "Namespace", "namespaces", false),
  StatefulSet: resource("apps/v1", "StatefulSet", "statefulsets"),
  PodDisruptionBudget: resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
  NetworkPolicy: resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
  Lease: resource("coordination.k8s.io/v1", "Lease", "leases"),
  Event: resource("events.k8s.io/v1", "Event", "events"),
} as const satisfies Record<string, Resource>;

/** The resource an object says it is, by apiVersion and kind; undefined for a kind the operator does not know. */
export function resourceOf(object: Pick<KubeObject, "apiVersion" | "kind">): Resource | undefined {
  const known = (resources as Record<string, Resource>)[object.kind];
  return known !== undefined && apiVersionOf(known) === object.apiVersion ? known : undefined;
}

export function apiVersionOf(resource: Resource): string {
  return resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
}

/** `namespace/name`, or `name` for a cluster-scoped object: the key of every store, queue and map. */
export function keyOf(object: { readonly metadata: Pick<ObjectMeta, "name" | "namespace"> }): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined || namespace === "" ? name : `${namespace}/${name}`;
}

export function splitKey(key: string): { readonly namespace: string | undefined; readonly name: string } {
  const slash = key.indexOf("/");
  return slash < 0
    ? { namespace: undefined, name: key }
    : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** URL path of a collection, an object, or one of an object's subresources. */
export function pathOf(resource: Resource, namespace?: string, name?: string, subresource?: string): string {
  const root = resource.group === "" ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  const scope = resource.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  const object = name === undefined ? "" : `/${encodeURIComponent(name)}`;
  return `${root}${scope}/${resource.plural}${object}${subresource === undefined ? "" : `/${subresource}`}`;
}
