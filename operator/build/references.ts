/**
 * References: may this object refer to that one, and is it there?
 *
 * Stands in build/, pure. By name in the same namespace, or from a namespace that MailServer.spec.allowedNamespaces lets in. A reference that leads nowhere is a
 * sentence for the one who wrote it and touches nobody else.
 */
import type { Refusal } from "./verdict.ts";
import { describe, type MailObject, type MailServer, nameKey, namespaceOf, type World } from "./world.ts";

interface Requirement {
  readonly key: string;
  readonly operator: string;
  readonly values?: readonly string[] | undefined;
}
interface Selector {
  readonly matchLabels?: Readonly<Record<string, string>> | undefined;
  readonly matchExpressions?: readonly Requirement[] | undefined;
}

/** As Kubernetes matches a label selector; an operator it does not know matches nothing. */
export function selects(selector: Selector, labels: Readonly<Record<string, string>>): boolean {
  const value = (key: string): string | undefined => (Object.hasOwn(labels, key) ? labels[key] : undefined);
  const labelsMatch = Object.entries(selector.matchLabels ?? {}).every(([key, wanted]) => value(key) === wanted);
  const expressionsMatch = (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const found = value(key);
    if (operator === "In") return found !== undefined && values.includes(found);
    if (operator === "NotIn") return found === undefined || !values.includes(found);
    if (operator === "Exists") return found !== undefined;
    return operator === "DoesNotExist" && found === undefined;
  });
  return labelsMatch && expressionsMatch;
}

export function letsIn(server: MailServer, namespace: string, namespaces: World["namespaces"]): boolean {
  if (namespace === namespaceOf(server)) return true;
  const allowed = server.spec.allowedNamespaces;
  if (allowed.from === "All") return true;
  if (allowed.from !== "Selector" || allowed.selector === undefined) return false;
  const labels = namespaces.get(namespace);
  return labels !== undefined && selects(allowed.selector, labels);
}

/** undefined: the object may refer to this world's MailServer. */
export function mayRefer(world: World, object: MailObject): Refusal | undefined {
  if (letsIn(world.server, namespaceOf(object), world.namespaces)) return undefined;
  return {
    reason: "NotAllowed",
    message: `Namespace ${namespaceOf(object)} may not use ${describe(world.server)}; add it to spec.allowedNamespaces of that MailServer, or move this object to namespace ${namespaceOf(world.server)}.`,
  };
}

export interface Reference {
  readonly name: string;
  readonly namespace?: string | undefined;
}

/** `namespace/name` of what an object refers to. */
export const targetOf = (from: MailObject, reference: Reference): string =>
  `${reference.namespace ?? namespaceOf(from)}/${reference.name}`;

/** A Secret is always beside the object that names it: a reference must not read another namespace's secrets. */
export const secretKey = (from: MailObject, secretName: string): string => `${namespaceOf(from)}/${secretName}`;

export const refersTo = (from: MailObject, reference: Reference, server: MailServer): boolean =>
  targetOf(from, reference) === nameKey(server);
