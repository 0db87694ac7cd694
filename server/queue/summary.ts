/** Totals of several shards' queues as one (admin port). Pure. */
import type { QueueSummary } from "./queue.ts";

export function addSummaries(summaries: readonly QueueSummary[]): QueueSummary {
  const sum = (of: (summary: QueueSummary) => number): number =>
    summaries.reduce((total, summary) => total + of(summary), 0);
  return {
    messages: {
      active: sum((summary) => summary.messages.active),
      deferred: sum((summary) => summary.messages.deferred),
      hold: sum((summary) => summary.messages.hold),
      corrupt: sum((summary) => summary.messages.corrupt),
    },
    recipients: sum((summary) => summary.recipients),
    bytes: sum((summary) => summary.bytes),
    oldestMs: Math.max(0, ...summaries.map((summary) => summary.oldestMs)),
  };
}
