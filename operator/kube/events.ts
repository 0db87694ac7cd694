/**
 * Tells a person, in `kubectl describe`, what changed: events.k8s.io/v1 Events on the objects they wrote. Last thing after a status change, and only
 * for transitions of a condition, so a restarted operator that finds everything as it was says nothing.
 *
 * Promises: never in the way: `record` returns at once, nothing waits for it, and what cannot be sent is counted and dropped. The same event
 * again within six minutes becomes a series (a count, written at most once a minute); one object gets at most a burst of 25 and then one every five
 * minutes, all together ten a second. Only the leader speaks.
 */
import { sha256 } from "../../server/config/canonical.ts";
import type { KubeClient } from "./client.ts";
import { type Clock, microTime, systemClock } from "./clock.ts";
import type { Leadership } from "./lease.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { ApiResult } from "./transport.ts";
import { apiVersionOf, type Condition, type KubeObject, keyOf, resources } from "./types.ts";

export interface EventText {
  readonly type: "Normal" | "Warning";
  /** From the closed set of condition reasons. */
  readonly reason: string;
  /** What the operator was doing: Validate, Render, Drain, … */
  readonly action: string;
  readonly note: string;
}

export interface RecorderOptions {
  readonly client: KubeClient;
  readonly leadership: Leadership;
  /** Name of this process, as in the Lease. */
  readonly instance: string;
  readonly log: Log;
  readonly metrics?: Metrics | undefined;
  readonly clock?: Clock;
}

interface Series {
  readonly namespace: string;
  readonly name: string;
  /** False until the server has the first event of it. */
  created: boolean;
  count: number;
  lastAt: number;
  lastWall: number;
  writtenAt: number;
}

const controller = "mail.packetboat.io/operator";
const seriesMs = 6 * 60_000;
const seriesWriteMs = 60_000;
const maxQueue = 1000;
const maxSeries = 4096;

export class EventRecorder {
  readonly #options: RecorderOptions;
  readonly #clock: Clock;
  readonly #series = new Map<string, Series>();
  readonly #perObject = new Map<string, Bucket>();
  readonly #all: Bucket;
  readonly #queue: (() => Promise<ApiResult<unknown>>)[] = [];
  #sending: Promise<void> | undefined;
  #sequence = 0;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#all = new Bucket(this.#clock, 50, 100);
  }

  /** An event for every condition whose status or reason is not what it was. */
  transitions(regarding: KubeObject, before: readonly Condition[], after: readonly Condition[], action: string): void {
    for (const condition of after) {
      const was = before.find((other) => other.type === condition.type);
      if (was?.status === condition.status && was.reason === condition.reason) continue;
      // The very first word about a new object is worth an event only if it is a bad one or the summary.
      const bad = condition.status === "False";
      if (was === undefined && !bad && condition.type !== "Ready") continue;
      const note = `${condition.type}=${condition.status}: ${condition.message}`;
      this.record(regarding, { type: bad ? "Warning" : "Normal", reason: condition.reason, action, note });
    }
  }

  record(regarding: KubeObject, text: EventText): void {
    if (!this.#options.leadership.mayWrite()) return this.#drop("standby");
    const key = [regarding.metadata.uid ?? keyOf(regarding), text.type, text.reason, text.action, text.note].join("\0");
    const series = this.#series.get(key);
    if (series !== undefined && this.#clock.now() - series.lastAt < seriesMs) return this.#repeat(series);
    if (!this.#allowed(regarding)) return this.#drop("rate");
    this.#begin(key, regarding, text);
  }

  /** Resolves when everything recorded so far was sent or dropped; at a clean stop. */
  async flush(): Promise<void> {
    while (this.#sending !== undefined) await this.#sending;
  }

  #begin(key: string, regarding: KubeObject, text: EventText): void {
    const wall = this.#clock.wall();
    const namespace = regarding.metadata.namespace ?? "default";
    const unique = sha256(`${this.#options.instance} ${wall} ${this.#sequence++}`).slice(0, 16);
    const name = `${regarding.metadata.name.slice(0, 230)}.${unique}`;
    const series: Series = {
      namespace,
      name,
      created: false,
      count: 1,
      lastAt: this.#clock.now(),
      lastWall: wall,
      writtenAt: Number.NEGATIVE_INFINITY,
    };
    if (this.#series.size >= maxSeries) this.#forgetOldSeries();
    this.#series.set(key, series);
    const { apiVersion, kind, metadata } = regarding;
    const event = {
      apiVersion: apiVersionOf(resources.Event),
      kind: "Event",
      metadata: { name, namespace },
      eventTime: microTime(wall),
      reportingController: controller,
      reportingInstance: this.#options.instance.slice(0, 128),
      action: text.action.slice(0, 128),
      reason: text.reason.slice(0, 128),
      type: text.type,
      note: truncated(text.note, 1024),
      regarding: {
        apiVersion,
        kind,
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        resourceVersion: metadata.resourceVersion,
      },
    };
    this.#send("create", async () => {
      const result = await this.#options.client.create(resources.Event, event, this.#calls());
      series.created = result.ok;
      if (!result.ok) this.#series.delete(key);
      return result;
    });
  }

  #repeat(series: Series): void {
    series.count++;
    series.lastAt = this.#clock.now();
    series.lastWall = this.#clock.wall();
    if (series.lastAt - series.writtenAt < seriesWriteMs) return;
    series.writtenAt = series.lastAt;
    this.#send("update", async () => {
      if (!series.created) return { ok: true, value: undefined };
      const { count, lastWall, namespace, name } = series;
      const body = { series: { count, lastObservedTime: microTime(lastWall) } };
      const patch = { type: "application/merge-patch+json", body, fieldManager: "packetboat-operator" } as const;
      return await this.#options.client.patch(resources.Event, { namespace, name }, patch, this.#calls());
    });
  }

  #calls() {
    return { signal: this.#options.leadership.signal, timeoutMs: 10_000 };
  }

  #send(verb: "create" | "update", send: () => Promise<ApiResult<unknown>>): void {
    if (this.#queue.length >= maxQueue) return this.#drop("full");
    this.#queue.push(async () => {
      this.#options.metrics?.apiWrites.inc({ kind: "Event", verb });
      return await send();
    });
    this.#sending ??= this.#drain();
  }

  async #drain(): Promise<void> {
    // A turn later, so that `#sending` is set before this can end.
    await Promise.resolve();
    for (let send = this.#queue.shift(); send !== undefined; send = this.#queue.shift()) {
      if (!this.#options.leadership.mayWrite()) {
        this.#drop("standby");
        continue;
      }
      const result = await send();
      if (result.ok) continue;
      this.#drop("failed");
      this.#options.log.debug(
        { code: result.failure.code, reason: result.failure.reason, message: result.failure.message },
        "event not sent",
      );
    }
    this.#sending = undefined;
  }

  #allowed(regarding: KubeObject): boolean {
    const key = `${regarding.kind} ${keyOf(regarding)}`;
    if (this.#perObject.size >= maxSeries) {
      for (const [other, bucket] of this.#perObject) if (bucket.isFull()) this.#perObject.delete(other);
    }
    let bucket = this.#perObject.get(key);
    if (bucket === undefined) this.#perObject.set(key, (bucket = new Bucket(this.#clock, 25, 300_000)));
    return bucket.take() && this.#all.take();
  }

  #forgetOldSeries(): void {
    const now = this.#clock.now();
    for (const [key, series] of this.#series) if (now - series.lastAt >= seriesMs) this.#series.delete(key);
    const oldest = this.#series.keys().next();
    if (this.#series.size >= maxSeries && !oldest.done) this.#series.delete(oldest.value);
  }

  #drop(reason: "standby" | "rate" | "full" | "failed"): void {
    this.#options.metrics?.eventsDropped.inc({ reason });
  }
}

/** Token bucket: `burst` at once, then one every `everyMs`. */
class Bucket {
  readonly #clock: Clock;
  readonly #burst: number;
  readonly #everyMs: number;
  #tokens: number;
  #at: number;

  constructor(clock: Clock, burst: number, everyMs: number) {
    this.#clock = clock;
    this.#burst = burst;
    this.#everyMs = everyMs;
    this.#tokens = burst;
    this.#at = clock.now();
  }

  take(): boolean {
    this.#refill();
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  isFull(): boolean {
    this.#refill();
    return this.#tokens >= this.#burst;
  }

  #refill(): void {
    const now = this.#clock.now();
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) / this.#everyMs);
    this.#at = now;
  }
}

/** At most `bytes` of UTF-8, never half a character. */
function truncated(text: string, bytes: number): string {
  const buffer = Buffer.from(text);
  if (buffer.length <= bytes) return text;
  const cut = buffer
    .subarray(0, bytes - 3)
    .toString("utf8")
    .replace(/\uFFFD$/, "");
  return `${cut}…`;
}
