/**
 * Walking through a queue of any size, a slice at a time: what `queue list`, the verbs over many messages and `queue shape` stand on.
 *
 * Worker thread; changes nothing. A slice ends after some milliseconds whatever it has found, so that a commit never waits for more than one of them;
 * `next` says where the following one begins. Goes by id, which is by age, so that what arrives meanwhile is met at the end or not at all.
 */
import type { DatabaseSync } from "node:sqlite";
import { domainKey, splitAddress } from "../config/address.ts";
import { AGE_LIMITS, ageBucket } from "./age.ts";
import type { RawMessage, RawPage, RawShapeSlice, ShapeBy } from "./protocol.ts";
import { Query } from "./query.ts";
import type { QueueFilter } from "./queue.ts";
import { recipientKey } from "./recipient-key.ts";
import { messageState, recipientState } from "./schema.ts";
import type { Views } from "./views.ts";

/** How long a slice may take, and between how many rows the clock is asked. */
const SLICE_MS = 5;
const ROWS_BETWEEN = 32;
/** Recipients shown in one page: a page of mass mailings must not be a hundred megabytes. */
const MOST_RECIPIENTS = 2000;

interface MessageRow {
  readonly key: number;
  readonly id: string;
  readonly state: number;
  readonly received_ms: number;
  readonly sender: string | null;
}
interface RecipientRow {
  readonly state: number;
  readonly address: string;
}

type Predicate<Value> = (value: Value) => boolean;

/** "" is the null sender, `@domain` everything of a domain; undefined: anything. */
function addressPattern(pattern: string | undefined): Predicate<string> | undefined {
  if (pattern === undefined) return undefined;
  if (pattern.startsWith("@")) return inDomain(pattern.slice(1));
  const key = recipientKey(pattern);
  return (address) => recipientKey(address) === key;
}

export function inDomain(domain: string): Predicate<string> {
  const key = domainKey(domain) ?? domain.toLowerCase();
  return (address) => domainOf(address) === key;
}

/** As tables write it; "" without one (the null sender, `postmaster`). */
export function domainOf(address: string): string {
  const domain = splitAddress(address)?.domain ?? "";
  return domainKey(domain) ?? domain.toLowerCase();
}

export class Scan {
  readonly #views: Views;
  readonly #rows: Query<MessageRow>;
  readonly #rowsWithSender: Query<MessageRow>;
  readonly #recipients: Query<RecipientRow>;
  readonly #byRecipient: Query<{ id: string; received_ms: number; state: number; address: string }>;
  readonly #bySender: Query<{ id: string; received_ms: number; state: number | null; sender: string | null }>;

  constructor(db: DatabaseSync, views: Views) {
    this.#views = views;
    const sender = "envelope ->> '$.sender' AS sender";
    const visible = `state IN (${messageState.queued}, ${messageState.corrupt})`;
    const rows = (third: string): Query<MessageRow> =>
      new Query(
        db,
        `SELECT key, id, state, received_ms, ${third} FROM message WHERE id > ? AND ${visible} ORDER BY id`,
      );
    this.#rows = rows("NULL AS sender");
    this.#rowsWithSender = rows(sender);
    const open = `state < ${recipientState.closed}`;
    this.#recipients = new Query(db, `SELECT state, address FROM recipient WHERE message = ? AND ${open}`);
    this.#byRecipient = new Query(
      db,
      `SELECT m.id, m.received_ms, r.state, r.address FROM message m CROSS JOIN recipient r
       WHERE m.id > ? AND m.state = ${messageState.queued} AND r.message = m.key AND r.${open} ORDER BY m.id`,
    );
    this.#bySender = new Query(
      db,
      `SELECT id, received_ms, (SELECT min(state) FROM recipient WHERE message = message.key) AS state, ${sender}
       FROM message WHERE id > ? AND state = ${messageState.queued} ORDER BY id`,
    );
  }

  /** Messages that fit, at most `limit`; with `idsOnly`, nothing but their ids. */
  page(options: {
    readonly after: string;
    readonly limit: number;
    readonly filter: QueueFilter;
    readonly idsOnly: boolean;
  }): RawPage {
    const { filter, limit, idsOnly } = options;
    const isSender = addressPattern(filter.sender);
    const isRecipient = addressPattern(filter.recipient);
    const isInDomain = filter.domain === undefined ? undefined : inDomain(filter.domain);
    const asksRecipients = isRecipient ?? isInDomain ?? (filter.state === "corrupt" ? undefined : filter.state);
    const state = filter.state === undefined || filter.state === "corrupt" ? undefined : recipientState[filter.state];
    const endMs = performance.now() + SLICE_MS;
    const ids: string[] = [];
    const messages: RawMessage[] = [];
    let recipients = 0;
    let seen = 0;
    let last = options.after;
    for (const row of (isSender === undefined ? this.#rows : this.#rowsWithSender).iterate(options.after)) {
      // What is younger comes later: nothing that fits can follow, but for clocks that were set.
      const fits =
        (filter.receivedBeforeMs === undefined || row.received_ms < filter.receivedBeforeMs) &&
        (filter.state === undefined || (row.state === messageState.corrupt) === (filter.state === "corrupt")) &&
        (isSender === undefined || isSender(row.sender ?? "")) &&
        (asksRecipients === undefined ||
          this.#recipients
            .all(row.key)
            .some(
              (recipient) =>
                (state === undefined || recipient.state === state) &&
                (isRecipient === undefined || isRecipient(recipient.address)) &&
                (isInDomain === undefined || isInDomain(recipient.address)),
            ));
      last = row.id;
      seen += 1;
      if (fits) {
        ids.push(row.id);
        const message = idsOnly ? undefined : this.#views.message(row.key);
        if (message !== undefined) messages.push(message);
        recipients += message?.recipients.length ?? 0;
      }
      if (ids.length >= limit || recipients >= MOST_RECIPIENTS) return { ids, messages, seen, next: last };
      if (seen % ROWS_BETWEEN === 0 && performance.now() > endMs) return { ids, messages, seen, next: last };
    }
    return { ids, messages, seen, next: undefined };
  }

  /** Recipients by their domain (messages by their sender's domain) and age, of one slice. Cut between messages only. */
  shape(options: {
    readonly after: string;
    readonly nowMs: number;
    readonly by: ShapeBy;
    readonly state: keyof typeof recipientState | undefined;
  }): RawShapeSlice {
    const wanted = options.state === undefined ? undefined : recipientState[options.state];
    const endMs = performance.now() + SLICE_MS;
    const counts = new Map<string, number[]>();
    let last = options.after;
    let seen = 0;
    let isLate = false;
    const rows =
      options.by === "recipient" ? this.#byRecipient.iterate(options.after) : this.#bySender.iterate(options.after);
    for (const row of rows) {
      if (row.id !== last) {
        if (isLate) return { counts: [...counts], seen, next: last };
        last = row.id;
        seen += 1;
        if (seen % ROWS_BETWEEN === 0) isLate = performance.now() > endMs;
      }
      if (wanted !== undefined && row.state !== wanted) continue;
      const domain = domainOf(("address" in row ? row.address : row.sender) ?? "");
      let buckets = counts.get(domain);
      if (buckets === undefined) counts.set(domain, (buckets = Array.from({ length: AGE_LIMITS.length + 1 }, () => 0)));
      const bucket = ageBucket(options.nowMs - row.received_ms);
      buckets[bucket] = (buckets[bucket] ?? 0) + 1;
    }
    return { counts: [...counts], seen, next: undefined };
  }
}
