/**
 * How many messages and recipients there are, by state, without counting them each time.
 *
 * Counted once at opening, then kept in step by whoever changes a message; what is rolled back is taken back here too (`snapshot`, `restore`).
 * A message counts in the first of active, deferred, hold that one of its recipients is in; a corrupt one counts as corrupt, its octets with the
 * others' (they take space), its recipients no more (nobody works on them).
 */
import type { DatabaseSync } from "node:sqlite";
import type { StartState, Totals } from "./protocol.ts";
import { Query } from "./query.ts";
import { messageState, recipientState } from "./schema.ts";

/** `first`: the lowest state of its recipients. */
interface Shape {
  readonly first: number;
  readonly open: number;
  readonly message: number;
}

const openStates = ["active", "deferred", "hold"] as const;

export class Census {
  readonly #shape: Query<Shape>;
  readonly #oldest: Query<{ received_ms: number }>;
  readonly #db: DatabaseSync;
  #totals: Totals = { active: 0, deferred: 0, hold: 0, corrupt: 0, recipients: 0, bytes: 0 };

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.#shape = new Query(
      db,
      `SELECT min(r.state) AS first, sum(r.state < ${recipientState.closed}) AS open, m.state AS message
       FROM recipient r JOIN message m ON m.key = r.message WHERE r.message = ?`,
    );
    // Ids sort by time, also those of adopted messages.
    this.#oldest = new Query(
      db,
      `SELECT received_ms FROM message WHERE state = ${messageState.queued} ORDER BY id LIMIT 1`,
    );
  }

  /** From scratch: at opening, and after an adoption. */
  count(): void {
    const totals: Totals = { active: 0, deferred: 0, hold: 0, corrupt: 0, recipients: 0, bytes: 0 };
    const groups = new Query<{ first: number; messages: number; recipients: number }>(
      this.#db,
      `SELECT first, count(*) AS messages, sum(open) AS recipients FROM (
         SELECT min(state) AS first, sum(state < ${recipientState.closed}) AS open FROM recipient
         WHERE message NOT IN (SELECT key FROM message WHERE state <> 1) GROUP BY message
       ) GROUP BY first`,
    );
    for (const { first, messages, recipients } of groups.iterate()) {
      const state = openStates[first];
      if (state !== undefined) totals[state] += messages;
      totals.recipients += recipients;
    }
    const visible = new Query<{ corrupt: number | null; bytes: number | null }>(
      this.#db,
      `SELECT sum(state = ${messageState.corrupt}) AS corrupt, sum(size) AS bytes FROM message
       WHERE state IN (${messageState.queued}, ${messageState.corrupt})`,
    ).get();
    totals.corrupt = visible?.corrupt ?? 0;
    totals.bytes = visible?.bytes ?? 0;
    this.#totals = totals;
  }

  snapshot(): Totals {
    return { ...this.#totals };
  }

  restore(totals: Totals): void {
    this.#totals = { ...totals };
  }

  oldestMs(): number | undefined {
    return this.#oldest.get()?.received_ms;
  }

  shapeOf(key: number): Shape | undefined {
    return this.#shape.get(key);
  }

  stored(start: StartState, recipients: number, bytes: number): void {
    this.#totals[start] += 1;
    this.#totals.recipients += recipients;
    this.#totals.bytes += bytes;
  }

  removed(key: number, bytes: number, wasCorrupt: boolean): void {
    if (wasCorrupt) this.#totals.corrupt -= 1;
    else this.#add(this.shapeOf(key), -1);
    this.#totals.bytes -= bytes;
  }

  /** Do something that may change a message's place in the totals; returns how many of its recipients are open then. */
  change(key: number, work: () => void): number {
    const before = this.shapeOf(key);
    work();
    const after = this.shapeOf(key);
    this.#add(before, -1);
    this.#add(after, 1);
    return after?.open ?? 0;
  }

  #add(shape: Shape | undefined, sign: 1 | -1): void {
    if (shape === undefined) return;
    if (shape.message === messageState.corrupt) {
      this.#totals.corrupt += sign;
      return;
    }
    const state = openStates[shape.first];
    if (state !== undefined) this.#totals[state] += sign;
    this.#totals.recipients += sign * shape.open;
  }
}
