/**
 * Does the cluster already have what we want? The first place where it does not, by name; the question that spares a write.
 *
 * The server fills in defaults, so equality is too strong: what we want must be *contained* in what is there, and server-side apply's record
 * (managedFields) must say that it is still *ours*, for whoever changes a field of ours takes it over in that record. The record also
 * tells lists that are maps by a key (containers, ports: elements of others are none of our business) from lists that are one value
 * (command, tolerations, ingress: one element more is a change). Pure. KEP-555, structured-merge-diff field sets.
 */
import type { KubeObject, ManagedFields } from "./types.ts";

/** A node of fieldsV1; `whole` below a leaf, where everything belongs to the leaf's owner. */
type Owned = Readonly<Record<string, unknown>> | "whole" | undefined;

/** Path of the first field that is missing, other, or no longer ours; undefined when nothing is to be done. */
export function firstDifference(desired: KubeObject, observed: KubeObject, manager: string): string | undefined {
  const record = observed.metadata.managedFields?.find((entry) => isApplyOf(entry, manager));
  if (record?.fieldsV1 === undefined) return "metadata.managedFields";
  const have = observed as unknown as Readonly<Record<string, unknown>>;
  for (const [field, want] of Object.entries(desired)) {
    if (field === "apiVersion" || field === "kind" || field === "status" || field === "metadata") continue;
    const found = compare(want, have[field], child(record.fieldsV1, field), field);
    if (found !== undefined) return found;
  }
  const metadata = child(record.fieldsV1, "metadata");
  for (const field of ["labels", "annotations", "ownerReferences", "finalizers"] as const) {
    const found = compare(
      desired.metadata[field],
      observed.metadata[field],
      child(metadata, field),
      `metadata.${field}`,
    );
    if (found !== undefined) return found;
  }
  return undefined;
}

export function isApplyOf(entry: ManagedFields, manager: string): boolean {
  return entry.manager === manager && entry.operation === "Apply" && !entry.subresource;
}

function compare(want: unknown, have: unknown, owned: Owned, path: string): string | undefined {
  if (want === undefined || want === null) return undefined;
  // An empty collection is neither stored nor recorded by every kind: nothing in it can differ.
  if (isEmptyCollection(want) && (have === undefined || have === null || isEmptyCollection(have))) return undefined;
  if (owned === undefined) return path;
  if (Array.isArray(want)) {
    return Array.isArray(have) ? compareLists(want, have, owned, path) : path;
  }
  if (typeof want === "object") {
    // `readOnly: {}`-like structs whose only content is left out by the server.
    if (typeof have !== "object" || have === null || Array.isArray(have)) return path;
    for (const [field, value] of Object.entries(want)) {
      const found = compare(value, (have as Record<string, unknown>)[field], child(owned, field), `${path}.${field}`);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  // The server leaves false, 0 and "" out of fields that are not pointers; the record says that they are ours all the same.
  if (have === undefined || have === null) return want === false || want === 0 || want === "" ? undefined : path;
  return want === have || sameQuantity(want, have) ? undefined : path;
}

function compareLists(
  want: readonly unknown[],
  have: readonly unknown[],
  owned: Owned,
  path: string,
): string | undefined {
  const entries = owned === "whole" || owned === undefined ? [] : Object.keys(owned);
  const keyed = entries.filter((entry) => entry.startsWith("k:"));
  if (keyed.length > 0 && owned !== "whole") {
    for (const [index, element] of want.entries()) {
      const key = keyed.find((entry) => matchesKey(element, keyOfEntry(entry)));
      const match = key === undefined ? undefined : have.find((other) => hasKey(other, keyOfEntry(key)));
      const found = compare(element, match, key === undefined ? undefined : node(owned?.[key]), `${path}[${index}]`);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  const members = entries.filter((entry) => entry.startsWith("v:")).map((entry) => parse(entry.slice(2)));
  if (members.length > 0) {
    return want.every((value) => members.includes(value) && have.includes(value)) ? undefined : path;
  }
  if (want.length !== have.length) return path;
  for (const [index, element] of want.entries()) {
    const found = compare(element, have[index], "whole", `${path}[${index}]`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function child(owned: Owned, field: string): Owned {
  if (owned === "whole" || owned === undefined) return owned;
  return node(owned[`f:${field}`]);
}

function node(value: unknown): Owned {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.keys(value).length === 0 ? "whole" : (value as Record<string, unknown>);
}

/** `k:{"containerPort":25,"protocol":"TCP"}`: what we wrote may leave out a key field that has a default. */
function matchesKey(element: unknown, key: Readonly<Record<string, unknown>>): boolean {
  if (typeof element !== "object" || element === null) return false;
  const fields = element as Readonly<Record<string, unknown>>;
  return Object.entries(key).every(([field, value]) => fields[field] === undefined || fields[field] === value);
}

function hasKey(element: unknown, key: Readonly<Record<string, unknown>>): boolean {
  if (typeof element !== "object" || element === null) return false;
  const fields = element as Readonly<Record<string, unknown>>;
  return Object.entries(key).every(([field, value]) => fields[field] === value);
}

function keyOfEntry(entry: string): Readonly<Record<string, unknown>> {
  const key = parse(entry.slice(2));
  return typeof key === "object" && key !== null ? (key as Record<string, unknown>) : {};
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function isEmptyCollection(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    (Array.isArray(value) ? value.length === 0 : Object.keys(value).length === 0)
  );
}

const suffixes: Readonly<Record<string, number>> = {
  "": 1,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The server writes quantities its own way: 0.5 becomes 500m, 1024Mi becomes 1Gi. */
function sameQuantity(want: unknown, have: unknown): boolean {
  const [a, b] = [quantity(want), quantity(have)];
  return a !== undefined && b !== undefined && Math.abs(a - b) <= Math.abs(a) * 1e-9;
}

function quantity(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value !== "string" || value.length > 32) return undefined;
  const match = /^([+-]?[0-9]+(?:\.[0-9]+)?)([numkMGTPE]|[KMGTPE]i)?$/.exec(value);
  return match === null ? undefined : Number(match[1]) * (suffixes[match[2] ?? ""] ?? Number.NaN);
}
