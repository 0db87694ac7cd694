/** A null member was not written; a null item is wrong; what is passed on to Kubernetes stays as it is. As a real API server does it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { withoutNulls } from "./nulls.ts";
import { list, opaque, stringMap } from "./schema.ts";

const schema = z.strictObject({
  text: z.string().optional(),
  inner: z.strictObject({ a: z.int().default(1) }).prefault({}),
  map: stringMap(4).default({}),
  items: list(z.strictObject({ a: z.string().optional() }), 4).default([]),
  passed: opaque.optional(),
});
const table: readonly (readonly [unknown, unknown])[] = [
  [{ text: null }, {}],
  [{ inner: null }, {}],
  [{ inner: { a: null } }, { inner: {} }],
  [{ map: { a: null, b: "c" } }, { map: { b: "c" } }],
  [{ items: null }, {}],
  [{ items: [{ a: null }, null] }, { items: [{}, null] }],
  [{ passed: { a: null, b: [null] } }, { passed: { a: null, b: [null] } }],
  [{ unknown: { a: null } }, { unknown: { a: null } }],
  [{ constructor: null, text: "x" }, { text: "x" }],
  [[null], [null]],
  ["text", "text"],
  [null, null],
];
for (const [written, read] of table) {
  test(`${JSON.stringify(written)} is read as ${JSON.stringify(read)}`, () => {
    assert.deepEqual(withoutNulls(written, schema), read);
  });
}
