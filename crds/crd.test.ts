/** The dialect: patterns that mean the same to both readers, words instead of patterns, and a CEL bill the API server will pay. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { type JsonSchema, matchCost, specSchema, structural } from "./crd.ts";
import { kinds } from "./kinds.ts";
import { list, mapBy, matching, patternMessages, setOf, size, stringMap, withRules } from "./schema.ts";

const convert = (schema: z.ZodType): JsonSchema =>
  structural(z.toJSONSchema(schema, { io: "input", target: "openapi-3.0", reused: "inline" }) as JsonSchema, "spec");

interface Node {
  readonly path: string;
  readonly schema: JsonSchema;
  readonly copies: number;
}
function* nodes(schema: JsonSchema, path: string, copies = 1): Generator<Node> {
  yield { path, schema, copies };
  for (const [name, member] of Object.entries((schema["properties"] as Record<string, JsonSchema> | undefined) ?? {}))
    yield* nodes(member, `${path}.${name}`, copies);
  if (schema["items"] !== undefined)
    yield* nodes(schema["items"] as JsonSchema, `${path}[]`, copies * Number(schema["maxItems"]));
  if (typeof schema["additionalProperties"] === "object")
    yield* nodes(schema["additionalProperties"] as JsonSchema, `${path}.*`, copies * Number(schema["maxProperties"]));
}
const rulesOf = (schema: JsonSchema): readonly { readonly rule: string; readonly message: string }[] =>
  (schema["x-kubernetes-validations"] as { rule: string; message: string }[] | undefined) ?? [];

test("no pattern uses what JavaScript and RE2 read differently", () => {
  for (const pattern of patternMessages.keys()) {
    // \s and \w are wider in JavaScript; look-around and back-references are unknown to RE2; an unanchored pattern accepts anything around it.
    assert.doesNotMatch(pattern, /\\[sSwWbBdDpPku1-9]|\(\?/, pattern);
    assert.match(pattern, /^\^.*\$$/, pattern);
  }
});

test("one pattern, one message", () => {
  matching("^one-pattern$", "says this");
  assert.doesNotThrow(() => matching(/^one-pattern$/, "says this"));
  assert.throws(() => matching("^one-pattern$", "says that"), /two messages/);
  patternMessages.delete("^one-pattern$");
});

for (const definition of Object.values(kinds)) {
  const all = [...nodes(specSchema(definition), "spec")];

  test(`${definition.kind}: its rules cost less than the API server spends on one object`, () => {
    const bill = all.flatMap(({ schema, copies }) =>
      rulesOf(schema)
        .filter(({ rule }) => rule.includes("self.matches("))
        .map(({ rule }) => copies * matchCost(Number(schema["maxLength"]), rule)),
    );
    const total = bill.reduce((sum, cost) => sum + cost, 0);
    assert.ok(total < 10_000_000, `${total}`);
  });

  test(`${definition.kind}: a pattern is shown only where there are too many strings for words`, () => {
    const bare = all.filter(({ schema }) => schema["pattern"] !== undefined).map(({ path }) => path);
    assert.deepEqual(
      bare,
      definition.kind === "Alias" ? ["spec.entries[].destinations[]", "spec.entries[].senders[]"] : [],
    );
  });

  test(`${definition.kind}: every field a person writes has a description, every map a bound`, () => {
    for (const { path, schema } of all) {
      if (typeof schema["additionalProperties"] === "object")
        assert.ok(typeof schema["maxProperties"] === "number", `${path}: maxProperties`);
      if (!path.includes("[]") && !path.includes("*"))
        assert.ok(schema["description"] !== undefined, `${path}: description`);
    }
  });
}

test("a size is judged in words, negative numbers included", () => {
  const schema = convert(size);
  assert.equal(schema["pattern"], undefined);
  assert.deepEqual(
    rulesOf(schema).map(({ message }) => message),
    ["must be a size such as 26214400 or 25Mi"],
  );
  assert.match(rulesOf(schema)[0]?.rule ?? "", /self >= 0 && self <= 9007199254740991/);
});

test("sets and maps carry their list type, and refuse the second of two", () => {
  const set = setOf(list(z.string().max(3), 3));
  assert.equal(convert(set)["x-kubernetes-list-type"], "set");
  assert.equal(set.safeParse(["a", "b"]).success, true);
  assert.equal(set.safeParse(["a", "b", "a"]).success, false);
  const map = mapBy(list(z.strictObject({ name: z.string().max(3), port: z.int() }), 3), "name");
  assert.deepEqual(convert(map)["x-kubernetes-list-map-keys"], ["name"]);
  assert.equal(
    map.safeParse([
      { name: "a", port: 1 },
      { name: "b", port: 1 },
    ]).success,
    true,
  );
  assert.equal(
    map.safeParse([
      { name: "a", port: 1 },
      { name: "a", port: 2 },
    ]).success,
    false,
  );
});

test("a map is bounded for both readers", () => {
  const map = stringMap(2);
  assert.equal(convert(map)["maxProperties"], 2);
  assert.equal(map.safeParse({ a: "1", b: "2" }).success, true);
  assert.equal(map.safeParse({ a: "1", b: "2", c: "3" }).success, false);
  assert.equal(map.safeParse({ ["k".repeat(318)]: "1" }).success, false);
});

test("what the dialect cannot say is an error, not a guess", () => {
  assert.throws(() => convert(z.union([z.string().max(1), z.int()])), /cannot say anyOf|cannot say oneOf|no type/);
  assert.throws(() => convert(z.int().multipleOf(5)), /cannot say multipleOf/);
});

test("a rule reaches the CRD with its message", () => {
  const schema = withRules(z.strictObject({ a: z.int().optional() }), [
    { cel: "has(self.a)", message: "a is needed", holds: (value) => value.a !== undefined },
  ]);
  assert.deepEqual(convert(schema)["x-kubernetes-validations"], [{ rule: "has(self.a)", message: "a is needed" }]);
  assert.equal(schema.safeParse({}).success, false);
});
