import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { aMailbox, aMailServer } from "../../crds/builders.ts";
import { renderFiles } from "../../server/config/files.ts";
import type { Manifest } from "../kube/types.ts";
import { buildDesired } from "./build.ts";
import { oversizedFiles } from "./config-objects.ts";
import { buildObjects } from "./objects.ts";
import { aWorld, type WorldParts } from "./sample-world.ts";

const options = { operatorNamespace: "packetboat-system", image: "registry.example/packetboat:1" };
function objects(parts: WorldParts = {}): Manifest[] {
  const world = aWorld(parts);
  return buildObjects(world, buildDesired(world).config, options);
}
/** Reads a built object as loosely as YAML is read. */
type Loose = { readonly [key: string]: Loose } & { readonly [index: number]: Loose } & readonly Loose[];
function one(all: readonly Manifest[], kind: string, name = "mx"): Loose {
  const found = all.filter((object) => object.kind === kind && object.metadata.name === name);
  assert.equal(found.length, 1, `exactly one ${kind} ${name}`);
  return found[0] as unknown as Loose;
}
const same = (actual: unknown, expected: unknown, message = "as built"): void =>
  assert.deepEqual(actual, expected, message);

suite("objects of a MailServer", () => {
  const all = objects({
    objects: [aMailbox({ spec: { passwordSecretRef: { name: "alice" } } })],
    secrets: { "default/alice": { password: "x" } },
  });

  test("what there is, in the order to write it: the manifest after every file, the pods last", () => {
    const names = all.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    assert.equal(names[0], "Secret/mx-secret-00");
    assert.equal(names.filter((name) => name.startsWith("Secret/mx-secret-")).length, 8);
    assert.equal(names.filter((name) => name.startsWith("ConfigMap/mx-table-")).length, 8);
    assert.ok(names.includes("ConfigMap/mx-config"));
    same(names.slice(-7), [
      "ConfigMap/mx-manifest",
      "ServiceAccount/mx",
      "Service/mx-pods",
      "Service/mx",
      "NetworkPolicy/mx",
      "PodDisruptionBudget/mx",
      "StatefulSet/mx",
    ]);
  });

  test("all are owned by the MailServer and carry the recommended labels", () => {
    for (const { metadata, kind } of all) {
      same(
        metadata.ownerReferences,
        [
          {
            apiVersion: "mail.packetboat.io/v1alpha1",
            blockOwnerDeletion: true,
            controller: true,
            kind: "MailServer",
            name: "mx",
            uid: "uid-mailserver-mx",
          },
        ],
        kind,
      );
      assert.equal(metadata.namespace, "default");
      for (const label of ["name", "instance", "component", "managed-by", "part-of"])
        assert.ok(metadata.labels?.[`app.kubernetes.io/${label}`], `${kind} ${label}`);
    }
  });

  test("the files are in them, byte for byte; hashes of passwords only in Secrets", () => {
    const world = aWorld({
      objects: [aMailbox({ spec: { passwordSecretRef: { name: "alice" } } })],
      secrets: { "default/alice": { password: "x" } },
    });
    for (const [file, content] of renderFiles(buildDesired(world).config)) {
      const holder = all.find((object) => Object.hasOwn((object["data"] ?? {}) as object, file));
      const data = ((holder?.["data"] ?? {}) as Record<string, string>)[file] ?? "";
      assert.equal(holder?.kind === "Secret" ? Buffer.from(data, "base64").toString() : data, content, file);
      assert.equal(holder?.kind === "Secret", file.startsWith("secret-"));
    }
    assert.ok(
      all.filter(({ kind }) => kind !== "Secret").every((object) => !JSON.stringify(object).includes("$argon2id$")),
    );
  });

  test("the pod is restricted, holds no token, and is probed on the admin port", () => {
    const spec = one(all, "StatefulSet")["spec"]?.["template"]?.["spec"] as Loose;
    same(spec["automountServiceAccountToken"], false);
    same(spec["securityContext"], {
      fsGroup: 10001,
      fsGroupChangePolicy: "OnRootMismatch",
      runAsGroup: 10001,
      runAsNonRoot: true,
      runAsUser: 10001,
      seccompProfile: { type: "RuntimeDefault" },
    });
    assert.ok(Number(spec["terminationGracePeriodSeconds"]) >= 60);
    const container = spec["containers"]?.[0] as Loose;
    same(container["securityContext"], {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
    });
    same(container["args"], ["--config", "/etc/packetboat", "--data", "/var/lib/packetboat"]);
    same(container["image"], options.image);
    same(container["ports"], [
      { containerPort: 2525, name: "smtp", protocol: "TCP" },
      { containerPort: 2587, name: "submission", protocol: "TCP" },
      { containerPort: 2465, name: "submissions", protocol: "TCP" },
      { containerPort: 9125, name: "admin", protocol: "TCP" },
    ]);
    for (const [probe, path] of [
      ["startupProbe", "/healthz"],
      ["livenessProbe", "/healthz"],
      ["readinessProbe", "/readyz"],
    ] as const)
      same(container[probe]?.["httpGet"], { path, port: "admin", scheme: "HTTP" });
    same(one(all, "ServiceAccount")["automountServiceAccountToken"], false);
  });

  test("one projected volume of all shards, every source optional", () => {
    const volumes = one(all, "StatefulSet")["spec"]?.["template"]?.["spec"]?.["volumes"] as Loose;
    const sources = volumes[0]?.["projected"]?.["sources"] as Loose;
    assert.equal(sources.length, 18);
    for (const source of sources)
      same(Object.values(source as unknown as Record<string, Loose>)[0]?.["optional"], true);
    same(sources[0], {
      configMap: { items: [{ key: "manifest.json", path: "manifest.json" }], name: "mx-manifest", optional: true },
    });
    same(sources[1], {
      secret: { items: [{ key: "secret-00.json", path: "secret-00.json" }], name: "mx-secret-00", optional: true },
    });
  });

  test("growing tables leave the StatefulSet as it is", () => {
    const many = Array.from({ length: 200 }, (_, index) =>
      aMailbox({ metadata: { name: `u${index}` }, spec: { address: `u${index}@example.org` } }),
    );
    assert.equal(
      JSON.stringify(one(objects({ objects: many }), "StatefulSet")),
      JSON.stringify(one(all, "StatefulSet")),
    );
  });

  test("Services: every listener by its usual name, pods also while they are not ready", () => {
    const ports = [
      { name: "smtp", port: 25, protocol: "TCP", targetPort: 2525 },
      { name: "submission", port: 587, protocol: "TCP", targetPort: 2587 },
      { name: "submissions", port: 465, protocol: "TCP", targetPort: 2465 },
    ];
    const client = one(all, "Service")["spec"] as Loose;
    same(client["ports"], ports);
    same(client["type"], "ClusterIP");
    same(client["externalTrafficPolicy"], undefined);
    const pods = one(all, "Service", "mx-pods")["spec"] as Loose;
    same([pods["clusterIP"], pods["publishNotReadyAddresses"]], ["None", true]);
    same(pods["ports"], [...ports, { name: "admin", port: 9125, protocol: "TCP", targetPort: 9125 }]);
  });

  test("the NetworkPolicy opens the listeners to all, the admin port to operator and Prometheus only", () => {
    const spec = one(all, "NetworkPolicy")["spec"] as Loose;
    same(spec["policyTypes"], ["Ingress"]);
    const [listeners, admin] = spec["ingress"] as unknown as readonly Loose[];
    same(listeners, { ports: [2525, 2587, 2465].map((port) => ({ port, protocol: "TCP" })) });
    same(admin?.["ports"], [{ port: 9125, protocol: "TCP" }]);
    same(admin?.["from"]?.[0], {
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "packetboat-system" } },
      podSelector: { matchLabels: { "app.kubernetes.io/name": "packetboat-operator" } },
    });
    for (const peer of (admin?.["from"] ?? []) as unknown as readonly Loose[])
      assert.ok(peer["podSelector"]?.["matchLabels"], "no peer without a pod selector");
  });

  test("what the MailServer asks for arrives", () => {
    const server = aMailServer({
      spec: {
        replicas: 3,
        image: "own:2",
        resources: { limits: { cpu: "2" } },
        storage: { size: 5_368_709_120, storageClassName: "fast", retain: false },
        service: { type: "LoadBalancer", annotations: { lb: "1" }, ipFamilies: ["IPv6", "IPv4"] },
        pod: {
          nodeSelector: { disk: "ssd" },
          priorityClassName: "mail",
          annotations: { a: "b" },
          topologySpread: [{ maxSkew: 2 }],
        },
        listeners: [
          { name: "in", role: "MX", port: 25 },
          { name: "smtp", role: "MX", port: 26 },
          { name: "10", role: "MX", port: 10025 },
        ],
        configShards: 1,
      },
    });
    const built = objects({ server });
    const set = one(built, "StatefulSet")["spec"] as Loose;
    same(set["replicas"], 3);
    same(set["persistentVolumeClaimRetentionPolicy"], { whenDeleted: "Delete", whenScaled: "Retain" });
    const [claim] = set["volumeClaimTemplates"] as unknown as readonly Loose[];
    same(claim?.["spec"]?.["resources"], { requests: { storage: "5368709120" } });
    same(claim?.["spec"]?.["storageClassName"], "fast");
    const pod = set["template"]?.["spec"] as Loose;
    same(
      [pod["nodeSelector"], pod["priorityClassName"], pod["topologySpreadConstraints"]],
      [{ disk: "ssd" }, "mail", [{ maxSkew: 2 }]],
    );
    same(set["template"]?.["metadata"]?.["annotations"], { a: "b" });
    same(pod["containers"]?.[0]?.["image"], "own:2");
    same(pod["containers"]?.[0]?.["resources"], { limits: { cpu: "2" } });
    const service = one(built, "Service")["spec"] as Loose;
    same(
      [service["type"], service["externalTrafficPolicy"], service["ipFamilies"], service["ipFamilyPolicy"]],
      ["LoadBalancer", "Local", ["IPv6", "IPv4"], "PreferDualStack"],
    );
    same(
      (service["ports"] as unknown as readonly Loose[]).map((each) => each["name"]),
      ["smtp", "tcp-26", "tcp-10025"],
    );
    same(one(built, "Service")["metadata"]?.["annotations"], { lb: "1" });
  });

  test("one replica can still be drained", () => same(one(all, "PodDisruptionBudget")["spec"]?.["maxUnavailable"], 1));

  test("a slice that no object can hold is named", () => {
    same(
      oversizedFiles(
        new Map([
          ["table-00.json", "x".repeat(1_000_001)],
          ["table-01.json", "é".repeat(500_001)],
          ["server.json", "x"],
        ]),
      ),
      ["table-00.json", "table-01.json"],
    );
  });
});
