/**
 * PodState: the shared state as the primary has it: what the shards of this pod share, and where a Remote is configured, what all pods do.
 *
 * Everything is counted here first and always, so that nobody waits for a Remote that is away: each question has 50 ms; after three in a row that failed none is asked
 * (the breaker is open) until a ping, once a second, is answered again. Then what is held here is told anew. A Remote that forgot is corrected by what this pod
 * knows. Mail is never refused because a Remote does not answer: local counts go on, with the log line shared-state-away and a metric.
 */
import type { SharedStateEndpoint } from "../config/limits.ts";
import type { LiveConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { MemorySharedState, type SharedState } from "../session/shared-state.ts";
import { LEASE_MS, type Remote } from "./remote.ts";

export type Connect = (endpoint: SharedStateEndpoint, server: string) => Promise<Remote>;

export interface PodStateMetrics {
  /** Whether it answers; undefined: there is none. */
  available(yes: boolean | undefined): void;
  asked(result: "answered" | "late" | "failed" | "skipped"): void;
}

const DEADLINE_MS = 50;
const TOLERATED = 3;
const BEAT_MS = 1000;
/** Pings in a row without an answer after which the connection is thought dead. */
const HANGING = 5;
const RENEW_MS = LEASE_MS / 3;
/** Places told at a time. */
const BATCH = 200;

class Late extends Error {}

/** Its failure is heard also when nobody waits any more. */
function withinDeadline<T>(answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Late(`no answer within ${DEADLINE_MS} ms`)), DEADLINE_MS);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

export class PodState implements SharedState {
  readonly #connect: Connect;
  readonly #log: Log;
  readonly #metrics: PodStateMetrics;
  readonly #now: () => number;
  readonly #local: MemorySharedState;
  #remote: Remote | undefined;
  #wanted = "";
  #isAway = false;
  #failures = 0;
  #unansweredPings = 0;
  #renewedMs = 0;
  #beat: NodeJS.Timeout | undefined;

  constructor(options: {
    readonly connect: Connect;
    readonly log: Log;
    readonly metrics: PodStateMetrics;
    readonly now?: () => number;
  }) {
    this.#connect = options.connect;
    this.#log = options.log;
    this.#metrics = options.metrics;
    this.#now = options.now ?? Date.now;
    this.#local = new MemorySharedState(this.#now);
  }

  /** The configuration has changed, or is there for the first time. */
  async apply({ server, sharedState }: Pick<LiveConfig, "server" | "sharedState">): Promise<void> {
    const wanted = sharedState === undefined ? "" : JSON.stringify([server.name, sharedState]);
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    this.#remote?.close();
    this.#remote = undefined;
    clearInterval(this.#beat);
    this.#beat = undefined;
    this.#metrics.available(undefined);
    if (sharedState === undefined) return;
    let remote: Remote;
    try {
      remote = await this.#connect(sharedState, server.name);
    } catch {
      // What is wrong may hold the URL, and so a password.
      this.#log.error({}, "shared-state-unusable");
      return;
    }
    if (this.#wanted !== wanted) return remote.close();
    this.#remote = remote;
    // Until the first ping is answered: a connection takes its time, and nobody has to wait for it.
    this.#isAway = true;
    this.#failures = 0;
    this.#unansweredPings = 0;
    this.#metrics.available(false);
    this.#beat = setInterval(() => void this.beat(), BEAT_MS);
    this.#beat.unref();
    await this.beat();
  }

  /** Once a second: is it there, is it there again, and what do we hold? */
  async beat(): Promise<void> {
    const remote = this.#remote;
    if (remote === undefined) return;
    try {
      await withinDeadline(remote.ping());
    } catch (error) {
      if (this.#remote !== remote) return;
      this.#failed(error);
      this.#unansweredPings += 1;
      if (this.#unansweredPings % HANGING === 0) remote.reconnect();
      return;
    }
    if (this.#remote !== remote) return;
    this.#unansweredPings = 0;
    const isBack = this.#isAway;
    if (isBack) {
      this.#isAway = false;
      this.#failures = 0;
      this.#metrics.available(true);
      this.#log.info({}, "shared-state-connected");
    }
    if (isBack || this.#now() - this.#renewedMs >= RENEW_MS) await this.#renew(remote);
  }

  async #renew(remote: Remote): Promise<void> {
    this.#renewedMs = this.#now();
    const keys = this.#local.heldKeys();
    for (let from = 0; from < keys.length && !this.#isAway && this.#remote === remote; from += BATCH) {
      await Promise.all(
        // What is held now, not when the list was made: it may have been given back meanwhile.
        keys.slice(from, from + BATCH).map((key) => this.#ask((each) => each.hold(key, this.#local.held(key)))),
      );
    }
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    // Once for each outage, and also for one that was there from the beginning.
    if (this.#failures !== TOLERATED) return;
    this.#isAway = true;
    this.#metrics.available(false);
    this.#log.warn(
      { error: error instanceof Error ? error.message.slice(0, 200) : "unknown", effect: "each pod counts for itself" },
      "shared-state-away",
    );
  }

  /** The Remote's answer; undefined where there is none in time. */
  async #ask<T>(question: (remote: Remote) => Promise<T>): Promise<{ readonly answer: T } | undefined> {
    const remote = this.#remote;
    if (remote === undefined) return undefined;
    if (this.#isAway) {
      this.#metrics.asked("skipped");
      return undefined;
    }
    try {
      const answer = await withinDeadline(question(remote));
      this.#failures = 0;
      this.#metrics.asked("answered");
      return { answer };
    } catch (error) {
      this.#metrics.asked(error instanceof Late ? "late" : "failed");
      if (this.#remote === remote) this.#failed(error);
      return undefined;
    }
  }

  async acquire(key: string, limit: number): Promise<boolean> {
    if (!(await this.#local.acquire(key, limit))) return false;
    const own = this.#local.held(key);
    const granted = await this.#ask((remote) => remote.claim(key, own, limit));
    if (granted?.answer !== false) return true;
    await this.#local.release(key);
    return false;
  }

  async release(key: string): Promise<void> {
    await this.#local.release(key);
    const own = this.#local.held(key);
    await this.#ask((remote) => remote.hold(key, own));
  }

  async add(key: string, amount: number, windowMs: number): Promise<number> {
    const here = await this.#local.add(key, amount, windowMs);
    const all = await this.#ask((remote) => remote.add(key, amount, windowMs));
    // A Remote that was emptied knows less than we do.
    return Math.max(here, all?.answer ?? 0);
  }

  async remember(key: string, value: string, ttlMs: number): Promise<void> {
    await this.#local.remember(key, value, ttlMs);
    await this.#ask((remote) => remote.remember(key, value, ttlMs));
  }

  async recall(key: string): Promise<string | undefined> {
    const all = await this.#ask((remote) => remote.recall(key));
    return all?.answer ?? (await this.#local.recall(key));
  }

  close(): void {
    clearInterval(this.#beat);
    const remote = this.#remote;
    this.#remote = undefined;
    remote?.close();
  }
}
