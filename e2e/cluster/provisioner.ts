/**
 * Provisioner: gives every claim of the StorageClass `local` a volume, and removes the volume once its claim is gone.
 * Runs as a daemon. Level-triggered: any event on either watch makes it list claims and volumes and do what is missing, so it may be stopped at
 * any time; a stopped API server makes it try again every half second.
 */
import { chmodSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { certificate, key } from "./certificates.ts";
import { apiServerUrl, network, paths } from "./layout.ts";
import { provisionerName, storageClassName } from "./storage.ts";

interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly deletionTimestamp?: string;
}

export interface Claim {
  readonly metadata: Metadata;
  readonly spec: {
    readonly storageClassName?: string;
    readonly volumeName?: string;
    readonly volumeMode?: string;
    readonly accessModes: readonly string[];
    readonly resources: { readonly requests: { readonly storage: string } };
  };
}

export interface Volume {
  readonly metadata: Metadata;
  readonly spec: { readonly persistentVolumeReclaimPolicy?: string };
  readonly status?: { readonly phase?: string };
}

const providedBy = "pv.kubernetes.io/provisioned-by";
const nameFor = (claim: Claim): string => `pvc-${claim.metadata.uid}`;
const folderOf = (volumeName: string): string => join(paths.volumes, volumeName);

/** What is to be done, from what is there. */
export function plan(claims: readonly Claim[], volumes: readonly Volume[]): { provide: Claim[]; remove: Volume[] } {
  const present = new Set(volumes.map((volume) => volume.metadata.name));
  return {
    provide: claims.filter(
      (claim) =>
        claim.spec.storageClassName === storageClassName &&
        !claim.spec.volumeName &&
        claim.spec.volumeMode !== "Block" &&
        claim.metadata.deletionTimestamp === undefined &&
        !present.has(nameFor(claim)),
    ),
    remove: volumes.filter(
      (volume) =>
        volume.metadata.annotations?.[providedBy] === provisionerName &&
        volume.spec.persistentVolumeReclaimPolicy === "Delete" &&
        volume.status?.phase === "Released" &&
        volume.metadata.deletionTimestamp === undefined,
    ),
  };
}

const volumeFor = (claim: Claim): object => ({
  apiVersion: "v1",
  kind: "PersistentVolume",
  metadata: { name: nameFor(claim), annotations: { [providedBy]: provisionerName } },
  spec: {
    capacity: { storage: claim.spec.resources.requests.storage },
    accessModes: claim.spec.accessModes,
    persistentVolumeReclaimPolicy: "Delete",
    storageClassName,
    local: { path: folderOf(nameFor(claim)) },
    claimRef: {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      namespace: claim.metadata.namespace,
      name: claim.metadata.name,
      uid: claim.metadata.uid,
    },
    nodeAffinity: {
      required: {
        nodeSelectorTerms: [
          { matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: [network.nodeName] }] },
        ],
      },
    },
  },
});

const claimsPath = "/api/v1/persistentvolumeclaims";
const volumesPath = "/api/v1/persistentvolumes";

async function reconcile(): Promise<void> {
  const claims = (JSON.parse(await call("GET", claimsPath)) as { items: Claim[] }).items;
  const volumes = (JSON.parse(await call("GET", volumesPath)) as { items: Volume[] }).items;
  const { provide, remove } = plan(claims, volumes);
  for (const claim of provide) {
    mkdirSync(folderOf(nameFor(claim)), { recursive: true });
    chmodSync(folderOf(nameFor(claim)), 0o777); // a pod that is neither root nor has a fsGroup may write too
    await call("POST", volumesPath, volumeFor(claim));
    console.log(`provided ${nameFor(claim)} for ${claim.metadata.namespace}/${claim.metadata.name}`);
  }
  for (const { metadata } of remove) {
    rmSync(folderOf(metadata.name), { recursive: true, force: true });
    await call("DELETE", `${volumesPath}/${metadata.name}`);
    console.log(`removed ${metadata.name}`);
  }
}

const pauseMs = 500;
let isRunning = false;
let isAskedAgain = false;

/** One reconcile at a time; whatever happens during one makes another follow. */
async function wake(): Promise<void> {
  isAskedAgain = true;
  if (isRunning) return;
  isRunning = true;
  while (isAskedAgain) {
    isAskedAgain = false;
    try {
      await reconcile();
    } catch (error) {
      console.error(error instanceof Error ? error.message : error);
      await pause();
      isAskedAgain = true;
    }
  }
  isRunning = false;
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, pauseMs));

/** What an event says does not matter, only that there was one. */
async function watchForEver(path: string): Promise<never> {
  for (;;) {
    await call("GET", `${path}?watch=1`, undefined, () => void wake()).catch(() => undefined);
    await pause();
  }
}

function makeAgent(): Agent {
  return new Agent({
    ca: readFileSync(certificate("ca")),
    cert: readFileSync(certificate("provisioner")),
    key: readFileSync(key("provisioner")),
    keepAlive: true,
  });
}
let agent: Agent | undefined;

function call(method: string, path: string, body?: object, onData?: () => void): Promise<string> {
  agent ??= makeAgent();
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "user-agent": "packetboat-e2e-provisioner" };
    const outgoing = request(`${apiServerUrl}${path}`, { method, agent, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        if (onData) onData();
        else text += chunk;
      });
      response.on("error", reject);
      response.on("end", () => {
        const status = response.statusCode ?? 0;
        if (status < 400 || status === 404 || status === 409) resolve(text);
        else reject(new Error(`${method} ${path}: ${status} ${text}`));
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

if (import.meta.main) {
  await Promise.all([wake(), watchForEver(claimsPath), watchForEver(volumesPath)]);
}
