/** Test fixture: a scheduler whose deliveries end as the test says, on a clock of the test's. Used by *.test.ts only. */
import type { TestContext } from "node:test";
import type { LiveConfig } from "../config/schema.ts";
import type { Deliver, DeliveryJob, DeliveryOutcome } from "../deliver/deliver.ts";
import { aLiveConfig, aLog } from "../deliver/outbound-fixture.ts";
import type { NewRecipient, Settlement } from "../queue/queue.ts";
import { resolveRecipient } from "../route/recipient.ts";
import { MemoryQueue } from "./memory-queue-fixture.ts";
import { type Scheduler, type SchedulerOptions, startScheduler } from "./scheduler.ts";

export type Fate = (job: DeliveryJob, recipient: DeliveryJob["recipients"][number]) => DeliveryOutcome;

export const delivered: Fate = (_job, { number }) => ({
  recipient: number,
  kind: "delivered",
  reply: { code: 250, enhanced: "2.0.0", text: "ok" },
  remoteHost: "peer[192.0.2.9]",
});
export const failed =
  (code: number, scope: "recipient" | "message" | "host" | "destination" = "recipient", text = "no"): Fate =>
  (_job, { number }) => ({
    recipient: number,
    kind: "failed",
    reply: { code, enhanced: `${String(code)[0]}.1.1`, text },
    scope,
  });

export interface World {
  readonly queue: MemoryQueue;
  readonly scheduler: Scheduler;
  readonly jobs: DeliveryJob[];
  readonly lines: Record<string, unknown>[];
  nowMs: number;
  config: LiveConfig;
  /** All settled or waiting for a time that has not come. */
  quiet(): Promise<void>;
}

export const hours = 3_600_000;

/** A scheduler whose deliveries end as `fate` says, at once, on a clock of the test's; `watched`: which is also the watchdog's. */
export function aWorld(
  t: TestContext,
  fate: Fate,
  own: { config?: LiveConfig; deliver?: Deliver; options?: Partial<SchedulerOptions>; watched?: boolean } = {},
): World {
  const { log, lines } = aLog();
  const jobs: DeliveryJob[] = [];
  const startMs = Date.UTC(2026, 0, 1);
  const world: { -readonly [K in keyof World]: World[K] } = {
    queue: new MemoryQueue(() => world.nowMs),
    scheduler: undefined as unknown as Scheduler,
    jobs,
    lines,
    nowMs: startMs,
    config: own.config ?? aLiveConfig({ domains: {}, addresses: {} }),
    async quiet() {
      await new Promise((resolve) => setImmediate(resolve));
      await until(() => world.scheduler.stats().messages === 0);
    },
  };
  const deliver: Deliver =
    own.deliver ??
    ((job) => {
      jobs.push(job);
      const outcomes = job.recipients.map((recipient) => fate(job, recipient));
      const reached = outcomes.some((outcome) => outcome.kind === "delivered" || outcome.scope !== "host");
      return Promise.resolve({ outcomes, connectMs: 1, transmitMs: reached ? 1 : 0 });
    });
  world.scheduler = startScheduler({
    queue: world.queue,
    deliver,
    resolveRecipient,
    config: () => world.config,
    log,
    now: () => world.nowMs,
    pollMs: 5,
    ...(own.watched === true ? { elapsedMs: () => world.nowMs } : {}),
    ...own.options,
  });
  t.after(() => world.scheduler.drain(0));
  return world;
}

export const to = (...addresses: string[]): { recipients: NewRecipient[] } => ({
  recipients: addresses.map((address) => ({ address })),
});
export const kinds = (queue: MemoryQueue): readonly Settlement["kind"][] =>
  queue.settlements.map(({ settlement }) => settlement.kind);
export const waiting = (queue: MemoryQueue, id: string) => [...(queue.stored.get(id)?.recipients.values() ?? [])];
export const reportsIn = (queue: MemoryQueue) =>
  [...queue.stored.values()]
    .filter(({ message }) => message.envelope.sender === "")
    .map(({ content }) => content.toString());
/** Real time; a test that fails shall fail, not hang. */
const patienceMs = 10_000;
export const until = async (condition: () => boolean): Promise<void> => {
  const untilMs = performance.now() + patienceMs;
  while (!condition()) {
    if (performance.now() > untilMs) throw new Error(`not within ${patienceMs} ms: ${String(condition)}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
};

/** Deliveries that end when the test says so. */
export function held(): {
  readonly deliver: Deliver;
  readonly open: { readonly job: DeliveryJob; finish(fate?: Fate): void }[];
  most: number;
} {
  const state = {
    open: [] as { job: DeliveryJob; finish(fate?: Fate): void }[],
    most: 0,
    deliver: undefined as unknown as Deliver,
  };
  state.deliver = (job) =>
    new Promise((resolve) => {
      const entry = {
        job,
        finish(fate: Fate = delivered) {
          state.open.splice(state.open.indexOf(entry), 1);
          resolve({ outcomes: job.recipients.map((recipient) => fate(job, recipient)), connectMs: 0, transmitMs: 1 });
        },
      };
      state.open.push(entry);
      state.most = Math.max(state.most, state.open.length);
    });
  return state;
}
