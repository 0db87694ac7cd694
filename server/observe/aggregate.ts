/**
 * Metrics of the whole server: the shards' numbers added up, and the primary's own.
 *
 * A shard that died takes its process along but not what it had counted: its last known counters stay in the sum, so a total never goes back.
 */
import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";

export type MetricsJson = readonly { readonly name: string; readonly type: string; readonly [key: string]: unknown }[];

/** Only what accumulates survives its process; a dead shard has no open connections and no queue. */
const accumulates = (metrics: MetricsJson): MetricsJson =>
  metrics.filter((metric) => metric.type === "counter" || metric.type === "histogram");

export function primaryMetrics() {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const shardRestarts = new Counter({
    name: "packetboat_shard_restarts_total",
    help: "Shards started again after they ended by themselves.",
    registers,
  });
  const configInfo = new Gauge({
    name: "packetboat_config_info",
    help: "1 for the hash of the running configuration.",
    labelNames: ["hash"] as const,
    registers,
  });
  const configLoaded = new Gauge({
    name: "packetboat_config_loaded_timestamp_seconds",
    help: "When the running configuration was taken.",
    registers,
  });
  const configPending = new Gauge({
    name: "packetboat_config_pending",
    help: "1 while a newer configuration is on disk that cannot be taken.",
    registers,
  });
  const shardsReady = new Gauge({ name: "packetboat_shards_ready", help: "Shards that take mail.", registers });
  const sharedStateAvailable = new Gauge({
    name: "packetboat_shared_state_available",
    help: "1 while the server of spec.sharedState answers, 0 while each pod counts for itself; absent without one.",
    // A label set that is removed again is no metric at all; without labels it would say 0.
    labelNames: ["kind"] as const,
    registers,
  });
  const sharedStateQuestions = new Counter({
    name: "packetboat_shared_state_questions_total",
    help: "Questions to the server of spec.sharedState, by result: answered, late (after 50 ms), failed, skipped (it is known to be away).",
    labelNames: ["result"] as const,
    registers,
  });
  const current = new Map<number, MetricsJson>();
  const departed = new Map<number, MetricsJson>();

  return {
    registry,
    shardRestarts,
    sharedState: {
      available(yes: boolean | undefined): void {
        if (yes === undefined) sharedStateAvailable.reset();
        else sharedStateAvailable.set({ kind: "redis" }, yes ? 1 : 0);
      },
      asked(result: "answered" | "late" | "failed" | "skipped"): void {
        sharedStateQuestions.inc({ result });
      },
    },
    configLoaded(hash: string, nowMs: number): void {
      configInfo.reset();
      configInfo.set({ hash }, 1);
      configLoaded.set(nowMs / 1000);
    },
    shards(ready: number, pending: boolean): void {
      shardsReady.set(ready);
      configPending.set(pending ? 1 : 0);
    },
    observe(shard: number, metrics: MetricsJson): void {
      current.set(shard, metrics);
    },
    depart(shard: number): void {
      const last = current.get(shard);
      if (last === undefined) return;
      const before = departed.get(shard);
      departed.set(shard, before === undefined ? accumulates(last) : mergeJson(before, accumulates(last)));
      current.delete(shard);
    },
    all(): MetricsJson[] {
      return [...current.values(), ...departed.values()];
    },
  };
}

/** Two snapshots of one shard's lives as one, by prom-client's own rule of addition. */
function mergeJson(a: MetricsJson, b: MetricsJson): MetricsJson {
  const byName = new Map<string, MetricsJson[number]>();
  const key = (value: { labels: object; metricName?: string }): string =>
    `${value.metricName ?? ""}${JSON.stringify(value.labels)}`;
  for (const metric of [...a, ...b]) {
    const known = byName.get(metric.name);
    if (known === undefined) {
      byName.set(metric.name, structuredClone(metric));
      continue;
    }
    const values = known["values"] as { value: number; labels: object; metricName?: string }[];
    const at = new Map(values.map((value) => [key(value), value]));
    for (const value of metric["values"] as typeof values) {
      const same = at.get(key(value));
      if (same === undefined) values.push(structuredClone(value));
      else same.value += value.value;
    }
  }
  return [...byName.values()];
}

export const aggregateText = (parts: readonly MetricsJson[]): Promise<string> =>
  AggregatorRegistry.aggregate([...parts] as object[]).metrics();
