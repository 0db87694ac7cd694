/** The kinds: examples parse, wrong objects get a sentence that says what to change, and the CRDs are structural, bounded and the same as committed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "yaml";
import * as builders from "./builders.ts";
import { customResourceDefinition, type JsonSchema, specSchema } from "./crd.ts";
import { kinds, parseObject } from "./kinds.ts";
import { API_VERSION } from "./schema.ts";

const fingerprint = "ab".repeat(32);
const document = (kind: string, spec: unknown): unknown => ({
  apiVersion: API_VERSION,
  kind,
  metadata: { name: "x" },
  spec,
});

for (const definition of Object.values(kinds)) {
  test(`${definition.kind}: the example of its reference page parses`, () => {
    const result = parseObject(parse(definition.example));
    assert.deepEqual(result.ok ? [] : result.problems, []);
  });

  test(`${definition.kind}: its CRD is structural, bounded and under 100 KiB`, () => {
    assert.ok(JSON.stringify(customResourceDefinition(definition)).length < 100 * 1024);
    const visit = (schema: JsonSchema, path: string): void => {
      for (const forbidden of ["oneOf", "anyOf", "allOf", "not", "$ref", "definitions"])
        assert.ok(!(forbidden in schema), `${path}: ${forbidden}`);
      if (schema["x-kubernetes-int-or-string"] !== true) assert.ok(typeof schema["type"] === "string", `${path}: type`);
      if (schema["type"] === "string" && schema["enum"] === undefined && schema["format"] === undefined)
        assert.ok(typeof schema["maxLength"] === "number", `${path}: maxLength`);
      if (schema["type"] === "array") {
        assert.ok(typeof schema["maxItems"] === "number", `${path}: maxItems`);
        visit(schema["items"] as JsonSchema, `${path}[]`);
        assert.ok(
          !JSON.stringify(schema["items"]).includes('"default":') || path.endsWith("entries"),
          `${path}: a default inside a list item`,
        );
      }
      for (const rule of (schema["x-kubernetes-validations"] as { rule: string; message: string }[] | undefined) ?? [])
        assert.ok(rule.message.length > 10, `${path}: message`);
      for (const [name, member] of Object.entries(
        (schema["properties"] as Record<string, JsonSchema> | undefined) ?? {},
      ))
        visit(member, `${path}.${name}`);
    };
    visit(specSchema(definition), "spec");
  });
}

test("defaults in the CRD are those that parsing puts in", () => {
  const defaults = (schema: JsonSchema): unknown => {
    if (schema["default"] !== undefined && schema["properties"] === undefined) return schema["default"];
    if (schema["properties"] === undefined || schema["default"] === undefined) return undefined;
    const members = Object.entries(schema["properties"] as Record<string, JsonSchema>).map(
      ([name, member]) => [name, defaults(member)] as const,
    );
    return Object.fromEntries(members.filter(([, value]) => value !== undefined));
  };
  for (const object of [
    builders.aMailServer(),
    builders.aMailDomain(),
    builders.aMailbox(),
    builders.anAlias(),
    builders.aTLSPolicy(),
    builders.aRelayClientCert(),
    builders.anAccessRule(),
    builders.aRoute(),
  ]) {
    const properties = specSchema(kinds[object.kind])["properties"] as Record<string, JsonSchema>;
    for (const [name, schema] of Object.entries(properties)) {
      const fallback = defaults(schema);
      const spec = object.spec as Record<string, unknown>;
      if (fallback !== undefined && !["addresses", "destinations", "fingerprints"].includes(name))
        assert.deepEqual(JSON.parse(JSON.stringify(spec[name])), fallback, `${object.kind}.spec.${name}`);
    }
  }
});

const wrong: readonly { readonly kind: string; readonly spec: unknown; readonly says: RegExp }[] = [
  {
    kind: "Mailbox",
    spec: { address: "alice", domainRef: { name: "d" } },
    says: /spec\.address: must be an address such as alice@example\.org/,
  },
  { kind: "Mailbox", spec: { domainRef: { name: "d" } }, says: /spec\.address is missing/ },
  {
    kind: "Mailbox",
    spec: { address: "a@b.example", domainRef: { name: "Not A Name" } },
    says: /spec\.domainRef\.name: must be the name of a Kubernetes object/,
  },
  {
    kind: "Mailbox",
    spec: { address: "a@b.example", domainRef: { name: "d" }, pasword: "x" },
    says: /spec\.pasword is not a field of this kind/,
  },
  {
    kind: "MailDomain",
    spec: { domain: "a.example", serverRef: { name: "mx" }, class: "Mailbox" },
    says: /class Mailbox needs delivery/,
  },
  {
    kind: "MailDomain",
    spec: { domain: "a.example", serverRef: { name: "mx" }, class: "Mailbox", delivery: { maildir: {}, discard: {} } },
    says: /delivery must have exactly one of/,
  },
  {
    kind: "MailDomain",
    spec: { domain: "a.example", serverRef: { name: "mx" }, class: "Alias", recipients: { from: "Any" } },
    says: /recipients\.from: Any is for class Relay only/,
  },
  {
    kind: "MailDomain",
    spec: {
      domain: "a.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: { error: { code: 450, enhancedCode: "5.1.1" } },
    },
    says: /same class/,
  },
  {
    kind: "MailServer",
    spec: { hostname: "mx.example", limits: { recipients: 10 } },
    says: /spec\.limits\.recipients: .*100/,
  },
  {
    kind: "MailServer",
    spec: { hostname: "mx.example", queue: { minBackoff: "soon" } },
    says: /spec\.queue\.minBackoff: must be a duration such as 30s/,
  },
  {
    kind: "MailServer",
    spec: {
      hostname: "mx.example",
      listeners: [
        { name: "a", role: "MX", port: 25 },
        { name: "b", role: "MX", port: 25 },
      ],
    },
    says: /same port/,
  },
  {
    kind: "MailServer",
    spec: { hostname: "mx.example", listeners: [{ name: "a", role: "Submission", port: 587, tls: { mode: "None" } }] },
    says: /passwords never travel in clear/,
  },
  { kind: "Alias", spec: { domainRef: { name: "d" }, addresses: ["x"] }, says: /addresses and destinations/ },
  { kind: "Alias", spec: { domainRef: { name: "d" } }, says: /needs addresses with destinations, or entries/ },
  { kind: "TLSPolicy", spec: { destinations: ["a.example"], level: "Fingerprint" }, says: /needs fingerprints/ },
  {
    kind: "TLSPolicy",
    spec: { destinations: ["a.example"], level: "Fingerprint", fingerprints: ["abcd"] },
    says: /SHA-256 fingerprint/,
  },
  {
    kind: "RelayClientCert",
    spec: { serverRef: { name: "mx" } },
    says: /either fingerprints or certificateSecretName/,
  },
  {
    kind: "RelayClientCert",
    spec: {
      serverRef: { name: "mx" },
      certificateSecretName: "x",
      fingerprints: [{ algorithm: "SHA256", of: "PublicKey", value: fingerprint }],
    },
    says: /either/,
  },
  {
    kind: "AccessRule",
    spec: {
      scope: "Client",
      serverRef: { name: "mx" },
      match: [{ cidr: "10.0.0.0/8", exact: "x" }],
      action: { reject: {} },
    },
    says: /match must have exactly one of/,
  },
  {
    kind: "Route",
    spec: { serverRef: { name: "mx" }, destinations: ["a.example"] },
    says: /nextHop belongs to transport SMTP and LMTP/,
  },
  { kind: "Router", spec: {}, says: /kind Router is not one of/ },
];
for (const { kind, spec, says } of wrong) {
  test(`refused with a sentence: ${kind} ${JSON.stringify(spec).slice(0, 90)}`, () => {
    const result = parseObject(document(kind, spec));
    assert.match(result.ok ? "accepted" : result.problems.join("\n"), says);
  });
}

test("a document that is no object, or of another version, is refused with a sentence", () => {
  for (const value of [undefined, null, 5, "text", [], {}, { kind: "Mailbox" }])
    assert.equal(parseObject(value).ok, false);
  const other = parseObject({ ...(document("Mailbox", {}) as object), apiVersion: "mail.packetboat.io/v2" });
  assert.match(other.ok ? "" : other.problems.join(), /apiVersion must be mail\.packetboat\.io\/v1alpha1/);
});
