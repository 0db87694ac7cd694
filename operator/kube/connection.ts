/**
 * How to reach the API server and as whom. First thing the operator does; every request asks it for credentials.
 *
 * In a pod: the service account's token and CA, re-read every minute because the kubelet rotates them, and at once after a 401. Elsewhere:
 * client-node's KubeConfig, which knows client certificates, exec plugins, OIDC, proxies. It is imported only then: loading it costs about
 * 80 MB of memory, and a pod needs none of it. Fails by throwing a sentence at start; later, an unreadable file keeps the last good one.
 */
import { existsSync, readFileSync } from "node:fs";
import type { Agent, RequestOptions } from "node:https";
import { homedir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "./clock.ts";

/** TLS side of a connection; a change of any of these makes new sockets. */
export interface TlsIdentity {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly pfx?: string | Buffer;
  readonly passphrase?: string;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsIdentity;
  /** Only where a proxy stands between: the agent that speaks to it. */
  readonly proxyAgent?: Agent;
}

export interface Connection {
  readonly server: URL;
  /** The namespace this process runs in, or the context's. */
  readonly namespace: string;
  /** `fresh` after a 401: forget what was cached. */
  credentials(fresh: boolean): Promise<Credentials>;
}

/** client-go's period; a projected token lives at least ten minutes. */
const rereadMs = 60_000;
const serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

/** KUBECONFIG, else the pod's service account, else ~/.kube/config. */
export async function connect(env: NodeJS.ProcessEnv = process.env): Promise<Connection> {
  if (env["KUBECONFIG"]) return fromKubeConfig();
  if (env["KUBERNETES_SERVICE_HOST"] && existsSync(join(serviceAccountFolder, "token"))) return inCluster(env);
  if (existsSync(join(homedir(), ".kube", "config"))) return fromKubeConfig();
  throw new Error(
    "No Kubernetes API: KUBECONFIG is not set, this is not a pod with a service account, and ~/.kube/config does not exist",
  );
}

export function inCluster(
  env: NodeJS.ProcessEnv = process.env,
  folder: string = serviceAccountFolder,
  clock: Clock = systemClock,
): Connection {
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = env["KUBERNETES_SERVICE_PORT_HTTPS"] ?? env["KUBERNETES_SERVICE_PORT"] ?? "443";
  const read = (): Credentials => ({
    headers: { authorization: `Bearer ${readFileSync(join(folder, "token"), "utf8").trim()}` },
    tls: { ca: readFileSync(join(folder, "ca.crt"), "utf8") },
  });
  const namespaceFile = join(folder, "namespace");
  return {
    server: new URL(`https://${host.includes(":") ? `[${host}]` : host}:${port}`),
    namespace: existsSync(namespaceFile) ? readFileSync(namespaceFile, "utf8").trim() : "default",
    credentials: cached(async () => read(), clock),
  };
}

/** From a file, or from where kubectl would look. */
export async function fromKubeConfig(file?: string, context?: string, clock: Clock = systemClock): Promise<Connection> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const load = () => {
    const config = new KubeConfig();
    if (file === undefined) config.loadFromDefault();
    else config.loadFromFile(file);
    if (context !== undefined) config.setCurrentContext(context);
    const cluster = config.getCurrentCluster();
    if (cluster === null || !cluster.server)
      throw new Error(`kubeconfig: context "${config.getCurrentContext()}" names no cluster`);
    return { config, cluster };
  };
  const { config, cluster } = load();
  return {
    server: new URL(cluster.server),
    namespace: config.getContextObject(config.getCurrentContext())?.namespace ?? "default",
    // Loaded anew each time: tools such as kind and cloud log-ins rewrite the file, and client-node's own token cache cannot be told to forget.
    credentials: cached(async () => {
      const now = load();
      const options: RequestOptions & { auth?: string } = {};
      await now.config.applyToHTTPSOptions(options);
      return asCredentials(options, now.cluster.proxyUrl !== undefined && now.cluster.proxyUrl !== "");
    }, clock),
  };
}

function asCredentials(options: RequestOptions, proxied: boolean): Credentials {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    // A token file may end in a newline, which client-node leaves in the header and Node then refuses to send.
    if (typeof value === "string") headers[name.toLowerCase()] = value.trim();
  }
  if (options.auth) headers["authorization"] = `Basic ${Buffer.from(options.auth).toString("base64")}`;
  const bytes = (value: unknown): string | Buffer | undefined =>
    typeof value === "string" || Buffer.isBuffer(value) ? value : undefined;
  const ca = bytes(options.ca);
  const cert = bytes(options.cert);
  const key = bytes(options.key);
  const pfx = bytes(options.pfx);
  return {
    headers,
    tls: {
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
      ...(pfx !== undefined && { pfx }),
      ...(options.passphrase !== undefined && { passphrase: options.passphrase }),
      ...(options.servername !== undefined && { servername: options.servername }),
      ...(options.rejectUnauthorized !== undefined && { rejectUnauthorized: options.rejectUnauthorized }),
    },
    ...(proxied && typeof options.agent === "object" && { proxyAgent: options.agent as Agent }),
  };
}

/** One read a minute, shared by all who ask at once; a failed re-read keeps the last good credentials. */
function cached(read: () => Promise<Credentials>, clock: Clock): Connection["credentials"] {
  let good: Credentials | undefined;
  let readAt = 0;
  let reading: Promise<Credentials> | undefined;
  return (fresh) => {
    if (reading !== undefined) return reading;
    if (good !== undefined && !fresh && clock.now() - readAt < rereadMs) return Promise.resolve(good);
    reading = read()
      .catch((error: unknown) => {
        if (good === undefined) throw error;
        return good;
      })
      .then((credentials) => {
        good = credentials;
        readAt = clock.now();
        return credentials;
      })
      .finally(() => {
        reading = undefined;
      });
    return reading;
  };
}
