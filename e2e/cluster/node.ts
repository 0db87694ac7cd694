/**
 * Node: this machine as the cluster's only node: the kubelet and kube-proxy, and the kernel settings and address they need.
 * What the kubelet and kube-proxy change in the kernel's settings is written down first, so that `restoreKernelSettings` can undo it.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { binary } from "./binaries.ts";
import { certificate, key, kubeconfig } from "./certificates.ts";
import { attempt, run } from "./command.ts";
import { startDaemon, untilServing } from "./daemon.ts";
import { kubectl } from "./kubectl.ts";
import { network, paths, state } from "./layout.ts";

/** Those that we, the kubelet, kube-proxy or a CNI plugin set. */
const kernelSettings = [
  "net/ipv4/ip_forward",
  "net/ipv4/conf/all/route_localnet",
  "net/netfilter/nf_conntrack_max",
  "net/netfilter/nf_conntrack_tcp_timeout_established",
  "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
  "vm/overcommit_memory",
  "vm/panic_on_oom",
  "kernel/panic",
  "kernel/panic_on_oops",
  "kernel/keys/root_maxkeys",
  "kernel/keys/root_maxbytes",
];

const settingFile = (setting: string): string => `/proc/sys/${setting}`;

export async function prepareNetwork(): Promise<void> {
  mkdirSync(paths.run, { recursive: true });
  if (!existsSync(paths.sysctls)) {
    const present = kernelSettings.filter((setting) => existsSync(settingFile(setting)));
    const before = Object.fromEntries(
      present.map((setting) => [setting, readFileSync(settingFile(setting), "utf8").trim()]),
    );
    writeFileSync(paths.sysctls, JSON.stringify(before, undefined, 2));
  }
  writeFileSync(settingFile("net/ipv4/ip_forward"), "1");
  await run("ip", ["address", "replace", `${network.nodeAddress}/32`, "dev", "lo"]);
  // The host reaches Service addresses even on a machine that has no default route; kube-proxy turns them into pod addresses.
  await run("ip", ["route", "replace", network.serviceRange, "dev", "lo", "src", network.nodeAddress]);
}

export async function removeNetwork(): Promise<void> {
  await attempt("ip", ["route", "delete", network.serviceRange, "dev", "lo"]);
  await attempt("ip", ["address", "delete", `${network.nodeAddress}/32`, "dev", "lo"]);
}

export function restoreKernelSettings(): void {
  if (!existsSync(paths.sysctls)) return;
  const before = JSON.parse(readFileSync(paths.sysctls, "utf8")) as Record<string, string>;
  for (const [setting, value] of Object.entries(before)) {
    try {
      if (readFileSync(settingFile(setting), "utf8").trim() !== value) writeFileSync(settingFile(setting), value);
    } catch {
      // A setting that this machine does not let us change was not changed by us either.
    }
  }
}

export function startKubelet(): void {
  const file = state("kubelet-config.json");
  writeFileSync(file, JSON.stringify(kubeletConfiguration, undefined, 2));
  startDaemon({
    name: "kubelet",
    program: binary("kubelet"),
    args: [
      `--config=${file}`,
      `--kubeconfig=${kubeconfig("kubelet")}`,
      `--root-dir=${state("kubelet")}`,
      `--cert-dir=${paths.certificates}`,
      `--hostname-override=${network.nodeName}`,
      `--node-ip=${network.nodeAddress}`,
    ],
  });
}

const kubeletConfiguration = {
  apiVersion: "kubelet.config.k8s.io/v1beta1",
  kind: "KubeletConfiguration",
  address: network.nodeAddress,
  healthzBindAddress: "127.0.0.1",
  readOnlyPort: 0,
  authentication: {
    anonymous: { enabled: false },
    webhook: { enabled: true },
    x509: { clientCAFile: certificate("ca") },
  },
  authorization: { mode: "Webhook" },
  tlsCertFile: certificate("kubelet-server"),
  tlsPrivateKeyFile: key("kubelet-server"),
  containerRuntimeEndpoint: `unix://${paths.containerdSocket}`,
  cgroupDriver: "cgroupfs",
  failSwapOn: false,
  failCgroupV1: false,
  oomScoreAdj: 0, // lowering it would take CAP_SYS_RESOURCE
  clusterDNS: [network.dnsServiceAddress],
  clusterDomain: "cluster.local",
  podLogsDir: state("logs", "pods"),
  volumePluginDir: state("kubelet-plugins"),
  serializeImagePulls: false,
  // Images are loaded, not pulled: one that is collected would be gone for good.
  imageGCHighThresholdPercent: 100,
  imageGCLowThresholdPercent: 99,
  evictionHard: {
    "memory.available": "100Mi",
    "nodefs.available": "1%",
    "imagefs.available": "1%",
    "nodefs.inodesFree": "1%",
  },
  nodeStatusUpdateFrequency: "5s",
};

export function startKubeProxy(): void {
  const file = state("kube-proxy-config.json");
  writeFileSync(file, JSON.stringify(kubeProxyConfiguration, undefined, 2));
  startDaemon({
    name: "kube-proxy",
    program: binary("kube-proxy"),
    args: [`--config=${file}`, `--hostname-override=${network.nodeName}`],
  });
}

const kubeProxyConfiguration = {
  apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
  kind: "KubeProxyConfiguration",
  mode: "iptables",
  clientConnection: { kubeconfig: kubeconfig("kube-proxy") },
  clusterCIDR: network.podRange,
  bindAddress: "127.0.0.1",
  healthzBindAddress: "127.0.0.1:10256",
  metricsBindAddress: "127.0.0.1:10249",
  nodePortAddresses: [`${network.nodeAddress}/32`],
  oomScoreAdj: 0,
  iptables: { minSyncPeriod: "200ms", syncPeriod: "30s" },
  conntrack: { maxPerCore: 0 }, // leaves the kernel's own limit
};

export async function untilNodeReady(): Promise<void> {
  const ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
  await untilServing(
    "kubelet",
    90_000,
    async () => (await kubectl(["get", "node", network.nodeName, "-o", ready])) === "True",
  );
}
