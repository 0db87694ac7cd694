/**
 * One shard: a whole MTA in a process. It accepts, queues and delivers its own mail and shares no lock with its siblings.
 *
 * Wires the parts in the order of a message's life; the parts know nothing of each other but their ports. Ends by the primary's `drain`, or by
 * itself (exit 75) when its queue failed for good, so that the primary starts it into recovery.
 */
import { join } from "node:path";
import type { FlushAnswer } from "./admin/domain-flush.ts";
import { History } from "./admin/history.ts";
import { shardMethods, shardTools } from "./admin/shard-tools.ts";
import { loadConfig, ParsedFiles } from "./config/load.ts";
import { type PackedConfig, unpackConfig } from "./config/packed.ts";
import type { LiveConfig } from "./config/schema.ts";
import { createDeliver } from "./deliver/create.ts";
import { nameOfClient } from "./dns/reverse.ts";
import { createResolver } from "./dns/resolver.ts";
import { Peer } from "./ipc.ts";
import { startListeners } from "./listen/listeners.ts";
import { LiveLookups } from "./lookup/live.ts";
import type { Log } from "./observe/log.ts";
import { queueBytes, queueMessages, queueOldestSeconds, queueRecipients, registry } from "./observe/metrics.ts";
import type { ServerOptions } from "./options.ts";
import type { ShardStatus } from "./primary.ts";
import { adoptSpool } from "./queue/adopt.ts";
import { openQueue } from "./queue/sqlite-queue.ts";
import { Asking } from "./route/asking.ts";
import { resolveRecipient } from "./route/recipient.ts";
import { startScheduler } from "./schedule/scheduler.ts";
import type { SharedState } from "./session/shared-state.ts";
import { Verifier } from "./verify/verifier.ts";
import { readSelfSigned, withOwnCertificate } from "./tls/own-certificate.ts";

const SUMMARY_INTERVAL_MS = 2000;
/** How long a shard whose storage failed keeps saying 421 before it ends. */
const FAILED_GRACE_MS = 5000;
/** sysexits: a failure that another try may mend. */
const EX_TEMPFAIL = 75;

type Handlers = ConstructorParameters<typeof Peer>[1];

/** Listening from the first moment: what the primary says before there is somebody to answer would be lost, and it would wait in vain. */
function toPrimary(): { readonly peer: Peer; readonly answerWith: (handlers: Handlers) => void } {
  const ready = Promise.withResolvers<Handlers>();
  const later =
    (method: string) =>
    async (value: never): Promise<unknown> =>
      (await ready.promise)[method]?.(value);
  const methods = ["status", "reload", "metrics", "queue-summary", "queue-get", "queue-list", "drain", ...shardMethods];
  const peer = new Peer(
    {
      send: (message) => process.connected && (process.send?.(message) ?? false),
      onMessage: (listener) => void process.on("message", listener),
      // Without a primary nobody would stop us or take our place in the port: the queue keeps everything.
      onClose: (listener) => void process.once("disconnect", () => (listener(), process.exit(EX_TEMPFAIL))),
    },
    Object.fromEntries(methods.map((method) => [method, later(method)])),
  );
  return { peer, answerWith: ready.resolve };
}

/** The set on disk may be newer than the one asked for; newer is what everybody will run in a moment. */
async function mustLoad(directory: string, parsed: ParsedFiles): Promise<LiveConfig> {
  const result = await loadConfig(directory, undefined, { parsed });
  if (result.kind !== "loaded") throw new Error(`configuration: ${"message" in result ? result.message : result.kind}`);
  return result.config;
}

/** A shard that dies while the folder is broken comes back with the set the others run. */
async function firstConfig(options: ServerOptions, parsed: ParsedFiles, primary: Peer, log: Log): Promise<LiveConfig> {
  try {
    return await mustLoad(options.config, parsed);
  } catch (cause) {
    const lastGood = await primary.call<PackedConfig | null>("last-good", null, 60_000);
    if (lastGood === null) throw cause;
    const config = unpackConfig(lastGood);
    log.warn(
      { reason: String(cause), hash: config.hash },
      "the configuration on disk is refused, the last good one is used",
    );
    return config;
  }
}

/** Runs until told to end. What keeps it from starting reaches the primary, and so /readyz and status, besides the log. */
export async function runShard(options: ServerOptions, index: number, log: Log): Promise<void> {
  const channel = toPrimary();
  try {
    await serve(options, index, log, channel);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const lastWords: ShardStatus = { hash: undefined, notReady: `shard ${index} cannot start: ${reason}` };
    await channel.peer.call("status", lastWords, 1000).catch(() => undefined);
    throw cause;
  }
}

async function serve(
  options: ServerOptions,
  index: number,
  log: Log,
  { peer: primary, answerWith }: ReturnType<typeof toPrimary>,
): Promise<void> {
  const ownCertificate = await readSelfSigned(join(options.data, "tls"));
  const complete = (loaded: LiveConfig): LiveConfig => withOwnCertificate(loaded, ownCertificate);
  const parsed = new ParsedFiles();
  let config = complete(await firstConfig(options, parsed, primary, log));

  const history = new History();
  const queueFolder = join(options.data, "queue");
  const queue = await openQueue({
    path: join(queueFolder, `${index}.sqlite`),
    shard: index,
    minFreeBytes: () => config.server.queue.minFreeBytes,
    log,
    onSettled: (id, settlements, stored) => history.settled(id, settlements, stored),
  });
  const resolver = createResolver({ servers: () => config.server.outbound.resolvers });
  const lookups = new LiveLookups(config, log);
  const asking = new Asking(() => lookups.current, log);
  const delivering = createDeliver({ dataDir: options.data, resolver, log, hostname: config.server.hostname });
  const scheduler = startScheduler({
    queue,
    deliver: delivering.deliver,
    resolveRecipient,
    ask: asking.ask,
    config: () => config,
    log,
    shards: options.shards,
    onStuck: (reason) => {
      log.fatal({ reason }, "the queue does not answer; ending so that a new start recovers it");
      process.exit(EX_TEMPFAIL);
    },
  });
  for (const orphan of (process.env["PACKETBOAT_ORPHANS"] ?? "").split(",").filter((name) => name !== "")) {
    try {
      const messages = await adoptSpool(queue, join(queueFolder, orphan));
      log.info({ spool: orphan, messages }, "adopted the spool of a shard that is no more");
    } catch (cause) {
      // Its mail stays where it is and the next start tries again; that is no reason to take none.
      const reason = cause instanceof Error ? cause.message : String(cause);
      log.error({ spool: orphan, reason }, "cannot adopt the spool of a shard that is no more");
    }
  }

  let draining = false;
  let failedSinceMs: number | undefined;
  const status = (): ShardStatus => {
    const unavailable = queue.unavailable();
    return {
      hash: config.hash,
      notReady: draining
        ? "shutting down"
        : unavailable === undefined
          ? undefined
          : `shard ${index} takes no mail: ${unavailable.message}`,
    };
  };

  const shared: SharedState = {
    acquire: (key, limit) => primary.call<boolean>("acquire", { key, limit }, 2000),
    release: (key) => Promise.resolve(primary.tell("release", { key })),
    add: (key, amount, windowMs) => primary.call<number>("add", { key, amount, windowMs }, 2000),
    remember: (key, value, ttlMs) => primary.call<void>("remember", { key, value, ttlMs }, 2000),
    recall: async (key) => (await primary.call<string | null>("recall", { key }, 2000)) ?? undefined,
  };

  const verifier = new Verifier({
    config: () => config,
    resolve: asking.resolve,
    deliver: delivering.deliver,
    shared,
    log,
  });
  const inbound = await startListeners({
    verify: verifier.verify,
    standingOf: asking.standingOf,
    lookups: () => lookups.current,
    config: () => config,
    queue,
    onAccepted: (message) => {
      history.accepted(message);
      scheduler.submit(message);
    },
    addresses: options.listen,
    portOffset: options.portOffset,
    log,
    shared,
    flushDomain: (domain) => primary.call<FlushAnswer>("flush-domain", { domain }, 10_000),
    resolver: { ...resolver, reverse: (address) => nameOfClient(resolver, address) },
  });

  answerWith({
    status,
    reload: async () => {
      const next = complete(await mustLoad(options.config, parsed));
      if (next.hash === config.hash) return status();
      config = next;
      lookups.apply(config);
      await inbound.applyConfig();
      scheduler.applyConfig();
      return status();
    },
    metrics: () => registry.getMetricsAsJSON(),
    "queue-summary": () => queue.summary(Date.now()),
    "queue-get": async (request: { id: string }) => {
      // What was said is for the postmaster's tools, not for the admin port.
      const { lastDialogue: _, ...message } = (await queue.get(request.id)) ?? {};
      return "id" in message ? message : null;
    },
    "queue-list": (request: { limit: number; after?: string }) => queue.list(request),
    ...shardTools({
      queue,
      history,
      scheduler,
      sendContent: (token, data) => primary.call<boolean>("content", { token, data }, 60_000),
      log,
    }),
    drain: async (request: { deadlineMs: number }) => {
      draining = true;
      // Deliveries go on while sessions end; both share the one deadline.
      await Promise.all([inbound.drain(request.deadlineMs), scheduler.drain(request.deadlineMs)]);
      verifier.close();
      delivering.close();
      await lookups.close();
      await queue.close();
      log.info({}, "drained");
      setImmediate(() => process.exit(0));
      return true;
    },
  });

  // A signal to the whole process group (a terminal's Ctrl-C) reaches us too; the primary says what to do.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => undefined);

  const watchQueue = async (): Promise<void> => {
    if (queue.unavailable()?.reason === "failed") {
      failedSinceMs ??= Date.now();
      if (Date.now() - failedSinceMs > FAILED_GRACE_MS) {
        log.fatal({ reason: queue.unavailable()?.message }, "the queue failed; ending so that a new start recovers it");
        process.exit(EX_TEMPFAIL);
      }
      return;
    }
    const summary = await queue.summary(Date.now());
    for (const [state, count] of Object.entries(summary.messages)) queueMessages.set({ state }, count);
    queueRecipients.set(summary.recipients);
    queueBytes.set(summary.bytes);
    queueOldestSeconds.set(summary.oldestMs / 1000);
  };
  setInterval(() => {
    if (!draining)
      watchQueue().catch((cause: unknown) => log.warn({ reason: String(cause) }, "queue totals not available"));
  }, SUMMARY_INTERVAL_MS);
  await watchQueue();

  await primary.call("status", status());
  log.info({ hash: config.hash, listening: inbound.ports(), pid: process.pid }, "shard ready");
}
