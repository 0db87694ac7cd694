/**
 * The Deliver function of a shard: a job goes to the means its transport names.
 *
 * Made once by the shard, called by the scheduler. Owns the kept sessions, which `close` ends. Promises an outcome for every recipient whatever
 * happens inside: an exception here is a bug, is logged, and costs the mail nothing but time (451). RFC 3463 X.3.0.
 */
import type { Resolver } from "../dns/resolver.ts";
import type { Log } from "../observe/log.ts";
import { type Deliver, type DeliveryJob, type DeliveryReport, failedReport } from "./deliver.ts";
import { deliverToMaildir } from "./maildir.ts";
import { type SessionTimeouts, usualTimeouts } from "./session.ts";
import { SessionCache, type SessionCacheLimits } from "./session-cache.ts";
import { deliverBySmtp } from "./smtp.ts";

export interface DeliverOptions {
  /** Maildirs lie below it. */
  readonly dataDir: string;
  readonly resolver: Resolver;
  readonly log: Log;
  /** Goes into maildir file names. */
  readonly hostname: string;
  readonly connectMs?: number;
  readonly timeouts?: SessionTimeouts;
  readonly kept?: Partial<SessionCacheLimits>;
}

export interface Delivering {
  readonly deliver: Deliver;
  readonly close: () => void;
}

const usualKept: SessionCacheLimits = { idleMs: 5000, messages: 100, sessions: 500 };

export function createDeliver(options: DeliverOptions): Delivering {
  const cache = new SessionCache({ ...usualKept, ...options.kept });
  const context = {
    resolver: options.resolver,
    cache,
    connectMs: options.connectMs ?? 30_000,
    timeouts: options.timeouts ?? usualTimeouts,
  };

  const byTransport = async (job: DeliveryJob): Promise<DeliveryReport> => {
    const { delivery } = job.transport;
    switch (delivery.kind) {
      case "mx":
      case "smtp":
      case "lmtp":
      case "lmtp-socket":
        return await deliverBySmtp(context, job);
      case "maildir":
        if (job.probe === true) return all(job, taken("there is a place for it"));
        return await deliverToMaildir(job, options.dataDir, options.hostname);
      case "discard":
        return all(job, taken("discarded"));
      case "error":
        return failedReport(
          job,
          { code: delivery.code, enhanced: delivery.enhanced, text: delivery.text },
          "recipient",
        );
      case "hold":
        if (job.probe === true) return all(job, taken("held"));
        // The scheduler holds without asking us.
        return failedReport(job, { code: 451, enhanced: "4.3.0", text: "Held" }, "recipient");
    }
  };

  return {
    async deliver(job) {
      try {
        return await byTransport(job);
      } catch (error) {
        options.log.error({
          event: "delivery-bug",
          id: job.message.id,
          destination: job.transport.destination,
          error: String(error),
        });
        return failedReport(job, { code: 451, enhanced: "4.3.0", text: "Internal error during delivery" }, "message");
      }
    },
    close: () => cache.close(),
  };
}

const taken =
  (text: string) =>
  (recipient: number): DeliveryReport["outcomes"][number] => ({
    recipient,
    kind: "delivered",
    reply: { code: 250, enhanced: "2.0.0", text },
  });

const all = (job: DeliveryJob, outcome: (recipient: number) => DeliveryReport["outcomes"][number]): DeliveryReport => ({
  outcomes: job.recipients.map(({ number }) => outcome(number)),
  connectMs: 0,
  transmitMs: 0,
});
