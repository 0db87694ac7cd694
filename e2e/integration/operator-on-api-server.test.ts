/**
 * The runtime against a real kube-apiserver and etcd: what server-side apply, watches, leases and events really do there. Skipped, with the
 * reason, where the binaries are missing (`e2e/cluster` builds them).
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type ApiServerProcess, missingBinaries, startApiServer } from "../../operator/kube/api-server-process.ts";
import { Applier, appliedHashAnnotation } from "../../operator/kube/apply.ts";
import { KubeClient } from "../../operator/kube/client.ts";
import { EventRecorder } from "../../operator/kube/events.ts";
import { configMap, until } from "../../operator/kube/fault-server.ts";
import { alwaysLeader, Lease, type LeaseObject } from "../../operator/kube/lease.ts";
import { createLog } from "../../operator/kube/log.ts";
import { createMetrics } from "../../operator/kube/metrics.ts";
import { Reflector } from "../../operator/kube/reflector.ts";
import { type Condition, type KubeObject, type Manifest, type Resource, resources } from "../../operator/kube/types.ts";

const skip = missingBinaries() ?? false;
const log = createLog("test", "silent");
const reflectorSettings = { baseBackoffMs: 20, maxBackoffMs: 200 };

/** As a builder would write it, with everything that tempts the server to write it otherwise. */
const statefulSet = (image = "packetboat:1"): Manifest => ({
  apiVersion: "apps/v1",
  kind: "StatefulSet",
  metadata: { name: "mx", namespace: "default", labels: { app: "mx" }, annotations: {} },
  spec: {
    serviceName: "mx",
    replicas: 0,
    minReadySeconds: 0,
    selector: { matchLabels: { app: "mx" } },
    template: {
      metadata: { labels: { app: "mx" } },
      spec: {
        automountServiceAccountToken: false,
        hostNetwork: false,
        tolerations: [],
        securityContext: {},
        terminationGracePeriodSeconds: 60,
        containers: [
          {
            name: "mta",
            image,
            args: ["--data", "/queue"],
            env: [
              { name: "EMPTY", value: "" },
              { name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
            ],
            ports: [
              { name: "mx", containerPort: 2525 },
              { name: "submission", containerPort: 2587 },
            ],
            resources: { requests: { cpu: "0.5", memory: "1024Mi" } },
            volumeMounts: [{ name: "queue", mountPath: "/queue", readOnly: false }],
            securityContext: { capabilities: { drop: ["ALL"] }, readOnlyRootFilesystem: true },
          },
        ],
        volumes: [{ name: "config", projected: { sources: [{ configMap: { name: "mx-0", optional: true } }] } }],
      },
    },
    volumeClaimTemplates: [
      {
        metadata: { name: "queue" },
        spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "0.5Gi" } } },
      },
    ],
  },
});

const others: readonly Manifest[] = [
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "mx", namespace: "default" },
    spec: {
      clusterIP: "None",
      publishNotReadyAddresses: false,
      selector: { app: "mx" },
      ports: [
        { name: "mx", port: 25, targetPort: "mx" },
        { name: "admin", port: 9125 },
      ],
    },
  },
  {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "mx", namespace: "default" },
    spec: {
      podSelector: { matchLabels: { app: "mx" } },
      policyTypes: ["Ingress"],
      ingress: [{ ports: [{ port: 2525 }] }, { from: [{ podSelector: {} }], ports: [{ port: 9125, protocol: "TCP" }] }],
    },
  },
  {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: { name: "mx", namespace: "default" },
    spec: { maxUnavailable: 1, selector: { matchLabels: { app: "mx" } } },
  },
  {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "mx", namespace: "default" },
    type: "Opaque",
    data: { hash: "c2VjcmV0" },
  },
  {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "mx-0", namespace: "default" },
    data: { "table.json": "{}", empty: "" },
  },
];

const mailboxCrd = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "mailboxes.mail.packetboat.io" },
  spec: {
    group: "mail.packetboat.io",
    scope: "Namespaced",
    names: { plural: "mailboxes", singular: "mailbox", kind: "Mailbox", listKind: "MailboxList" },
    versions: [
      {
        name: "v1alpha1",
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
      },
    ],
  },
};
const crdResource: Resource = {
  group: "apiextensions.k8s.io",
  version: "v1",
  plural: "customresourcedefinitions",
  kind: "CustomResourceDefinition",
  namespaced: false,
};

describe("with a real kube-apiserver", { skip }, () => {
  let api: ApiServerProcess;
  const closing: (() => unknown)[] = [];
  before(async () => {
    api = await startApiServer();
  });
  after(async () => {
    for (const close of closing) await close();
    await api.stop();
  });

  async function reflect(
    resource: Resource,
    options: { labelSelector?: string; pageLimit?: number; silenceMs?: number } = {},
  ) {
    const reflector = new Reflector({
      client: api.client,
      resource,
      log,
      namespace: "default",
      ...reflectorSettings,
      ...options,
    });
    const keys: string[] = [];
    reflector.onChange((key) => keys.push(key));
    closing.unshift(() => reflector.stop());
    reflector.start();
    await reflector.synced();
    return { reflector, keys };
  }

  const read = async (object: KubeObject, resource: Resource) => {
    const found = await api.client.get<KubeObject>(resource, object.metadata);
    assert.ok(found.ok);
    return found.value;
  };

  const writes = async (metrics: ReturnType<typeof createMetrics>) =>
    (await metrics.apiWrites.get()).values.reduce((sum, { value }) => sum + value, 0);

  it("applies every kind once; a restarted operator writes nothing; drift and a changed wish are each one write", async () => {
    const all = [statefulSet(), ...others];
    const known = resources as Record<string, Resource>;
    const first = new Applier({ client: api.client, leadership: alwaysLeader, log });
    for (const object of all) assert.deepEqual(await first.apply(object, undefined), { ok: true, did: "written" });

    const metrics = createMetrics();
    const restarted = new Applier({ client: api.client, leadership: alwaysLeader, log, metrics });
    for (const object of all) {
      const observed = await read(object, known[object.kind] as Resource);
      assert.deepEqual(await restarted.apply(object, observed), { ok: true, did: "unchanged" }, object.kind);
    }
    assert.equal(await writes(metrics), 0);

    const kubectl = { type: "application/merge-patch+json", fieldManager: "kubectl-edit" } as const;
    const drifts: readonly (readonly [Manifest, unknown])[] = [
      [statefulSet(), { spec: { template: { spec: { automountServiceAccountToken: null } } } }],
      [statefulSet(), { spec: { replicas: 3 } }],
      [others[1] as Manifest, { spec: { ingress: [{}] } }],
      [others[4] as Manifest, { data: { "table.json": "tampered" } }],
      [others[4] as Manifest, { metadata: { annotations: { [appliedHashAnnotation]: null } } }],
    ];
    for (const [object, body] of drifts) {
      const resource = known[object.kind] as Resource;
      assert.ok((await api.client.patch(resource, object.metadata, { ...kubectl, body })).ok);
      assert.deepEqual(
        await restarted.apply(object, await read(object, resource)),
        { ok: true, did: "written" },
        JSON.stringify(body),
      );
      assert.deepEqual(
        await restarted.apply(object, await read(object, resource)),
        { ok: true, did: "unchanged" },
        JSON.stringify(body),
      );
    }
    const healed = (await read(statefulSet(), resources.StatefulSet)).spec as {
      replicas: number;
      template: { spec: Record<string, unknown> };
    };
    assert.equal(healed.replicas, 0);
    assert.equal(healed.template.spec["automountServiceAccountToken"], false);

    // What others add beside ours is none of our business.
    const added = { ...kubectl, body: { metadata: { labels: { team: "mail" } }, data: { extra: "theirs" } } };
    assert.ok((await api.client.patch(resources.ConfigMap, { namespace: "default", name: "mx-0" }, added)).ok);
    const beside = others[4] as Manifest;
    assert.deepEqual(await restarted.apply(beside, await read(beside, resources.ConfigMap)), {
      ok: true,
      did: "unchanged",
    });

    // A field we no longer want goes away, although all that we still want is there.
    const less: Manifest = { ...beside, data: { "table.json": "{}" } };
    assert.deepEqual(await restarted.apply(less, await read(less, resources.ConfigMap)), { ok: true, did: "written" });
    const data = ((await read(less, resources.ConfigMap)) as KubeObject & { data: object }).data;
    assert.deepEqual(data, { extra: "theirs", "table.json": "{}" });
  });

  it("writes once although the store lags behind, and makes a deleted object again at once", async () => {
    const metrics = createMetrics();
    const applier = new Applier({ client: api.client, leadership: alwaysLeader, log, metrics });
    const wanted: Manifest = { ...configMap("lag", { a: "1" }, "default") };
    assert.deepEqual(await applier.apply(wanted, undefined), { ok: true, did: "written" });
    assert.deepEqual(await applier.apply(wanted, undefined), { ok: true, did: "unchanged" });
    const { reflector, keys } = await reflect(resources.ConfigMap);
    applier.follow(reflector);
    assert.deepEqual(await applier.apply(wanted, reflector.get("default/lag")), { ok: true, did: "unchanged" });
    assert.equal(await writes(metrics), 1);
    keys.length = 0;
    // By somebody else, while the applier still remembers having made it.
    assert.ok((await api.client.delete(resources.ConfigMap, wanted.metadata, {})).ok);
    await until("the deletion came", () => keys.includes("default/lag"));
    assert.deepEqual(await applier.apply(wanted, reflector.get("default/lag")), { ok: true, did: "written" });
  });

  it("leaves alone what somebody else made, and deletes only what it saw", async () => {
    const applier = new Applier({ client: api.client, leadership: alwaysLeader, log });
    const theirs = configMap("theirs", { a: "1" }, "default");
    assert.ok((await api.client.create(resources.ConfigMap, theirs)).ok);
    const observed = await read(theirs, resources.ConfigMap);
    const refused = await applier.apply({ ...theirs, data: { a: "2" } }, observed);
    assert.equal(refused.ok || refused.failure.reason, "NotOurs");
    const stale = { ...observed, metadata: { ...observed.metadata, uid: "00000000-0000-0000-0000-000000000000" } };
    const wrong = await applier.remove(stale);
    assert.equal(wrong.ok || wrong.failure.reason, "Conflict");
    assert.ok(
      (
        await api.client.patch(resources.ConfigMap, theirs.metadata, {
          type: "application/merge-patch+json",
          body: { data: { b: "2" } },
          fieldManager: "x",
        })
      ).ok,
    );
    const changed = await applier.remove(observed, { unchanged: true });
    assert.equal(changed.ok || changed.failure.reason, "Conflict");
    assert.deepEqual(await applier.remove(observed), { ok: true, did: "written" });
    assert.deepEqual(await applier.remove(observed), { ok: true, did: "gone" });
  });

  it("writes a custom resource's status only when it differs, and never its spec", async () => {
    assert.ok((await api.client.create(crdResource, mailboxCrd as unknown as KubeObject)).ok);
    const mailbox = {
      apiVersion: "mail.packetboat.io/v1alpha1",
      kind: "Mailbox",
      metadata: { name: "alice", namespace: "default" },
      spec: { address: "alice@example.org" },
    };
    const { reflector, keys } = await reflect(resources.Mailbox);
    let created = await api.client.create<KubeObject>(resources.Mailbox, mailbox);
    for (const deadline = Date.now() + 10_000; !created.ok && Date.now() < deadline; )
      created = await api.client.create<KubeObject>(resources.Mailbox, mailbox);
    assert.ok(created.ok, "the kind is served");
    await until("alice came, though the kind was not served at first", () => keys.includes("default/alice"), 10_000);
    const metrics = createMetrics();
    const applier = new Applier({ client: api.client, leadership: alwaysLeader, log, metrics });
    const accepted: Condition = {
      type: "Accepted",
      status: "True",
      reason: "Valid",
      message: "ok",
      lastTransitionTime: "2026-01-01T00:00:00Z",
    };
    const status = { observedGeneration: 1, conditions: [accepted] };
    const observed = reflector.get("default/alice") as KubeObject;
    assert.deepEqual(await applier.applyStatus(observed, status), { ok: true, did: "written" });
    assert.deepEqual(
      await applier.applyStatus(observed, status),
      { ok: true, did: "unchanged" },
      "the store has not heard of it yet",
    );
    const now = await read(mailbox, resources.Mailbox);
    assert.deepEqual(now.status, status);
    assert.deepEqual(now.spec, mailbox.spec);
    const restarted = new Applier({ client: api.client, leadership: alwaysLeader, log, metrics });
    assert.deepEqual(await restarted.applyStatus(now, status), { ok: true, did: "unchanged" });
    assert.deepEqual(await restarted.applyStatus(now, { observedGeneration: 1 }), { ok: true, did: "written" });
    assert.deepEqual((await read(mailbox, resources.Mailbox)).status, { observedGeneration: 1 });
    assert.equal(await writes(metrics), 2);
    const annotated = await read(mailbox, resources.Mailbox);
    assert.deepEqual(await restarted.annotate(annotated, { kick: "1" }), { ok: true, did: "written" });
    assert.deepEqual(await restarted.annotate(await read(mailbox, resources.Mailbox), { kick: "1" }), {
      ok: true,
      did: "unchanged",
    });
  });

  it("lists in pages, selects by label, and sees changes within the watch", async () => {
    for (let i = 0; i < 23; i++) {
      const object = configMap(`page-${i}`, {}, "default");
      const labelled = { ...object, metadata: { ...object.metadata, labels: { page: "yes" } } };
      assert.ok((await api.client.create(resources.ConfigMap, labelled)).ok);
    }
    const { reflector, keys } = await reflect(resources.ConfigMap, { labelSelector: "page=yes", pageLimit: 5 });
    assert.equal(reflector.size, 23);
    const first = reflector.get("default/page-0") as KubeObject;
    keys.length = 0;
    // No longer selected: for this store that is a deletion.
    assert.ok(
      (
        await api.client.patch(resources.ConfigMap, first.metadata, {
          type: "application/merge-patch+json",
          body: { metadata: { labels: { page: "no" } } },
          fieldManager: "x",
        })
      ).ok,
    );
    await until("page-0 left", () => keys.includes("default/page-0"));
    assert.equal(reflector.size, 22);
  });

  it("elects one of two, hands over at a clean stop, and uses valid times", async () => {
    const make = (identity: string) => {
      const client = new KubeClient({ connection: api.connection });
      closing.push(() => client.close());
      return new Lease({
        client,
        namespace: "default",
        name: "operator",
        identity,
        log,
        leaseDurationMs: 10_000,
        renewDeadlineMs: 6000,
        retryMs: 100,
      });
    };
    const [a, b] = [make("a"), make("b")];
    closing.unshift(() => Promise.all([a.stop(), b.stop()]));
    a.start();
    await until("a leads", () => a.mayWrite());
    b.start();
    const lease = await read({ metadata: { namespace: "default", name: "operator" } } as KubeObject, resources.Lease);
    assert.equal((lease as LeaseObject).spec?.holderIdentity, "a");
    assert.match((lease as LeaseObject).spec?.renewTime ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    const underWay = a.signal;
    await a.stop();
    assert.equal(underWay.aborted, true);
    assert.equal(a.mayWrite(), false);
    const released = Date.now();
    await until("b leads", () => b.mayWrite());
    assert.ok(Date.now() - released < 8000, "a released lease is not waited for");
    const after = (await read(
      { metadata: { namespace: "default", name: "operator" } } as KubeObject,
      resources.Lease,
    )) as LeaseObject;
    assert.equal(after.spec?.holderIdentity, "b");
    assert.equal(after.spec?.leaseTransitions, 1);
  });

  it("records an event, and its repetition as a series", async () => {
    const metrics = createMetrics();
    const recorder = new EventRecorder({
      client: api.client,
      leadership: alwaysLeader,
      instance: "test-1",
      log,
      metrics,
    });
    const regarding = await read(statefulSet(), resources.StatefulSet);
    const text = {
      type: "Warning",
      reason: "Conflict",
      action: "Validate",
      note: `taken by ${"é".repeat(2000)}`,
    } as const;
    for (let i = 0; i < 3; i++) recorder.record(regarding, text);
    await recorder.flush();
    const events = await api.client.list<KubeObject & { series?: { count: number }; regarding: { name: string } }>(
      resources.Event,
      { namespace: "default" },
    );
    assert.ok(events.ok);
    const mine = events.value.items.filter((event) => event.regarding.name === "mx");
    assert.equal(mine.length, 1);
    assert.equal(mine[0]?.series?.count, 3);
    assert.equal((await metrics.eventsDropped.get()).values.length, 0);
  });

  it("recovers by itself from a restart of the API server", async () => {
    const { reflector, keys } = await reflect(resources.Secret);
    await api.pause();
    const refused = await api.client.get(resources.Namespace, { name: "default" });
    assert.equal(refused.ok || refused.failure.reason, "ConnectionFailed");
    assert.ok(reflector.size > 0);
    await api.resume();
    keys.length = 0;
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "after", namespace: "default" } };
    assert.ok((await api.client.create(resources.Secret, secret)).ok);
    await until("the new secret came", () => keys.includes("default/after"), 10_000);
  });
});
