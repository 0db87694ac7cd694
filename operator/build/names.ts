/**
 * Names and labels: what the objects of a MailServer are called, and how its pods are found.
 *
 * Stands in build/, used by every builder of a Kubernetes object and by whoever looks for one. Labels are the recommended ones; none is copied from the
 * MailServer, because Argo CD would prune by them. Selectors never change: a StatefulSet's is immutable.
 */
import type { Manifest, ObjectMeta } from "../kube/types.ts";
import type { MailServer } from "./world.ts";

/** Label and value by which the operator's own pods are let in to the admin port. */
export const OPERATOR_LABEL = { "app.kubernetes.io/name": "packetboat-operator" } as const;

/** The longest name whose pods, labels (63) and revisions still fit: `<name>-secret-NN`, and the StatefulSet's revision hash. */
export const MAX_SERVER_NAME = 52;

export const configMapOf = (server: string): string => `${server}-config`;
export const manifestMapOf = (server: string): string => `${server}-manifest`;
/** `table-03.json` → `mx-table-03`, `secret-03.json` → `mx-secret-03`. */
export const sliceObjectOf = (server: string, file: string): string => `${server}-${file.replace(/\.json$/, "")}`;
export const podServiceOf = (server: string): string => `${server}-pods`;

type Named = Pick<MailServer, "metadata">;

export const selectorOf = (server: Named): Record<string, string> => ({
  "app.kubernetes.io/component": "mta",
  "app.kubernetes.io/instance": server.metadata.name,
  "app.kubernetes.io/name": "packetboat",
});

export const labelsOf = (server: Named): Record<string, string> => ({
  ...selectorOf(server),
  "app.kubernetes.io/managed-by": "packetboat-operator",
  "app.kubernetes.io/part-of": "packetboat",
});

/** Metadata of an object that belongs to a MailServer and goes with it. */
export function ownedMeta(
  server: MailServer,
  name: string,
  annotations: Readonly<Record<string, string>> = {},
): ObjectMeta {
  return {
    name,
    namespace: server.metadata.namespace ?? "default",
    labels: labelsOf(server),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    ownerReferences: [
      {
        apiVersion: server.apiVersion,
        kind: server.kind,
        name: server.metadata.name,
        uid: server.metadata.uid ?? "",
        controller: true,
        blockOwnerDeletion: true,
      },
    ],
  };
}

/** Keys in code-unit order at every depth, `undefined` members left out: one world, one text. */
export function inOrder<T>(value: T): T;
export function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => inOrder(item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, member]) => [key, inOrder(member)]),
  );
}

export const manifest = (object: Manifest): Manifest => inOrder(object);
