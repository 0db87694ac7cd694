/**
 * The end of an attempt: outcomes become settlements and reports, in one commit.
 *
 * Called by `scheduler.ts`. Judges each outcome, sets the next time, writes the reports it causes, logs a line for each recipient, settles.
 * A settlement that cannot be stored now is tried again for as long as the process lives (a delivery that is not recorded happens twice). Storage that
 * failed for good leaves the recipients claimed, and the queue finds them at its next start; what was delivered and could not be recorded is counted
 * and logged by recipient. RFC 5321 §4.5.4.1, RFC 3464.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { LiveConfig } from "../config/schema.ts";
import type { DeliveryReport } from "../deliver/deliver.ts";
import type { Log } from "../observe/log.ts";
import { bounces, possibleDuplicates } from "../observe/metrics.ts";
import {
  type Queue,
  type QueuedMessage,
  type QueuedRecipient,
  QueueUnavailable,
  type Settlement,
} from "../queue/queue.ts";
import { replyLine } from "../reply.ts";
import type { Transport } from "../route/resolve.ts";
import { nextAttemptMs } from "./backoff.ts";
import { type Delays, logResult } from "./delivery-log.ts";
import { isToWarn, type Result, reportsFor } from "./reports.ts";
import type { Job } from "./scheduler.ts";
import type { Decided } from "./sorting.ts";
import { isExpired, lifetimeMs } from "./lifetime.ts";
import { judge, type Verdict } from "./trouble.ts";

export interface AttemptsOptions {
  readonly queue: Queue;
  readonly config: () => LiveConfig;
  readonly log: Log;
  readonly now: () => number;
}

type Outcome = DeliveryReport["outcomes"][number];

const settlePauseMs = [50, 250, 1000, 5000, 15_000];
const longestSettlePauseMs = 30_000;

/** Delivered, and not yet on disk. */
interface Unrecorded {
  readonly message: QueuedMessage;
  readonly settlements: readonly Settlement[];
}
const metricOf = { failed: "failure", delayed: "delay", cleared: "cleared", success: "success" } as const;

export class Attempts {
  readonly #options: AttemptsOptions;
  readonly #unrecorded = new Set<Unrecorded>();
  #stopping = false;

  constructor(options: AttemptsOptions) {
    this.#options = options;
  }

  /** The process is about to end: what cannot be stored soon will not be. */
  stop(): void {
    this.#stopping = true;
  }

  /** The process ends now. */
  abandon(): void {
    for (const each of this.#unrecorded) this.#tellUnrecorded(each, "the process ended first");
    this.#unrecorded.clear();
  }

  /** Claimed, never tried. */
  giveBack(
    message: QueuedMessage,
    recipients: readonly QueuedRecipient[],
    dueMs = this.#options.now(),
  ): Promise<readonly QueuedMessage[]> {
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
    const expanded: QueuedRecipient[] = [];
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
          if (decision.into.length > 1) expanded.push(decision.recipient);
          break;
        case "refused":
          recipients.push(decision.recipient);
          outcomes.push({ recipient: number, kind: "failed", reply: decision.reply, scope: "recipient" });
          break;
      }
    }
    const delays: Delays = { before: claimedMs - message.receivedMs, waiting: 0, connect: 0, transmit: 0 };
    return this.#conclude(
      { message, recipients, outcomes, transport: undefined, delays, cutOff: false },
      settlements,
      expanded,
    );
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
    const { outcomes, dialogue } = report;
    return this.#conclude({ message, recipients, outcomes, transport, delays, cutOff, dialogue }, []);
  }

  /** Given up, and delivered all the same: recorded now, it is not tried again unless that has begun already. */
  async recordLate({ message, recipients }: Job, report: DeliveryReport): Promise<void> {
    const delivered = report.outcomes.filter((outcome) => outcome.kind === "delivered");
    if (delivered.length === 0) return;
    possibleDuplicates.inc({ cause: "late" }, delivered.length);
    for (const { recipient, remoteHost } of delivered) {
      const to = recipients.find(({ number }) => number === recipient)?.address;
      this.#options.log.error({ event: "delivered-late", id: message.id, to, relay: remoteHost });
    }
    const settlements = delivered.map(({ recipient, reply }): Settlement => ({ recipient, kind: "delivered", reply }));
    await this.#settle(message, settlements, []);
  }

  async #conclude(
    attempt: {
      readonly message: QueuedMessage;
      readonly recipients: readonly QueuedRecipient[];
      readonly outcomes: readonly Outcome[];
      readonly transport: Transport | undefined;
      readonly delays: Delays;
      readonly cutOff: boolean;
      readonly dialogue?: string | undefined;
    },
    others: readonly Settlement[],
    expanded: readonly QueuedRecipient[] = [],
  ): Promise<readonly QueuedMessage[]> {
    const { message, recipients, transport, delays, cutOff } = attempt;
    const config = this.#options.config();
    const settings = config.server.queue;
    const nowMs = this.#options.now();
    const lifeMs = lifetimeMs(settings, message.envelope.sender);
    const giveUpMs = message.receivedMs + lifeMs;
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
      const { attempts } = recipient;
      const expired = isExpired(settings, lifeMs, { receivedMs: message.receivedMs, nowMs, attempts });
      const verdict: Verdict = judge(outcome, { softBounce: settings.softBounce, expired });
      const remoteHost = outcome.remoteHost === undefined ? {} : { remoteHost: outcome.remoteHost };
      if (cutOff && verdict === "deferred") {
        settlements.push({ recipient: recipient.number, kind: "returned", dueMs: nowMs });
        continue;
      }
      const result: Result = {
        recipient,
        verdict,
        reply: outcome.reply,
        ...remoteHost,
        action: final ? "delivered" : "relayed",
        reportsItself: outcome.kind === "delivered" && outcome.reportsItself === true,
        warn: verdict === "deferred" && isToWarn({ config, message, nowMs }, recipient),
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
    const reports = await reportsFor({ config, message, nowMs, content }, results, expanded);
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
      attempt.dialogue,
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
    dialogue?: string,
  ): Promise<readonly QueuedMessage[]> {
    const delivered = settlements.filter(({ kind }) => kind === "delivered");
    const unrecorded: Unrecorded = { message, settlements: delivered };
    if (delivered.length > 0) this.#unrecorded.add(unrecorded);
    for (let attempt = 0; ; attempt++) {
      try {
        const stored = await this.#options.queue.settle(message.id, settlements, reports, { dialogue });
        this.#unrecorded.delete(unrecorded);
        return stored;
      } catch (error) {
        const isFinal = error instanceof QueueUnavailable && error.reason !== "full";
        if (isFinal || (this.#stopping && attempt >= settlePauseMs.length)) {
          if (this.#unrecorded.delete(unrecorded)) this.#tellUnrecorded(unrecorded, String(error));
          throw error;
        }
        this.#options.log.error({ event: "settle-retry", id: message.id, error: String(error) });
        await sleep(settlePauseMs[attempt] ?? longestSettlePauseMs);
      }
    }
  }

  #tellUnrecorded({ message, settlements }: Unrecorded, why: string): void {
    possibleDuplicates.inc({ cause: "unrecorded" }, settlements.length);
    for (const settlement of settlements) {
      this.#options.log.error({
        event: "delivered-not-recorded",
        id: message.id,
        to: message.recipients.find(({ number }) => number === settlement.recipient)?.address,
        ...(settlement.kind === "delivered"
          ? { reply: replyLine(settlement.reply), relay: settlement.remoteHost }
          : {}),
        why,
      });
    }
  }
}
