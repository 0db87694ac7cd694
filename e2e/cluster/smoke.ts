/**
 * Smoke: shows on a real cluster that `e2e/cluster` keeps its promises: an own image, a StatefulSet with a claimed volume run by a restricted
 * user, DNS, Service addresses, logs, exec, port-forward, a pod restart with its data kept, an API server stopped and started, the audit log.
 * Exits non-zero at the first promise that is broken. Leaves the cluster running, `--down` takes it down and looks for what was left behind.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildBaseImage, buildImage, type Cluster, down, ensureCluster, isWrite } from "./cluster.ts";
import { attempt, run } from "./command.ts";
import { sourceDirectory, stateDirectory } from "./layout.ts";
import { say, until } from "./progress.ts";

const tag = "packetboat.test/smoke:e2e";
const namespace = "cluster-smoke";

const labels = { app: "smoke" };
const objects = [
  {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: namespace, labels: { "pod-security.kubernetes.io/enforce": "restricted" } },
  },
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "smoke", namespace },
    spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }] },
  },
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "smoke-pods", namespace },
    spec: { clusterIP: "None", selector: labels, ports: [{ port: 8080 }] },
  },
  {
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    metadata: { name: "smoke", namespace },
    spec: {
      replicas: 2,
      serviceName: "smoke-pods",
      podManagementPolicy: "Parallel",
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          securityContext: { runAsNonRoot: true, fsGroup: 10002, seccompProfile: { type: "RuntimeDefault" } },
          containers: [
            {
              name: "smoke",
              image: tag,
              imagePullPolicy: "Never",
              securityContext: {
                allowPrivilegeEscalation: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ["ALL"] },
              },
              readinessProbe: { httpGet: { port: 8080, path: "/" }, periodSeconds: 1 },
              volumeMounts: [{ name: "data", mountPath: "/data" }],
            },
          ],
        },
      },
      volumeClaimTemplates: [
        {
          metadata: { name: "data" },
          spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
        },
      ],
    },
  },
];

async function loadSmokeImage(cluster: Cluster): Promise<void> {
  const context = mkdtempSync(join(tmpdir(), "packetboat-smoke-"));
  try {
    copyFileSync(process.execPath, join(context, "node"));
    copyFileSync(join(sourceDirectory, "smoke", "server.mjs"), join(context, "server.mjs"));
    const containerfile = join(sourceDirectory, "smoke", "Containerfile");
    const buildArgs = { BASE: await buildBaseImage() };
    await cluster.loadImage(await buildImage({ containerfile, context, tag, buildArgs }));
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const startedAt = new Date();
  const cluster = await ensureCluster();
  assert.equal(cluster.capabilities.stopApiServer, true, "this smoke run wants our own cluster: unset KUBECONFIG");
  const kubectl = (...args: string[]): Promise<string> => cluster.kubectl(["--namespace", namespace, ...args]);
  const exec = (...command: string[]): Promise<string> => kubectl("exec", "smoke-0", "--", ...command);

  await loadSmokeImage(cluster);
  say("image built and loaded");

  await kubectl("delete", "namespace", namespace, "--ignore-not-found");
  await cluster.kubectl(["apply", "-f", "-"], {
    input: JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }),
  });
  await kubectl("rollout", "status", "statefulset/smoke", "--timeout=90s");
  say("the StatefulSet runs, its claims are bound");

  assert.match(await kubectl("logs", "smoke-0"), /start 1/);
  assert.match(await exec("id"), /uid=10001.*10002/);
  assert.match(await exec("ls", "-ldn", "/data"), /^drwxrws?.* 10002 /, "fsGroup is honoured");
  assert.match(await exec("getent", "hosts", "smoke"), /^10\.96\./);
  const peer = `smoke-1.smoke-pods.${namespace}.svc.cluster.local`;
  assert.match(await exec("getent", "hosts", peer), /^10\.244\./);
  say("logs, exec, fsGroup and DNS work");

  const fetchIn = (url: string): Promise<string> =>
    exec("node", "-e", `fetch("${url}").then((r) => r.text()).then((t) => process.stdout.write(t))`);
  for (let i = 0; i < 4; i += 1) assert.equal(await fetchIn("http://smoke/"), "start 1"); // also its own pod, through the Service
  assert.equal(await fetchIn(`http://${peer}:8080/`), "start 1");
  const address = await kubectl("get", "service", "smoke", "-o", "jsonpath={.spec.clusterIP}");
  assert.equal(await (await fetch(`http://${address}/`)).text(), "start 1", "the host reaches Service addresses");
  const ca = "NODE_EXTRA_CA_CERTS=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
  const askApi =
    'fetch("https://kubernetes.default.svc/readyz").then((r) => r.text()).then((t) => process.stdout.write(t))';
  assert.equal(await exec("env", ca, "node", "-e", askApi), "ok", "pods reach the API server by its name");
  say("Service addresses work, from a pod and from the host");

  await portForward(cluster);
  say("port-forward works");

  cluster.serveZone(
    "made-up.test",
    "@ 1 IN SOA ns admin 1 1 1 1 1\n@ 1 IN NS ns\nns 1 IN A 192.0.2.1\n@ 1 IN MX 10 mx.made-up.test.\n",
  );
  const lookUpMx = 'require("dns").promises.resolveMx("made-up.test").then((r) => process.stdout.write(r[0].exchange))';
  await until("the zone to be served", 15_000, async () => (await exec("node", "-e", lookUpMx)) === "mx.made-up.test");
  cluster.stopServingZone("made-up.test");
  say("a test's own DNS zone works");

  await kubectl("delete", "pod", "smoke-0", "--wait=true");
  await kubectl("rollout", "status", "statefulset/smoke", "--timeout=60s");
  await until("smoke-0 to start again", 30_000, async () => (await kubectl("logs", "smoke-0")).includes("start 2"));
  say("a restarted pod finds its data");

  await cluster.stopApiServer();
  assert.equal(
    await attempt(cluster.program("kubectl"), ["get", "nodes", "--request-timeout=2s"], {
      environment: cluster.environment,
    }),
    false,
  );
  assert.match(await (await fetch(`http://${address}/`)).text(), /start/, "pods serve while the API server is down");
  await cluster.startApiServer();
  await kubectl("scale", "statefulset/smoke", "--replicas=3");
  await kubectl("rollout", "status", "statefulset/smoke", "--timeout=90s");
  say("the API server was stopped and started; controllers and provisioner went on");

  const audited = cluster.auditEvents(startedAt);
  const podWriters = audited.filter((event) => isWrite(event) && event.objectRef?.resource === "pods");
  assert.ok(podWriters.some((event) => event.user.username.endsWith(":statefulset-controller")));
  say(`the audit log has ${audited.length} requests`);

  await kubectl("delete", "namespace", namespace);
  await until("the volumes to be removed", 30_000, async () => globSync(`${cluster.volumesDirectory}/*`).length === 0);
  say("volumes are removed with their claims");
}

async function portForward(cluster: Cluster): Promise<void> {
  const args = ["--namespace", namespace, "port-forward", "service/smoke", ":80", "--address=127.0.0.1"];
  const child = spawn(cluster.program("kubectl"), args, {
    env: { ...process.env, ...cluster.environment },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const port = await new Promise<string>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", () => reject(new Error("kubectl port-forward ended")));
      child.stdout.on("data", (text) => {
        const found = /127\.0\.0\.1:(\d+)/.exec(String(text))?.[1];
        if (found) resolve(found);
      });
    });
    assert.match(await (await fetch(`http://127.0.0.1:${port}/`)).text(), /start 1/);
  } finally {
    child.removeAllListeners("exit");
    child.kill();
  }
}

/** What a machine looks like to the eye of someone who wonders what a cluster left behind. */
async function traces(): Promise<string> {
  const rules = await run("iptables-save", []);
  return [
    await run("ip", ["-brief", "address"]),
    await run("ip", ["route"]),
    rules
      .split("\n")
      .filter((line) => /\b(KUBE|CNI)-/.test(line))
      .join("\n"),
    readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .filter((line) => line.includes(stateDirectory) || line.includes("/netns/cni-"))
      .join("\n"),
    globSync("/sys/fs/cgroup/{,*/}kubepods").join("\n"),
    ...["net/ipv4/ip_forward", "vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"].map(
      (setting) => `${setting} ${readFileSync(`/proc/sys/${setting}`, "utf8")}`,
    ),
    await run("sh", ["-c", `ps -e -o args= | grep -F '${stateDirectory}' | grep -v -F grep || true`]),
  ].join("\n");
}

if (process.argv.includes("--down")) {
  await down();
  const before = await traces();
  await main();
  await down();
  assert.equal(await traces(), before, "down leaves nothing behind");
  assert.equal(existsSync(stateDirectory), false);
  say("nothing was left behind");
  const startedAt = performance.now();
  await ensureCluster();
  say(`up again in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  await down();
} else {
  await main();
}
say("smoke run passed");
