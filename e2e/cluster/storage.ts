/**
 * Storage: the default StorageClass `local` and the process that serves it (`provisioner.ts`).
 * Claims get `local` volumes, folders under `paths.volumes`, which unlike hostPath ones honour a pod's fsGroup.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { startDaemon } from "./daemon.ts";
import { apply } from "./kubectl.ts";
import { paths, sourceDirectory } from "./layout.ts";

export const provisionerName = "packetboat.test/local";
export const storageClassName = "local";

export async function startStorage(): Promise<void> {
  mkdirSync(paths.volumes, { recursive: true });
  await apply({
    apiVersion: "storage.k8s.io/v1",
    kind: "StorageClass",
    metadata: { name: storageClassName, annotations: { "storageclass.kubernetes.io/is-default-class": "true" } },
    provisioner: provisionerName,
    reclaimPolicy: "Delete",
    volumeBindingMode: "Immediate", // one node: nothing to wait for
  });
  startDaemon({ name: "provisioner", program: process.execPath, args: [join(sourceDirectory, "provisioner.ts")] });
}
