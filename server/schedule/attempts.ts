/**
 * The end of an attempt: outcomes become settlements and reports, in one commit.
 *
 * Called by `scheduler.ts`. Judges each outcome, sets the next time, writes the reports it causes, logs a line for each recipient, settles.
 * A settlement that cannot be stored now is tried again for a while (a delivery that is not recorded happens twice); storage that failed for good
 * leaves the recipients claimed, and the queue finds them at its next start. RFC 5321 §4.5.4.1, RFC 3464.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { LiveConfig } from "../config/schema.ts";
import type { DeliveryReport } from "../deliver/deliver.ts";
import type { Log } from "../observe/log.ts";
import { bounces } from "../observe/metrics.ts";
import {
  type Queue,
  type QueuedMessage,
  type QueuedRecipient,
  QueueUnavailable,
  type Settlement,
} from "../queue/queue.ts";
import type { Transport } from "../route/resolve.ts";
import { nextAttemptMs } from "./backoff.ts";
import { type Delays, logResult } from "./delivery-log.ts";
import { type Result, reportsFor, wants } from "./reports.ts";
import type { Job } from "./scheduler.ts";
import type { Decided } from "./sorting.ts";
import { judge, lifetimeMs, type Verdict } from "./trouble.ts";

export interface AttemptsOptions {
  readonly queue: Queue;
  readonly config: () => LiveConfig;
  readonly log: Log;
  readonly now: () => number;
}

type Outcome = DeliveryReport["outcomes"][number];

const settlePauseMs = [50, 250, 1000, 5000, 15_000];
const metricOf = { failed: "failure", delayed: "delay", success: "success" } as const;

export class Attempts {
  readonly #options: AttemptsOptions;

  constructor(options: AttemptsOptions) {
    this.#options = options;
  }

  /** Claimed, never tried. */
  giveBack(message: QueuedMessage, recipients: readonly QueuedRecipient[]): Promise<readonly QueuedMessage[]> {
    const dueMs = this.#options.now();
    return this.#settle(
      message,
      recipients.map(({ number }): Settlement => ({ recipient: number, kind: "returned", dueMs })),
      [],
    );
  }

  /** Recipients whose fate routing alone decides. */
  decide(message: QueuedMessage, decided: readonly Decided[], claimedMs: number): Promise<readonly QueuedMessage[]> {
    const settlements: Settlement[] = [];
    const outcomes: Outcome[] = [];
    const recipients: QueuedRecipient[] = [];
    for (const decision of decided) {
      const { number, address } = decision.recipient;
      switch (decision.kind) {
        case "held":
          this.#options.log.info({ event: "held", id: message.id, to: address });
          settlements.push({ recipient: number, kind: "held" });
          break;
        case "expanded":
          this.#options.log.info({ event: "expanded", id: message.id, to: address, into: decision.into.length });
          settlements.push({ recipient: number, kind: "expanded", into: decision.into });
          break;
        case "refused":
          recipients.push(decision.recipient);
          outcomes.push({ recipient: number, kind: "failed", reply: decision.reply, scope: "recipient" });
          break;
      }
    }
    const delays: Delays = { before: claimedMs - message.receivedMs, waiting: 0, connect: 0, transmit: 0 };
    return this.#conclude({ message, recipients, outcomes, transport: undefined, delays, cutOff: false }, settlements);
  }

  /** What a delivery reported. `cutOff`: ended by our own shutdown, so that what failed was not really tried. */
  record(job: Job, report: DeliveryReport, startedMs: number, cutOff: boolean): Promise<readonly QueuedMessage[]> {
    const { message, recipients, transport, claimedMs } = job;
    const delays: Delays = {
      before: claimedMs - message.receivedMs,
      waiting: startedMs - claimedMs,
      connect: report.connectMs,
      transmit: report.transmitMs,
    };
    return this.#conclude({ message, recipients, outcomes: report.outcomes, transport, delays, cutOff }, []);
  }

  async #conclude(
    attempt: {
      readonly message: QueuedMessage;
      readonly recipients: readonly QueuedRecipient[];
      readonly outcomes: readonly Outcome[];
      readonly transport: Transport | undefined;
      readonly delays: Delays;
      readonly cutOff: boolean;
    },
    others: readonly Settlement[],
  ): Promise<readonly QueuedMessage[]> {
    const { message, recipients, transport, delays, cutOff } = attempt;
    const config = this.#options.config();
    const settings = config.server.queue;
    const nowMs = this.#options.now();
    const giveUpMs = message.receivedMs + lifetimeMs(settings, message.envelope.sender);
    const patience = { softBounce: settings.softBounce, expired: nowMs >= giveUpMs };
    const final = transport?.delivery.kind !== "mx" && transport?.delivery.kind !== "smtp";
    const byNumber = new Map(attempt.outcomes.map((outcome) => [outcome.recipient, outcome]));

    const settlements: Settlement[] = [...others];
    const results: Result[] = [];
    for (const recipient of recipients) {
      // A delivery that forgot a recipient is a bug; the mail waits for its repair.
      const outcome: Outcome = byNumber.get(recipient.number) ?? {
        recipient: recipient.number,
        kind: "failed",
        scope: "message",
        reply: { code: 451, enhanced: "4.3.0", text: "Delivery gave no result" },
      };
      const verdict: Verdict = judge(outcome, patience);
      const remoteHost = outcome.remoteHost === undefined ? {} : { remoteHost: outcome.remoteHost };
      if (cutOff && verdict === "deferred") {
        settlements.push({ recipient: recipient.number, kind: "returned", dueMs: nowMs });
        continue;
      }
      const late = settings.delayWarningMs > 0 && nowMs - message.receivedMs >= settings.delayWarningMs;
      const result: Result = {
        recipient,
        verdict,
        reply: outcome.reply,
        ...remoteHost,
        action: final ? "delivered" : "relayed",
        reportsItself: outcome.kind === "delivered" && outcome.reportsItself === true,
        warn:
          verdict === "deferred" &&
          late &&
          !recipient.delayWarned &&
          message.envelope.sender !== "" &&
          wants(recipient, "DELAY"),
      };
      results.push(result);
      settlements.push(
        verdict === "deferred"
          ? {
              recipient: recipient.number,
              kind: "deferred",
              reply: outcome.reply,
              ...remoteHost,
              dueMs: nextAttemptMs(settings, { attempts: recipient.attempts, nowMs, giveUpMs, random: Math.random() }),
              delayWarned: recipient.delayWarned || result.warn,
            }
          : { recipient: recipient.number, kind: verdict, reply: outcome.reply, ...remoteHost },
      );
      logResult(this.#options.log, message, result, transport, delays, outcome.tls);
    }
    const content = (): AsyncIterable<Buffer> => this.#options.queue.read(message.id);
    const reports = await reportsFor({ config, message, nowMs, content }, results);
    for (const { recipient } of reports.untold) {
      this.#options.log.warn({
        event: "bounce-dropped",
        id: message.id,
        to: recipient.address,
        why: "null sender, and nobody left to tell",
      });
    }
    const stored = await this.#settle(
      message,
      settlements,
      reports.messages.map((report) => report.message),
    );
    for (const { kind } of reports.messages) bounces.inc({ kind: metricOf[kind] });
    for (const [at, { kind }] of reports.messages.entries()) {
      this.#options.log.info({ event: "report", id: message.id, kind, report: stored[at]?.id });
    }
    return stored;
  }

  async #settle(
    message: QueuedMessage,
    settlements: readonly Settlement[],
    reports: Parameters<Queue["settle"]>[2],
  ): Promise<readonly QueuedMessage[]> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#options.queue.settle(message.id, settlements, reports);
      } catch (error) {
        const pauseMs = settlePauseMs[attempt];
        const final = error instanceof QueueUnavailable && error.reason !== "full";
        if (final || pauseMs === undefined) throw error;
        this.#options.log.error({ event: "settle-retry", id: message.id, error: String(error) });
        await sleep(pauseMs);
      }
    }
  }
}
