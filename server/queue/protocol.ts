/**
 * What the main thread and the queue's worker thread say to each other: requests, their results, and the envelopes they travel in.
 *
 * Requests of one tick travel in one message, with their octets side by side in one transferred buffer; answers of one group commit come back in one.
 * Envelope, origin, details and replies travel and are stored as JSON text, so that only the main thread ever parses them.
 */

import type { QueueFilter } from "./queue.ts";
import type { recipientState } from "./schema.ts";

export type StartState = "active" | "deferred" | "hold";

export interface RawNewRecipient {
  readonly address: string;
  /** JSON of originalRecipient and notify; null when it has neither. */
  readonly details: string | null;
  readonly expanded: boolean;
}

export interface RawNewMessage {
  readonly id: string;
  readonly receivedMs: number;
  readonly size: number;
  readonly envelope: string;
  readonly origin: string;
  readonly recipients: readonly RawNewRecipient[];
  /** Of its sender, see `sender-key.ts`. */
  readonly lane: number;
  readonly start: StartState;
  /** Chunks already sent by `append`; the rest is the request's octets. */
  readonly streamed: number;
}

export type RawSettlement = { readonly recipient: number } & (
  | { readonly kind: "closed" }
  | {
      readonly kind: "deferred";
      readonly reply: string;
      readonly dueMs: number;
      readonly delayWarned: boolean | undefined;
    }
  | { readonly kind: "expanded"; readonly into: readonly RawNewRecipient[] }
  | { readonly kind: "returned"; readonly dueMs: number }
  | { readonly kind: "held" }
);

export interface RawRecipient {
  readonly number: number;
  readonly address: string;
  readonly details: string | null;
  readonly expanded: boolean;
  readonly delayWarned: boolean;
  readonly state: StartState;
  readonly attempts: number;
  readonly dueMs: number;
  readonly reply: string | null;
}

export interface RawMessage {
  readonly id: string;
  readonly receivedMs: number;
  readonly size: number;
  readonly envelope: string;
  readonly origin: string;
  readonly corrupt: boolean;
  readonly recipients: readonly RawRecipient[];
  /** Read for `get` only. */
  readonly dialogue?: string | undefined;
}

export interface RawPage {
  readonly ids: readonly string[];
  readonly messages: readonly RawMessage[];
  readonly seen: number;
  readonly next: string | undefined;
}

export type ShapeBy = "recipient" | "sender";

export interface RawShapeSlice {
  readonly counts: readonly (readonly [string, readonly number[]])[];
  readonly seen: number;
  readonly next: string | undefined;
}

export type ReadResult =
  | { readonly kind: "chunks"; readonly total: number; readonly chunks: readonly Uint8Array<ArrayBuffer>[] }
  | { readonly kind: "gone" }
  /** `found`: by this very call. */
  | { readonly kind: "corrupt"; readonly reason: string; readonly found: boolean };

export interface Totals {
  active: number;
  deferred: number;
  hold: number;
  corrupt: number;
  recipients: number;
  bytes: number;
}

/** Operation → [request, result]. */
export interface Operations {
  store: [{ readonly message: RawNewMessage }, void];
  append: [{ readonly id: string; readonly receivedMs: number; readonly from: number }, void];
  abort: [{ readonly id: string }, void];
  /** Octets: the reports' contents one after the other. The result: the message with its new recipients, where some were added. */
  settle: [
    {
      readonly id: string;
      readonly nowMs: number;
      readonly settlements: readonly RawSettlement[];
      readonly reports: readonly RawNewMessage[];
      readonly dialogue: string | undefined;
    },
    { readonly found: boolean; readonly expanded: RawMessage | undefined },
  ];
  claim: [
    { readonly nowMs: number; readonly limit: number; readonly fullLanes: readonly number[] },
    readonly RawMessage[],
  ];
  active: [Record<never, never>, readonly RawMessage[]];
  nextDue: [{ readonly nowMs: number }, number | undefined];
  read: [{ readonly id: string; readonly from: number; readonly count: number }, ReadResult];
  summary: [Record<never, never>, { readonly totals: Totals; readonly oldestMs: number | undefined }];
  list: [{ readonly limit: number; readonly after: string }, readonly RawMessage[]];
  get: [{ readonly id: string }, RawMessage | undefined];
  hold: [{ readonly id: string }, boolean];
  release: [{ readonly id: string; readonly dueMs: number }, boolean];
  remove: [{ readonly id: string }, boolean];
  flush: [{ readonly nowMs: number }, number];
  scan: [
    { readonly after: string; readonly limit: number; readonly filter: QueueFilter; readonly idsOnly: boolean },
    RawPage,
  ];
  shape: [
    {
      readonly after: string;
      readonly nowMs: number;
      readonly by: ShapeBy;
      readonly state: keyof typeof recipientState | undefined;
    },
    RawShapeSlice,
  ];
  requeue: [{ readonly id: string; readonly dueMs: number }, boolean];
  hasten: [{ readonly id: string; readonly dueMs: number; readonly domain: string | undefined }, number];
  adopt: [{ readonly path: string; readonly token: string }, number];
  /** What is really in force, read back from the database. */
  settings: [
    Record<never, never>,
    { readonly journalMode: string; readonly synchronous: number; readonly lockingMode: string },
  ];
  close: [Record<never, never>, void];
}

export type Operation = keyof Operations;
export type RequestOf<Op extends Operation> = Operations[Op][0];
export type ResultOf<Op extends Operation> = Operations[Op][1];

export type Request = {
  [Op in Operation]: {
    readonly op: Op;
    readonly serial: number;
    readonly body: Uint8Array | undefined;
  } & RequestOf<Op>;
}[Operation];

export interface RequestBatch {
  readonly requests: readonly Request[];
}

/** full: refused for lack of space, may heal; failed: storage is broken, final; closed: shutting down; error: this request only. */
export interface RawFailure {
  readonly reason: "full" | "failed" | "closed" | "error";
  readonly message: string;
}

export type Answer =
  | { readonly serial: number; readonly result: unknown }
  | { readonly serial: number; readonly failure: RawFailure };

export interface Space {
  /** Octets free within the database file. */
  readonly innerFreeBytes: number;
  /** Of the reserve, what is not there: it must stay free on the disk instead. */
  readonly missingReserveBytes: number;
}

export type FromWorker =
  /** cutOff: recipients that were in flight; halfReceived: messages; waiting: files whose adoption an earlier process began. */
  | {
      readonly kind: "opened";
      readonly cutOff: number;
      readonly halfReceived: number;
      readonly waiting: readonly string[];
      readonly space: Space;
    }
  | { readonly kind: "not-opened"; readonly message: string }
  | {
      readonly kind: "answers";
      readonly answers: readonly Answer[];
      /** Writing requests in this group and how long it took; undefined when nothing had to be committed. */
      readonly commit: { readonly items: number; readonly seconds: number } | undefined;
      readonly space: Space;
    }
  | { readonly kind: "failed"; readonly message: string };

export interface WorkerOptions {
  readonly path: string;
  readonly nowMs: number;
  readonly maxFutureMs: number;
  readonly maxDatabaseBytes: number | undefined;
  readonly reserveBytes: number;
}

/** Octets of a row of a stored message. */
export const CHUNK_BYTES = 65_536;
/** Chunks a message may have: 4 GiB. */
export const MOST_CHUNKS = 65_536;
