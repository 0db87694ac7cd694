/**
 * The queue: the port between whatever accepts mail and whatever delivers it.
 *
 * Promise: when `commit` resolves, message and envelope are on stable storage (fdatasync done); SIGKILL or power loss at any instant loses
 * no committed message. Duplicates can only come from deliveries whose settlement had not been committed. Failing storage is final:
 * after a failed sync every later call rejects with QueueUnavailable("failed") until the process starts anew.
 *
 * States of a recipient, and what moves it:
 *
 *   (writer) ──commit──▶ active ──settle: delivered | failed | expanded──▶ (gone)
 *                          │ ▲
 *      settle: deferred    ▼ │ claimDue (due ≤ now; attempt counted in the same commit, before any dialing)
 *                       deferred ◀──release── hold
 *
 * commit() with `claim: true` stores its recipients as active with attempt 1 already counted, so that a fresh message is delivered at once
 * without a second commit. At start, whatever is still active was cut off in flight: it becomes deferred and due now.
 * A message is deleted in the transaction that closes its last recipient; reports (bounces) that a settlement causes are stored in that same transaction.
 * `corrupt` is a state of the whole message: a chunk whose checksum differs; it is kept, counted, never claimed.
 *
 * RFC 5321 §6.1 (responsibility), RFC 3461 (what the envelope keeps for reports).
 */
import type { Reply } from "../reply.ts";

/** Unique over all shards and pods for ever, `[0-9A-Za-z]{10,20}`; appears in Received fields, logs and replies. */
export type QueueId = string;

export type Notify = "NEVER" | "SUCCESS" | "FAILURE" | "DELAY";

export interface NewRecipient {
  /** Full address as the client wrote it (domain case and local-part case kept). */
  readonly address: string;
  /** ORCPT as given (`rfc822;…`), RFC 3461 §4.2. */
  readonly originalRecipient?: string;
  readonly notify?: readonly Notify[];
  /** True: aliases have been applied; the router must not expand it again. */
  readonly expanded?: boolean;
}

export interface Envelope {
  /** Reverse-path without brackets; "" is the null sender. */
  readonly sender: string;
  readonly recipients: readonly NewRecipient[];
  /** RFC 3461 §4.4 / §4.3. */
  readonly envelopeId?: string;
  readonly return?: "FULL" | "HDRS";
  readonly smtpUtf8: boolean;
  readonly body: "7BIT" | "8BITMIME";
  readonly requireTls: boolean;
}

/** Where it came from; kept for logs, reports and `queue show`. JSON values only. */
export interface Origin {
  readonly listener: string;
  readonly clientAddress: string;
  readonly clientName: string;
  readonly helo: string;
  readonly protocol: string;
  readonly authenticatedAs?: string;
  readonly forwarded?: ForwardedOrigin;
}

/** What a trusted proxy or content filter said of where the message came from first (XFORWARD). `unknown`: it does not know. */
export interface ForwardedOrigin {
  readonly clientName?: string;
  readonly clientAddress?: string;
  readonly clientPort?: string;
  readonly protocol?: string;
  readonly helo?: string;
  /** Its name in the queue it came from. */
  readonly queueId?: string;
  /** LOCAL: written there; REMOTE: received there. */
  readonly source?: string;
}

/** Where what this server writes itself comes from: no listener, no client. */
export const ownOrigin: Origin = { listener: "", clientAddress: "", clientName: "", helo: "", protocol: "report" };

export type RecipientState = "active" | "deferred" | "hold";

export interface QueuedRecipient extends NewRecipient {
  /** Number within the message, stable. */
  readonly number: number;
  readonly expanded: boolean;
  readonly state: RecipientState;
  /** Attempts begun, this one included once claimed. */
  readonly attempts: number;
  readonly dueMs: number;
  readonly lastReply?: Reply & { readonly remoteHost?: string };
  readonly delayWarned: boolean;
}

export interface QueuedMessage {
  readonly id: QueueId;
  readonly receivedMs: number;
  /** Octets of the whole message as stored (Received field included), CRLF line ends. */
  readonly size: number;
  readonly envelope: Omit<Envelope, "recipients">;
  readonly origin: Origin;
  /** For a claim: only the recipients claimed; else all that are not settled. */
  readonly recipients: readonly QueuedRecipient[];
  /** Present when it was found corrupt: its recipients are on hold for good, only `remove` ends it. */
  readonly corrupt?: true;
  /** What was said at the last attempt that failed (`get` only). */
  readonly lastDialogue?: string;
}

export interface MessageWriter {
  /** Known from the start, for the Received field and the log. */
  readonly id: QueueId;
  /** Octets so far. */
  readonly size: number;
  /** Append a copy; what it answers is to be waited for before more is written (bounded memory whatever the size). */
  write(data: Buffer | readonly Buffer[]): Promise<void> | undefined;
  /** Resolves after the sync. With `claim`, the message comes back claimed for delivery by the caller's scheduler. */
  commit(
    envelope: Envelope,
    origin: Origin,
    options?: { readonly claim?: boolean; readonly hold?: boolean },
  ): Promise<QueuedMessage>;
  abort(): Promise<void>;
}

/** A stored message, opened. */
export interface Content extends AsyncIterable<Buffer> {
  /**
   * Nothing refers to what it gave any more: no variable, no write the system has not finished. Its memory may be used for something else at once.
   * Without it the collector finds out some time.
   */
  release?(): void;
}

/** A message this server writes itself (bounce, delay warning). */
export interface GeneratedMessage {
  readonly envelope: Envelope;
  readonly content: Buffer;
}

export type Settlement = { readonly recipient: number } & (
  | { readonly kind: "delivered"; readonly reply: Reply; readonly remoteHost?: string }
  | {
      readonly kind: "deferred";
      readonly reply: Reply;
      readonly remoteHost?: string;
      readonly dueMs: number;
      readonly delayWarned?: boolean;
    }
  | { readonly kind: "failed"; readonly reply: Reply; readonly remoteHost?: string }
  /** Replaced by other recipients (alias expansion), in one commit; equal addresses within the message are stored once. */
  | { readonly kind: "expanded"; readonly into: readonly NewRecipient[] }
  /** Claimed but never tried (shutdown, throttle): due again, the attempt is not counted. */
  | { readonly kind: "returned"; readonly dueMs: number }
  | { readonly kind: "held" }
);

export interface QueueSummary {
  /** Messages by state; a message counts once, in the first of active, deferred, hold that one of its recipients is in. */
  readonly messages: {
    readonly active: number;
    readonly deferred: number;
    readonly hold: number;
    readonly corrupt: number;
  };
  readonly recipients: number;
  readonly bytes: number;
  /** Age of the oldest message in ms; 0 when empty. */
  readonly oldestMs: number;
}

export class QueueUnavailable extends Error {
  override readonly name = "QueueUnavailable";
  /** full: disk below minFree or ENOSPC (452 4.3.1, may heal); failed: a sync failed, final (421 4.3.0); closed: shutting down. */
  readonly reason: "full" | "failed" | "closed";
  constructor(reason: "full" | "failed" | "closed", message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

export interface SettleOptions {
  /** What was said at an attempt that failed: kept with the message, in place of the one before, until it is gone. */
  readonly dialogue?: string | undefined;
}

export interface Queue {
  /** Begin a message. Throws QueueUnavailable synchronously when nothing can be taken now. */
  newMessage(): MessageWriter;
  /** Why new mail cannot be taken, or undefined: asked before MAIL and by readiness. */
  unavailable(): { readonly reason: "full" | "failed" | "closed"; readonly message: string } | undefined;
  /**
   * Durably mark up to `limit` due messages' due recipients active and count the attempt. Ordered by due time; where more is due than that, in turn over
   * the lanes of their senders (`sender-key.ts`), but none of `fullLanes`. Ends early where messages have very many recipients.
   */
  claimDue(
    nowMs: number,
    limit: number,
    options?: { readonly fullLanes?: readonly number[] },
  ): Promise<readonly QueuedMessage[]>;
  /** Up to 1,000 messages with recipients that are claimed, with those only. For a watchdog that misses some: it walks over the whole queue. */
  active(): Promise<readonly QueuedMessage[]>;
  /** When the next deferred recipient is due; undefined when none. */
  nextDueMs(): Promise<number | undefined>;
  /** The stored bytes, streamed; an error of name "CorruptMessage" when a checksum differs (and the message is quarantined). */
  read(id: QueueId): Content;
  /**
   * Record results and store reports in one commit; resolves after the sync. The stored reports come back claimed (attempt 1 counted),
   * followed, where something was expanded, by the message itself with its new recipients claimed.
   */
  settle(
    id: QueueId,
    settlements: readonly Settlement[],
    reports?: readonly GeneratedMessage[],
    options?: SettleOptions,
  ): Promise<readonly QueuedMessage[]>;
  summary(nowMs: number): Promise<QueueSummary>;
  list(options: { readonly limit: number; readonly after?: QueueId }): Promise<readonly QueuedMessage[]>;
  get(id: QueueId): Promise<QueuedMessage | undefined>;
  /** Operator verbs; each resolves to whether the message was there. */
  hold(id: QueueId): Promise<boolean>;
  release(id: QueueId, dueMs: number): Promise<boolean>;
  remove(id: QueueId): Promise<boolean>;
  /** Make every deferred recipient due now; resolves to how many. */
  flush(nowMs: number): Promise<number>;
  /** Wait for what is under way, checkpoint, close. */
  close(): Promise<void>;
}

/** Which messages: those that fit every condition given. What is asked of recipients, one of them must fit alone. */
export interface QueueFilter {
  /** An address, `@domain`, or "" for the null sender. */
  readonly sender?: string | undefined;
  /** An address or `@domain`. Of recipients only those count that are not settled. */
  readonly recipient?: string | undefined;
  readonly domain?: string | undefined;
  /** Of a recipient; but corrupt is a message as a whole, which then is in no other state. */
  readonly state?: RecipientState | "corrupt" | undefined;
  readonly receivedBeforeMs?: number | undefined;
}

export interface QueuePage {
  readonly ids: readonly QueueId[];
  /** Empty when only ids were asked for. */
  readonly messages: readonly QueuedMessage[];
  /** Messages looked at. */
  readonly seen: number;
  /** Where to go on; undefined at the end. A page may be empty and not the last. */
  readonly next: QueueId | undefined;
}

export interface ShapeSlice {
  readonly counts: readonly (readonly [domain: string, ages: readonly number[]])[];
  readonly seen: number;
  readonly next: QueueId | undefined;
}

/** What a postmaster's tools ask besides; each call is short, however long the queue. */
export interface QueueTools {
  /** One slice of a walk over the queue by id. */
  scan(options: {
    readonly after: QueueId | undefined;
    readonly limit: number;
    readonly filter: QueueFilter;
    readonly idsOnly: boolean;
  }): Promise<QueuePage>;
  /** One slice of the table of ages (`age.ts`). */
  shape(options: {
    readonly after: QueueId | undefined;
    readonly nowMs: number;
    readonly by: "recipient" | "sender";
    readonly state: RecipientState | undefined;
  }): Promise<ShapeSlice>;
  /** Start over: what is deferred or held is due now, attempts are forgotten, aliases asked again. Age and what was delivered stay. */
  requeue(id: QueueId, dueMs: number): Promise<boolean>;
  /** Its deferred recipients (of this domain) are due now; resolves to how many. */
  hasten(id: QueueId, dueMs: number, domain: string | undefined): Promise<number>;
}
