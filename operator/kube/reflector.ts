/**
 * A kind of object held in memory and kept true: list in pages, watch from there, resume where the watch broke, list again when the server
 * no longer remembers. The operator's only way of reading; `gather` takes its world from these stores.
 *
 * Promises: after `synced()` the store is some state the cluster really had, and it catches up within a back-off of at most `maxBackoffMs` after
 * any failure; an object that vanished while nobody watched is noticed at the next list; a failed list removes nothing. A handler
 * learns only that a key may have changed (level-triggered: what happened in between does not exist). Fails never: every error is logged,
 * counted, and waited out. `stop()` is silent.
 *
 *   listing ──ok──▶ watching ──time limit──▶ watching (resumes at the last resourceVersion)
 *      ▲               ├──connection, 5xx, 429, silence, broken line──▶ back-off ▶ watching (after `resumesBeforeRelist` in a row: listing)
 *      └──back-off─────┴──410, ERROR event 410, other 4xx, an event that makes no sense
 */
import type { KubeClient, Selection } from "./client.ts";
import { backoffMs, type Clock, sleep, systemClock } from "./clock.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { type ApiFailure, failed, StreamBroken, statusFailure } from "./transport.ts";
import { type KubeObject, keyOf, type Resource } from "./types.ts";

export interface ReflectorOptions extends Selection {
  readonly client: KubeClient;
  readonly resource: Resource;
  readonly log: Log;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock;
  /** 0 ≤ x < 1; a test hands in a constant. */
  readonly random?: () => number;
  /** Objects a page; halved when a page is too large to read. */
  readonly pageLimit?: number;
  readonly baseBackoffMs?: number;
  readonly maxBackoffMs?: number;
  /** The server ends a watch after once to twice this. */
  readonly watchSeconds?: number;
  /** API servers send a bookmark about every minute; nothing at all for longer than this is a dead connection. */
  readonly silenceMs?: number;
  readonly maxLineBytes?: number;
  /** Spares memory for kinds that are only read; what `Applier.apply` compares with needs the record of owners. */
  readonly withoutManagedFields?: boolean;
}

interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: Readonly<Record<string, unknown>>;
}

/** One list or one watch: what it did, and what comes next. `worked` ends a series of failures. */
interface Step {
  readonly next: "list" | "watch";
  readonly worked: boolean;
  readonly failure?: ApiFailure;
}

const resumesBeforeRelist = 5;
/** A watch that ends sooner than this without an event did not work, whatever the server says. */
const shortestWatchMs = 1000;

export class Reflector<T extends KubeObject = KubeObject> {
  readonly resource: Resource;
  readonly #options: ReflectorOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #store = new Map<string, T>();
  readonly #handlers: ((key: string) => void)[] = [];
  readonly #stopping = new AbortController();
  readonly #firstSync = Promise.withResolvers<void>();
  #synced = false;
  #pageLimit: number;
  #resourceVersion = "";
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions) {
    this.#options = options;
    this.resource = options.resource;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#pageLimit = options.pageLimit ?? 500;
  }

  /** Called with the key of every object that appeared, changed or vanished. Register before `start`. */
  onChange(handler: (key: string) => void): void {
    this.#handlers.push(handler);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends the watch; resolves when nothing of it runs any more. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#firstSync.resolve();
    await this.#running;
  }

  /** True once a complete list is in the store (and its keys went to the handlers). */
  hasSynced(): boolean {
    return this.#synced;
  }

  /** Resolves with the first sync, or with `stop`. */
  synced(): Promise<void> {
    return this.#firstSync.promise;
  }

  get(key: string): T | undefined {
    return this.#store.get(key);
  }

  /** All objects, or those of a namespace, in the order of their keys: what is built from them does not depend on who came first. */
  list(namespace?: string): readonly T[] {
    const keys = [...this.#store.keys()].sort();
    const prefix = namespace === undefined ? "" : `${namespace}/`;
    return keys.filter((key) => key.startsWith(prefix)).map((key) => this.#store.get(key) as T);
  }

  get size(): number {
    return this.#store.size;
  }

  async #run(): Promise<void> {
    const { log, metrics } = this.#options;
    const { signal } = this.#stopping;
    const kind = this.resource.kind;
    let failures = 0;
    let doing: Step["next"] = "list";
    while (!signal.aborted) {
      const step: Step = doing === "list" ? await this.#list() : await this.#watch();
      if (signal.aborted) return;
      if (doing === "list") metrics?.lists.inc({ kind, result: step.failure === undefined ? "done" : "failed" });
      else if (step.failure !== undefined) metrics?.watchRestarts.inc({ kind, reason: step.failure.reason });
      if (step.worked) failures = 0;
      doing = step.next;
      const { failure } = step;
      if (failure === undefined) continue;
      failures++;
      if (failures >= resumesBeforeRelist) doing = "list";
      // The server forgot our place: ordinary after a compaction, and the first time there is nothing to wait for.
      const waitMs = isGone(failure) && failures === 1 ? 0 : this.#backoff(failures);
      log[failures > 3 ? "warn" : "info"](
        {
          kind,
          code: failure.code,
          reason: failure.reason,
          message: failure.message,
          failures,
          waitMs: Math.round(waitMs),
        },
        doing === "list" ? "will list again" : "will resume the watch",
      );
      if (waitMs > 0) await sleep(this.#clock, waitMs, signal);
    }
  }

  #backoff(failures: number): number {
    const { baseBackoffMs = 500, maxBackoffMs = 10_000 } = this.#options;
    return backoffMs(failures, baseBackoffMs, maxBackoffMs) * (0.5 + this.#random() / 2);
  }

  /**
   * No resourceVersion is asked for: the list is the newest state, never an older one than this process or its predecessor has seen.
   * Success alone does not end a series of failures; only a watch that works does, so list-then-410 cannot spin.
   */
  async #list(): Promise<Step> {
    const { client, namespace, labelSelector, fieldSelector } = this.#options;
    const found = new Map<string, T>();
    let continueToken = "";
    let resourceVersion = "";
    do {
      const page = await client.list<T>(
        this.resource,
        {
          namespace,
          labelSelector,
          fieldSelector,
          limit: this.#pageLimit,
          ...(continueToken !== "" && { continueToken }),
        },
        { signal: this.#stopping.signal, timeoutMs: 60_000 },
      );
      if (!page.ok) {
        if (page.failure.reason !== "ReplyTooLarge" || this.#pageLimit <= 1) {
          return { next: "list", worked: false, failure: page.failure };
        }
        this.#pageLimit = Math.ceil(this.#pageLimit / 2);
        continue;
      }
      for (const item of page.value.items) found.set(keyOf(item), item);
      ({ continueToken, resourceVersion } = page.value);
    } while (continueToken !== "" || resourceVersion === "");
    this.#replaceStore(found);
    this.#resourceVersion = resourceVersion;
    return { next: "watch", worked: false };
  }

  /** The whole store changes before the first handler hears of it. */
  #replaceStore(found: ReadonlyMap<string, T>): void {
    const changed: string[] = [];
    for (const key of this.#store.keys()) {
      if (found.has(key)) continue;
      this.#store.delete(key);
      changed.push(key);
    }
    for (const [key, object] of found) {
      if (this.#put(key, object)) changed.push(key);
    }
    this.#countStored();
    for (const key of changed) this.#tell(key);
    if (this.#synced) return;
    this.#synced = true;
    this.#firstSync.resolve();
  }

  async #watch(): Promise<Step> {
    const {
      client,
      namespace,
      labelSelector,
      fieldSelector,
      watchSeconds = 300,
      silenceMs = 150_000,
      maxLineBytes,
    } = this.#options;
    const started = this.#clock.now();
    const opened = await client.watch(
      this.resource,
      {
        namespace,
        labelSelector,
        fieldSelector,
        resourceVersion: this.#resourceVersion,
        // Spread, so that all reflectors of all operators do not come back in the same second.
        timeoutSeconds: Math.round(watchSeconds * (1 + this.#random())),
      },
      { silenceMs, ...(maxLineBytes !== undefined && { maxLineBytes }) },
      { signal: this.#stopping.signal },
    );
    if (!opened.ok)
      return { next: mayResume(opened.failure) ? "watch" : "list", worked: false, failure: opened.failure };

    let events = 0;
    const worked = () => events > 0 || this.#clock.now() - started >= shortestWatchMs;
    try {
      for await (const line of opened.value) {
        if (this.#stopping.signal.aborted) break;
        const event = parseEvent(line);
        if (event === undefined) {
          return {
            next: "watch",
            worked: worked(),
            failure: failed(0, "TruncatedLine", "a line of the watch is not an event").failure,
          };
        }
        if (event.type === "ERROR") {
          const failure = statusFailure(event.object, Number(event.object["code"]) || 500);
          return { next: mayResume(failure) ? "watch" : "list", worked: worked(), failure };
        }
        if (!this.#take(event)) {
          const failure = failed(0, "MalformedReply", `a ${event.type} event has no name or resourceVersion`).failure;
          return { next: "list", worked: worked(), failure };
        }
        events++;
      }
    } catch (error) {
      if (!(error instanceof StreamBroken)) throw error;
      return { next: "watch", worked: worked(), failure: error.failure };
    }
    if (worked()) return { next: "watch", worked: true };
    return {
      next: "watch",
      worked: false,
      failure: failed(0, "ShortWatch", "the watch ended at once without an event").failure,
    };
  }

  /** Applies one event; false when it cannot be one. */
  #take(event: WatchEvent): boolean {
    const metadata = event.object["metadata"] as Partial<T["metadata"]> | undefined;
    const resourceVersion = metadata?.resourceVersion;
    if (typeof resourceVersion !== "string" || resourceVersion === "") return false;
    if (event.type !== "BOOKMARK") {
      if (typeof metadata?.name !== "string" || metadata.name === "") return false;
      const object = event.object as unknown as T;
      const key = keyOf(object);
      const changed = event.type === "DELETED" ? this.#store.delete(key) : this.#put(key, object);
      if (changed) {
        this.#countStored();
        this.#tell(key);
      }
    }
    this.#resourceVersion = resourceVersion;
    return true;
  }

  #put(key: string, object: T): boolean {
    const before = this.#store.get(key);
    this.#store.set(key, this.#options.withoutManagedFields ? withoutRecord(object) : object);
    return (
      before === undefined ||
      before.metadata.resourceVersion !== object.metadata.resourceVersion ||
      before.metadata.uid !== object.metadata.uid
    );
  }

  #tell(key: string): void {
    for (const handler of this.#handlers) {
      try {
        handler(key);
      } catch (error) {
        this.#options.log.error({ kind: this.resource.kind, key, error: String(error) }, "a change handler threw");
      }
    }
  }

  #countStored(): void {
    this.#options.metrics?.storedObjects.set({ kind: this.resource.kind }, this.#store.size);
  }
}

function withoutRecord<T extends KubeObject>(object: T): T {
  const { managedFields: _record, ...metadata } = object.metadata;
  return { ...object, metadata };
}

function isGone(failure: ApiFailure): boolean {
  return failure.code === 410 || failure.reason === "Expired" || failure.reason === "Gone";
}

/** Whether the place in the watch is still good after this failure. */
function mayResume(failure: ApiFailure): boolean {
  // A restored etcd is younger than what we saw: waiting for it to catch up would be waiting for a different world.
  if (failure.causes?.some((cause) => cause.reason === "ResourceVersionTooLarge")) return false;
  return failure.code === 0 || failure.code === 429 || (failure.code >= 500 && !isGone(failure));
}

const eventTypes: ReadonlySet<unknown> = new Set(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]);

function parseEvent(line: string): WatchEvent | undefined {
  try {
    const event = JSON.parse(line) as Partial<WatchEvent> | null;
    if (event === null || !eventTypes.has(event.type) || typeof event.object !== "object" || event.object === null)
      return undefined;
    return event as WatchEvent;
  } catch {
    return undefined;
  }
}
