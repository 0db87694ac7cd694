/**
 * The scheduler of a shard: which mail is tried next, and how much of it at once.
 *
 * Stands between queue and delivery. Takes what the queue claims for it (attempt already counted on disk), sorts recipients by destination, starts
 * deliveries in turn over the destinations within each one's window, settles what came of them. Holds a bounded number of messages; more stays
 * on disk. Promises that every claimed recipient is settled or, when the process ends first, found again by the queue at its next start.
 * Storage that fails is logged and waited out; nothing is dialled for mail whose state cannot be recorded. RFC 5321 §4.5.4.1 (retry strategy).
 */
import type { LiveConfig } from "../config/schema.ts";
import type { Deliver, DeliveryJob, DeliveryReport } from "../deliver/deliver.ts";
import type { Log } from "../observe/log.ts";
import { deliverySeconds } from "../observe/metrics.ts";
import { type Queue, type QueuedMessage, type QueuedRecipient, QueueUnavailable } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import type { ResolveRecipient, Transport } from "../route/resolve.ts";
import { Attempts } from "./attempts.ts";
import { transportLabel } from "./delivery-log.ts";
import { Destination } from "./destination.ts";
import { sortRecipients } from "./sorting.ts";
import { deliverInTime, graceMs } from "./time-limit.ts";
import { feedbackOf } from "./trouble.ts";

export interface SchedulerOptions {
  readonly queue: Queue;
  readonly deliver: Deliver;
  readonly resolveRecipient: ResolveRecipient;
  readonly config: () => LiveConfig;
  readonly log: Log;
  readonly now?: () => number;
  /** Messages held at once; the rest waits in the queue. */
  readonly mostMessages?: number;
  /** How often to look for due mail when the queue names no time. */
  readonly pollMs?: number;
  /** The least time a delivery gets before it is cut off. */
  readonly deliveryMs?: number;
}

export interface SchedulerStats {
  readonly messages: number;
  readonly active: number;
  readonly waiting: number;
  readonly destinations: number;
}

export interface Scheduler {
  /** Freshly accepted and already claimed. */
  submit(message: QueuedMessage): void;
  /** The configuration changed: windows are looked at again; deferred mail keeps its time. */
  applyConfig(): void;
  /** Everything is due now, also for destinations that did not answer. Resolves to how many recipients. */
  flush(): Promise<number>;
  /** Claim nothing more, give back what waits, let deliveries under way finish; those that are not done in time are cut off. */
  drain(deadlineMs: number): Promise<void>;
  stats(): SchedulerStats;
}

/** Recipients of a message that go to one destination in one transaction. RFC 5321 §4.5.3.1.8: every server takes 100. */
export interface Job {
  readonly message: QueuedMessage;
  readonly recipients: readonly QueuedRecipient[];
  readonly transport: Transport;
  readonly claimedMs: number;
}

const claimAtOnce = 200;
const idleDestinationMs = 300_000;

export function startScheduler(options: SchedulerOptions): Scheduler {
  return new QueueScheduler(options);
}

class QueueScheduler implements Scheduler {
  readonly #options: SchedulerOptions;
  readonly #now: () => number;
  readonly #mostMessages: number;
  readonly #attempts: Attempts;
  readonly #destinations = new Map<string, Destination<Job>>();
  /** Destinations that may start a job, in the order of their turn. */
  readonly #turn = new Set<Destination<Job>>();
  readonly #running = new Set<AbortController>();
  /** Messages held, with how many of their jobs or settlements are open. */
  readonly #open = new Map<string, number>();
  #active = 0;
  #timer: NodeJS.Timeout | undefined;
  #polling: Promise<void> | undefined;
  #draining = false;
  #starved = false;
  #whenIdle: (() => void) | undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#mostMessages = options.mostMessages ?? 2000;
    this.#attempts = new Attempts({ queue: options.queue, config: options.config, log: options.log, now: this.#now });
    this.#pollIn(0);
  }

  submit(message: QueuedMessage): void {
    // Accepting is faster than delivering: what does not fit goes back to disk instead of into memory.
    if (this.#draining || this.#open.size >= 2 * this.#mostMessages) {
      this.#starved = true;
      this.#track(message.id, this.#settled(this.#attempts.giveBack(message, message.recipients)));
    } else this.#take(message);
  }

  applyConfig(): void {
    this.#pump();
  }

  async flush(): Promise<number> {
    for (const destination of this.#destinations.values()) destination.revive();
    const count = await this.#options.queue.flush(this.#now());
    this.#pollIn(0);
    return count;
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    clearTimeout(this.#timer);
    for (const destination of this.#destinations.values()) {
      for (const job of destination.waiting.splice(0))
        this.#finish(job, this.#settled(this.#attempts.giveBack(job.message, job.recipients)));
    }
    this.#turn.clear();
    // A claim under way still brings mail, which `submit` gives back.
    await this.#polling;
    if (await this.#idleWithin(deadlineMs)) return;
    for (const controller of this.#running) controller.abort(new Error("shutting down"));
    // What still does not end stays claimed on disk, and is due at the next start.
    await this.#idleWithin(graceMs);
  }

  stats(): SchedulerStats {
    let waiting = 0;
    for (const destination of this.#destinations.values()) waiting += destination.waiting.length;
    return { messages: this.#open.size, active: this.#active, waiting, destinations: this.#destinations.size };
  }

  #idleWithin(ms: number): Promise<boolean> {
    if (this.#open.size === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), ms);
      this.#whenIdle = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }

  #pollIn(ms: number): void {
    if (this.#draining) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#polling ??= this.#poll().finally(() => {
        this.#polling = undefined;
      });
    }, ms);
  }

  /** Take what is due, as much as there is room for; then sleep until the next is due, at most the polling time. */
  async #poll(): Promise<void> {
    if (this.#draining) return;
    const { queue, log, pollMs = 1000 } = this.#options;
    let sleepMs = pollMs;
    try {
      const room = Math.min(claimAtOnce, this.#mostMessages - this.#open.size);
      this.#starved = room <= 0;
      const claimed = room <= 0 ? [] : await queue.claimDue(this.#now(), room);
      for (const message of claimed) this.submit(message);
      if (room > 0 && claimed.length >= room) sleepMs = 0;
      else if (room > 0) {
        const nextMs = await queue.nextDueMs();
        if (nextMs !== undefined) sleepMs = Math.min(pollMs, Math.max(5, nextMs - this.#now()));
      }
    } catch (error) {
      const reason = error instanceof QueueUnavailable ? error.reason : "error";
      log.error({ event: "queue-claim-failed", reason, error: String(error) });
    }
    this.#forgetIdleDestinations();
    this.#pollIn(sleepMs);
  }

  #take(message: QueuedMessage): void {
    const claimedMs = this.#now();
    const sorted = sortRecipients(this.#options.config(), this.#options.resolveRecipient, message);
    if (sorted.decided.length > 0) {
      this.#track(message.id, this.#settled(this.#attempts.decide(message, sorted.decided, claimedMs)));
    }
    for (const { transport, recipients } of sorted.groups) {
      this.#count(message.id, 1);
      const destination = this.#destination(transport);
      destination.waiting.push({ message, recipients, transport, claimedMs });
      this.#turn.add(destination);
    }
    this.#pump();
  }

  #destination(transport: Transport): Destination<Job> {
    const limit = transport.connections ?? this.#options.config().server.outbound.destinationConcurrency;
    const known = this.#destinations.get(transport.destination);
    if (known !== undefined) {
      known.limit = limit;
      return known;
    }
    const destination = new Destination<Job>(transport.destination, limit, this.#now());
    this.#destinations.set(transport.destination, destination);
    return destination;
  }

  /** One job from each destination in turn, while there is room: a long queue for one holds up nobody else. */
  #pump(): void {
    const { concurrency } = this.#options.config().server.outbound;
    for (const destination of this.#turn) {
      if (this.#draining) return;
      this.#turn.delete(destination);
      const nowMs = this.#now();
      if (destination.isDead(nowMs)) {
        this.#deferAll(destination);
        continue;
      }
      if (!destination.canStart) continue;
      if (this.#active >= concurrency) {
        this.#turn.add(destination);
        return;
      }
      const job = destination.waiting.shift();
      if (job === undefined) continue;
      destination.active += 1;
      this.#active += 1;
      void this.#run(job, destination);
      // Behind all the others; the loop comes by again while it can start more.
      if (destination.canStart) this.#turn.add(destination);
    }
  }

  #deferAll(destination: Destination<Job>): void {
    const { code, enhanced, text } = destination.deadReply ?? {
      code: 451,
      enhanced: "4.4.1",
      text: "destination does not answer",
    };
    const reply: Reply = {
      code: code >= 500 ? 451 : code,
      enhanced: code >= 500 ? "4.4.1" : enhanced,
      text: `delivery temporarily suspended: ${text}`,
    };
    for (const job of destination.waiting.splice(0)) {
      const outcomes = job.recipients.map(({ number }) => ({
        recipient: number,
        kind: "failed" as const,
        reply,
        scope: "destination" as const,
      }));
      const report: DeliveryReport = { outcomes, connectMs: 0, transmitMs: 0 };
      this.#finish(job, this.#settled(this.#attempts.record(job, report, this.#now(), false)));
    }
  }

  async #run(job: Job, destination: Destination<Job>): Promise<void> {
    const startedMs = this.#now();
    const controller = new AbortController();
    this.#running.add(controller);
    const { deliver, queue, config, log, deliveryMs } = this.#options;
    const delivery: DeliveryJob = {
      message: job.message,
      recipients: job.recipients,
      transport: job.transport,
      content: () => queue.read(job.message.id),
      config: config(),
      signal: controller.signal,
    };
    const report = await deliverInTime(deliver, delivery, controller, log, deliveryMs);
    this.#running.delete(controller);
    deliverySeconds.observe(
      { transport: transportLabel(job.transport) },
      (report.connectMs + report.transmitMs) / 1000,
    );

    const feedback = feedbackOf(report);
    const failure = report.outcomes.find((outcome) => outcome.kind === "failed");
    const cutOff = this.#draining && controller.signal.aborted;
    if (!cutOff) {
      const wasAlive = !destination.isDead(this.#now());
      destination.learn(feedback, failure?.reply, this.#now(), this.#options.config().server.queue.minBackoffMs);
      if (wasAlive && destination.isDead(this.#now())) {
        this.#options.log.warn({
          event: "destination-suspended",
          destination: destination.key,
          reply: failure?.reply.text,
        });
      }
    }
    destination.active -= 1;
    destination.idleSinceMs = this.#now();
    this.#active -= 1;
    if (destination.waiting.length > 0) this.#turn.add(destination);
    this.#finish(job, this.#settled(this.#attempts.record(job, report, startedMs, cutOff)));
    this.#pump();
  }

  /** What a settlement brings back claimed (reports, expansions) goes on at once. */
  async #settled(settling: Promise<readonly QueuedMessage[]>): Promise<void> {
    for (const message of await settling) this.submit(message);
  }

  #finish(job: Job, settling: Promise<void>): void {
    this.#track(job.message.id, settling);
    this.#count(job.message.id, -1);
  }

  #track(id: string, work: Promise<void>): void {
    this.#count(id, 1);
    void work
      .catch((error: unknown) => this.#options.log.error({ event: "settle-failed", id, error: String(error) }))
      .finally(() => this.#count(id, -1));
  }

  #count(id: string, change: 1 | -1): void {
    const count = (this.#open.get(id) ?? 0) + change;
    if (count > 0) this.#open.set(id, count);
    else this.#open.delete(id);
    if (this.#open.size === 0) {
      this.#whenIdle?.();
      this.#whenIdle = undefined;
    }
    if (this.#starved && this.#open.size < this.#mostMessages / 2) {
      this.#starved = false;
      this.#pollIn(0);
    }
  }

  #forgetIdleDestinations(): void {
    const nowMs = this.#now();
    for (const [key, destination] of this.#destinations) {
      const idle = destination.active === 0 && destination.waiting.length === 0 && !destination.isDead(nowMs);
      if (idle && nowMs - destination.idleSinceMs > idleDestinationMs) this.#destinations.delete(key);
    }
  }
}
