/**
 * A kind's definition → its CustomResourceDefinition. Pure; the dialect is Kubernetes' structural schema.
 *
 * zod's JSON Schema is turned into what the API server takes: no `additionalProperties: false` (unknown fields are pruned or refused by field validation), no
 * `$schema`, no `oneOf`/`anyOf` (int-or-string has its own mark), safe-integer bounds dropped where they say nothing. Throws on anything it does not know: that
 * is a schema somebody must think about, not something to guess.
 */
import { z } from "zod";
import { conditionTypes } from "./conditions.ts";
import { GROUP, type KindDefinition, patternMessages, VERSION } from "./schema.ts";

export type JsonSchema = { readonly [key: string]: unknown };

const passed = new Set([
  "type",
  "description",
  "default",
  "enum",
  "minLength",
  "maxLength",
  "pattern",
  "minItems",
  "maxItems",
  "minProperties",
  "maxProperties",
  "required",
  "format",
  "x-kubernetes-validations",
  "x-kubernetes-list-type",
  "x-kubernetes-list-map-keys",
  "x-kubernetes-preserve-unknown-fields",
  "x-kubernetes-int-or-string",
]);
const dropped = new Set(["$schema", "propertyNames", "id"]);

/**
 * What the API server estimates for one `self.matches(pattern)`: a tenth of a unit an octet (four a character), times a quarter a character of the pattern.
 * k8s.io/apiserver/pkg/cel/library cost.go; a rule may cost 10,000,000, an object's rules at run time together as much.
 */
export const matchCost = (maxLength: number, pattern: string): number =>
  Math.ceil((maxLength * 4 + 1) * 0.1) * Math.ceil(pattern.length * 0.25);
/** The most one pattern may cost over all items it is asked for; beyond it the API server shows the pattern instead of our words. */
export const MATCH_BUDGET = 3_000_000;

/** A pattern as a rule that says in words what is wanted. */
const patternRule = (pattern: string, message: string): { rule: string; message: string } => ({
  rule: `self.matches(${JSON.stringify(pattern)})`,
  message,
});

/** JSON Schema of zod as a structural schema. `copies`: how many values of it one object can hold. */
export function structural(schema: JsonSchema, at: string, copies = 1): JsonSchema {
  const result: Record<string, unknown> = {};
  if (schema["x-kubernetes-int-or-string"] === true) {
    const options = schema["anyOf"] as readonly JsonSchema[] | undefined;
    const text = options?.find((option) => option["type"] === "string");
    const number = options?.find((option) => option["type"] === "integer");
    const message = patternMessages.get(String(text?.["pattern"]));
    if (text === undefined || number === undefined || message === undefined)
      throw new Error(`${at}: int-or-string needs a bounded integer and a pattern with a message`);
    for (const key of ["description", "default"]) if (schema[key] !== undefined) result[key] = schema[key];
    return {
      ...result,
      "x-kubernetes-int-or-string": true,
      maxLength: text["maxLength"],
      "x-kubernetes-validations": [
        {
          rule: `type(self) == int ? self >= ${Number(number["minimum"])} && self <= ${Number(number["maximum"])} : self.matches(${JSON.stringify(text["pattern"])})`,
          message,
        },
      ],
    };
  }
  if (schema["x-kubernetes-preserve-unknown-fields"] === true) {
    if (schema["description"] !== undefined) result["description"] = schema["description"];
    return { ...result, type: "object", "x-kubernetes-preserve-unknown-fields": true };
  }
  for (const [key, value] of Object.entries(schema)) {
    if (passed.has(key)) result[key] = value;
    else if (key === "minimum" || key === "maximum") {
      if (Math.abs(value as number) !== Number.MAX_SAFE_INTEGER) result[key] = value;
    } else if (key === "properties") {
      result[key] = Object.fromEntries(
        Object.entries(value as Record<string, JsonSchema>).map(([name, member]) => [
          name,
          structural(member, `${at}.${name}`, copies),
        ]),
      );
    } else if (key === "items") {
      result[key] = structural(value as JsonSchema, `${at}[]`, copies * Number(schema["maxItems"]));
    } else if (key === "additionalProperties") {
      if (value !== false && Object.keys(value as object).length > 0)
        result[key] = structural(value as JsonSchema, `${at}.*`, copies * Number(schema["maxProperties"]));
    } else if (!dropped.has(key)) throw new Error(`${at}: the CRD cannot say ${key}`);
  }
  const { pattern } = result;
  const message = typeof pattern === "string" ? patternMessages.get(pattern) : undefined;
  if (
    typeof pattern === "string" &&
    message !== undefined &&
    copies * matchCost(Number(result["maxLength"]), pattern) <= MATCH_BUDGET
  ) {
    const rules = (result["x-kubernetes-validations"] as readonly object[] | undefined) ?? [];
    result["x-kubernetes-validations"] = [patternRule(pattern, message), ...rules];
    delete result["pattern"];
  }
  // The API server runs an object's rules on its default before it fills in the members' own defaults.
  if (result["type"] === "object" && result["default"] !== undefined)
    result["default"] = filled(result, result["default"] as object);
  if (result["type"] === undefined) throw new Error(`${at}: no type`);
  return result;
}

/** An object's default with the defaults of its members in place. */
function filled(schema: JsonSchema, value: object): object {
  const members = Object.entries((schema["properties"] as Record<string, JsonSchema> | undefined) ?? {}).filter(
    ([, member]) => member["default"] !== undefined,
  );
  return { ...Object.fromEntries(members.map(([name, member]) => [name, member["default"]])), ...value };
}

const jsonSchema = (schema: z.ZodType): JsonSchema =>
  z.toJSONSchema(schema, { io: "input", target: "openapi-3.0", reused: "inline" }) as JsonSchema;

const timestampPattern = { type: "string", format: "date-time" };

const conditions = {
  type: "array",
  maxItems: 16,
  "x-kubernetes-list-type": "map",
  "x-kubernetes-list-map-keys": ["type"],
  description: `${Object.keys(conditionTypes).join(", ")}; see the reference page of conditions.`,
  items: {
    type: "object",
    required: ["type", "status", "reason", "message", "lastTransitionTime"],
    properties: {
      type: { type: "string", maxLength: 63 },
      status: { type: "string", enum: ["True", "False", "Unknown"] },
      reason: { type: "string", maxLength: 63 },
      message: { type: "string", maxLength: 8192 },
      lastTransitionTime: timestampPattern,
      observedGeneration: { type: "integer", format: "int64", minimum: 0 },
    },
  },
};

export function specSchema(definition: KindDefinition): JsonSchema {
  const schema = structural(jsonSchema(definition.spec), `${definition.kind}.spec`);
  return { ...schema, description: `What is wanted. ${definition.description}` };
}

export function statusSchema(definition: KindDefinition): JsonSchema {
  const status = structural(jsonSchema(definition.status), `${definition.kind}.status`);
  return {
    type: "object",
    description: "What is.",
    properties: {
      observedGeneration: {
        type: "integer",
        format: "int64",
        description: "The generation of spec that status speaks of.",
      },
      conditions,
      ...(status["properties"] as object),
    },
  };
}

export function customResourceDefinition(definition: KindDefinition): JsonSchema {
  const ready = '.status.conditions[?(@.type=="Ready")]';
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${definition.plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: "Namespaced",
      names: {
        kind: definition.kind,
        listKind: `${definition.kind}List`,
        plural: definition.plural,
        singular: definition.singular,
        shortNames: [definition.shortName],
        categories: ["mail"],
      },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {}, ...(definition.scale === undefined ? {} : { scale: definition.scale }) },
          ...(definition.selectableFields.length === 0
            ? {}
            : { selectableFields: definition.selectableFields.map((jsonPath) => ({ jsonPath })) }),
          additionalPrinterColumns: [
            { name: "Ready", type: "string", jsonPath: `${ready}.status` },
            ...definition.columns,
            { name: "Message", type: "string", jsonPath: `${ready}.message`, priority: 1 },
            { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
          ],
          schema: {
            openAPIV3Schema: {
              type: "object",
              description: definition.description,
              required: ["spec"],
              properties: {
                apiVersion: { type: "string" },
                kind: { type: "string" },
                metadata: { type: "object" },
                spec: specSchema(definition),
                status: statusSchema(definition),
              },
            },
          },
        },
      ],
    },
  };
}
