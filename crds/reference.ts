/** Reference pages from the kinds' definitions: fields with type, default and meaning; rules; an example. Pure; written by generate.ts. */
import { conditionTypes, reasons } from "./conditions.ts";
import { type JsonSchema, specSchema, statusSchema } from "./crd.ts";
import type { KindDefinition } from "./schema.ts";

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function typeName(schema: JsonSchema): string {
  if (schema["x-kubernetes-int-or-string"] === true) return "integer or string";
  if (Array.isArray(schema["enum"])) return (schema["enum"] as string[]).map((value) => `\`${value}\``).join(", ");
  if (schema["type"] === "array") return `list of ${typeName(schema["items"] as JsonSchema)}`;
  return String(schema["type"]);
}

function* rows(schema: JsonSchema, path: string): Generator<string> {
  const required = new Set(schema["required"] as string[] | undefined);
  for (const [name, member] of Object.entries((schema["properties"] as Record<string, JsonSchema> | undefined) ?? {})) {
    const fallback =
      member["default"] === undefined
        ? required.has(name)
          ? "required"
          : ""
        : `\`${JSON.stringify(member["default"])}\``;
    const isObject = member["type"] === "object" && member["properties"] !== undefined;
    yield `| \`${path}${name}\` | ${cell(typeName(member))} | ${isObject ? "" : cell(fallback)} | ${cell((member["description"] as string | undefined) ?? "")} |`;
    yield* rows(member, `${path}${name}.`);
    if (member["type"] === "array") yield* rows(member["items"] as JsonSchema, `${path}${name}[].`);
  }
}

function* statusRows(schema: JsonSchema, path: string): Generator<string> {
  for (const [name, member] of Object.entries((schema["properties"] as Record<string, JsonSchema> | undefined) ?? {})) {
    yield `| \`${path}${name}\` | ${cell(typeName(member))} | ${cell((member["description"] as string | undefined) ?? "")} |`;
    if (name === "conditions") continue;
    yield* statusRows(member, `${path}${name}.`);
    if (member["type"] === "array") yield* statusRows(member["items"] as JsonSchema, `${path}${name}[].`);
  }
}

function* rules(schema: JsonSchema, path: string): Generator<readonly [string, string]> {
  for (const { message } of (schema["x-kubernetes-validations"] as { message: string }[] | undefined) ?? [])
    yield [path, message];
  for (const [name, member] of Object.entries((schema["properties"] as Record<string, JsonSchema> | undefined) ?? {}))
    yield* rules(member, `${path}.${name}`);
  if (schema["items"] !== undefined) yield* rules(schema["items"] as JsonSchema, `${path}[]`);
}

/** Each rule once, behind the fields it is for. */
function ruleLines(schema: JsonSchema): string[] {
  const fields = new Map<string, string[]>();
  for (const [path, message] of rules(schema, "spec")) fields.set(message, [...(fields.get(message) ?? []), path]);
  return [...fields].map(([message, paths]) => `- ${paths.map((path) => `\`${path}\``).join(", ")}: ${message}`);
}

export function referencePage(definition: KindDefinition): string {
  const schema = specSchema(definition);
  return `# ${definition.kind}

${definition.description} Short name \`${definition.shortName}\`.

\`\`\`yaml
${definition.example.trimEnd()}
\`\`\`

## spec

| Field | Type | Default | Meaning |
|---|---|---|---|
${[...rows(schema, "")].join("\n")}

## status

Written by the operator; [conditions](conditions.md) have a page of their own.

| Field | Type | Meaning |
|---|---|---|
${[...statusRows(statusSchema(definition), "")].join("\n")}

## Rules

${ruleLines(schema).join("\n")}
`;
}

export function conditionsPage(): string {
  const table = (entries: Readonly<Record<string, string>>): string =>
    Object.entries(entries)
      .map(([name, meaning]) => `| ${name} | ${cell(meaning)} |`)
      .join("\n");
  return `# Conditions

Every object carries \`status.observedGeneration\` and these conditions; each has its own \`observedGeneration\`.

| Type | Meaning |
|---|---|
${table(conditionTypes)}

Reasons are a closed set.

| Reason | Meaning |
|---|---|
${table(reasons)}
`;
}
