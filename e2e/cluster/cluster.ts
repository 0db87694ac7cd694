/**
 * Cluster: what end-to-end tests use. `ensureCluster` gives a running single-node Kubernetes; `down` ends it.
 * When KUBECONFIG is set, that cluster is used as it is: nothing is built, and `capabilities` says what cannot be done with it.
 * Otherwise a healthy cluster of ours is used at once, a broken one is taken down and made anew, a missing one is made.
 * Fails with the end of the log of the daemon that did not come up.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter } from "node:path";
import { binary, binaryPath, ensureBinaries, type Program } from "./binaries.ts";
import { type AuditEvent, readAuditEvents } from "./audit.ts";
import { makeCertificates } from "./certificates.ts";
import { type CommandOptions, isOnPath, run } from "./command.ts";
import { startContainerd } from "./containerd.ts";
import * as controlPlane from "./control-plane.ts";
import { isAlive } from "./daemon.ts";
import { serveZone, startDns, stopServingZone, untilDnsServes } from "./dns.ts";
import { tearDown } from "./down.ts";
import { ensurePauseArchive, importImage } from "./image.ts";
import { network, paths, stateDirectory } from "./layout.ts";
import { locked } from "./lock.ts";
import { prepareNetwork, startKubelet, startKubeProxy, untilNodeReady } from "./node.ts";
import { installPackages } from "./packages.ts";
import { say } from "./progress.ts";
import { startStorage } from "./storage.ts";

export { type AuditEvent, isWrite } from "./audit.ts";
export { ensureTools } from "./binaries.ts";
export { down } from "./down.ts";
export { buildBaseImage, buildImage, type ImageBuild } from "./image.ts";

export interface Capabilities {
  readonly stopApiServer: boolean;
  readonly loadImage: boolean;
  readonly auditLog: boolean;
  readonly serveZone: boolean;
  /** Folders of volumes can be read on this machine. */
  readonly volumeFolders: boolean;
}

export interface Cluster {
  readonly kubeconfig: string;
  readonly capabilities: Capabilities;
  /** Runs kubectl; gives its standard output. */
  kubectl(args: readonly string[], options?: CommandOptions): Promise<string>;
  helm(args: readonly string[], options?: CommandOptions): Promise<string>;
  /** The path of a program, for tests that start it themselves (`kubectl port-forward`). */
  program(name: "kubectl" | "helm" | "kubeconform"): string;
  /** KUBECONFIG and a PATH with kubectl and helm, for child processes. */
  readonly environment: Readonly<Record<string, string>>;
  /** Loads a docker-archive into the node. */
  loadImage(archivePath: string): Promise<void>;
  stopApiServer(): Promise<void>;
  startApiServer(): Promise<void>;
  /** Serves a DNS zone (master file) to pods; live within about three seconds. */
  serveZone(name: string, zoneText: string): void;
  stopServingZone(name: string): void;
  /** Every API request since then (metadata: who, what, when, answered how), for counting who wrote what. */
  auditEvents(since?: Date): AuditEvent[];
  readonly volumesDirectory: string;
  readonly logsDirectory: string;
  readonly nodeAddress: string;
}

export async function ensureCluster(): Promise<Cluster> {
  const given = process.env["KUBECONFIG"];
  if (given && given !== paths.kubeconfig) return foreignCluster(given);
  await locked(async () => {
    await installPackages();
    await ensureBinaries();
    if (await isHealthy()) return;
    if (existsSync(stateDirectory)) await tearDown();
    await bringUp();
  });
  return ownCluster;
}

async function bringUp(): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error("the end-to-end cluster runs as root (or set KUBECONFIG)");
  say("starting a cluster");
  mkdirSync(stateDirectory, { recursive: true, mode: 0o755 });
  const pause = await ensurePauseArchive();
  await prepareNetwork();
  await Promise.all([makeCertificates(), startContainerd().then(() => importImage(pause))]);
  controlPlane.startEtcd();
  await controlPlane.untilEtcdServes();
  controlPlane.launchApiServer();
  await controlPlane.untilApiServerServes();
  controlPlane.startControllers();
  startKubelet();
  startKubeProxy();
  await Promise.all([startDns(), startStorage()]);
  await Promise.all([untilNodeReady(), untilDnsServes()]);
  writeFileSync(paths.complete, "");
  say("the cluster is ready");
}

const daemons = [
  "etcd",
  "kube-apiserver",
  "kube-controller-manager",
  "kube-scheduler",
  "containerd",
  "kubelet",
  "kube-proxy",
  "coredns",
  "provisioner",
];

/** A test that stopped the API server and died leaves it stopped: that alone is mended in place. */
async function isHealthy(): Promise<boolean> {
  if (!existsSync(paths.complete)) return false;
  if (!daemons.every((name) => name === "kube-apiserver" || isAlive(name))) return false;
  try {
    if (!isAlive("kube-apiserver")) await controlPlane.startApiServer();
    await untilNodeReady();
    return await controlPlane.isApiServerReady();
  } catch {
    return false;
  }
}

const ownCluster: Cluster = {
  kubeconfig: paths.kubeconfig,
  capabilities: { stopApiServer: true, loadImage: true, auditLog: true, serveZone: true, volumeFolders: true },
  kubectl: (args, options) => runWith(paths.kubeconfig, program("kubectl"), args, options),
  helm: (args, options) => runWith(paths.kubeconfig, program("helm"), args, options),
  program,
  get environment() {
    return environmentFor(paths.kubeconfig);
  },
  loadImage: importImage,
  stopApiServer: controlPlane.stopApiServer,
  startApiServer: controlPlane.startApiServer,
  serveZone,
  stopServingZone,
  auditEvents: readAuditEvents,
  volumesDirectory: paths.volumes,
  logsDirectory: paths.logs,
  nodeAddress: network.nodeAddress,
};

async function foreignCluster(kubeconfig: string): Promise<Cluster> {
  say(`using the cluster of KUBECONFIG=${kubeconfig}`);
  const cannot = (what: string) => (): never => {
    throw new Error(`${what} cannot be done with the cluster of KUBECONFIG; see capabilities`);
  };
  const kubectlArgs = ["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"];
  return {
    kubeconfig,
    capabilities: { stopApiServer: false, loadImage: false, auditLog: false, serveZone: false, volumeFolders: false },
    kubectl: (args, options) => runWith(kubeconfig, "kubectl", args, options),
    helm: (args, options) => runWith(kubeconfig, isOnPath("helm") ? "helm" : binary("helm"), args, options),
    program: (name) => (isOnPath(name) ? name : binary(name)),
    environment: environmentFor(kubeconfig),
    loadImage: async () => cannot("loading an image")(),
    stopApiServer: async () => cannot("stopping the API server")(),
    startApiServer: async () => cannot("starting the API server")(),
    serveZone: cannot("serving a zone"),
    stopServingZone: cannot("serving a zone"),
    auditEvents: cannot("reading the audit log"),
    volumesDirectory: "",
    logsDirectory: "",
    nodeAddress: await runWith(kubeconfig, "kubectl", kubectlArgs),
  };
}

function program(name: Program): string {
  return binary(name);
}

const environmentFor = (kubeconfig: string): Record<string, string> => ({
  KUBECONFIG: kubeconfig,
  PATH: [binaryPath(), process.env["PATH"] ?? ""].join(delimiter),
});

const runWith = (
  kubeconfig: string,
  name: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> => run(name, args, { ...options, environment: { ...options.environment, KUBECONFIG: kubeconfig } });
