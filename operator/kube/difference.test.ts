/** What counts as a difference, as a table; the records are shaped as kube-apiserver 1.34 writes them. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { firstDifference } from "./difference.ts";
import type { KubeObject, Manifest } from "./types.ts";

const manager = "packetboat-operator";
const base = { apiVersion: "v1", kind: "Thing" } as const;
const wish = (spec: unknown, metadata: object = {}): Manifest => ({
  ...base,
  metadata: { name: "x", ...metadata },
  spec,
});
const there = (spec: unknown, owned: object, metadata: object = {}): KubeObject => ({
  ...base,
  metadata: {
    name: "x",
    ...metadata,
    managedFields: [
      { manager: "kubectl", operation: "Update", fieldsV1: { "f:spec": {} } },
      { manager, operation: "Apply", subresource: "status", fieldsV1: { "f:status": {} } },
      { manager, operation: "Apply", fieldsV1: owned as Record<string, unknown> },
    ],
  },
  spec,
});
const spec = (owned: object) => ({ "f:spec": owned });

const ports = spec({
  "f:ports": {
    'k:{"containerPort":25,"protocol":"TCP"}': { ".": {}, "f:containerPort": {}, "f:name": {} },
    'k:{"containerPort":26,"protocol":"TCP"}': { ".": {}, "f:containerPort": {} },
  },
});
const served = [
  { containerPort: 99, protocol: "TCP", name: "theirs" },
  { containerPort: 25, protocol: "TCP", name: "mx" },
  { containerPort: 26, protocol: "TCP" },
];
const wanted = [{ containerPort: 25, name: "mx" }, { containerPort: 26 }];

const table: readonly {
  readonly name: string;
  readonly desired: Manifest;
  readonly observed: KubeObject;
  readonly difference: string | undefined;
}[] = [
  {
    name: "defaults beside ours",
    desired: wish({ a: 1 }),
    observed: there({ a: 1, policy: "Always" }, spec({ "f:a": {} })),
    difference: undefined,
  },
  {
    name: "another value",
    desired: wish({ a: 1 }),
    observed: there({ a: 2 }, spec({ "f:a": {} })),
    difference: "spec.a",
  },
  {
    name: "the right value, but no longer ours",
    desired: wish({ a: 1, b: 2 }),
    observed: there({ a: 1, b: 2 }, spec({ "f:a": {} })),
    difference: "spec.b",
  },
  {
    name: "a value that is gone",
    desired: wish({ a: "x" }),
    observed: there({}, spec({ "f:a": {} })),
    difference: "spec.a",
  },
  {
    name: "false that the server leaves out",
    desired: wish({ a: false, b: 0, c: "" }),
    observed: there({}, spec({ "f:a": {}, "f:b": {}, "f:c": {} })),
    difference: undefined,
  },
  {
    name: "false that somebody took away",
    desired: wish({ a: false }),
    observed: there({}, spec({ "f:b": {} })),
    difference: "spec.a",
  },
  {
    name: "empty collections that the server leaves out",
    desired: wish({ a: [], b: {}, c: null, d: undefined }),
    observed: there({}, spec({})),
    difference: undefined,
  },
  {
    name: "an empty list where something stands",
    desired: wish({ a: [] }),
    observed: there({ a: [1] }, spec({ "f:a": {} })),
    difference: "spec.a",
  },
  {
    name: "quantities spelled otherwise",
    desired: wish({ a: "0.5", b: "1024Mi", c: "1.5Gi", d: 1 }),
    observed: there({ a: "500m", b: "1Gi", c: "1536Mi", d: "1" }, spec({ "f:a": {}, "f:b": {}, "f:c": {}, "f:d": {} })),
    difference: undefined,
  },
  {
    name: "another quantity",
    desired: wish({ a: "1Gi" }),
    observed: there({ a: "1G" }, spec({ "f:a": {} })),
    difference: "spec.a",
  },
  {
    name: "a keyed list with strangers in it",
    desired: wish({ ports: wanted }),
    observed: there({ ports: served }, ports),
    difference: undefined,
  },
  {
    name: "a keyed list without one of ours",
    desired: wish({ ports: wanted }),
    observed: there({ ports: served.slice(0, 2) }, ports),
    difference: "spec.ports[1]",
  },
  {
    name: "a keyed list with one renamed",
    desired: wish({ ports: wanted }),
    observed: there({ ports: [{ ...served[1], name: "smtp" }, served[2]] }, ports),
    difference: "spec.ports[0].name",
  },
  {
    name: "a keyed list with one that is not ours yet",
    desired: wish({ ports: [...wanted, { containerPort: 99 }] }),
    observed: there({ ports: served }, ports),
    difference: "spec.ports[2]",
  },
  {
    name: "one more in a list that is one value",
    desired: wish({ args: ["a"] }),
    observed: there({ args: ["a", "b"] }, spec({ "f:args": {} })),
    difference: "spec.args",
  },
  {
    name: "another order in a list that is one value",
    desired: wish({ args: ["a", "b"] }),
    observed: there({ args: ["b", "a"] }, spec({ "f:args": {} })),
    difference: "spec.args[0]",
  },
  {
    name: "defaults inside a list that is one value",
    desired: wish({ ingress: [{ ports: [{ port: 25 }] }, {}] }),
    observed: there({ ingress: [{ ports: [{ port: 25, protocol: "TCP" }] }, {}] }, spec({ "f:ingress": {} })),
    difference: undefined,
  },
  {
    name: "a rule more in a list that is one value",
    desired: wish({ ingress: [{}] }),
    observed: there({ ingress: [{}, {}] }, spec({ "f:ingress": {} })),
    difference: "spec.ingress",
  },
  {
    name: "labels, owners and finalizers of others beside ours",
    desired: wish({}, { labels: { a: "1" }, finalizers: ["x/y"], ownerReferences: [{ uid: "u", name: "o" }] }),
    observed: there(
      {},
      {
        "f:metadata": {
          "f:labels": { "f:a": {} },
          "f:finalizers": { 'v:"x/y"': {} },
          "f:ownerReferences": { 'k:{"uid":"u"}': {} },
        },
      },
      {
        labels: { a: "1", team: "b" },
        finalizers: ["z", "x/y"],
        ownerReferences: [{ uid: "w" }, { uid: "u", name: "o" }],
      },
    ),
    difference: undefined,
  },
  {
    name: "a label taken away",
    desired: wish({}, { labels: { a: "1" } }),
    observed: there({}, { "f:metadata": { "f:labels": { "f:b": {} } } }, { labels: { b: "1" } }),
    difference: "metadata.labels.a",
  },
  {
    name: "a finalizer taken away",
    desired: wish({}, { finalizers: ["x/y", "z"] }),
    observed: there({}, { "f:metadata": { "f:finalizers": { 'v:"z"': {} } } }, { finalizers: ["z"] }),
    difference: "metadata.finalizers",
  },
  {
    name: "top-level fields",
    desired: { ...wish(undefined), data: { k: "1" } },
    observed: { ...there(undefined, { "f:data": { "f:k": {} } }), data: { k: "2" } } as KubeObject,
    difference: "data.k",
  },
];

describe("firstDifference", () => {
  for (const { name, desired, observed, difference } of table) {
    it(`${difference === undefined ? "none" : "one"}: ${name}`, () =>
      assert.equal(firstDifference(desired, observed, manager), difference));
  }
  it("an object that we never applied, or whose record was wiped, is different", () => {
    assert.equal(firstDifference(wish({}), there({}, spec({})), "somebody"), "metadata.managedFields");
    assert.equal(firstDifference(wish({}), { ...base, metadata: { name: "x" } }, manager), "metadata.managedFields");
  });
});
