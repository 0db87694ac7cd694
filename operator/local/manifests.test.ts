import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { readWorld } from "./manifests.ts";
import { parseYaml, placeText } from "./yaml-folder.ts";

const options = { folder: "manifests", server: undefined, nowMs: 0 };
const server =
  "apiVersion: mail.packetboat.io/v1alpha1\nkind: MailServer\nmetadata: {name: mx}\nspec: {hostname: mx.example.org}\n";
const domain = (name: string, spec = "domain: example.org, class: Relay, serverRef: {name: mx}") =>
  `apiVersion: mail.packetboat.io/v1alpha1\nkind: MailDomain\nmetadata: {name: ${name}}\nspec: {${spec}}\n`;

function read(text: string, wanted?: string) {
  const { documents, problems } = parseYaml("a.yaml", text);
  if (problems.length > 0) return { kind: "problems", problems } as const;
  return readWorld(documents, { ...options, server: wanted });
}
function world(text: string, wanted?: string) {
  const result = read(text, wanted);
  assert.equal(result.kind, "world", JSON.stringify(result));
  assert.ok(result.kind === "world");
  return result;
}
function problem(text: string, wanted?: string): string {
  const result = read(text, wanted);
  assert.ok(result.kind === "problems", "refused");
  return result.problems.map(({ place, message }) => `${placeText(place)}: ${message}`).join("\n");
}

suite("manifests of a folder", () => {
  test("documents, lists, secrets and namespaces become a world; age is their order", () => {
    const { world: found, notes } = world(
      [
        server,
        domain("b"),
        domain("a"),
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {password: c2VjcmV0}\nstringData: {other: plain}\n",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {mail: 'yes'}}\n",
        `apiVersion: v1\nkind: List\nitems:\n  - ${domain("c").replaceAll("\n", "\n    ")}\n`,
        "# only a comment\n",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
      ].join("---\n"),
    );
    assert.deepEqual(
      found.domains.map(({ metadata }) => metadata.name),
      ["b", "a", "c"],
    );
    const ages = found.domains.map(({ metadata }) => Date.parse(metadata.creationTimestamp ?? ""));
    assert.deepEqual(
      ages,
      ages.toSorted((a, b) => a - b),
    );
    assert.equal(new Set(ages).size, 3);
    assert.equal(found.secrets.get("default/s")?.["password"]?.toString(), "secret");
    assert.equal(found.secrets.get("default/s")?.["other"], "plain");
    assert.deepEqual(found.namespaces.get("default"), { mail: "yes", "kubernetes.io/metadata.name": "default" });
    assert.match(notes.join(), /Deployment \(apps\/v1\) means nothing without Kubernetes/);
  });

  const refused: readonly [why: string, text: string, said: RegExp][] = [
    ["broken YAML", `${server}---\nkind: [\n`, /a\.yaml, document 2 \(line 7\): This is not YAML: .*Correct that line/],
    [
      "a key twice",
      `${server}---\napiVersion: v1\nkind: Secret\nkind: Secret\n`,
      /a\.yaml, document 2 \(line 8\): This is not YAML/,
    ],
    ["no object", `${server}---\n- a\n`, /document 2 \(line 6\): This is not a Kubernetes object/],
    ["no kind", `${server}---\nmetadata: {name: x}\n`, /add apiVersion and kind/],
    ["a misspelt field", server.replace("hostname", "hostnme"), /MailServer mx: spec\.hostnme is not a field/],
    [
      "a field out of bounds",
      `${server}---\n${domain("d", "domain: example.org, class: Nonsense, serverRef: {name: mx}")}`,
      /document 2 \(line 6\): MailDomain d: spec\.class/,
    ],
    ["a version of the future", server.replace("v1alpha1", "v9"), /apiVersion must be mail\.packetboat\.io\/v1alpha1/],
    [
      "the same object twice",
      `${server}---\n${domain("d")}---\n${domain("d")}`,
      /document 3 \(line 11\): MailDomain default\/d is already in a\.yaml, document 2/,
    ],
    [
      "a Secret that is not base64",
      `${server}---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {password: "hunter2!"}\n`,
      /data\.password must be base64; plain text belongs under stringData/,
    ],
    [
      "a Secret whose value is a number",
      `${server}---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: 12345}\n`,
      /stringData\.password must be text; put it in quotes/,
    ],
    ["no MailServer", domain("d"), /There is no MailServer in manifests; add one/],
    [
      "several MailServers",
      `${server}---\n${server.replace("name: mx", "name: other")}`,
      /several MailServers \(default\/mx, default\/other\); choose one with --server NAME/,
    ],
    [
      "a billion laughs",
      `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefghi"
        .split("")
        .map((letter, index) => `${letter}: &${letter} [${Array(9).fill(`*${"abcdefgh"[index]}`).join(",")}]`)
        .join("\n")}\n`,
      /cannot be expanded/,
    ],
  ];
  for (const [why, text, said] of refused) {
    test(`refused with its place: ${why}`, () => {
      const told = problem(text);
      assert.match(told, said);
      assert.doesNotMatch(told, /hunter2|12345/);
    });
  }

  test("one of several MailServers, with what belongs to it; the rest is not its world", () => {
    const text = `${server}---\n${server.replace("name: mx", "name: other")}---\n${domain("d")}---\n${domain("e", "domain: e.example, class: Relay, serverRef: {name: other}")}---\n${domain("f", "domain: f.example, class: Relay, serverRef: {name: gone}")}`;
    const { world: found, notes } = world(text, "other");
    assert.equal(found.server.metadata.name, "other");
    assert.deepEqual(
      found.domains.map(({ metadata }) => metadata.name),
      ["e"],
    );
    assert.match(
      notes.join(),
      /MailDomain default\/f is not accepted \(InvalidReference\): MailServer default\/gone does not exist/,
    );
    assert.match(
      problem(text, "none"),
      /There is no MailServer none in the folder; it has default\/mx, default\/other/,
    );
  });
});
