/**
 * Delivery: one attempt at one destination for some recipients of one message.
 *
 * Stands behind the scheduler, which has counted the attempt before calling. Promises an outcome for every recipient it was given and never
 * throws: what is unknown is temporary. A failure carries its scope; `schedule/` turns scope and code into next host, throttle, defer or bounce.
 */
import type { LiveConfig } from "../config/schema.ts";
import type { Content, QueuedMessage, QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import type { Transport } from "../route/resolve.ts";

export interface DeliveryJob {
  readonly message: QueuedMessage;
  readonly recipients: readonly QueuedRecipient[];
  readonly transport: Transport;
  /** Opens the stored message anew at each call (next host, next attempt). */
  readonly content: () => Content;
  readonly config: LiveConfig;
  readonly signal: AbortSignal;
  /** Only ask whether the recipients would be taken: nothing is sent, `delivered` means yes (server/verify). */
  readonly probe?: boolean;
}

/** What was at fault: decides who else is touched by it. */
export type FailureScope = "recipient" | "message" | "host" | "destination";

export type DeliveryOutcome = {
  readonly recipient: number;
  readonly remoteHost?: string;
  readonly tls?: string;
} /** reportsItself: the peer took over the sender's NOTIFY wishes (it offers DSN), so we write no success report. RFC 3461 §5.2.2. */ & (
  | { readonly kind: "delivered"; readonly reply: Reply; readonly reportsItself?: boolean }
  | { readonly kind: "failed"; readonly reply: Reply; readonly scope: FailureScope }
);

export interface DeliveryReport {
  /** One for each recipient of the job. A failed outcome is permanent when its reply is 5xx, else temporary. */
  readonly outcomes: readonly DeliveryOutcome[];
  /** Seconds for the log's delays=a/b/c/d: connection setup and transmission. */
  readonly connectMs: number;
  readonly transmitMs: number;
  /**
   * What was said, when some recipient failed or was deferred: lines `C: …`, `S: …`, `* …` (events), at most 8 KiB, without content and passwords.
   */
  readonly dialogue?: string;
}

/** The same failure for every recipient of a job. */
export const failedReport = (
  { recipients }: Pick<DeliveryJob, "recipients">,
  reply: Reply,
  scope: FailureScope,
): DeliveryReport => ({
  outcomes: recipients.map(({ number }) => ({ recipient: number, kind: "failed", reply, scope })),
  connectMs: 0,
  transmitMs: 0,
});

export type Deliver = (job: DeliveryJob) => Promise<DeliveryReport>;
