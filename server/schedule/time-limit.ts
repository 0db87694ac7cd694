/**
 * The watchdog of a delivery: whatever happens inside it, an outcome for every recipient within its time.
 *
 * Between the scheduler and Deliver. A delivery gets 25 minutes and what its size takes at 8 KiB a second; then it is aborted, and a moment later
 * given up, so that one that hangs does not keep its place for ever. That is more than one slow peer may take: 5 minutes to be greeted, 5 for an answer, 10 after
 * the final dot (RFC 5321 §4.5.3.2), where a cut would mean the message twice. Never rejects: an exception is a bug, is logged, and the mail waits.
 */
import { type Deliver, type DeliveryJob, type DeliveryReport, failedReport } from "../deliver/deliver.ts";
import type { Log } from "../observe/log.ts";

const slowestBytesPerMs = 8;
/** Between the abort of a delivery and giving up on it. */
export const graceMs = 5000;

/** When a delivery ends at the latest, whatever happens in it. */
export const longestDeliveryMs = (size: number, deliveryMs: number): number =>
  deliveryMs + size / slowestBytesPerMs + graceMs;

export async function deliverInTime(
  deliver: Deliver,
  job: DeliveryJob,
  controller: AbortController,
  log: Log,
  deliveryMs: number,
  onLate: (report: DeliveryReport) => void,
): Promise<DeliveryReport> {
  const deadline = setTimeout(
    () => controller.abort(new Error("delivery took too long")),
    deliveryMs + job.message.size / slowestBytesPerMs,
  );
  let grace: NodeJS.Timeout | undefined;
  const hung = new Promise<DeliveryReport>((resolve) => {
    const giveUp = (): void => {
      grace = setTimeout(() => resolve(failed(job, "delivery took too long and was cut off")), graceMs);
    };
    controller.signal.addEventListener("abort", giveUp, { once: true });
  });
  try {
    const delivering = deliver(job);
    const report = await Promise.race([delivering, hung]);
    // Given up, and perhaps delivered all the same.
    void delivering.then((late) => (late === report ? undefined : onLate(late))).catch(() => undefined);
    return report;
  } catch (error) {
    log.error({ event: "delivery-bug", id: job.message.id, error: String(error) });
    return failed(job, "internal error during delivery");
  } finally {
    clearTimeout(deadline);
    clearTimeout(grace);
  }
}

export const failed = (job: Pick<DeliveryJob, "recipients">, text: string): DeliveryReport => ({
  ...failedReport(job, { code: 451, enhanced: "4.4.2", text }, "host"),
  // Something was reached: this says nothing about whether the next dial would be answered.
  transmitMs: 1,
});
