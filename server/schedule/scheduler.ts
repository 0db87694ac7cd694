/**
 * The scheduler of a shard: which mail is tried next, and how much of it at once.
 *
 * Stands between queue and delivery. Takes what the queue claims for it (attempt already counted on disk), sorts recipients by destination, starts
 * deliveries in turn over the senders and each one's destinations (`rounds.ts`) within the destinations' windows and rates (`destination.ts`), settles
 * what came of them. Holds a bounded amount of mail, no sender more than is left for the others (`room.ts`); more stays on disk. Promises that every
 * claimed recipient is settled or, when the process ends first, found again by the queue at its next start; what does not move is noticed and healed
 * (`watchdog.ts`). Storage that fails is logged and waited out; nothing is dialled for mail whose state cannot be recorded. RFC 5321 §4.5.4.1.
 */
import type { LiveConfig } from "../config/schema.ts";
import { type Deliver, type DeliveryJob, type DeliveryReport, failedReport } from "../deliver/deliver.ts";
import type { Log } from "../observe/log.ts";
import { deliverySeconds } from "../observe/metrics.ts";
import { type Queue, type QueuedMessage, type QueuedRecipient, QueueUnavailable } from "../queue/queue.ts";
import { nullSenderKey, senderKey } from "../queue/sender-key.ts";
import type { Reply } from "../reply.ts";
import type { Routing } from "../route/asked.ts";
import type { Ask } from "../route/asking.ts";
import type { ResolveRecipient, Transport } from "../route/resolve.ts";
import { Attempts } from "./attempts.ts";
import { transportLabel } from "./delivery-log.ts";
import { Destination, type Shape } from "./destination.ts";
import { LostMail } from "./lost-mail.ts";
import { Room, weightOf } from "./room.ts";
import { type Answer, Rounds } from "./rounds.ts";
import { sortRecipients, type Sorted } from "./sorting.ts";
import { deliverInTime, failed, graceMs, longestDeliveryMs } from "./time-limit.ts";
import { feedbackOf } from "./trouble.ts";
import { Watchdog } from "./watchdog.ts";

export interface SchedulerOptions {
  readonly queue: Queue;
  readonly deliver: Deliver;
  readonly resolveRecipient: ResolveRecipient;
  /** Asks look-ups what sorting must know. Absent: objects alone decide. */
  readonly ask?: Ask;
  readonly config: () => LiveConfig;
  readonly log: Log;
  readonly now?: () => number;
  /** Monotonic: how long things take. */
  readonly elapsedMs?: () => number;
  /** Processes that share what is said of a pod: rates, and connections of a Route. */
  readonly shards?: number;
  /** Messages held at once; the rest waits in the queue. As many again while they come in from outside. */
  readonly mostMessages?: number;
  /** How often to look for due mail when the queue names no time. */
  readonly pollMs?: number;
  /** How often the watchdog looks. */
  readonly beatMs?: number;
  /** The least time a delivery gets before it is cut off. */
  readonly deliveryMs?: number;
  /** The queue has not answered for minutes: only a new start can help. */
  readonly onStuck?: (what: string) => void;
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
  /** An operator has made some mail due: it is looked for now, and destinations that did not answer are tried again. */
  wake(): void;
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
  readonly sender: string;
  readonly weight: number;
}

interface Running {
  readonly job: Job;
  readonly destination: Destination;
  readonly controller: AbortController;
  readonly startedMs: number;
  readonly sinceMs: number;
  /** In the lane of those that take long: it holds nobody else's place. */
  slow: boolean;
  ended: boolean;
  watched: () => void;
}

const claimAtOnce = 200;
const idleDestinationMs = 300_000;
/** A delivery that takes longer does not count among the others; as many again may be that slow. */
const slowMs = 5000;
/** Of all deliveries, what one sender must leave to the others: one in so many. */
const othersShare = 10;
/** A sender with less than this waiting is never the one who crowds a destination. */
const fewJobs = 10;
/** For mail that finds its destination crowded: how long it stays on disk before it is looked at again. */
const crowdedMs = 60_000;
const claimMs = 30_000;
const settlementMs = 60_000;
/** Nothing that the queue does takes so long. */
const stuckMs = 300_000;
/** Beyond the time limit of a delivery. */
const hungMs = 30_000;

export function startScheduler(options: SchedulerOptions): Scheduler {
  return new QueueScheduler(options);
}

class QueueScheduler implements Scheduler {
  readonly #options: SchedulerOptions;
  readonly #now: () => number;
  readonly #elapsedMs: () => number;
  readonly #mostMessages: number;
  readonly #attempts: Attempts;
  readonly #watchdog: Watchdog;
  readonly #lostMail: LostMail;
  readonly #destinations = new Map<string, Destination>();
  readonly #rounds = new Rounds<Destination, Job>();
  readonly #room = new Room();
  readonly #running = new Set<Running>();
  /** Messages held, with how many of their jobs or settlements are open. */
  readonly #open = new Map<string, number>();
  /** Deliveries under way that are not slow, altogether and by sender. */
  #active = 0;
  readonly #activeOf = new Map<string, number>();
  #slow = 0;
  #lastStartMs: number;
  readonly #rateTimers = new Map<Destination, NodeJS.Timeout>();
  #timer: NodeJS.Timeout | undefined;
  readonly #heartbeat: NodeJS.Timeout;
  #polling: Promise<void> | undefined;
  #polledMs: number;
  #draining = false;
  #starved = false;
  #whenIdle: (() => void) | undefined;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#elapsedMs = options.elapsedMs ?? (() => performance.now());
    this.#mostMessages = options.mostMessages ?? 2000;
    const { queue, config, log } = options;
    this.#attempts = new Attempts({ queue, config, log, now: this.#now });
    this.#watchdog = new Watchdog(log, this.#elapsedMs);
    this.#lostMail = new LostMail({
      queue,
      log,
      now: this.#now,
      elapsedMs: this.#elapsedMs,
      watchdog: this.#watchdog,
      open: this.#open,
    });
    this.#polledMs = this.#elapsedMs();
    this.#lastStartMs = this.#polledMs;
    this.#heartbeat = setInterval(() => this.#beat(), options.beatMs ?? 1000);
    this.#pollIn(0);
  }

  submit(message: QueuedMessage): void {
    const sender = senderKey(message.envelope, message.origin);
    if (this.#draining || !this.#admits(sender)) {
      // Accepting is faster than delivering: what does not fit goes back to disk instead of into memory.
      this.#starved = true;
      this.#track(message.id, this.#settled(this.#attempts.giveBack(message, message.recipients)));
    } else this.#take(message, sender);
  }

  applyConfig(): void {
    // What waits keeps its way; but what is said of that way now, holds now.
    for (const destination of this.#destinations.values()) {
      const job = this.#rounds.oneAt(destination);
      const [recipient] = job?.recipients ?? [];
      if (job === undefined || recipient === undefined) continue;
      const { sender } = job.message.envelope;
      const resolution = this.#options.resolveRecipient(this.#options.config(), recipient.address, {
        sender,
        expanded: true,
      });
      if (resolution.kind !== "deliver" || resolution.transport.destination !== destination.key) continue;
      destination.reshape(this.#shapeOf(resolution.transport), this.#now());
    }
    this.#rounds.wakeAll();
    this.#pump();
  }

  async flush(): Promise<number> {
    const count = await this.#options.queue.flush(this.#now());
    this.wake();
    return count;
  }

  wake(): void {
    for (const destination of this.#destinations.values()) destination.revive();
    this.#pollIn(0);
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    this.#attempts.stop();
    clearTimeout(this.#timer);
    for (const timer of this.#rateTimers.values()) clearTimeout(timer);
    for (const destination of this.#destinations.values())
      for (const job of this.#rounds.takeAll(destination)) this.#giveBack(job);
    // A claim under way still brings mail, which `submit` gives back.
    const quiet = async (): Promise<boolean> => {
      await this.#polling;
      return await this.#idleWithin(deadlineMs);
    };
    const late = new Promise<boolean>((resolve) => void setTimeout(() => resolve(false), deadlineMs).unref());
    if (!(await Promise.race([quiet(), late]))) {
      for (const { controller } of this.#running) controller.abort(new Error("shutting down"));
      // What still does not end stays claimed on disk, and is due at the next start.
      await this.#idleWithin(graceMs);
    }
    clearInterval(this.#heartbeat);
    this.#attempts.abandon();
  }

  stats(): SchedulerStats {
    return {
      messages: this.#open.size,
      active: this.#running.size,
      waiting: this.#rounds.size,
      destinations: this.#destinations.size,
    };
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

  // --- Claims ----------------------------------------------------------------------------------------------------------------------

  #pollIn(ms: number): void {
    if (this.#draining) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#polling !== undefined) return;
      const polling = this.#poll().finally(() => {
        if (this.#polling === polling) this.#polling = undefined;
        this.#watchdog.found("poll", 0);
      });
      this.#polling = polling;
    }, ms);
  }

  /** Take what is due, as much as there is room for; then sleep until the next is due, at most the polling time. */
  async #poll(): Promise<void> {
    if (this.#draining) return;
    this.#polledMs = this.#elapsedMs();
    const { queue, log, pollMs = 1000 } = this.#options;
    let sleepMs = pollMs;
    try {
      const room = Math.min(claimAtOnce, this.#mostMessages - this.#room.total);
      this.#starved = room <= 0;
      if (room > 0) {
        const fullLanes = this.#room.fullLanes(this.#mostMessages);
        const claimed = await this.#claim(room, fullLanes);
        if (claimed === undefined) sleepMs = 0;
        else if (claimed.length >= room) sleepMs = 0;
        // What is due may all be of senders that must wait for room.
        else if (fullLanes.length > 0) sleepMs = Math.min(pollMs, claimed.length > 0 ? 0 : 50);
        else {
          const nextMs = await queue.nextDueMs();
          if (nextMs !== undefined) sleepMs = Math.min(pollMs, Math.max(5, nextMs - this.#now()));
        }
      }
    } catch (error) {
      const reason = error instanceof QueueUnavailable ? error.reason : "error";
      log.error({ event: "queue-claim-failed", reason, error: String(error) });
    }
    this.#forgetIdleDestinations();
    this.#pollIn(sleepMs);
  }

  /** Undefined when the queue does not answer: what it brings later is taken then. */
  async #claim(room: number, fullLanes: readonly number[]): Promise<readonly QueuedMessage[] | undefined> {
    const gaveUp = Promise.withResolvers<undefined>();
    const ended = this.#watchdog.begin({
      kind: "claim",
      about: { room },
      mostMs: claimMs,
      heal: (ms) => (ms > stuckMs ? this.#stuck("claim") : gaveUp.resolve(undefined)),
    });
    const claiming = this.#options.queue.claimDue(this.#now(), room, { fullLanes }).finally(ended);
    const taken = claiming.then((claimed) => {
      for (const message of claimed) this.submit(message);
      return claimed;
    });
    // A failure after we gave up is the next claim's to tell.
    taken.catch(() => undefined);
    return await Promise.race([taken, gaveUp.promise]);
  }

  #stuck(what: string): void {
    this.#options.onStuck?.(`the queue has not answered a ${what} for ${stuckMs / 60_000} minutes`);
  }

  // --- Room ------------------------------------------------------------------------------------------------------------------------

  /** A sender may have as much as is left. When nothing is left, whoever has most makes room for one who has less. */
  #admits(sender: string): boolean {
    const most = 2 * this.#mostMessages;
    const free = most - this.#room.total;
    if (free > 0) return this.#room.of(sender) < free;
    const heaviest = this.#rounds.heaviest();
    const own = this.#rounds.sizeOf(sender);
    if (heaviest === undefined || heaviest.sender === sender || heaviest.jobs <= own + 1) return false;
    // Some at once: looking for the heaviest is not for every message.
    const some = Math.min(Math.ceil(most / 20), Math.ceil((heaviest.jobs - own) / 2));
    for (const job of this.#rounds.takeNewest(heaviest.sender, some)) this.#giveBack(job);
    this.#starved = true;
    return true;
  }

  /** Nobody fills the room with mail for one destination; who has little waiting may still send there until most of it is full. */
  #isCrowded(destination: Destination, sender: string): boolean {
    const most = 2 * this.#mostMessages;
    const waiting = this.#rounds.sizeAt(destination);
    if (waiting < most / 4) return false;
    return waiting >= (this.#rounds.sizeOf(sender) < fewJobs ? (most * 3) / 4 : most - this.#room.total);
  }

  #giveBack(job: Job, dueMs = this.#now()): void {
    this.#room.leave(job.sender, job.weight);
    this.#finish(job, this.#settled(this.#attempts.giveBack(job.message, job.recipients, dueMs)));
  }

  #take(message: QueuedMessage, sender: string): void {
    const claimedMs = this.#now();
    const { ask, config, resolveRecipient } = this.#options;
    const sort = (routing: Routing): Sorted => sortRecipients(routing, resolveRecipient, message);
    const sorted = ask === undefined ? sort(config()) : ask(config(), sort);
    if (sorted instanceof Promise) void this.#placeLater(message, sender, sorted, claimedMs);
    else this.#place(message, sender, sorted, claimedMs);
  }

  /** While look-ups are asked, the message is held and counts. */
  async #placeLater(message: QueuedMessage, sender: string, asked: Promise<Sorted>, claimedMs: number): Promise<void> {
    const weight = weightOf(message.recipients.length);
    this.#room.enter(sender, weight);
    this.#count(message.id, 1);
    const giveBack = (dueMs?: number): void =>
      this.#track(message.id, this.#settled(this.#attempts.giveBack(message, message.recipients, dueMs)));
    try {
      const sorted = await asked;
      if (this.#draining) giveBack();
      else this.#place(message, sender, sorted, claimedMs);
    } catch (error) {
      this.#options.log.error({ event: "scheduler-bug", id: message.id, error: String(error) });
      giveBack(this.#now() + crowdedMs);
    } finally {
      this.#room.leave(sender, weight);
      this.#count(message.id, -1);
    }
  }

  #place(message: QueuedMessage, sender: string, sorted: Sorted, claimedMs: number): void {
    if (sorted.decided.length > 0) {
      const weight = weightOf(sorted.decided.length);
      this.#room.enter(sender, weight);
      const deciding = this.#settled(this.#attempts.decide(message, sorted.decided, claimedMs));
      this.#track(
        message.id,
        deciding.finally(() => this.#room.leave(sender, weight)),
      );
    }
    for (const { transport, recipients } of sorted.groups) {
      const destination = this.#destination(transport);
      const job: Job = { message, recipients, transport, claimedMs, sender, weight: weightOf(recipients.length) };
      this.#count(message.id, 1);
      this.#room.enter(sender, job.weight);
      if (destination.isDead(claimedMs)) this.#suspend(job, destination);
      else if (this.#isCrowded(destination, sender))
        this.#giveBack(job, claimedMs + Math.ceil(crowdedMs * (1 + Math.random())));
      else this.#rounds.add(sender, destination, job);
    }
    this.#pump();
  }

  #destination(transport: Transport): Destination {
    const shape = this.#shapeOf(transport);
    const known = this.#destinations.get(transport.destination);
    if (known !== undefined) {
      known.reshape(shape, this.#now());
      return known;
    }
    const destination = new Destination(transport.destination, shape, this.#now());
    this.#destinations.set(transport.destination, destination);
    return destination;
  }

  /** What a Route says is said of the pod; each shard has its part. */
  #shapeOf({ connections, rate }: Transport): Shape {
    const { shards = 1 } = this.#options;
    const limit =
      connections === undefined
        ? this.#options.config().server.outbound.destinationConcurrency
        : Math.max(1, Math.floor(connections / shards));
    return rate === undefined ? { limit } : { limit, rate: { ...rate, messages: rate.messages / shards } };
  }

  // --- Deliveries ------------------------------------------------------------------------------------------------------------------

  /** One job of each sender in turn, while there is room: neither a long queue for one destination nor one of one sender holds up the others. */
  #pump(): void {
    if (this.#draining) return;
    const { concurrency } = this.#options.config().server.outbound;
    const mostOfOne = concurrency - Math.floor(concurrency / othersShare);
    const may = (sender: string, destination: Destination): Answer => {
      if ((this.#activeOf.get(sender) ?? 0) >= mostOfOne) return "sender";
      const nowMs = this.#now();
      const isExempt = sender === nullSenderKey;
      const answer = destination.mayStart(sender, nowMs, isExempt);
      if (answer === "destination" && !isExempt) this.#wakeWhenRateAllows(destination, nowMs);
      return answer;
    };
    while (this.#active < concurrency) {
      const next = this.#rounds.next(may);
      if (next === undefined) return;
      this.#start(next.job, next.place);
      this.#wake(next.place);
    }
  }

  /** One who waits for it, where it takes more: who starts wakes the next. */
  #wake(destination: Destination): void {
    if (destination.takesMore(this.#now())) this.#rounds.wake(destination, 1);
    else if (destination.active < destination.window) this.#rounds.wakeAt(destination, nullSenderKey);
  }

  #wakeWhenRateAllows(destination: Destination, nowMs: number): void {
    const waitMs = destination.rateWaitMs(nowMs);
    if (waitMs === 0 || this.#rateTimers.has(destination)) return;
    const wake = (): void => {
      this.#rateTimers.delete(destination);
      this.#wakeWhenRateAllows(destination, this.#now());
      this.#wake(destination);
      this.#pump();
    };
    this.#rateTimers.set(destination, setTimeout(wake, Math.min(waitMs, 1000)));
  }

  #start(job: Job, destination: Destination): void {
    const nowMs = this.#now();
    destination.start(job.sender, nowMs, job.sender === nullSenderKey);
    this.#countActive(job.sender, 1);
    this.#lastStartMs = this.#elapsedMs();
    const { deliveryMs = 1_500_000 } = this.#options;
    const running: Running = {
      job,
      destination,
      controller: new AbortController(),
      startedMs: nowMs,
      sinceMs: this.#lastStartMs,
      slow: false,
      ended: false,
      watched: () => undefined,
    };
    running.watched = this.#watchdog.begin({
      kind: "delivery",
      about: { id: job.message.id, destination: destination.key },
      mostMs: longestDeliveryMs(job.message.size, deliveryMs) + hungMs,
      heal: () => {
        running.controller.abort(new Error("delivery never ended"));
        this.#end(running, failed(job, "delivery never ended"));
      },
    });
    this.#running.add(running);
    void this.#run(running, deliveryMs);
  }

  #countActive(sender: string, change: 1 | -1): void {
    this.#active += change;
    const count = (this.#activeOf.get(sender) ?? 0) + change;
    if (count > 0) this.#activeOf.set(sender, count);
    else this.#activeOf.delete(sender);
  }

  async #run(running: Running, deliveryMs: number): Promise<void> {
    const { job, controller } = running;
    const { deliver, queue, config, log } = this.#options;
    const late = (report: DeliveryReport): void => this.#track(job.message.id, this.#attempts.recordLate(job, report));
    try {
      const delivery: DeliveryJob = {
        message: job.message,
        recipients: job.recipients,
        transport: job.transport,
        content: () => queue.read(job.message.id),
        config: config(),
        signal: controller.signal,
      };
      const report = await deliverInTime(deliver, delivery, controller, log, deliveryMs, late);
      if (running.ended) late(report);
      else this.#end(running, report);
    } catch (error) {
      log.error({ event: "scheduler-bug", id: job.message.id, error: String(error) });
      this.#end(running, failed(job, "internal error during delivery"));
    }
  }

  #end(running: Running, report: DeliveryReport): void {
    const { job, destination, controller } = running;
    if (running.ended) return;
    running.ended = true;
    running.watched();
    this.#running.delete(running);
    const transport = transportLabel(job.transport);
    deliverySeconds.observe({ transport }, (report.connectMs + report.transmitMs) / 1000);
    const cutOff = this.#draining && controller.signal.aborted;
    destination.end(job.sender, this.#now());
    if (running.slow) {
      this.#slow -= 1;
      destination.slow -= 1;
    } else this.#countActive(job.sender, -1);
    if (!cutOff) this.#learn(destination, report);
    this.#record(job, report, running.startedMs, cutOff);
    this.#wake(destination);
    this.#rounds.wakeSender(job.sender);
    this.#pump();
  }

  #learn(destination: Destination, report: DeliveryReport): void {
    const nowMs = this.#now();
    const failure = report.outcomes.find((outcome) => outcome.kind === "failed");
    const wasDead = destination.isDead(nowMs);
    destination.learn(feedbackOf(report), failure?.reply, nowMs, this.#options.config().server.queue.minBackoffMs);
    if (wasDead || !destination.isDead(nowMs)) return;
    this.#options.log.warn({
      event: "destination-suspended",
      destination: destination.key,
      reply: failure?.reply.text,
      waiting: this.#rounds.sizeAt(destination),
    });
    for (const job of this.#rounds.takeAll(destination)) this.#suspend(job, destination);
  }

  /** Deferred without dialling: the destination does not answer. */
  #suspend(job: Job, destination: Destination): void {
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
    this.#record(job, failedReport(job, reply, "destination"), this.#now(), false);
  }

  #record(job: Job, report: DeliveryReport, startedMs: number, cutOff: boolean): void {
    const recording = this.#settled(this.#attempts.record(job, report, startedMs, cutOff));
    this.#finish(
      job,
      recording.finally(() => this.#room.leave(job.sender, job.weight)),
    );
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
    const ended = this.#watchdog.begin({
      kind: "settlement",
      about: { id },
      mostMs: settlementMs,
      heal: (ms) => {
        // Storage that refuses is waited out, storage that says nothing is not.
        if (ms > stuckMs && this.#options.queue.unavailable() === undefined) this.#stuck("settlement");
      },
    });
    void work
      .catch((error: unknown) => this.#options.log.error({ event: "settle-failed", id, error: String(error) }))
      .finally(() => {
        ended();
        this.#count(id, -1);
      });
  }

  #count(id: string, change: 1 | -1): void {
    const count = (this.#open.get(id) ?? 0) + change;
    if (count > 0) this.#open.set(id, count);
    else this.#open.delete(id);
    if (this.#open.size === 0) {
      this.#whenIdle?.();
      this.#whenIdle = undefined;
    }
    if (this.#starved && this.#room.total < this.#mostMessages / 2) {
      this.#starved = false;
      this.#pollIn(0);
    }
  }

  #forgetIdleDestinations(): void {
    const nowMs = this.#now();
    for (const [key, destination] of this.#destinations) {
      const idle = destination.active === 0 && this.#rounds.sizeAt(destination) === 0 && !destination.isDead(nowMs);
      if (idle && Math.abs(nowMs - destination.idleSinceMs) > idleDestinationMs) this.#destinations.delete(key);
    }
  }

  // --- Once a second ---------------------------------------------------------------------------------------------------------------

  #beat(): void {
    this.#setSlowAside();
    this.#watchPolling();
    this.#watchWaiting();
    this.#lostMail.look();
    this.#watchdog.look();
  }

  /** Destinations that hang or drip hold none of the places of those that answer. */
  #setSlowAside(): void {
    const { concurrency } = this.#options.config().server.outbound;
    const sinceMs = this.#elapsedMs() - slowMs;
    const senders = new Set<string>();
    for (const running of this.#running) {
      if (running.sinceMs > sinceMs || this.#slow >= concurrency) break;
      if (running.slow) continue;
      running.slow = true;
      this.#slow += 1;
      running.destination.slow += 1;
      this.#countActive(running.job.sender, -1);
      senders.add(running.job.sender);
    }
    for (const sender of senders) this.#rounds.wakeSender(sender);
    if (senders.size > 0) this.#pump();
  }

  /** The loop that claims has ended, or hangs elsewhere than in the claim: another begins. */
  #watchPolling(): void {
    const idleMs = this.#elapsedMs() - this.#polledMs;
    if (this.#draining || idleMs < (this.#options.pollMs ?? 1000) + 2 * claimMs) return;
    this.#options.log.error({ event: "stalled", what: "poll", since: idleMs / 1000 });
    this.#watchdog.found("poll", 1);
    this.#polledMs = this.#elapsedMs();
    this.#polling = undefined;
    this.#pollIn(0);
  }

  /** Mail waits, places are free, and nothing starts: whoever should have been woken is woken now. */
  #watchWaiting(): void {
    const idleMs = this.#elapsedMs() - this.#lastStartMs;
    if (this.#rounds.size === 0 || idleMs < hungMs || this.#rateTimers.size > 0)
      return this.#watchdog.found("waiting", 0);
    const before = this.#rounds.size;
    this.#rounds.wakeAll();
    this.#pump();
    const started = before - this.#rounds.size;
    this.#watchdog.found("waiting", started > 0 ? 1 : 0);
    if (started > 0)
      this.#options.log.error({ event: "stalled", what: "waiting", jobs: before, started, since: idleMs / 1000 });
  }
}
