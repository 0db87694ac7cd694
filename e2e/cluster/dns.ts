/**
 * DNS: CoreDNS as a process of the host, behind the Service `kube-dns` at the cluster's DNS address.
 * It answers for the cluster, for zones that a test writes with `serveZone` (MX records of a made-up peer, say), and forwards the rest.
 * It goes on answering from memory while the API server is stopped.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { binary } from "./binaries.ts";
import { kubeconfig } from "./certificates.ts";
import { startDaemon, untilServing } from "./daemon.ts";
import { apply } from "./kubectl.ts";
import { network, paths, state } from "./layout.ts";

const { dnsPort, nodeAddress, dnsReadyPort } = network;

/** The objects that CoreDNS needs, and its start; it becomes ready once it has read the cluster. */
export async function startDns(): Promise<void> {
  await apply(...objects);
  mkdirSync(paths.zones, { recursive: true });
  const file = state("dns", "Corefile");
  writeFileSync(file, corefile());
  startDaemon({ name: "coredns", program: binary("coredns"), args: ["-conf", file] });
}

export async function untilDnsServes(): Promise<void> {
  await untilServing("coredns", 30_000, async () => (await fetch(`http://127.0.0.1:${dnsReadyPort}/ready`)).ok);
}

const corefile = (): string => `.:${dnsPort} {
  bind ${nodeAddress}
  errors
  reload 2s 1s
  ready 127.0.0.1:${dnsReadyPort}
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig ${kubeconfig("coredns")} e2e
    pods insecure
    fallthrough in-addr.arpa ip6.arpa
    ttl 5
  }
  ${hasNameserver() ? "forward . /etc/resolv.conf" : "# this machine has no name server"}
  cache 5
}
import ${paths.zones}/*.conf
`;

function hasNameserver(): boolean {
  try {
    return /^nameserver\s+\S/m.test(readFileSync("/etc/resolv.conf", "utf8"));
  } catch {
    return false;
  }
}

/** Serves a zone (master file format) to the pods, from about two seconds later on; the same name again replaces it. */
export function serveZone(name: string, zoneText: string): void {
  const zone = name.replace(/\.$/, "");
  // A zone file is read again only when its serial grows; a new file name spares the test from counting.
  const file = join(paths.zones, `${zone}.${Date.now()}.zone`);
  writeFileSync(file, zoneText);
  const block = `${zone}:${dnsPort} {\n  bind ${nodeAddress}\n  errors\n  file ${file}\n}\n`;
  const unfinished = join(paths.zones, `${zone}.unfinished`);
  writeFileSync(unfinished, block);
  renameSync(unfinished, join(paths.zones, `${zone}.conf`));
}

export function stopServingZone(name: string): void {
  rmSync(join(paths.zones, `${name.replace(/\.$/, "")}.conf`), { force: true });
}

const namespace = "kube-system";
const objects: readonly object[] = [
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: "system:coredns" },
    rules: [
      { apiGroups: [""], resources: ["endpoints", "services", "pods", "namespaces"], verbs: ["list", "watch"] },
      { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"] },
    ],
  },
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: "system:coredns" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "system:coredns" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "system:coredns" }],
  },
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "kube-dns", namespace, labels: { "k8s-app": "kube-dns" } },
    spec: {
      clusterIP: network.dnsServiceAddress,
      ports: [
        { name: "dns", port: 53, protocol: "UDP", targetPort: dnsPort },
        { name: "dns-tcp", port: 53, protocol: "TCP", targetPort: dnsPort },
      ],
    },
  },
  {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "kube-dns-host", namespace, labels: { "kubernetes.io/service-name": "kube-dns" } },
    addressType: "IPv4",
    endpoints: [{ addresses: [nodeAddress], conditions: { ready: true } }],
    ports: [
      { name: "dns", port: dnsPort, protocol: "UDP" },
      { name: "dns-tcp", port: dnsPort, protocol: "TCP" },
    ],
  },
];
