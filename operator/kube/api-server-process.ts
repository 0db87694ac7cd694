/**
 * A real kube-apiserver with its etcd, alone, for tests: no kubelet, no controllers, a folder of its own below the system's temporary one,
 * loopback ports, token authentication. The binaries are those e2e/cluster builds; where they are missing, `missingBinaries` says so.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { KubeClient } from "./client.ts";
import type { Connection } from "./connection.ts";

const token = "test-admin-token";

export interface ApiServerProcess {
  readonly connection: Connection;
  readonly client: KubeClient;
  /** Stops kube-apiserver only, as an upgrade would; `start` brings it back on the same port. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  stop(): Promise<void>;
}

interface Binaries {
  readonly etcd: string;
  readonly apiServer: string;
}

/** Why the real server cannot be started here; undefined when it can. */
export function missingBinaries(): string | undefined {
  return typeof binaries() === "string" ? (binaries() as string) : undefined;
}

function binaries(): Binaries | string {
  const etcd = [...(process.env["PATH"] ?? "").split(":"), "/usr/bin"]
    .map((folder) => join(folder, "etcd"))
    .find(isExecutable);
  if (etcd === undefined) return "etcd is not installed (package etcd-server)";
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "packetboat", "cluster");
  const built = (existsSync(cache) ? readdirSync(cache) : [])
    .map((folder) => join(cache, folder, "kube-apiserver"))
    .filter(isExecutable)
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  const apiServer = process.env["KUBE_APISERVER"] ?? built[0];
  if (apiServer === undefined) return "kube-apiserver is not built yet (e2e/cluster builds it)";
  return { etcd, apiServer };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export async function startApiServer(): Promise<ApiServerProcess> {
  const found = binaries();
  if (typeof found === "string") throw new Error(found);
  const folder = mkdtempSync(join(tmpdir(), "packetboat-api-"));
  const [etcdPort, peerPort, port] = await freePorts(3);
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(join(folder, "sa.key"), privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(join(folder, "tokens.csv"), `${token},admin,admin,system:masters\n`);
  const etcd = run(found.etcd, [
    "--data-dir",
    join(folder, "etcd"),
    "--listen-client-urls",
    etcdUrl,
    "--advertise-client-urls",
    etcdUrl,
    "--listen-peer-urls",
    peerUrl,
    "--initial-advertise-peer-urls",
    peerUrl,
    "--initial-cluster",
    `default=${peerUrl}`,
    "--unsafe-no-fsync",
  ]);
  const startServer = () =>
    run(found.apiServer, [
      "--etcd-servers",
      etcdUrl,
      "--bind-address",
      "127.0.0.1",
      "--secure-port",
      String(port),
      "--cert-dir",
      folder,
      "--token-auth-file",
      join(folder, "tokens.csv"),
      "--authorization-mode",
      "RBAC",
      "--service-account-issuer",
      "https://packetboat.test",
      "--service-account-key-file",
      join(folder, "sa.key"),
      "--service-account-signing-key-file",
      join(folder, "sa.key"),
      "--service-cluster-ip-range",
      "10.98.0.0/24",
      "--disable-admission-plugins",
      "ServiceAccount",
      "--enable-priority-and-fairness=false",
      "--profiling=false",
    ]);
  let server = startServer();
  let ca: string | undefined;
  const connection: Connection = {
    server: new URL(`https://127.0.0.1:${port}`),
    namespace: "default",
    credentials: async () => {
      // Written by the server itself at its first start: its certificate and the CA it made for it.
      ca ??= existsSync(join(folder, "apiserver.crt"))
        ? readFileSync(join(folder, "apiserver.crt"), "utf8")
        : undefined;
      return { headers: { authorization: `Bearer ${token}` }, tls: ca === undefined ? {} : { ca } };
    },
  };
  const client = new KubeClient({ connection });
  const stop = async () => {
    client.close();
    await ended(server);
    await ended(etcd);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await ready(client, server);
  } catch (error) {
    const why = `${(error as Error).message}\n${server.tail()}\n${etcd.tail()}`;
    await stop();
    throw new Error(why);
  }
  return {
    connection,
    client,
    pause: () => ended(server),
    async resume() {
      server = startServer();
      await ready(client, server);
    },
    stop,
  };
}

interface Process {
  readonly child: ChildProcess;
  tail(): string;
}

function run(command: string, parameters: readonly string[]): Process {
  const child = spawn(command, parameters, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => (output = (output + chunk.toString()).slice(-4000)));
  }
  child.on("error", (error) => (output += String(error)));
  return { child, tail: () => output };
}

function ended({ child }: Process): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return Promise.resolve();
  child.once("exit", () => resolve());
  child.kill("SIGKILL");
  return promise;
}

/** Ready when the default namespace is there: the last thing a fresh server makes that tests need. */
async function ready(client: KubeClient, server: Process): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const reply = await client.raw({ method: "GET", path: "/api/v1/namespaces/default", timeoutMs: 2000 });
    if (reply.ok) return;
    if (server.child.exitCode !== null) throw new Error(`kube-apiserver ended with ${server.child.exitCode}`);
    if (Date.now() > deadline) throw new Error(`kube-apiserver is not ready: ${reply.failure.message}`);
    await delay(100);
  }
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const { promise, resolve } = Promise.withResolvers<ReturnType<typeof createServer>>();
      const server = createServer().listen(0, "127.0.0.1", () => resolve(server));
      return promise;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
