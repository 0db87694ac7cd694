/**
 * Certificates: one authority of the cluster's own, and what it signs: the API server, the kubelet, and a client certificate and kubeconfig for
 * every component. Keys are ECDSA P-256; nothing leaves the state folder.
 * Fails when openssl does.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./command.ts";
import { apiServerUrl, network, paths } from "./layout.ts";

export const certificate = (name: string): string => join(paths.certificates, `${name}.crt`);
export const key = (name: string): string => join(paths.certificates, `${name}.key`);
export const kubeconfig = (name: string): string => join(paths.certificates, `${name}.kubeconfig`);

export const serviceAccountsPublicKey = join(paths.certificates, "service-accounts.pub");

interface Identity {
  readonly name: string;
  readonly commonName: string;
  readonly organization?: string;
  /** Names and addresses of a server, as openssl writes them; without them it is a client. */
  readonly server?: string;
}

const identities: readonly Identity[] = [
  {
    name: "kube-apiserver",
    commonName: "kube-apiserver",
    server: [
      `IP:${network.nodeAddress}`,
      "IP:127.0.0.1",
      `IP:${network.apiServiceAddress}`,
      "DNS:localhost",
      "DNS:kubernetes",
      "DNS:kubernetes.default",
      "DNS:kubernetes.default.svc",
      "DNS:kubernetes.default.svc.cluster.local",
    ].join(","),
  },
  {
    name: "kubelet-server",
    commonName: network.nodeName,
    server: `DNS:${network.nodeName},IP:${network.nodeAddress}`,
  },
  { name: "admin", commonName: "packetboat-e2e-admin", organization: "system:masters" },
  { name: "apiserver-to-kubelet", commonName: "kube-apiserver", organization: "system:masters" },
  { name: "kube-controller-manager", commonName: "system:kube-controller-manager" },
  { name: "kube-scheduler", commonName: "system:kube-scheduler" },
  { name: "kube-proxy", commonName: "system:kube-proxy" },
  { name: "kubelet", commonName: `system:node:${network.nodeName}`, organization: "system:nodes" },
  { name: "coredns", commonName: "system:coredns" },
  { name: "provisioner", commonName: "packetboat-e2e-provisioner", organization: "system:masters" },
];

export async function makeCertificates(): Promise<void> {
  mkdirSync(paths.certificates, { recursive: true, mode: 0o700 });
  await openssl(
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-days",
    "3650",
    "-subj",
    "/CN=packetboat-e2e",
    "-keyout",
    key("ca"),
    "-out",
    certificate("ca"),
  );
  for (const identity of identities) await issue(identity);
  await openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key("service-accounts"));
  await openssl("pkey", "-in", key("service-accounts"), "-pubout", "-out", serviceAccountsPublicKey);
  for (const { name, server } of identities) if (server === undefined) writeKubeconfig(name, kubeconfig(name));
  writeKubeconfig("admin", paths.kubeconfig);
}

async function issue({ name, commonName, organization, server }: Identity): Promise<void> {
  const subject = `${organization === undefined ? "" : `/O=${organization}`}/CN=${commonName}`;
  const extensions = [
    "-addext",
    "basicConstraints=critical,CA:FALSE",
    "-addext",
    "keyUsage=critical,digitalSignature",
    "-addext",
    `extendedKeyUsage=${server === undefined ? "clientAuth" : "serverAuth"}`,
    ...(server === undefined ? [] : ["-addext", `subjectAltName=${server}`]),
  ];
  const request = join(paths.certificates, `${name}.csr`);
  await openssl(
    "req",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-subj",
    subject,
    ...extensions,
    "-keyout",
    key(name),
    "-out",
    request,
  );
  await openssl(
    "x509",
    "-req",
    "-in",
    request,
    "-CA",
    certificate("ca"),
    "-CAkey",
    key("ca"),
    "-CAcreateserial",
    "-days",
    "3650",
    "-copy_extensions",
    "copyall",
    "-out",
    certificate(name),
  );
}

const openssl = (...args: string[]): Promise<string> => run("openssl", args);

/** A kubeconfig is JSON here, which is YAML too. The certificates are in it, so the file can be handed to anything as it is. */
function writeKubeconfig(name: string, file: string): void {
  const encoded = (path: string): string => readFileSync(path).toString("base64");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: "e2e", cluster: { server: apiServerUrl, "certificate-authority-data": encoded(certificate("ca")) } },
    ],
    users: [
      {
        name,
        user: { "client-certificate-data": encoded(certificate(name)), "client-key-data": encoded(key(name)) },
      },
    ],
    contexts: [{ name: "e2e", context: { cluster: "e2e", user: name } }],
    "current-context": "e2e",
  };
  writeFileSync(file, JSON.stringify(config, undefined, 2), { mode: 0o600 });
}
