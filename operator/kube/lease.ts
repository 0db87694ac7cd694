/**
 * Which of several operator processes may write: leader election on a Lease (coordination.k8s.io/v1), one writer at a time.
 *
 *   standby ──lease free, released, or not renewed for its whole duration by OUR clock──▶ leader ──renewed──▶ leader
 *      ▲                                                                                    │
 *      └──── `renewDeadlineMs` since the last renewal was SENT, or the lease names another ─┘   (stop: released at once)
 *
 * Promises: `mayWrite()` turns false, and `signal` aborts what is under way, at least `leaseDurationMs - renewDeadlineMs` before another process may take over,
 * whatever the clocks of the machines say: nobody reads the times in the Lease, each measures how long it has seen no change. Time asleep
 * (a paused virtual machine) counts against the leader. Fails towards standby: what cannot be renewed is lost, and tried for again.
 */
import type { KubeClient } from "./client.ts";
import { type Clock, microTime, sleep, systemClock } from "./clock.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { ApiFailure } from "./transport.ts";
import { apiVersionOf, type KubeObject, resources } from "./types.ts";

/** What every writer asks before it writes. */
export interface Leadership {
  mayWrite(): boolean;
  /** Aborts when the present leadership ends; aborted while there is none. */
  readonly signal: AbortSignal;
}

export interface LeaseObject extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

export interface LeaseOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Unique to this process: pod name and a random part, so that a restarted container is somebody else. */
  readonly identity: string;
  readonly log: Log;
  readonly onElected?: () => void;
  readonly onLost?: (why: string) => void;
  readonly leaseDurationMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryMs?: number;
  readonly clock?: Clock;
  readonly metrics?: Metrics | undefined;
}

type Attempt = { readonly held: true } | { readonly held: false; readonly by?: string; readonly failure?: ApiFailure };

export class Lease implements Leadership {
  readonly #options: LeaseOptions;
  readonly #clock: Clock;
  readonly #leaseDurationMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryMs: number;
  readonly #stopping = new AbortController();
  /** The lease as last seen, and when we first saw it so. */
  #seen: { readonly lease: LeaseObject; readonly at: number } | undefined;
  #leading:
    | { readonly lost: AbortController; renewedAt: number; renewedWall: number; cancelDeadline: () => void }
    | undefined;
  #running: Promise<void> | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#leaseDurationMs = options.leaseDurationMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryMs = options.retryMs ?? 2_000;
    if (!(this.#retryMs < this.#renewDeadlineMs && this.#renewDeadlineMs < this.#leaseDurationMs)) {
      throw new Error("lease: retryMs < renewDeadlineMs < leaseDurationMs is what makes it safe");
    }
    if (this.#leaseDurationMs % 1000 !== 0) throw new Error("lease: leaseDurationMs must be whole seconds");
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Gives the lease back if it is ours, so that the next one need not wait for it to run out. Stop the writers first. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    if (this.#leading === undefined) return;
    const lease = this.#seen?.lease;
    this.#lose("stopped");
    if (lease === undefined) return;
    const now = microTime(this.#clock.wall());
    await this.#write({
      ...lease,
      spec: { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: now, acquireTime: now },
    });
  }

  /** Also false when the calendar says that the deadline has passed while our own clock stood still. */
  mayWrite(): boolean {
    const leading = this.#leading;
    if (leading === undefined) return false;
    return (
      this.#clock.now() - leading.renewedAt < this.#renewDeadlineMs &&
      this.#clock.wall() - leading.renewedWall < this.#renewDeadlineMs
    );
  }

  get signal(): AbortSignal {
    return this.#leading?.lost.signal ?? AbortSignal.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      // The time of asking counts, not that of the answer: the server may have acted at once and answered late.
      const askedAt = this.#clock.now();
      const askedWall = this.#clock.wall();
      const attempt = await this.#tryToHold();
      if (signal.aborted && !attempt.held) return;
      if (attempt.held) this.#hold(askedAt, askedWall);
      else if (attempt.by !== undefined) this.#lose(`held by ${attempt.by}`);
      else if (attempt.failure !== undefined) {
        const { code, reason, message } = attempt.failure;
        this.#options.log.warn(
          { code, reason, message, leading: this.#leading !== undefined },
          "lease not renewed, trying again",
        );
      }
      await sleep(this.#clock, this.#retryMs, signal);
    }
  }

  async #tryToHold(): Promise<Attempt> {
    const { client, namespace, name, identity } = this.#options;
    const signal = this.#stopping.signal;
    // While we hold it nobody else writes: the state after our last renewal is the present one, or the server says 409 and we look.
    if (this.#leading !== undefined && this.#seen !== undefined) {
      const renewed = await this.#write(this.#ours(this.#seen.lease));
      if (renewed.held || renewed.failure?.code !== 409) return renewed;
    }
    const found = await client.get<LeaseObject>(
      resources.Lease,
      { namespace, name },
      { signal, timeoutMs: this.#requestMs() },
    );
    if (!found.ok) {
      if (found.failure.code !== 404) return { held: false, failure: found.failure };
      return await this.#write(this.#ours(undefined), true);
    }
    const lease = found.value;
    if (this.#seen?.lease.metadata.resourceVersion !== lease.metadata.resourceVersion) {
      this.#seen = { lease, at: this.#clock.now() };
    }
    const seenFor = this.#clock.now() - (this.#seen?.at ?? this.#clock.now());
    const holder = lease.spec?.holderIdentity ?? "";
    if (holder !== "" && holder !== identity) {
      const durationMs = (lease.spec?.leaseDurationSeconds ?? this.#leaseDurationMs / 1000) * 1000;
      if (seenFor < durationMs) return { held: false, by: holder };
    }
    return await this.#write(this.#ours(lease));
  }

  #ours(before: LeaseObject | undefined): LeaseObject {
    const { namespace, name, identity } = this.#options;
    const now = microTime(this.#clock.wall());
    const same = before?.spec?.holderIdentity === identity;
    return {
      ...(before ?? { apiVersion: apiVersionOf(resources.Lease), kind: "Lease", metadata: { name, namespace } }),
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: this.#leaseDurationMs / 1000,
        acquireTime: (same ? before.spec?.acquireTime : undefined) ?? now,
        renewTime: now,
        leaseTransitions: before === undefined ? 0 : (before.spec?.leaseTransitions ?? 0) + (same ? 0 : 1),
      },
    };
  }

  /** With the resourceVersion we saw: of two who take an expired lease, one gets a 409. */
  async #write(lease: LeaseObject, create = false): Promise<Attempt> {
    const { client, metrics } = this.#options;
    const options = { timeoutMs: this.#requestMs() };
    metrics?.apiWrites.inc({ kind: "Lease", verb: create ? "create" : "update" });
    const result = create
      ? await client.create(resources.Lease, lease, options)
      : await client.replace(resources.Lease, lease, options);
    if (!result.ok) return { held: false, failure: result.failure };
    this.#seen = { lease: result.value, at: this.#clock.now() };
    return { held: true };
  }

  /** Half the deadline, so that one hung request leaves time for another. */
  #requestMs(): number {
    return Math.max(1000, Math.floor(this.#renewDeadlineMs / 2) - this.#retryMs / 2);
  }

  #hold(askedAt: number, askedWall: number): void {
    const elapsed = this.#clock.now() - askedAt;
    const leading = this.#leading;
    if (elapsed >= this.#renewDeadlineMs) return;
    const deadline = () => this.#clock.after(this.#renewDeadlineMs - elapsed, () => this.#lose("not renewed in time"));
    if (leading !== undefined) {
      leading.cancelDeadline();
      leading.renewedAt = askedAt;
      leading.renewedWall = askedWall;
      leading.cancelDeadline = deadline();
      return;
    }
    this.#leading = {
      lost: new AbortController(),
      renewedAt: askedAt,
      renewedWall: askedWall,
      cancelDeadline: deadline(),
    };
    this.#options.metrics?.leader.set(1);
    this.#options.log.info({ identity: this.#options.identity }, "elected leader");
    this.#options.onElected?.();
  }

  #lose(why: string): void {
    const leading = this.#leading;
    if (leading === undefined) return;
    this.#leading = undefined;
    leading.cancelDeadline();
    leading.lost.abort();
    this.#options.metrics?.leader.set(0);
    this.#options.log.info({ identity: this.#options.identity, why }, "no longer leader");
    this.#options.onLost?.(why);
  }
}

/** For the one process that needs no election (tests, tools). */
export const alwaysLeader: Leadership = { mayWrite: () => true, signal: new AbortController().signal };
