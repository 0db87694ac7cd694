/**
 * The chart as Helm renders it: same bytes twice, the permissions of operator/rbac.ts and no others, CRDs as generated plus the keep
 * annotation, pods that pass the restricted Pod Security Standard, and wrong values refused with a sentence.
 * Needs the helm binary (PATH, or where e2e/cluster builds it); is skipped with that reason without it.
 */
import assert from "node:assert/strict";
import { cpSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseArgs } from "node:util";
import { parse, parseAllDocuments } from "yaml";
import { OPERATOR_LABEL, podServiceOf } from "../operator/build/names.ts";
import { operatorRules, type RuleScope } from "../operator/rbac.ts";
import { crdTemplate, differences } from "./generate.ts";
import { helm, missingHelm } from "./helm.ts";

const chart = join(import.meta.dirname, "packetboat");
const crdFolder = join(import.meta.dirname, "..", "crds", "generated");

const text = { type: "string" } as const;
const probeOptions = { server: text, admin: text, from: text, to: text, timeout: text };

const needsHelm = { skip: missingHelm };

type Values = Record<string, unknown>;

/** What these tests look at; everything else of an object stays unread. */
interface Rule {
  readonly apiGroups: string[];
  readonly resources: string[];
  readonly verbs: string[];
}
interface PodSpec {
  readonly automountServiceAccountToken?: boolean;
  readonly securityContext: Values;
  readonly containers: {
    readonly command: string[];
    readonly args: string[];
    readonly image: string;
    readonly securityContext: Values;
  }[];
}
interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  readonly rules?: Rule[];
  readonly subjects?: Values[];
  readonly roleRef?: Values;
  readonly spec?: Record<string, unknown>;
}

const run = (folder: string, values: Values) =>
  helm(["template", "packetboat", folder, "--namespace", "mail", "--kube-version", "1.34.0", "--values", "-"], values);

function renderText(values: Values, folder = chart): string {
  const { status, stdout, stderr } = run(folder, values);
  assert.equal(status, 0, stderr);
  return stdout;
}

function render(values: Values, folder = chart): Manifest[] {
  return parseAllDocuments(renderText(values, folder))
    .map((document) => {
      assert.deepEqual(document.errors, []);
      return document.toJS() as Manifest | null;
    })
    .filter((manifest) => manifest !== null);
}

const only = (manifests: readonly Manifest[], kind: string): Manifest => {
  const found = manifests.filter((manifest) => manifest.kind === kind);
  assert.equal(found.length, 1, `${found.length} objects of kind ${kind}`);
  return found[0] as Manifest;
};

/** The pod of a Deployment's template, or of a Pod. */
const podOf = ({ spec }: Manifest): PodSpec => {
  const template = spec?.["template"] as { spec: PodSpec } | undefined;
  return template?.spec ?? (spec as unknown as PodSpec);
};

const everything: Values = {
  fullnameOverride: "post",
  image: { repository: "registry.example.org/mail/packetboat", digest: `sha256:${"a".repeat(64)}` },
  imagePullSecrets: [{ name: "pull" }],
  watchNamespaces: ["mail-a", "mail-b"],
  serviceAccount: { annotations: { "example.org/role": "mail" } },
  operator: {
    replicas: 2,
    logLevel: "debug",
    podLabels: { team: "mail" },
    podAnnotations: { "example.org/note": "yes" },
    nodeSelector: { "kubernetes.io/os": "linux" },
    tolerations: [{ key: "mail", operator: "Exists" }],
    affinity: { nodeAffinity: {} },
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "ScheduleAnyway" },
    ],
    priorityClassName: "system-cluster-critical",
  },
  podDisruptionBudget: { enabled: true },
  metrics: { serviceMonitor: { enabled: true, labels: { release: "prom" } }, podMonitor: { enabled: true } },
  mailServer: { create: true, name: "mx", annotations: { a: "b" }, spec: { hostname: "mx.example.org" } },
  test: { to: "alice@example.org", from: "bob@example.net" },
};

const variants: Record<string, Values> = {
  defaults: {},
  everything,
  "nothing optional": {
    crds: { install: false },
    rbac: { create: false },
    serviceAccount: { create: false, name: "mine" },
    networkPolicy: { enabled: false },
  },
  "CRDs not kept": { crds: { keep: false } },
};

test("two renders give the same bytes, and no template asks for time, chance or the cluster", needsHelm, () => {
  for (const [name, values] of Object.entries(variants)) assert.equal(renderText(values), renderText(values), name);
  const forbidden =
    /\b(now|date|ago|rand\w+|uuidv4|gen(CA|PrivateKey|SelfSigned\w+|Signed\w+)|lookup|htpasswd|bcrypt)\b/;
  for (const file of globSync(join(chart, "templates", "**", "*.{yaml,tpl,txt}")))
    for (const [action] of readFileSync(file, "utf8").matchAll(/\{\{(?!-? *\/\*|[^}]*").*?\}\}/g))
      assert.doesNotMatch(action, forbidden, file);
});

test("every object has a name of its own, a namespace where it needs one, and the release's labels", needsHelm, () => {
  const clusterScoped = new Set(["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"]);
  for (const [variant, values] of Object.entries(variants)) {
    const seen = new Set<string>();
    for (const { apiVersion, kind, metadata } of render(values)) {
      const key = `${kind} ${metadata.namespace ?? ""}/${metadata.name}`;
      assert.ok(apiVersion, key);
      assert.ok(!seen.has(key), `${variant}: ${key} twice`);
      seen.add(key);
      assert.equal(metadata.namespace === undefined, clusterScoped.has(kind), key);
      if (kind === "CustomResourceDefinition") continue;
      assert.match(metadata.name, /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, key);
      assert.equal(metadata.labels?.["app.kubernetes.io/name"], OPERATOR_LABEL["app.kubernetes.io/name"], key);
      assert.equal(metadata.labels?.["app.kubernetes.io/managed-by"], "Helm", key);
    }
  }
});

test("the names that MTA pods know the operator by", needsHelm, () => {
  const template = only(render({}), "Deployment").spec?.["template"] as Manifest;
  for (const [label, value] of Object.entries(OPERATOR_LABEL)) assert.equal(template.metadata.labels?.[label], value);
});

test("selectors of Deployment, Service, NetworkPolicy and budget find the operator's pods", needsHelm, () => {
  const manifests = render({ ...everything, metrics: {} });
  const template = only(manifests, "Deployment").spec?.["template"] as { metadata: { labels: Record<string, string> } };
  for (const [kind, field] of [
    ["Deployment", "selector"],
    ["Service", "selector"],
    ["NetworkPolicy", "podSelector"],
    ["PodDisruptionBudget", "selector"],
  ] as const) {
    const selector = only(manifests, kind).spec?.[field] as Record<string, string> & {
      matchLabels?: Record<string, string>;
    };
    const wanted: Record<string, string> = selector.matchLabels ?? selector;
    assert.ok(Object.keys(wanted).length >= 3, kind);
    for (const [label, value] of Object.entries(wanted))
      assert.equal(template.metadata.labels[label], value, `${kind}: ${label}`);
  }
});

/** `scope|group|resource|verb` for each single permission. */
const spellOut = (scope: string, { apiGroups, resources, verbs }: Omit<Rule, "verbs"> & { verbs: readonly string[] }) =>
  apiGroups.flatMap((group) =>
    resources.flatMap((resource) => verbs.map((verb) => `${scope}|${group}|${resource}|${verb}`)),
  );
const rulesOf = (manifest: Manifest, scope: string) => (manifest.rules ?? []).flatMap((rule) => spellOut(scope, rule));
const wantedRules = (scope: RuleScope, grantedBy: RuleScope = scope): string[] =>
  operatorRules
    .filter((rule) => rule.scope === scope)
    .flatMap((rule) =>
      spellOut(grantedBy, { apiGroups: [...rule.apiGroups], resources: [...rule.resources], verbs: rule.verbs }),
    )
    .toSorted();

test("the chart grants exactly the permissions of operator/rbac.ts", needsHelm, () => {
  const manifests = render({});
  const wide = rulesOf(only(manifests, "ClusterRole"), "Cluster").toSorted();
  const wanted: string[] = [...wantedRules("Cluster"), ...wantedRules("Watched", "Cluster")];
  assert.deepEqual(wide, wanted.toSorted());
  const role = only(manifests, "Role");
  assert.equal(role.metadata.namespace, "mail");
  assert.deepEqual(rulesOf(role, "Own").toSorted(), wantedRules("Own"));
  for (const rule of [...wide, ...rulesOf(role, "Own")]) assert.doesNotMatch(rule, /\*/);
});

test("with watched namespaces the wide permissions are granted there and nowhere else", needsHelm, () => {
  const manifests = render({ watchNamespaces: ["mail-a", "mail-b"] });
  assert.deepEqual(rulesOf(only(manifests, "ClusterRole"), "Cluster").toSorted(), wantedRules("Cluster"));
  const roles = manifests.filter(({ kind, metadata }) => kind === "Role" && metadata.namespace !== "mail");
  assert.deepEqual(
    roles.map(({ metadata }) => metadata.namespace),
    ["mail-a", "mail-b"],
  );
  for (const role of roles) assert.deepEqual(rulesOf(role, "Watched").toSorted(), wantedRules("Watched"));
});

test("every role is bound to the operator's account", needsHelm, () => {
  for (const values of [{}, everything]) {
    const manifests = render(values);
    const roles = manifests.filter(({ kind }) => kind.endsWith("Role"));
    const bindings = manifests.filter(({ kind }) => kind.endsWith("RoleBinding"));
    const account = only(manifests, "ServiceAccount").metadata.name;
    assert.equal(bindings.length, roles.length);
    for (const { kind, metadata } of roles) {
      const binding = bindings.find(
        (candidate) =>
          candidate.kind === `${kind}Binding` &&
          candidate.metadata.namespace === metadata.namespace &&
          candidate.roleRef?.["name"] === metadata.name,
      );
      assert.deepEqual(
        binding?.subjects,
        [{ kind: "ServiceAccount", name: account, namespace: "mail" }],
        metadata.name,
      );
    }
  }
});

test("CRDs are those of crds/generated, and stay when the release goes", needsHelm, () => {
  const sources = readdirSync(crdFolder).filter((name) => name.endsWith(".yaml"));
  const crds = (values: Values) => render(values).filter(({ kind }) => kind === "CustomResourceDefinition");
  const kept = crds({});
  assert.equal(kept.length, sources.length);
  assert.equal(crds({ crds: { install: false } }).length, 0);
  const notKept = crds({ crds: { keep: false } });
  for (const source of sources) {
    const wanted = parse(readFileSync(join(crdFolder, source), "utf8")) as Manifest;
    const find = (list: Manifest[]) => list.find(({ metadata }) => metadata.name === wanted.metadata.name);
    assert.deepEqual(find(notKept), wanted, source);
    const annotations = { ...wanted.metadata.annotations, "helm.sh/resource-policy": "keep" };
    assert.deepEqual(find(kept), { ...wanted, metadata: { ...wanted.metadata, annotations } }, source);
  }
});

const trickyCrd = (annotations: string) => `# Generated by crds/generate.ts; do not edit.
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.mail.packetboat.io
${annotations}spec:
  description: "{{ .Values.secret }} and }} and {{- end }}"
  metadata: {}
`;

test("what looks like a template action in a CRD survives Helm", needsHelm, (t) => {
  for (const annotations of ["", '  annotations:\n    note: "{{x}}"\n  labels:\n    annotations: "no"\n']) {
    const source = trickyCrd(annotations);
    const copy = mkdtempSync(join(tmpdir(), "packetboat-chart-"));
    t.after(() => rmSync(copy, { recursive: true }));
    cpSync(chart, copy, { recursive: true });
    writeFileSync(join(copy, "templates", "crds", "things.yaml"), crdTemplate("crds/generated/things.yaml", source));
    const wanted = parse(source) as Manifest;
    const rendered = (values: Values) =>
      render(values, copy).find(({ metadata }) => metadata.name === "things.mail.packetboat.io");
    assert.deepEqual(rendered({ crds: { keep: false } }), wanted);
    const kept = { ...wanted.metadata.annotations, "helm.sh/resource-policy": "keep" };
    assert.deepEqual(rendered({}), { ...wanted, metadata: { ...wanted.metadata, annotations: kept } });
  }
});

test("a CRD of another shape is refused by the generator", () => {
  assert.throws(() => crdTemplate("x.yaml", "kind: X\n"), /x\.yaml: no top-level "metadata:"/);
  assert.throws(
    () => crdTemplate("x.yaml", "metadata:\n  name: a\n---\nmetadata:\n  name: b\n"),
    /more than one document/,
  );
});

test("--check names what is missing, stale and left over", () => {
  const wanted = new Map([
    ["a", "1"],
    ["b", "2"],
    ["c", "3"],
  ]);
  const present = new Map([
    ["b", "2"],
    ["c", "old"],
    ["d", "4"],
  ]);
  assert.deepEqual(differences(present, wanted), [
    "a is missing",
    "c differs from its source",
    "d has no source any more",
  ]);
  assert.deepEqual(differences(wanted, wanted), []);
});

test("pods pass the restricted Pod Security Standard with a read-only root", needsHelm, () => {
  const manifests = render(everything);
  const pods = [podOf(only(manifests, "Deployment")), podOf(only(manifests, "Pod"))];
  for (const pod of pods) {
    assert.equal(pod.securityContext["runAsNonRoot"], true);
    assert.deepEqual(pod.securityContext["seccompProfile"], { type: "RuntimeDefault" });
    assert.ok(pod.containers.length > 0);
    for (const { securityContext } of pod.containers)
      assert.deepEqual(securityContext, {
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"] },
        readOnlyRootFilesystem: true,
      });
  }
  assert.equal(pods[1]?.automountServiceAccountToken, false);
});

test("the operator is told its image, lease and namespaces; the digest wins over the tag", needsHelm, () => {
  const operator = (values: Values) => podOf(only(render(values), "Deployment")).containers[0];
  assert.deepEqual(operator({})?.command, ["node", "operator/main.ts"]);
  const plain = operator({ image: { tag: "1.2.3" } });
  assert.deepEqual(
    plain?.args,
    "--image packetboat:1.2.3 --metrics-port 8080 --lease-namespace mail --lease-name packetboat-operator".split(" "),
  );
  const full = operator(everything);
  assert.equal(full?.image, `registry.example.org/mail/packetboat@sha256:${"a".repeat(64)}`);
  assert.deepEqual(full?.args.slice(-4), ["--lease-name", "post-operator", "--watch-namespaces", "mail-a,mail-b"]);
});

test("the test pod exists when it knows a server and a recipient", needsHelm, () => {
  const pods = (values: Values) => render(values).filter(({ kind }) => kind === "Pod");
  assert.equal(pods({}).length, 0);
  assert.equal(pods({ test: { server: "mx" } }).length, 0);
  const pod = only(render({ test: { server: "mx", to: "alice@example.org" } }), "Pod");
  assert.equal(pod.metadata.annotations?.["helm.sh/hook"], "test");
  assert.equal(pod.metadata.labels?.["app.kubernetes.io/component"], "test");
  const probe = podOf(pod).containers[0];
  assert.deepEqual(probe?.command, ["node", "server/cli/probe.ts"]);
  // The admin port of MTA pods is open to pods with the operator's label in the operator's namespace.
  for (const [label, value] of Object.entries(OPERATOR_LABEL)) assert.equal(pod.metadata.labels?.[label], value);
  assert.deepEqual(
    { ...parseArgs({ args: probe?.args ?? [], options: probeOptions }).values },
    {
      server: "mx.mail.svc:25",
      admin: `${podServiceOf("mx")}.mail.svc:9125`,
      from: "",
      to: "alice@example.org",
      timeout: "60",
    },
  );
  const elsewhere = only(render({ test: { server: "mx", namespace: "other", to: "alice@example.org" } }), "Pod");
  assert.equal(elsewhere.metadata.namespace, "mail");
  assert.equal(podOf(elsewhere).containers[0]?.args[1], "mx.other.svc:25");
});

test("wrong values are refused with a sentence that names them", needsHelm, () => {
  for (const [values, sentence] of [
    [{ replicas: 2 }, /additional properties 'replicas' not allowed/],
    [{ operator: { replicas: "two" } }, /'\/operator\/replicas': got string, want integer/],
    [{ operator: { replicas: 6 } }, /'\/operator\/replicas': maximum: got 6, want 5/],
    [{ operator: { logLevel: "loud" } }, /'\/operator\/logLevel': value must be one of 'trace'/],
    [{ image: { repository: "" } }, /'\/image\/repository'/],
    [{ image: { digest: "latest" } }, /'\/image\/digest': 'latest' does not match pattern/],
    [{ watchNamespaces: ["Mail"] }, /'\/watchNamespaces\/0': 'Mail' does not match pattern/],
    [{ watchNamespaces: "mail" }, /'\/watchNamespaces': got string, want array/],
    [{ serviceAccount: { create: false } }, /'\/serviceAccount\/name': minLength/],
    [{ mailServer: { create: true } }, /'\/mailServer\/spec': missing property 'hostname'/],
    [{ metrics: { podMonitor: { interval: "often" } } }, /'\/metrics\/podMonitor\/interval'/],
  ] as const) {
    const { status, stderr } = run(chart, values);
    assert.notEqual(status, 0, JSON.stringify(values));
    assert.match(stderr, sentence);
  }
});

test("every value is described in values.yaml and allowed by the schema, and the other way round", () => {
  const paths = (node: unknown, prefix = ""): string[] =>
    typeof node === "object" && node !== null && !Array.isArray(node) && Object.keys(node).length > 0
      ? Object.entries(node).flatMap(([key, value]) => paths(value, `${prefix}/${key}`))
      : [prefix];
  const values = parse(readFileSync(join(chart, "values.yaml"), "utf8")) as Values;
  const schema = JSON.parse(readFileSync(join(chart, "values.schema.json"), "utf8")) as Values;
  interface Node {
    readonly $ref?: string;
    readonly properties?: Record<string, Node>;
  }
  const definitions = schema["definitions"] as Record<string, Node>;
  const schemaPaths = (node: Node, prefix = ""): string[] => {
    const target = node.$ref === undefined ? node : (definitions[node.$ref.replace("#/definitions/", "")] as Node);
    return target.properties === undefined
      ? [prefix]
      : Object.entries(target.properties).flatMap(([key, child]) => schemaPaths(child, `${prefix}/${key}`));
  };
  const ofSchema = schemaPaths(schema as Node).filter((path) => path !== "/global");
  const ofValues = paths(values).map((path) => path.replace(/^(\/operator\/(resources|podSecurityContext)).*/, "$1"));
  assert.deepEqual([...new Set(ofValues)].toSorted(), ofSchema.toSorted());
});
