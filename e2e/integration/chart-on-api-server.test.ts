/**
 * The chart on a real API server (without kubelet and controllers): it takes every object, grants what the operator needs and no more, its
 * pods pass the restricted Pod Security Standard, upgrades add a MailServer, and uninstalling keeps the CRDs.
 * Needs helm, etcd and kube-apiserver, as e2e/cluster builds them; is skipped with the reason without one of them.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type ApiServerProcess, missingBinaries, startApiServer } from "../../operator/kube/api-server-process.ts";
import { operatorRules } from "../../operator/rbac.ts";
import { helm, missingHelm } from "../../charts/helm.ts";

const charts = join(import.meta.dirname, "../../charts");
const chart = join(charts, "packetboat");
const crdCount = readdirSync(join(charts, "..", "crds", "generated")).filter((name) => name.endsWith(".yaml")).length;
const account = "system:serviceaccount:mail:packetboat-operator";

describe("the chart on a real API server", { skip: missingHelm || (missingBinaries() ?? false) }, () => {
  let api: ApiServerProcess;
  let folder: string;
  let environment: Record<string, string>;

  before(async () => {
    api = await startApiServer();
    folder = mkdtempSync(join(tmpdir(), "packetboat-helm-"));
    const { headers, tls } = await api.connection.credentials(false);
    const kubeconfig = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
      clusters: [
        {
          name: "test",
          cluster: {
            server: api.connection.server.origin,
            "certificate-authority-data": Buffer.from(String(tls?.ca ?? "")).toString("base64"),
          },
        },
      ],
      users: [{ name: "test", user: { token: String(headers?.["authorization"] ?? "").replace("Bearer ", "") } }],
    };
    writeFileSync(join(folder, "kubeconfig"), JSON.stringify(kubeconfig));
    environment = {
      KUBECONFIG: join(folder, "kubeconfig"),
      HELM_CACHE_HOME: join(folder, "cache"),
      HELM_CONFIG_HOME: join(folder, "config"),
      HELM_DATA_HOME: join(folder, "data"),
    };
    for (const name of ["mail", "watched"])
      await request("POST", "/api/v1/namespaces", {
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name, labels: { "pod-security.kubernetes.io/enforce": "restricted" } },
      });
  });
  after(async () => {
    await api?.stop();
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });

  async function request<T>(method: "GET" | "POST", path: string, body?: unknown): Promise<T> {
    const answer = await api.client.raw<T>({ method, path, ...(body === undefined ? {} : { body }) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.failure.message}`);
    return answer.value;
  }
  const release = (args: string[], values: unknown = {}) => {
    const { status, stdout, stderr } = helm([...args, "--namespace", "mail"], values, environment);
    assert.equal(status, 0, `helm ${args.join(" ")}: ${stderr}`);
    return stdout;
  };
  const crds = async () => {
    const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    return (await request<{ items: { metadata: { name: string } }[] }>("GET", path)).items.length;
  };
  const may = async (group: string, name: string, verb: string, namespace: string | undefined) => {
    const [resource, subresource] = name.split("/");
    const answer = await request<{ status: { allowed: boolean } }>(
      "POST",
      "/apis/authorization.k8s.io/v1/subjectaccessreviews",
      {
        apiVersion: "authorization.k8s.io/v1",
        kind: "SubjectAccessReview",
        spec: { user: account, resourceAttributes: { group, resource, subresource, verb, namespace } },
      },
    );
    return answer.status.allowed;
  };

  test("a MailServer cannot be part of the very first install: Helm looks up its kind before it makes the CRDs", async () => {
    const values = { mailServer: { create: true, spec: { hostname: "mx.example.org" } } };
    const args = ["install", "packetboat", chart, "--values", "-", "--namespace", "mail"];
    const { status, stderr } = helm(args, values, environment);
    assert.notEqual(status, 0);
    assert.match(stderr, /ensure CRDs are installed first/);
    assert.equal(await crds(), 0);
  });

  test("install: every object is taken, and the notes say what to do next", async () => {
    const notes = release(["install", "packetboat", chart, "--values", "-"], {
      podDisruptionBudget: { enabled: true },
      operator: { replicas: 2 },
    });
    assert.match(notes, /rollout status deployment\/packetboat-operator/);
    assert.equal(await crds(), crdCount);
  });

  test("the operator may do what operator/rbac.ts lists, where it says, and not more", async () => {
    for (const { scope, apiGroups, resources, verbs } of operatorRules)
      for (const group of apiGroups)
        for (const resource of resources)
          for (const verb of verbs) {
            const here = `${verb} ${group}/${resource}`;
            assert.ok(await may(group, resource, verb, scope === "Cluster" ? undefined : "mail"), here);
            if (scope === "Own") assert.ok(!(await may(group, resource, verb, "default")), `${here} elsewhere`);
            if (scope === "Watched") assert.ok(await may(group, resource, verb, "default"), `${here} elsewhere`);
          }
    for (const [group, resource, verb] of [
      ["mail.packetboat.io", "mailservers", "patch"],
      ["", "pods", "delete"],
      ["", "pods/exec", "create"],
      ["", "nodes", "list"],
      ["", "namespaces", "create"],
      ["apps", "deployments", "list"],
      ["rbac.authorization.k8s.io", "clusterroles", "list"],
    ] as const)
      assert.ok(!(await may(group, resource, verb, "mail")), `${verb} ${group}/${resource}`);
  });

  test("the operator's pod passes the restricted Pod Security Standard", async () => {
    const path = "/apis/apps/v1/namespaces/mail/deployments/packetboat-operator";
    const { spec } = await request<{ spec: { template: { spec: object } } }>("GET", path);
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "like-the-operator" }, spec: spec.template.spec };
    await request("POST", "/api/v1/namespaces/mail/pods?dryRun=All", pod);
    // That the namespace really refuses others: the same pod as root.
    const root = { ...pod, spec: { ...pod.spec, securityContext: { runAsUser: 0 } } };
    await assert.rejects(request("POST", "/api/v1/namespaces/mail/pods?dryRun=All", root), /violates PodSecurity/);
  });

  test("upgrade: watched namespaces narrow the permissions", async () => {
    release(["upgrade", "packetboat", chart, "--values", "-"], { watchNamespaces: ["watched"] });
    assert.ok(await may("", "secrets", "list", "watched"));
    assert.ok(!(await may("", "secrets", "list", "default")));
    assert.ok(await may("", "namespaces", "list", undefined));
  });

  test("upgrade: a MailServer from values", { skip: crdCount === 0 && "crds/generated is empty" }, async () => {
    release(["upgrade", "packetboat", chart, "--values", "-"], {
      mailServer: { create: true, spec: { hostname: "mx.example.org" } },
    });
    const path = "/apis/mail.packetboat.io/v1alpha1/namespaces/mail/mailservers/mx";
    const { spec } = await request<{ spec: { hostname: string } }>("GET", path);
    assert.equal(spec.hostname, "mx.example.org");
  });

  test("uninstall keeps the CRDs", async () => {
    release(["uninstall", "packetboat"]);
    assert.equal(await crds(), crdCount);
    await assert.rejects(request("GET", "/apis/apps/v1/namespaces/mail/deployments/packetboat-operator"), /not found/);
  });
});
