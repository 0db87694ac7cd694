/**
 * Layout of the end-to-end cluster: every folder, address, port and name that more than one module needs.
 * Promise: nothing outside `stateDirectory` and `cacheDirectory` is written by these modules, apart from what `down.ts` undoes.
 * Both folders can be moved: PACKETBOAT_CLUSTER_DIR (state, gone after down) and PACKETBOAT_CACHE (kept between runs).
 */
import { homedir } from "node:os";
import { join } from "node:path";

export const sourceDirectory = import.meta.dirname;
export const stateDirectory = process.env["PACKETBOAT_CLUSTER_DIR"] || "/var/lib/packetboat-e2e";
export const cacheDirectory = join(
  process.env["PACKETBOAT_CACHE"] || join(homedir(), ".cache", "packetboat"),
  "cluster",
);

export const state = (...path: string[]): string => join(stateDirectory, ...path);

export const paths = {
  /** Written last by up: its presence means that an up ran to its end. */
  complete: state("complete"),
  sysctls: state("sysctls.json"),
  run: state("run"),
  logs: state("logs"),
  certificates: state("pki"),
  kubeconfig: state("admin.kubeconfig"),
  auditLog: state("logs", "audit.log"),
  volumes: state("volumes"),
  containerdSocket: state("containerd.sock"),
  containerdState: state("containerd", "state"),
  cniNetwork: "packetboat-e2e",
  zones: state("dns", "zones"),
} as const;

/**
 * The node's address lies on the loopback device, so nothing outside this machine can reach any of the daemons; pods reach it through their
 * own link to the host.
 */
export const network = {
  nodeName: "packetboat-e2e",
  nodeAddress: "10.244.255.1",
  podRange: "10.244.0.0/24",
  serviceRange: "10.96.0.0/16",
  apiServiceAddress: "10.96.0.1",
  dnsServiceAddress: "10.96.0.10",
  dnsPort: 10053,
  dnsReadyPort: 18181,
  etcdPort: 12379,
  etcdPeerPort: 12380,
  apiPort: 6443,
} as const;

export const apiServerUrl = `https://${network.nodeAddress}:${network.apiPort}`;
