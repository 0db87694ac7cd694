/**
 * What each request does, as one table. Runs on the worker thread within the group's transaction.
 *
 * `kind` says what the group must know: `read` changes nothing (a group of reads alone needs no commit); `grow` needs space and is refused when
 * there is none; `relieve` is carried out even on a full disk if at all possible, alone with its like; `long` is a generator that is continued in
 * the groups to come.
 */
import { type AdoptionOptions, adopt } from "./adoption.ts";
import type { Operation, RequestOf, ResultOf } from "./protocol.ts";
import { Query } from "./query.ts";
import { messageState } from "./schema.ts";
import type { Spool } from "./spool.ts";

interface Simple<Op extends Operation> {
  readonly kind: "read" | "grow" | "relieve";
  readonly run: (spool: Spool, request: RequestOf<Op>, body: Uint8Array) => ResultOf<Op>;
}
interface Long<Op extends Operation> {
  readonly kind: "long";
  readonly run: (spool: Spool, request: RequestOf<Op>, ours: Ours) => Generator<void, ResultOf<Op>>;
}
export type Ours = Pick<AdoptionOptions, "ours" | "nowMs" | "maxFutureMs">;

/** Recipients that one transaction of a flush touches. */
const FLUSH_SLICE = 5000;

type Table = { readonly [Op in Exclude<Operation, "close">]: Simple<Op> | Long<Op> };

export const operations: Table = {
  store: { kind: "grow", run: (spool, { message }, body) => spool.messages.store(message, body) },
  append: {
    kind: "grow",
    run: (spool, { id, receivedMs, from }, body) => spool.messages.append(id, receivedMs, from, body),
  },
  abort: { kind: "relieve", run: (spool, { id }) => spool.messages.abort(id) },
  settle: {
    kind: "relieve",
    run: (spool, { id, nowMs, settlements, reports, dialogue }, body) =>
      spool.transitions.settle(id, nowMs, settlements, reports, body, dialogue),
  },
  claim: {
    kind: "relieve",
    run: (spool, { nowMs, limit, fullLanes }) => spool.transitions.claim(nowMs, limit, fullLanes),
  },
  active: { kind: "read", run: (spool) => spool.transitions.activeMessages() },
  nextDue: { kind: "read", run: (spool, { nowMs }) => spool.transitions.nextDueMs(nowMs) },
  read: {
    kind: "read",
    run: (spool, { id, from, count }) => {
      const result = spool.messages.read(id, from, count);
      if (result.kind === "corrupt" && result.found) {
        spool.begin();
        spool.messages.quarantine(id);
      }
      return result;
    },
  },
  summary: {
    kind: "read",
    run: (spool) => ({ totals: spool.census.snapshot(), oldestMs: spool.census.oldestMs() }),
  },
  list: { kind: "read", run: (spool, { limit, after }) => spool.views.list(after, limit) },
  get: {
    kind: "read",
    run: (spool, { id }) => {
      const message = spool.messages.find(id);
      return message === undefined ? undefined : spool.views.whole(message.key);
    },
  },
  hold: {
    kind: "relieve",
    run: (spool, { id }) => {
      const message = spool.messages.find(id);
      if (message !== undefined) spool.transitions.hold(message);
      return message !== undefined;
    },
  },
  release: {
    kind: "relieve",
    run: (spool, { id, dueMs }) => {
      const message = spool.messages.find(id);
      // A corrupt message is never delivered, whoever asks.
      if (message?.state !== messageState.queued) return false;
      spool.transitions.release(message, dueMs);
      return true;
    },
  },
  remove: {
    kind: "relieve",
    run: (spool, { id }) => {
      const message = spool.messages.find(id);
      if (message !== undefined) spool.messages.remove(message);
      return message !== undefined;
    },
  },
  scan: { kind: "read", run: (spool, request) => spool.scan.page(request) },
  shape: { kind: "read", run: (spool, request) => spool.scan.shape(request) },
  requeue: {
    kind: "relieve",
    run: (spool, { id, dueMs }) => {
      const message = spool.messages.find(id);
      if (message?.state !== messageState.queued) return false;
      spool.transitions.requeue(message, dueMs);
      return true;
    },
  },
  hasten: {
    kind: "relieve",
    run: (spool, { id, dueMs, domain }) => {
      const message = spool.messages.find(id);
      return message === undefined ? 0 : spool.transitions.hasten(message, dueMs, domain);
    },
  },
  flush: { kind: "long", run: (spool, { nowMs }) => flush(spool, nowMs) },
  adopt: { kind: "long", run: (spool, { path, token }, ours) => adopt(spool, { path, token, ...ours }) },
  settings: {
    kind: "read",
    run: ({ db }) => ({
      journalMode: new Query<{ journal_mode: string }>(db, "PRAGMA journal_mode").get()?.journal_mode ?? "",
      synchronous: new Query<{ synchronous: number }>(db, "PRAGMA synchronous").get()?.synchronous ?? -1,
      lockingMode: new Query<{ locking_mode: string }>(db, "PRAGMA locking_mode").get()?.locking_mode ?? "",
    }),
  },
};

function* flush(spool: Spool, nowMs: number): Generator<void, number> {
  const count = spool.transitions.deferredRecipients();
  while (spool.transitions.flushSlice(nowMs, FLUSH_SLICE)) yield;
  return count;
}
