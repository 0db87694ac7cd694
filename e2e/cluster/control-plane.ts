/**
 * Control plane: etcd, API server, controller manager and scheduler.
 * The API server writes an audit log (every request that changes or reads anything, metadata only, one JSON object a line) to `paths.auditLog`.
 * The other components run without leader election, so that they outlive an API server that a test stops.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { binary } from "./binaries.ts";
import { certificate, key, kubeconfig, serviceAccountsPublicKey } from "./certificates.ts";
import { restartDaemon, startDaemon, stopDaemon, untilServing } from "./daemon.ts";
import { kubectl } from "./kubectl.ts";
import { network, paths, state } from "./layout.ts";

const etcdUrl = `http://127.0.0.1:${network.etcdPort}`;

export function startEtcd(): void {
  startDaemon({
    name: "etcd",
    program: "etcd",
    args: [
      "--name=e2e",
      `--data-dir=${state("etcd")}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=http://127.0.0.1:${network.etcdPeerPort}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${network.etcdPeerPort}`,
      `--initial-cluster=e2e=http://127.0.0.1:${network.etcdPeerPort}`,
    ],
  });
}

export async function untilEtcdServes(): Promise<void> {
  await untilServing("etcd", 30_000, async () => (await fetch(`${etcdUrl}/health`)).ok);
}

export function launchApiServer(): void {
  mkdirSync(paths.logs, { recursive: true });
  const policy = state("audit-policy.json");
  writeFileSync(policy, JSON.stringify(auditPolicy));
  startDaemon({
    name: "kube-apiserver",
    program: binary("kube-apiserver"),
    args: [
      `--etcd-servers=${etcdUrl}`,
      `--bind-address=${network.nodeAddress}`,
      `--advertise-address=${network.nodeAddress}`,
      `--secure-port=${network.apiPort}`,
      `--service-cluster-ip-range=${network.serviceRange}`,
      `--cert-dir=${paths.certificates}`,
      `--tls-cert-file=${certificate("kube-apiserver")}`,
      `--tls-private-key-file=${key("kube-apiserver")}`,
      `--client-ca-file=${certificate("ca")}`,
      `--kubelet-certificate-authority=${certificate("ca")}`,
      `--kubelet-client-certificate=${certificate("apiserver-to-kubelet")}`,
      `--kubelet-client-key=${key("apiserver-to-kubelet")}`,
      "--kubelet-preferred-address-types=InternalIP",
      "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
      `--service-account-key-file=${serviceAccountsPublicKey}`,
      `--service-account-signing-key-file=${key("service-accounts")}`,
      "--authorization-mode=Node,RBAC",
      "--enable-admission-plugins=NodeRestriction",
      "--allow-privileged=true",
      "--profiling=false",
      "--shutdown-delay-duration=0s",
      `--audit-policy-file=${policy}`,
      `--audit-log-path=${paths.auditLog}`,
      "--audit-log-maxsize=1000",
    ],
  });
}

const auditPolicy = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [{ level: "Metadata" }],
};

export async function untilApiServerServes(): Promise<void> {
  await untilServing("kube-apiserver", 60_000, isApiServerReady);
}

export async function isApiServerReady(): Promise<boolean> {
  return (await kubectl(["get", "--raw", "/readyz", "--request-timeout=3s"])) === "ok";
}

/** Its own orderly end would take a minute, for the sake of watches that are still open; a test wants it gone. */
export async function stopApiServer(): Promise<void> {
  await stopDaemon("kube-apiserver", 1_000);
}

export async function startApiServer(): Promise<void> {
  restartDaemon("kube-apiserver");
  await untilApiServerServes();
}

export function startControllers(): void {
  startDaemon({
    name: "kube-controller-manager",
    program: binary("kube-controller-manager"),
    args: [
      `--kubeconfig=${kubeconfig("kube-controller-manager")}`,
      "--bind-address=127.0.0.1",
      `--cert-dir=${paths.certificates}`,
      "--leader-elect=false",
      "--use-service-account-credentials=true",
      `--root-ca-file=${certificate("ca")}`,
      `--service-account-private-key-file=${key("service-accounts")}`,
      `--cluster-signing-cert-file=${certificate("ca")}`,
      `--cluster-signing-key-file=${key("ca")}`,
      `--service-cluster-ip-range=${network.serviceRange}`,
      "--profiling=false",
    ],
  });
  startDaemon({
    name: "kube-scheduler",
    program: binary("kube-scheduler"),
    args: [
      `--kubeconfig=${kubeconfig("kube-scheduler")}`,
      "--bind-address=127.0.0.1",
      `--cert-dir=${paths.certificates}`,
      "--leader-elect=false",
      "--profiling=false",
    ],
  });
}
