/**
 * The arrows of the table in `queue.ts`: every change of a recipient's state, and nothing else.
 *
 * Worker thread, within the transaction of the group. Final results (delivered, failed) close a recipient whatever happened to it meanwhile; all others
 * count only for one that is still active, so that a result that comes twice changes nothing. An operator's hold of an active recipient waits for
 * the end of its attempt (a second attempt beside the first would deliver twice). The last recipient to close takes the message with it.
 */
import type { DatabaseSync } from "node:sqlite";
import type { MessageRow, Messages } from "./messages.ts";
import type { RawMessage, RawNewMessage, RawNewRecipient, RawSettlement } from "./protocol.ts";
import { Query } from "./query.ts";
import { recipientKey } from "./recipient-key.ts";
import { inDomain } from "./scan.ts";
import { LANE_SHIFT, messageState, recipientFlag, recipientState } from "./schema.ts";
import type { Census } from "./totals.ts";
import type { Views } from "./views.ts";

interface RecipientRow {
  readonly number: number;
  readonly state: number;
  readonly flags: number;
  readonly attempts: number;
  readonly address: string;
}

const { active, deferred, hold, closed, expanded } = recipientState;
/** Recipients after which a claim ends although there is room for more messages, for each message of its limit. */
const RECIPIENTS_A_MESSAGE = 20;
const MOST_ACTIVE = 1000;

export class Transitions {
  readonly #messages: Messages;
  readonly #census: Census;
  readonly #views: Views;
  readonly #maxFutureMs: number;
  readonly #recipients: Query<RecipientRow>;
  readonly #recipient: Query<RecipientRow>;
  readonly #close: Query;
  readonly #defer: Query;
  readonly #giveBack: Query;
  readonly #setState: Query;
  readonly #due: Query<{ message: number }>;
  readonly #dueTooFar: Query<{ message: number }>;
  readonly #dueInLane: Query<{ message: number }>;
  readonly #nextLane: Query<{ lane: number }>;
  readonly #active: Query<{ message: number }>;
  /** Where the next turn over the lanes begins. */
  #lane = -1;
  readonly #claim: Query<{ number: number }>;
  readonly #dueRange: Query<{ first: number | null; last: number | null }>;
  readonly #deferredCount: Query<{ count: number }>;
  readonly #flush: Query;
  readonly #recover: Query;
  readonly #holdIdle: Query;
  readonly #holdActive: Query;
  readonly #unholdActive: Query;
  readonly #release: Query;
  readonly #requeue: Query;
  readonly #hasten: Query;

  constructor(
    db: DatabaseSync,
    parts: { readonly messages: Messages; readonly census: Census; readonly views: Views },
    maxFutureMs: number,
  ) {
    this.#messages = parts.messages;
    this.#census = parts.census;
    this.#views = parts.views;
    this.#maxFutureMs = maxFutureMs;
    const columns = "SELECT number, state, flags, attempts, address FROM recipient WHERE message = ?";
    this.#recipients = new Query(db, `${columns} ORDER BY number`);
    this.#recipient = new Query(db, `${columns} AND number = ?`);
    const update = (changes: string): Query =>
      new Query(db, `UPDATE recipient SET ${changes} WHERE message = ?1 AND number = ?2`);
    this.#close = update(`state = ${closed}`);
    this.#defer = update("state = ?3, flags = ?4, due_ms = ?5, reply = ?6");
    this.#giveBack = update("state = ?3, flags = ?4, attempts = max(0, attempts - 1), due_ms = ?5");
    this.#setState = update("state = ?3, flags = ?4");
    const dueRows = `SELECT r.message FROM recipient r CROSS JOIN message m ON m.key = r.message
      WHERE r.state = ${deferred} AND m.state = ${messageState.queued} AND`;
    this.#due = new Query(db, `${dueRows} r.due_ms <= ? ORDER BY r.due_ms`);
    this.#dueTooFar = new Query(db, `${dueRows} r.due_ms > ? ORDER BY r.due_ms`);
    this.#dueInLane = new Query(db, `${dueRows} (r.flags >> ${LANE_SHIFT}) = ? AND r.due_ms <= ? ORDER BY r.due_ms`);
    this.#nextLane = new Query(
      db,
      `SELECT flags >> ${LANE_SHIFT} AS lane FROM recipient WHERE state = ${deferred} AND (flags >> ${LANE_SHIFT}) > ?
       ORDER BY flags >> ${LANE_SHIFT} LIMIT 1`,
    );
    this.#active = new Query(
      db,
      `SELECT DISTINCT r.message FROM recipient r JOIN message m ON m.key = r.message
       WHERE r.state = ${active} AND m.state = ${messageState.queued} LIMIT ${MOST_ACTIVE}`,
    );
    this.#claim = new Query(
      db,
      `UPDATE recipient SET state = ${active}, attempts = attempts + 1, due_ms = min(due_ms, ?2)
       WHERE message = ?1 AND state = ${deferred} AND (due_ms <= ?2 OR due_ms > ?3) RETURNING number`,
    );
    this.#dueRange = new Query(
      db,
      `SELECT (SELECT due_ms FROM recipient WHERE state = ${deferred} ORDER BY due_ms LIMIT 1) AS first,
              (SELECT due_ms FROM recipient WHERE state = ${deferred} ORDER BY due_ms DESC LIMIT 1) AS last`,
    );
    this.#deferredCount = new Query(db, `SELECT count(*) AS count FROM recipient WHERE state = ${deferred}`);
    this.#flush = new Query(
      db,
      `UPDATE recipient SET due_ms = ?1 WHERE (message, number) IN
         (SELECT message, number FROM recipient WHERE state = ${deferred} AND due_ms > ?1 LIMIT ?2)`,
    );
    this.#recover = new Query(
      db,
      `UPDATE recipient SET due_ms = ?, flags = flags & ~${recipientFlag.holdWanted},
         state = CASE WHEN flags & ${recipientFlag.holdWanted} THEN ${hold} ELSE ${deferred} END
       WHERE state = ${active}`,
    );
    this.#holdIdle = new Query(db, `UPDATE recipient SET state = ${hold} WHERE message = ? AND state = ${deferred}`);
    const flagActive = (flags: string): Query =>
      new Query(db, `UPDATE recipient SET flags = ${flags} WHERE message = ? AND state = ${active}`);
    this.#holdActive = flagActive(`flags | ${recipientFlag.holdWanted}`);
    this.#unholdActive = flagActive(`flags & ~${recipientFlag.holdWanted}`);
    this.#release = new Query(
      db,
      `UPDATE recipient SET state = ${deferred}, due_ms = ? WHERE message = ? AND state = ${hold}`,
    );
    this.#requeue = new Query(
      db,
      `UPDATE recipient SET state = ${deferred}, due_ms = ?, attempts = 0, flags = flags & ~${recipientFlag.expanded}
       WHERE message = ? AND state IN (${deferred}, ${hold})`,
    );
    this.#hasten = new Query(
      db,
      `UPDATE recipient SET due_ms = ?3 WHERE message = ?1 AND number = ?2 AND state = ${deferred} AND due_ms > ?3`,
    );
  }

  /** At the start: what was in flight is due now (or held, when an operator asked for that), what was half received is gone. */
  recover(nowMs: number): { readonly cutOff: number; readonly halfReceived: number } {
    const halfReceived = this.#messages.eraseIncoming();
    this.#messages.eraseAdopting();
    const cutOff = this.#recover.run(nowMs);
    this.#census.count();
    return { cutOff, halfReceived };
  }

  settle(
    id: string,
    nowMs: number,
    settlements: readonly RawSettlement[],
    reports: readonly RawNewMessage[],
    contents: Uint8Array,
    dialogue?: string,
  ): { readonly found: boolean; readonly expanded: RawMessage | undefined } {
    const message = this.#messages.find(id);
    // Removed by an operator while it was under way: nobody wants to hear of it any more.
    if (message === undefined) return { found: false, expanded: undefined };
    let at = 0;
    for (const report of reports) {
      this.#messages.store(report, contents.subarray(at, at + report.size));
      at += report.size;
    }
    if (this.#closesMessage(message, settlements)) {
      this.#messages.remove(message);
      return { found: true, expanded: undefined };
    }
    const added = new Set<number>();
    const open = this.#census.change(message.key, () => {
      // Results are for recipients that were claimed, not for those that this very call adds.
      for (const settlement of settlements)
        if (!added.has(settlement.recipient)) this.#settleOne(message, settlement, nowMs, added);
    });
    if (open === 0 && message.state === messageState.queued) {
      this.#messages.remove(message);
      return { found: true, expanded: undefined };
    }
    if (dialogue !== undefined) this.#messages.keepDialogue(message.key, dialogue);
    return { found: true, expanded: added.size === 0 ? undefined : this.#claimedOf(message.key, added) };
  }

  /** Those that are to be delivered now; the others are on hold. */
  #claimedOf(key: number, numbers: ReadonlySet<number>): RawMessage | undefined {
    const message = this.#views.message(key, numbers);
    const recipients = message?.recipients.filter(({ state }) => state === "active") ?? [];
    return message === undefined || recipients.length === 0 ? undefined : { ...message, recipients };
  }

  /** The usual end: every open recipient closes at once, and nothing needs to be written before it is deleted. */
  #closesMessage(message: MessageRow, settlements: readonly RawSettlement[]): boolean {
    if (message.state !== messageState.queued || !settlements.every(({ kind }) => kind === "closed")) return false;
    if ((this.#census.shapeOf(message.key)?.open ?? 0) > settlements.length) return false;
    const closing = new Set(settlements.map(({ recipient }) => recipient));
    return this.#recipients.all(message.key).every(({ number, state }) => state >= closed || closing.has(number));
  }

  #settleOne(message: MessageRow, settlement: RawSettlement, nowMs: number, added: Set<number>): void {
    const { key } = message;
    const row = this.#recipient.get(key, settlement.recipient);
    if (row === undefined || row.state >= closed) return;
    if (settlement.kind === "closed") {
      this.#close.run(key, row.number);
      return;
    }
    if (row.state !== active) return;
    const wantsHold = (row.flags & recipientFlag.holdWanted) !== 0;
    const flags = row.flags & ~recipientFlag.holdWanted;
    const next = wantsHold ? hold : deferred;
    switch (settlement.kind) {
      case "deferred": {
        const warned = settlement.delayWarned === true ? recipientFlag.delayWarned : 0;
        this.#defer.run(key, row.number, next, flags | warned, settlement.dueMs, settlement.reply);
        return;
      }
      case "returned":
        this.#giveBack.run(key, row.number, next, flags, settlement.dueMs);
        return;
      case "held":
        this.#setState.run(key, row.number, hold, flags);
        return;
      case "expanded":
        this.#setState.run(key, row.number, expanded, flags);
        this.#expand(message, settlement.into, wantsHold, nowMs, added);
        return;
    }
  }

  /** Addresses the message has or had are left out, except those that were themselves replaced: a list may name itself as its own member. */
  #expand(
    message: MessageRow,
    into: readonly RawNewRecipient[],
    wantsHold: boolean,
    nowMs: number,
    added: Set<number>,
  ): void {
    const rows = this.#recipients.all(message.key);
    const known = new Set(rows.filter(({ state }) => state !== expanded).map(({ address }) => recipientKey(address)));
    const replaced = new Set(
      rows.filter(({ state }) => state === expanded).map(({ address }) => recipientKey(address)),
    );
    let number = (rows.at(-1)?.number ?? -1) + 1;
    const lane = (rows[0]?.flags ?? 0) >> LANE_SHIFT;
    for (const recipient of into) {
      const address = recipientKey(recipient.address);
      if (known.has(address)) continue;
      known.add(address);
      // Expanded once is enough: otherwise an address that names itself would be replaced for ever.
      const final = { ...recipient, expanded: recipient.expanded || replaced.has(address) };
      this.#messages.addRecipient(message.key, number, final, wantsHold ? "hold" : "active", nowMs, lane);
      added.add(number);
      number += 1;
    }
  }

  claim(nowMs: number, limit: number, fullLanes: readonly number[]): RawMessage[] {
    const tooFarMs = nowMs + this.#maxFutureMs;
    const keys = new Set<number>();
    // One more than wanted: then there is a choice to be made.
    if (limit > 0 && fullLanes.length === 0) collect(this.#due.iterate(nowMs), keys, limit + 1);
    if (keys.size > limit || fullLanes.length > 0) {
      keys.clear();
      this.#collectInTurn(nowMs, keys, limit, new Set(fullLanes));
    }
    // The clock has jumped back since: such a time would never come.
    if (keys.size < limit) collect(this.#dueTooFar.iterate(tooFarMs), keys, limit);
    const claimed: RawMessage[] = [];
    let recipients = 0;
    for (const key of keys) {
      if (recipients >= limit * RECIPIENTS_A_MESSAGE) break;
      let numbers: readonly { number: number }[] = [];
      this.#census.change(key, () => {
        numbers = this.#claim.all(key, nowMs, tooFarMs);
      });
      const message = this.#views.message(key, new Set(numbers.map(({ number }) => number)));
      recipients += numbers.length;
      if (message !== undefined) claimed.push(message);
    }
    return claimed;
  }

  /** As many of each lane, the earliest first; what some do not need is for the others. Two reads a lane, however much waits in it. */
  #collectInTurn(nowMs: number, keys: Set<number>, limit: number, full: ReadonlySet<number>): void {
    const lanes = this.#lanes().filter((lane) => !full.has(lane));
    const first = lanes.findIndex((lane) => lane > this.#lane);
    let turn = first <= 0 ? lanes : [...lanes.slice(first), ...lanes.slice(0, first)];
    for (let share = 0; turn.length > 0 && keys.size < limit; ) {
      share += Math.max(1, Math.floor((limit - keys.size) / turn.length));
      turn = turn.filter((lane) => {
        if (keys.size >= limit) return false;
        this.#lane = lane;
        const own = new Set<number>();
        collect(this.#dueInLane.iterate(lane, nowMs), own, share);
        for (const key of own) if (keys.size < limit) keys.add(key);
        return own.size >= share;
      });
    }
  }

  #lanes(): number[] {
    const lanes: number[] = [];
    for (let next = this.#nextLane.get(-1); next !== undefined; next = this.#nextLane.get(next.lane))
      lanes.push(next.lane);
    return lanes;
  }

  activeMessages(): RawMessage[] {
    return this.#active.all().flatMap(({ message: key }) => {
      const message = this.#views.message(key);
      const recipients = message?.recipients.filter(({ state }) => state === "active") ?? [];
      return message === undefined || recipients.length === 0 ? [] : [{ ...message, recipients }];
    });
  }

  nextDueMs(nowMs: number): number | undefined {
    const { first, last } = this.#dueRange.get() ?? { first: null, last: null };
    if (first === null || last === null) return undefined;
    return last > nowMs + this.#maxFutureMs ? Math.min(first, nowMs) : first;
  }

  hold(message: MessageRow): void {
    this.#holdActive.run(message.key);
    this.#census.change(message.key, () => this.#holdIdle.run(message.key));
  }

  release(message: MessageRow, dueMs: number): void {
    this.#unholdActive.run(message.key);
    this.#census.change(message.key, () => this.#release.run(dueMs, message.key));
  }

  /**
   * As a new message would be: attempts are counted from nothing, aliases are applied again. Those under way end first. What was delivered stays so,
   * and the message keeps its age: who requeues it every day shall not keep it for ever.
   */
  requeue(message: MessageRow, dueMs: number): void {
    this.#unholdActive.run(message.key);
    this.#census.change(message.key, () => this.#requeue.run(dueMs, message.key));
  }

  /** Returns how many recipients are due earlier than they were. */
  hasten(message: MessageRow, dueMs: number, domain: string | undefined): number {
    const concerns = domain === undefined ? undefined : inDomain(domain);
    let count = 0;
    for (const { number, state, address } of this.#recipients.all(message.key))
      if (state === deferred && (concerns === undefined || concerns(address)))
        count += this.#hasten.run(message.key, number, dueMs);
    return count;
  }

  deferredRecipients(): number {
    return this.#deferredCount.get()?.count ?? 0;
  }

  /** One slice; returns whether there may be more. */
  flushSlice(nowMs: number, recipients: number): boolean {
    return this.#flush.run(nowMs, recipients) === recipients;
  }
}

function collect(rows: NodeJS.Iterator<{ message: number }>, keys: Set<number>, limit: number): void {
  if (keys.size >= limit) return;
  for (const { message } of rows) {
    keys.add(message);
    if (keys.size >= limit) return;
  }
}
