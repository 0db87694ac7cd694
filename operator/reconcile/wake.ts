/**
 * Wake: which change of the world is a reason to look at which MailServer. Between the reflectors and the work queue.
 *
 * A change of status or of annotations is none (most of them are our own); a Secret counts only where a build asked for it; a pod or an owned object wakes its own
 * server. Whoever changes a reference changes two servers, so a mail object wakes all of them: there are few, and a build that finds nothing new writes nothing.
 */
import type { KubeObject } from "../kube/types.ts";
import { fleetOf, mailKinds, type Stores } from "./stores.ts";

/** The key of the work item that tells strays; no server has a name without a slash. */
export const STRAYS = "strays";

export interface Wakeable {
  invalidate(): void;
  invalidateServer(key: string): void;
  usesSecret(key: string): boolean;
  servers(): string[];
}

export function wakeOnChanges(stores: Stores, reconciler: Wakeable, add: (key: string) => void): void {
  const wakeAll = (): void => {
    reconciler.invalidate();
    for (const key of reconciler.servers()) add(key);
    add(STRAYS);
  };
  /** What a build looks at, as far as metadata tells; a change of anything else is no reason. */
  const seen = new Map<string, string>();
  const changed = (kind: string, key: string, of: (object: KubeObject) => string): boolean => {
    const object = stores.get<KubeObject>(kind, key);
    const mark = object === undefined ? undefined : of(object);
    const name = `${kind} ${key}`;
    if (seen.get(name) === mark) return false;
    if (mark === undefined) seen.delete(name);
    else seen.set(name, mark);
    return true;
  };

  for (const kind of mailKinds) {
    stores.onChange(kind, (key) => {
      if (
        !changed(
          kind,
          key,
          ({ metadata }) => `${metadata.uid} ${metadata.generation} ${metadata.deletionTimestamp ?? ""}`,
        )
      )
        return;
      if (kind === "MailServer") add(key);
      wakeAll();
    });
  }
  stores.onChange("Namespace", (key) => {
    if (changed("Namespace", key, ({ metadata }) => JSON.stringify(metadata.labels ?? {}))) wakeAll();
  });
  stores.onChange("Secret", (key) => {
    if (reconciler.usesSecret(key)) wakeAll();
    else wakeOwner("Secret", key);
  });
  stores.onChange("Pod", (key) => {
    const pod = stores.get<KubeObject>("Pod", key);
    if (pod !== undefined) add(fleetOf(pod));
    else for (const server of reconciler.servers()) add(server);
  });
  const wakeOwner = (kind: string, key: string): void => {
    const object = stores.get<KubeObject>(kind, key);
    const owner = object?.metadata.ownerReferences?.find(
      (reference) => reference.kind === "MailServer" && reference.controller === true,
    );
    if (object === undefined) {
      // It may have been ours: whoever lost it makes it again.
      for (const server of reconciler.servers()) {
        reconciler.invalidateServer(server);
        add(server);
      }
    } else if (owner !== undefined) {
      const server = `${object.metadata.namespace ?? ""}/${owner.name}`;
      reconciler.invalidateServer(server);
      add(server);
    }
  };
  for (const kind of [
    "ConfigMap",
    "Service",
    "ServiceAccount",
    "StatefulSet",
    "PodDisruptionBudget",
    "NetworkPolicy",
  ] as const) {
    stores.onChange(kind, (key) => wakeOwner(kind, key));
  }
}
