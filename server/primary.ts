/**
 * The primary process: starts and supervises the shards, hands them each complete configuration, answers the admin port, ends in good order.
 *
 * It never touches a message. A shard that dies is started anew with a growing pause (its spool is its own, so it finds its mail again); the others go on.
 * Ready while at least one shard takes mail; what is wrong with the others is told by /config, the metrics and the log.
 */
import cluster, { type Worker } from "node:cluster";
import { randomUUID } from "node:crypto";
import { readdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { DomainFlush } from "./admin/domain-flush.ts";
import { startControl } from "./admin/control.ts";
import { startAdmin } from "./admin/http.ts";
import { Tools } from "./admin/tools.ts";
import { packConfig } from "./config/packed.ts";
import type { LiveConfig } from "./config/schema.ts";
import { watchConfig } from "./config/watch.ts";
import { lockData } from "./data-lock.ts";
import { Peer } from "./ipc.ts";
import { aggregateText, type MetricsJson, primaryMetrics } from "./observe/aggregate.ts";
import type { Log } from "./observe/log.ts";
import type { ServerOptions } from "./options.ts";
import type { QueuedMessage, QueueSummary } from "./queue/queue.ts";
import { addSummaries } from "./queue/summary.ts";
import { Holdings } from "./shared/holdings.ts";
import { PodState } from "./shared/pod-state.ts";
import { selfSignedIn } from "./tls/own-certificate.ts";

/** What a shard says of itself, at start and once a second. */
export interface ShardStatus {
  readonly hash: string | undefined;
  readonly notReady: string | undefined;
}

interface Shard {
  readonly index: number;
  worker: Worker | undefined;
  peer: Peer | undefined;
  status: ShardStatus;
  /** Starts in a row that never took mail: the pause before the next grows with them. */
  failures: number;
  wasReady: boolean;
}

const STATUS_INTERVAL_MS = 1000;
const SEMI_SPACE = "--max-semi-space-size";
/**
 * A young generation of 16 MiB, the default, holds the garbage of an idle server; 4 are as fast under load. The old one may double before it is collected,
 * not quadruple: what waits there is the content of messages that have been delivered. The collector may be called (queue/between-messages.ts). Two helpers
 * of V8 do for one busy thread; with its usual four they take the cores from those who serve mail. Most code runs a few times a message: with V8's usual 400 and
 * 3000 calls a shard would still be compiling when it has served ten thousand (queue/tier-up.ts).
 */
const SHARD_FLAGS = [
  `${SEMI_SPACE}=4`,
  "--heap-growing-percent=100",
  "--expose-gc",
  "--v8-pool-size=2",
  "--invocation-count-for-maglev=100",
  "--invocation-count-for-turbofan=800",
];
/** Storage that is well again is found within this; a shard that cannot start costs little. */
const LONGEST_PAUSE_MS = 5000;
const STARTING = "starting";

/** Spools of shards that no longer exist, by the shard that takes them over. */
export function orphanSpools(names: readonly string[], shards: number): Map<number, string[]> {
  const orphans = new Map<number, string[]>();
  for (const name of names) {
    const index = Number(/^(\d{1,3})\.sqlite$/.exec(name)?.[1] ?? Number.NaN);
    if (!Number.isInteger(index) || index < shards) continue;
    orphans.set(index % shards, [...(orphans.get(index % shards) ?? []), name]);
  }
  return orphans;
}

export async function runPrimary(options: ServerOptions, log: Log): Promise<void> {
  const lock = lockData(options.data);
  const metrics = primaryMetrics();
  const podName = `${hostname()}-${randomUUID()}`;
  const sharedState = new PodState({
    // Loaded when it is wanted: without, the primary is smaller.
    connect: async (endpoint, server) =>
      new (await import("./shared/redis-remote.ts")).RedisRemote(endpoint, server, podName),
    log,
    metrics: metrics.sharedState,
  });
  let config: LiveConfig | undefined;
  let stopping = false;
  const orphans = orphanSpools(readdirSync(join(options.data, "queue")), options.shards);
  const shards: Shard[] = Array.from({ length: options.shards }, (_, index) => ({
    index,
    worker: undefined,
    peer: undefined,
    status: { hash: undefined, notReady: STARTING },
    failures: 0,
    wasReady: false,
  }));

  const setStatus = (shard: Shard, status: ShardStatus): void => {
    shard.status = status;
    if (status.notReady === undefined) shard.wasReady = true;
  };

  cluster.setupPrimary({
    execArgv: [...process.execArgv.filter((flag) => !flag.startsWith(SEMI_SPACE)), ...SHARD_FLAGS],
  });
  const start = (shard: Shard): void => {
    shard.wasReady = false;
    const worker = cluster.fork({
      // Two arenas do for one busy thread and its queue; the usual eight hold some idle megabytes each.
      MALLOC_ARENA_MAX: process.env["MALLOC_ARENA_MAX"] ?? "2",
      PACKETBOAT_SHARD: String(shard.index),
      PACKETBOAT_ORPHANS: (orphans.get(shard.index) ?? []).join(","),
    });
    const holdings = new Holdings(sharedState);
    shard.worker = worker;
    shard.peer = new Peer(
      {
        send: (message) => worker.isConnected() && worker.send(message as object),
        onMessage: (listener) => void worker.on("message", listener),
        onClose: (listener) => void worker.once("disconnect", listener),
      },
      {
        ...holdings.handlers,
        content: (piece: { token: string; data: string }) => tools.received(piece),
        "flush-domain": (request: { domain: string }) => domainFlush.ask(request.domain),
        "last-good": () => (config === undefined ? null : packConfig(config)),
        status: (status: ShardStatus) => {
          setStatus(shard, status);
          return true;
        },
      },
    );
    worker.once("exit", (code, signal) => {
      holdings.giveBack();
      metrics.depart(shard.index);
      shard.worker = undefined;
      shard.peer = undefined;
      // Its last words say more than we know.
      if (shard.status.hash !== undefined || shard.status.notReady === undefined) {
        shard.status = { hash: undefined, notReady: `shard ${shard.index} is down` };
      }
      if (stopping) return;
      shard.failures = shard.wasReady ? 0 : shard.failures + 1;
      // A shard that was killed is not one that cannot start: nobody waits seconds for it.
      const pauseMs = Math.min(signal === null ? LONGEST_PAUSE_MS : 500, 50 * 2 ** Math.min(shard.failures, 10));
      log.error({ shard: shard.index, code, signal, pauseMs }, "shard ended, starting it again");
      metrics.shardRestarts.inc();
      setTimeout(() => {
        if (!stopping) start(shard);
      }, pauseMs);
    });
  };

  const each = async <Answer>(method: string, value: unknown, timeoutMs?: number): Promise<Answer[]> =>
    Promise.all(
      shards.flatMap((shard) => (shard.peer === undefined ? [] : [shard.peer.call<Answer>(method, value, timeoutMs)])),
    );

  const summary = async (): Promise<QueueSummary> => addSummaries(await each<QueueSummary>("queue-summary", null));
  const tools = new Tools({
    shards: () =>
      shards.flatMap(({ index, peer }) => (peer === undefined ? [] : [{ index, call: peer.call.bind(peer) }])),
    shardCount: options.shards,
    count: async () => {
      const { messages } = await summary();
      return messages.active + messages.deferred + messages.hold + messages.corrupt;
    },
  });

  const domainFlush = new DomainFlush({
    flush: async (domain) => {
      const walk = tools.actOnAll("flush", { state: "deferred", domain });
      for (;;) {
        const step = await walk.next();
        if (step.done === true) return step.value.changed;
      }
    },
    log,
  });

  const watch = watchConfig(
    options.config,
    async (next) => {
      const first = config === undefined;
      if (first) {
        await selfSignedIn(join(options.data, "tls"), next.server.hostname);
        config = next;
        for (const shard of shards) start(shard);
      } else {
        // Each shard reads the folder itself: a set of a million addresses does not pass through the channel.
        await Promise.all(
          shards.map(async (shard) => {
            if (shard.peer !== undefined) setStatus(shard, await shard.peer.call<ShardStatus>("reload", null, 60_000));
          }),
        );
        config = next;
      }
      await sharedState.apply(next);
      metrics.configLoaded(next.hash, Date.now());
    },
    log,
  );

  const notReady = (): string | undefined => {
    if (stopping) return "shutting down";
    if (config === undefined) return `no configuration yet: ${watch.pending()?.message ?? "reading"}`;
    if (shards.some((shard) => shard.status.notReady === STARTING)) return "shards are starting";
    // One shard that takes mail is better than none: the others' trouble is in /config, in metrics and in status.
    if (shards.some((shard) => shard.status.notReady === undefined)) return undefined;
    return shards[0]?.status.notReady;
  };

  const admin = await startAdmin(
    options.listen,
    options.adminPort,
    {
      metrics: async () => {
        const answers = await Promise.allSettled(
          shards.map(
            async (shard) =>
              [
                shard.index,
                shard.peer === undefined ? undefined : await shard.peer.call<MetricsJson>("metrics"),
              ] as const,
          ),
        );
        for (const answer of answers)
          if (answer.status === "fulfilled" && answer.value[1] !== undefined)
            metrics.observe(answer.value[0], answer.value[1]);
        metrics.shards(
          shards.filter((shard) => shard.status.notReady === undefined).length,
          watch.pending() !== undefined,
        );
        return `${await aggregateText(metrics.all())}${await metrics.registry.metrics()}`;
      },
      notReady,
      config: () => {
        const pending = watch.pending();
        const hashes = new Set(shards.map((shard) => shard.status.hash));
        return {
          // Only what every shard runs may be called live.
          hash: hashes.size === 1 ? ([...hashes][0] ?? null) : null,
          loadedAt: config === undefined ? null : new Date(config.loadedAtMs).toISOString(),
          shards: shards.map((shard) => ({
            shard: shard.index,
            hash: shard.status.hash ?? null,
            notReady: shard.status.notReady ?? null,
          })),
          pending:
            pending === undefined
              ? null
              : { kind: pending.kind, message: pending.message, since: new Date(pending.sinceMs).toISOString() },
        };
      },
      queueSummary: summary,
      queueMessage: async (id) =>
        (await each<QueuedMessage | null>("queue-get", { id })).find((message) => message !== null),
      queueList: async (limit, after) =>
        (await each<QueuedMessage[]>("queue-list", { limit, after }))
          .flat()
          .sort((a, b) => (a.id < b.id ? -1 : 1))
          .slice(0, limit),
    },
    log,
  );
  const control = await startControl(
    options.data,
    {
      tools,
      info: () => ({
        hostname: config?.server.hostname ?? null,
        shards: options.shards,
        hash: config?.hash ?? null,
        listeners: (config?.server.listeners ?? []).map(({ name, role, port }) => ({
          name,
          role,
          port: port + options.portOffset,
        })),
      }),
      summary,
      verify: async (question) => {
        if (config === undefined) throw new Error("no configuration yet");
        // Policy, routing and DNS are loaded when somebody asks: the primary needs them for nothing else.
        const { verifyLive } = await import("./admin/verify.ts");
        return await verifyLive(config, question);
      },
    },
    log,
  );
  log.info({ admin: admin.addresses, shards: options.shards, pid: process.pid }, "primary started");

  const statusTimer = setInterval(() => {
    for (const shard of shards) {
      const { peer } = shard;
      peer?.call<ShardStatus>("status").then(
        (status) => {
          // What a shard said before it ended is not about the next one.
          if (shard.peer === peer) setStatus(shard, status);
        },
        () => undefined,
      );
    }
  }, STATUS_INTERVAL_MS);

  const stop = async (signal: string): Promise<void> => {
    if (stopping) return;
    stopping = true;
    log.info({ signal, drainMs: options.drainMs }, "stopping: no new connections, finishing what runs");
    watch.close();
    clearInterval(statusTimer);
    await Promise.all(
      shards.map(async (shard) => {
        const { worker, peer } = shard;
        if (worker === undefined || peer === undefined) return;
        const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
        const drained = await peer.call("drain", { deadlineMs: options.drainMs }, options.drainMs + 10_000).then(
          () => true,
          () => false,
        );
        // A shard that cannot drain is killed: the queue is made for that.
        if (!drained) worker.process.kill("SIGKILL");
        await ended;
      }),
    );
    sharedState.close();
    await Promise.all([admin.close(), control.close()]);
    lock.release();
    log.info({}, "stopped");
    process.exit(0);
  };
  process.once("SIGTERM", () => void stop("SIGTERM"));
  process.once("SIGINT", () => void stop("SIGINT"));
  // The embedded mode holds a channel: when that parent is gone, however it ended, nobody else would end us.
  process.once("disconnect", () => void stop("parent gone"));
}
