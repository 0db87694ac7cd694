/**
 * The StatefulSet: pods of the mail server, each with its own queue volume.
 *
 * Stands in build/. Restricted Pod Security: no root, no capability, read-only root file system, no API token. All configuration comes through one projected
 * volume of optional sources whose list depends on spec.configShards only, so that growing tables never change the pod template. The name of a file's object and
 * the selector are fixed for the life of a MailServer.
 */
import type { Manifest } from "../kube/types.ts";
import { configSources } from "./config-objects.ts";
import { inOrder, labelsOf, manifest, ownedMeta, podServiceOf, selectorOf } from "./names.ts";
import { ADMIN_PORT } from "./ports.ts";
import type { ServiceListener } from "./listeners.ts";
import type { MailServer } from "./world.ts";

/** The image's own user; fsGroup makes the queue volume its. */
const USER = 10_001;
/** Server drain (25 s) and hand-over of what it holds, with room for a slow disk. */
const GRACE_SECONDS = 90;
const CONFIG_PATH = "/etc/packetboat";
const DATA_PATH = "/var/lib/packetboat";

const probe = (path: string, timing: Readonly<Record<string, number>>) => ({
  httpGet: { path, port: "admin", scheme: "HTTP" },
  timeoutSeconds: 3,
  successThreshold: 1,
  ...timing,
});

function container(server: MailServer, image: string, listeners: readonly ServiceListener[]) {
  const { spec } = server;
  const limit = (name: string, resource: string) => ({
    name,
    valueFrom: { resourceFieldRef: { containerName: "mta", resource, divisor: "1" } },
  });
  const field = (name: string, fieldPath: string) => ({
    name,
    valueFrom: { fieldRef: { apiVersion: "v1", fieldPath } },
  });
  return {
    name: "mta",
    image: spec.image === "" ? image : spec.image,
    imagePullPolicy: "IfNotPresent",
    args: ["--config", CONFIG_PATH, "--data", DATA_PATH],
    env: [
      field("POD_NAME", "metadata.name"),
      field("POD_NAMESPACE", "metadata.namespace"),
      field("NODE_NAME", "spec.nodeName"),
      limit("CPU_LIMIT", "limits.cpu"),
      limit("MEMORY_LIMIT_BYTES", "limits.memory"),
    ],
    ports: [
      ...listeners.map(({ portName, containerPort }) => ({ name: portName, containerPort, protocol: "TCP" })),
      { name: "admin", containerPort: ADMIN_PORT, protocol: "TCP" },
    ],
    resources: spec.resources ?? { requests: { cpu: "100m", memory: "256Mi" } },
    // A queue that recovers a large spool may take minutes; until then nobody must call the pod dead.
    startupProbe: probe("/healthz", { periodSeconds: 1, failureThreshold: 300 }),
    livenessProbe: probe("/healthz", { periodSeconds: 10, failureThreshold: 6 }),
    readinessProbe: probe("/readyz", { periodSeconds: 2, failureThreshold: 2 }),
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
    },
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "FallbackToLogsOnError",
    volumeMounts: [
      { name: "config", mountPath: CONFIG_PATH, readOnly: true },
      { name: "data", mountPath: DATA_PATH },
      { name: "tmp", mountPath: "/tmp" },
    ],
  };
}

/** Spread over nodes and zones as far as there are any; one node is no reason not to run. */
const defaultSpread = (server: MailServer) =>
  ["kubernetes.io/hostname", "topology.kubernetes.io/zone"].map((topologyKey) => ({
    maxSkew: 1,
    topologyKey,
    whenUnsatisfiable: "ScheduleAnyway",
    labelSelector: { matchLabels: selectorOf(server) },
  }));

export function statefulSet(
  server: MailServer,
  image: string,
  listeners: readonly ServiceListener[],
  configFiles: Iterable<string>,
): Manifest {
  const { name } = server.metadata;
  const { pod, storage, replicas } = server.spec;
  return manifest({
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    metadata: ownedMeta(server, name),
    spec: {
      replicas,
      serviceName: podServiceOf(name),
      // A pod waits for no other: each is a whole mail server with its own queue.
      podManagementPolicy: "Parallel",
      revisionHistoryLimit: 3,
      updateStrategy: { type: "RollingUpdate" },
      selector: { matchLabels: selectorOf(server) },
      // Scaling down never deletes a claim by itself: there may be mail in it until the drain has said otherwise.
      persistentVolumeClaimRetentionPolicy: { whenDeleted: storage.retain ? "Retain" : "Delete", whenScaled: "Retain" },
      template: {
        metadata: {
          labels: labelsOf(server),
          ...(Object.keys(pod.annotations).length === 0 ? {} : { annotations: pod.annotations }),
        },
        spec: {
          automountServiceAccountToken: false,
          serviceAccountName: name,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: GRACE_SECONDS,
          securityContext: {
            fsGroup: USER,
            fsGroupChangePolicy: "OnRootMismatch",
            runAsGroup: USER,
            runAsNonRoot: true,
            runAsUser: USER,
            seccompProfile: { type: "RuntimeDefault" },
          },
          nodeSelector: Object.keys(pod.nodeSelector).length === 0 ? undefined : pod.nodeSelector,
          tolerations: pod.tolerations.length === 0 ? undefined : pod.tolerations,
          affinity: pod.affinity,
          priorityClassName: pod.priorityClassName,
          topologySpreadConstraints: pod.topologySpread.length === 0 ? defaultSpread(server) : pod.topologySpread,
          containers: [container(server, image, listeners)],
          volumes: [
            { name: "config", projected: { defaultMode: 0o440, sources: configSources(name, configFiles) } },
            { name: "tmp", emptyDir: { sizeLimit: "64Mi" } },
          ],
        },
      },
      volumeClaimTemplates: [
        {
          apiVersion: "v1",
          kind: "PersistentVolumeClaim",
          metadata: { name: "data", labels: selectorOf(server) },
          spec: {
            accessModes: ["ReadWriteOnce"],
            resources: { requests: { storage: String(storage.size) } },
            storageClassName: storage.storageClassName,
            volumeMode: "Filesystem",
          },
        },
      ],
    },
  });
}

export const serviceAccount = (server: MailServer): Manifest =>
  inOrder({
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: ownedMeta(server, server.metadata.name),
    automountServiceAccountToken: false,
  });
