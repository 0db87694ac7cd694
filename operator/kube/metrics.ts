/**
 * What the operator counts, in its own registry: reconciles, queue, watches, API calls, leadership. Labels come from closed sets (kinds,
 * verbs, results), never from names of objects.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";

export type Metrics = ReturnType<typeof createMetrics>;

/** One set a process; a test makes its own. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  return {
    registry,
    reconciles: new Counter({
      name: "packetboat_operator_reconciles_total",
      help: "Reconciles by queue and result (done, failed).",
      labelNames: ["queue", "result"] as const,
      registers,
    }),
    reconcileSeconds: new Histogram({
      name: "packetboat_operator_reconcile_seconds",
      help: "Duration of one reconcile.",
      labelNames: ["queue"] as const,
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30],
      registers,
    }),
    queueDepth: new Gauge({
      name: "packetboat_operator_queue_depth",
      help: "Keys that wait for a worker.",
      labelNames: ["queue"] as const,
      registers,
    }),
    queueRetries: new Counter({
      name: "packetboat_operator_queue_retries_total",
      help: "Keys put back after a failure.",
      labelNames: ["queue"] as const,
      registers,
    }),
    lists: new Counter({
      name: "packetboat_operator_lists_total",
      help: "Complete lists of a kind, by result (done, failed).",
      labelNames: ["kind", "result"] as const,
      registers,
    }),
    watchRestarts: new Counter({
      name: "packetboat_operator_watch_restarts_total",
      help: "Watches that ended for another reason than the server's ordinary time limit.",
      labelNames: ["kind", "reason"] as const,
      registers,
    }),
    storedObjects: new Gauge({
      name: "packetboat_operator_stored_objects",
      help: "Objects held in memory.",
      labelNames: ["kind"] as const,
      registers,
    }),
    apiRequests: new Counter({
      name: "packetboat_operator_api_requests_total",
      help: "Requests to the API server by method and status code (0: no reply).",
      labelNames: ["method", "code"] as const,
      registers,
    }),
    apiRequestSeconds: new Histogram({
      name: "packetboat_operator_api_request_seconds",
      help: "Duration of requests to the API server, watches excepted.",
      labelNames: ["method"] as const,
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30],
      registers,
    }),
    apiWrites: new Counter({
      name: "packetboat_operator_api_writes_total",
      help: "Writes by kind and verb (apply, status, annotate, delete, create, update); none happens when nothing changed.",
      labelNames: ["kind", "verb"] as const,
      registers,
    }),
    writesSpared: new Counter({
      name: "packetboat_operator_api_writes_spared_total",
      help: "Writes not made because the cluster already had what was wanted.",
      labelNames: ["kind"] as const,
      registers,
    }),
    leader: new Gauge({ name: "packetboat_operator_leader", help: "1 while this process may write.", registers }),
    eventsDropped: new Counter({
      name: "packetboat_operator_events_dropped_total",
      help: "Events not sent, by reason (rate, full, failed, standby).",
      labelNames: ["reason"] as const,
      registers,
    }),
  };
}
