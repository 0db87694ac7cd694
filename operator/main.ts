/**
 * The operator: reads mail objects, writes what the MTA pods consume, tells in status whether a change is live. Never sees mail.
 *
 * One of several replicas holds the Lease and writes; the others keep their stores warm. Ends in good order on SIGTERM (the Lease is given back). Cannot start without an
 * API server address; afterwards an API server that is away is waited for.
 */
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { Command } from "commander";
import { Applier } from "./kube/apply.ts";
import { KubeClient } from "./kube/client.ts";
import { connect } from "./kube/connection.ts";
import { EventRecorder } from "./kube/events.ts";
import { Lease } from "./kube/lease.ts";
import { createLog } from "./kube/log.ts";
import { createMetrics } from "./kube/metrics.ts";
import { WorkQueue } from "./kube/work-queue.ts";
import { FleetReconciler } from "./reconcile/fleet.ts";
import { Stores } from "./reconcile/stores.ts";
import { STRAYS, wakeOnChanges } from "./reconcile/wake.ts";

interface OperatorOptions {
  readonly image: string;
  readonly metricsPort: number;
  readonly leaseNamespace?: string;
  readonly leaseName: string;
  readonly watchNamespaces: readonly string[];
}

const options = new Command("packetboat-operator")
  .description("Reconciles mail objects into what the MTA pods consume.")
  .requiredOption("--image <image>", "image of MTA pods whose MailServer names none")
  .option("--metrics-port <port>", "port of /metrics, /healthz and /readyz", Number, 8080)
  .option("--lease-namespace <namespace>", "namespace of the Lease; default: the operator's own")
  .option("--lease-name <name>", "name of the Lease", "packetboat-operator")
  .option(
    "--watch-namespaces <names>",
    "comma separated; default: all",
    (text) => text.split(",").filter((name) => name !== ""),
    [],
  )
  .parse()
  .opts<OperatorOptions>();

const log = createLog("operator");
for (const kind of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(kind, (cause: unknown) => {
    log.fatal({ err: cause }, kind);
    process.exit(70);
  });
}

const metrics = createMetrics();
const connection = await connect();
const operatorNamespace = process.env["POD_NAMESPACE"] ?? connection.namespace;
const client = new KubeClient({ connection, metrics });
const identity = `${process.env["POD_NAME"] ?? "operator"}-${randomBytes(4).toString("hex")}`;

const queue = new WorkQueue({
  name: "fleets",
  log,
  metrics,
  workers: 2,
  work: async (key, signal) => {
    if (!lease.mayWrite()) return undefined;
    if (key === STRAYS) return reconciler.explainStrays();
    return reconciler.reconcile(key, signal);
  },
});

const lookAtEverything = (): void => {
  if (!stores.hasSynced()) return;
  reconciler.invalidate();
  for (const key of reconciler.servers()) queue.add(key);
  queue.add(STRAYS);
};

const lease = new Lease({
  client,
  namespace: options.leaseNamespace ?? operatorNamespace,
  name: options.leaseName,
  identity,
  log,
  metrics,
  onElected: lookAtEverything,
});
const stores = new Stores({ client, log, metrics, namespaces: options.watchNamespaces });
const applier = new Applier({ client, leadership: lease, log, metrics });
const events = new EventRecorder({ client, leadership: lease, instance: identity, log, metrics });
const reconciler = new FleetReconciler({
  stores,
  client,
  applier,
  events,
  log,
  operatorNamespace,
  image: options.image,
});

for (const reflector of stores.reflectors()) applier.follow(reflector);

const http = createServer((request, response) => {
  const path = request.url?.split("?")[0];
  if (path === "/healthz") response.end("ok\n");
  else if (path === "/readyz")
    response.writeHead(stores.hasSynced() ? 200 : 503).end(stores.hasSynced() ? "ok\n" : "still reading the cluster\n");
  else if (path === "/metrics") {
    metrics.registry.metrics().then(
      (text) => response.setHeader("content-type", metrics.registry.contentType).end(text),
      (cause: unknown) => response.writeHead(500).end(String(cause)),
    );
  } else response.writeHead(404).end("see /metrics /healthz /readyz\n");
}).listen(options.metricsPort);

let stopping = false;
const stop = async (signal: string): Promise<void> => {
  if (stopping) return;
  stopping = true;
  log.info({ signal }, "stopping");
  await queue.stop();
  await events.flush();
  await lease.stop();
  await stores.stop();
  client.close();
  http.close();
  process.exit(0);
};
process.once("SIGTERM", () => void stop("SIGTERM"));
process.once("SIGINT", () => void stop("SIGINT"));

log.info({ server: connection.server.host, identity, namespaces: options.watchNamespaces }, "operator started");
lease.start();
wakeOnChanges(stores, reconciler, (key) => {
  // Before the first complete list of every kind a world would look half deleted.
  if (stores.hasSynced()) queue.add(key);
});
await stores.start();
queue.start();
lookAtEverything();
log.info({ servers: reconciler.servers() }, "stores complete");
