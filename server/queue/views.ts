/** Messages as the port shows them, read from the tables. Worker thread; changes nothing. Closed recipients are left out. */
import type { DatabaseSync } from "node:sqlite";
import type { RawMessage, RawRecipient, StartState } from "./protocol.ts";
import { Query } from "./query.ts";
import { messageState, recipientFlag, recipientState } from "./schema.ts";

interface MessageRow {
  readonly key: number;
  readonly id: string;
  readonly state: number;
  readonly received_ms: number;
  readonly size: number;
  readonly envelope: string;
  readonly origin: string;
}

interface RecipientRow {
  readonly number: number;
  readonly state: number;
  readonly flags: number;
  readonly attempts: number;
  readonly due_ms: number;
  readonly address: string;
  readonly details: string | null;
  readonly reply: string | null;
}

const states: readonly StartState[] = ["active", "deferred", "hold"];

export class Views {
  readonly #byKey: Query<MessageRow>;
  readonly #after: Query<MessageRow>;
  readonly #recipients: Query<RecipientRow>;
  readonly #dialogue: Query<{ text: string }>;

  constructor(db: DatabaseSync) {
    const columns = "SELECT key, id, state, received_ms, size, envelope, origin FROM message WHERE";
    const visible = `state IN (${messageState.queued}, ${messageState.corrupt})`;
    this.#byKey = new Query(db, `${columns} key = ?`);
    this.#after = new Query(db, `${columns} id > ? AND ${visible} ORDER BY id LIMIT ?`);
    this.#recipients = new Query(
      db,
      `SELECT number, state, flags, attempts, due_ms, address, details, reply FROM recipient
       WHERE message = ? AND state < ${recipientState.closed} ORDER BY number`,
    );
    this.#dialogue = new Query(db, "SELECT text FROM dialogue WHERE message = ?");
  }

  /** With `numbers`, only those recipients. */
  message(key: number, numbers?: ReadonlySet<number>): RawMessage | undefined {
    const row = this.#byKey.get(key);
    return row === undefined ? undefined : this.#view(row, numbers);
  }

  /** With what was said at the last attempt that failed. */
  whole(key: number): RawMessage | undefined {
    const message = this.message(key);
    return message === undefined ? undefined : { ...message, dialogue: this.#dialogue.get(key)?.text };
  }

  list(after: string, limit: number): RawMessage[] {
    return this.#after.all(after, limit).map((row) => this.#view(row, undefined));
  }

  #view(row: MessageRow, numbers: ReadonlySet<number> | undefined): RawMessage {
    const recipients = this.#recipients.all(row.key);
    return {
      id: row.id,
      receivedMs: row.received_ms,
      size: row.size,
      envelope: row.envelope,
      origin: row.origin,
      corrupt: row.state === messageState.corrupt,
      recipients: (numbers === undefined ? recipients : recipients.filter(({ number }) => numbers.has(number))).map(
        recipientView,
      ),
    };
  }
}

function recipientView(row: RecipientRow): RawRecipient {
  return {
    number: row.number,
    address: row.address,
    details: row.details,
    expanded: (row.flags & recipientFlag.expanded) !== 0,
    delayWarned: (row.flags & recipientFlag.delayWarned) !== 0,
    state: states[row.state] ?? "hold",
    attempts: row.attempts,
    dueMs: row.due_ms,
    reply: row.reply,
  };
}
