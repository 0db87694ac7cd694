/**
 * Messages and their octets in the database: how they come in, are read, are set aside and go.
 *
 * Worker thread, within the transaction of the group. A message streams in under the state incoming, which nothing else sees; storing it is one change
 * of state. Every chunk carries a CRC-32 that is checked whenever it is read; a chunk that is missing or differs puts the whole message aside as
 * corrupt: kept, counted, its recipients held, never delivered. Octets that the disk cannot read fail the one who asked, and are set aside when that has
 * happened several times: a bad sector shall not end the shard again and again.
 */
import type { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import {
  CHUNK_BYTES,
  MOST_CHUNKS,
  type RawNewMessage,
  type RawNewRecipient,
  type ReadResult,
  type StartState,
} from "./protocol.ts";
import { Query } from "./query.ts";
import { LANE_SHIFT, messageState, recipientFlag, recipientState } from "./schema.ts";
import { describeError, isUnreadable, troubleOf } from "./sqlite-error.ts";
import type { Census } from "./totals.ts";

export interface MessageRow {
  readonly key: number;
  readonly state: number;
  readonly size: number;
  readonly chunks: number;
}

interface ChunkRow {
  readonly number: number;
  readonly crc: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** Reads of a message in vain, hours apart by the back-off, before it is set aside. */
const MOST_UNREADABLE = 3;

export class Messages {
  /** By key, for messages that the disk could not read lately. */
  readonly #unreadable = new Map<number, number>();
  readonly #census: Census;
  readonly #find: Query<MessageRow>;
  readonly #insert: Query;
  readonly #complete: Query;
  readonly #grow: Query;
  readonly #insertRecipient: Query;
  readonly #insertChunk: Query;
  readonly #chunks: Query<ChunkRow>;
  readonly #deleteRecipients: Query;
  readonly #deleteChunks: Query;
  readonly #deleteMessage: Query;
  readonly #deleteDialogue: Query;
  readonly #setDialogue: Query;
  readonly #setState: Query;
  readonly #holdAll: Query;
  readonly #inState: Query<{ key: number }>;

  constructor(db: DatabaseSync, census: Census) {
    this.#census = census;
    this.#find = new Query(db, "SELECT key, state, size, chunks FROM message WHERE id = ?");
    this.#insert = new Query(
      db,
      "INSERT INTO message (id, state, received_ms, size, chunks, envelope, origin) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    this.#complete = new Query(
      db,
      "UPDATE message SET state = ?, received_ms = ?, size = ?, chunks = ?, envelope = ?, origin = ? WHERE key = ?",
    );
    this.#grow = new Query(db, "UPDATE message SET chunks = ? WHERE key = ?");
    this.#insertRecipient = new Query(
      db,
      "INSERT INTO recipient (message, number, state, flags, attempts, due_ms, address, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    );
    this.#insertChunk = new Query(db, `INSERT INTO chunk (key, crc, data) VALUES (? * ${MOST_CHUNKS} + ?, ?, ?)`);
    this.#chunks = new Query(
      db,
      `SELECT key - ?1 * ${MOST_CHUNKS} AS number, crc, data FROM chunk
       WHERE key >= ?1 * ${MOST_CHUNKS} + ?2 AND key < ?1 * ${MOST_CHUNKS} + ?3 ORDER BY key`,
    );
    this.#deleteRecipients = new Query(db, "DELETE FROM recipient WHERE message = ?");
    this.#deleteChunks = new Query(
      db,
      `DELETE FROM chunk WHERE key >= ?1 * ${MOST_CHUNKS} AND key < (?1 + 1) * ${MOST_CHUNKS}`,
    );
    this.#deleteMessage = new Query(db, "DELETE FROM message WHERE key = ?");
    this.#deleteDialogue = new Query(db, "DELETE FROM dialogue WHERE message = ?");
    this.#setDialogue = new Query(db, "INSERT OR REPLACE INTO dialogue (message, text) VALUES (?, ?)");
    this.#setState = new Query(db, "UPDATE message SET state = ? WHERE key = ?");
    this.#holdAll = new Query(
      db,
      `UPDATE recipient SET state = ${recipientState.hold} WHERE message = ? AND state < ${recipientState.hold}`,
    );
    this.#inState = new Query(db, "SELECT key FROM message WHERE state = ? AND state <> 1");
  }

  /** Visible ones only. */
  find(id: string): MessageRow | undefined {
    const row = this.#find.get(id);
    return row?.state === messageState.queued || row?.state === messageState.corrupt ? row : undefined;
  }

  store(message: RawNewMessage, body: Uint8Array): void {
    if (message.recipients.length === 0) throw new Error(`message ${message.id} has no recipient`);
    let key: number;
    let chunks = message.streamed;
    if (message.streamed > 0) {
      const incoming = this.#find.get(message.id);
      if (incoming?.state !== messageState.incoming || incoming.chunks !== message.streamed)
        throw new Error(`message ${message.id} did not arrive whole`);
      key = incoming.key;
      chunks = this.#addChunks(key, chunks, body);
      this.#complete.run(
        messageState.queued,
        message.receivedMs,
        message.size,
        chunks,
        message.envelope,
        message.origin,
        key,
      );
    } else {
      chunks = Math.ceil(body.length / CHUNK_BYTES);
      key = this.#insert.insert(
        message.id,
        messageState.queued,
        message.receivedMs,
        message.size,
        chunks,
        message.envelope,
        message.origin,
      );
      this.#addChunks(key, 0, body);
    }
    for (const [number, recipient] of message.recipients.entries())
      this.addRecipient(key, number, recipient, message.start, message.receivedMs, message.lane);
    this.#census.stored(message.start, message.recipients.length, message.size);
  }

  addRecipient(
    key: number,
    number: number,
    recipient: RawNewRecipient,
    start: StartState,
    dueMs: number,
    lane: number,
  ): void {
    const { address, details, expanded } = recipient;
    const flags = (expanded ? recipientFlag.expanded : 0) | (lane << LANE_SHIFT);
    this.#insertRecipient.run(
      key,
      number,
      recipientState[start],
      flags,
      start === "active" ? 1 : 0,
      dueMs,
      address,
      details,
    );
  }

  /** Part of a message on its way: whole chunks only. */
  append(id: string, receivedMs: number, from: number, body: Uint8Array): void {
    const row = this.#find.get(id);
    if (row === undefined && from !== 0) throw new Error(`message ${id} did not arrive whole`);
    if (row !== undefined && (row.state !== messageState.incoming || row.chunks !== from))
      throw new Error(`message ${id} did not arrive whole`);
    const key = row?.key ?? this.#insert.insert(id, messageState.incoming, receivedMs, 0, 0, "{}", "{}");
    this.#grow.run(this.#addChunks(key, from, body), key);
  }

  abort(id: string): void {
    const row = this.#find.get(id);
    if (row?.state === messageState.incoming) this.erase(row.key);
  }

  /** Returns how many chunks the message has now. */
  #addChunks(key: number, from: number, body: Uint8Array): number {
    let number = from;
    for (let at = 0; at < body.length; at += CHUNK_BYTES, number++) {
      if (number >= MOST_CHUNKS) throw new Error("message larger than 4 GiB");
      const data = body.subarray(at, at + CHUNK_BYTES);
      this.#insertChunk.run(key, number, crc32(data), data);
    }
    return number;
  }

  read(id: string, from: number, count: number): ReadResult {
    const row = this.find(id);
    if (row === undefined) return { kind: "gone" };
    if (row.state === messageState.corrupt)
      return { kind: "corrupt", reason: "it was found corrupt before", found: false };
    const until = Math.min(row.chunks, from + count);
    try {
      const chunks = this.#chunks.all(row.key, from, until);
      const wrong = firstWrong(chunks, from, until);
      if (until === row.chunks) this.#unreadable.delete(row.key);
      if (wrong === undefined) return { kind: "chunks", total: row.chunks, chunks: chunks.map(({ data }) => data) };
      return { kind: "corrupt", reason: wrong, found: true };
    } catch (error) {
      // SQLite calls a sector that gives EIO a damaged database: the next try may find it well.
      if (!isUnreadable(error) && troubleOf(error) !== "damaged") throw error;
      return this.#notReadable(row.key, describeError(error));
    }
  }

  /** The first times it is the reader's trouble alone. */
  #notReadable(key: number, why: string): ReadResult {
    const times = (this.#unreadable.get(key) ?? 0) + 1;
    this.#unreadable.set(key, times);
    if (times < MOST_UNREADABLE) throw new Error(`its part of the database cannot be read: ${why}`);
    this.#unreadable.delete(key);
    return {
      kind: "corrupt",
      reason: `its part of the database could not be read ${times} times: ${why}`,
      found: true,
    };
  }

  /** Kept, but nothing will be done with it any more. */
  quarantine(id: string): void {
    const row = this.find(id);
    if (row === undefined) return;
    this.#census.change(row.key, () => {
      this.#setState.run(messageState.corrupt, row.key);
      this.#holdAll.run(row.key);
    });
  }

  /** What was said at an attempt that failed, in place of the one before. */
  keepDialogue(key: number, text: string): void {
    this.#setDialogue.run(key, text);
  }

  /** Take a visible message out of the totals and out of the database. */
  remove(row: MessageRow): void {
    this.#census.removed(row.key, row.size, row.state === messageState.corrupt);
    this.erase(row.key);
  }

  erase(key: number): void {
    this.#deleteChunks.run(key);
    this.#deleteRecipients.run(key);
    this.#deleteDialogue.run(key);
    this.#deleteMessage.run(key);
  }

  /** What was half received; returns how many. */
  eraseIncoming(): number {
    return this.#eraseAll(messageState.incoming);
  }

  /** What an adoption that did not end has copied. */
  eraseAdopting(): void {
    this.#eraseAll(messageState.adopting);
    this.#eraseAll(messageState.adoptingCorrupt);
  }

  #eraseAll(state: number): number {
    const rows = this.#inState.all(state);
    for (const { key } of rows) this.erase(key);
    return rows.length;
  }
}

function firstWrong(chunks: readonly ChunkRow[], from: number, until: number): string | undefined {
  for (let number = from; number < until; number++) {
    const chunk = chunks[number - from];
    if (chunk?.number !== number) return `chunk ${number} is missing`;
    if (crc32(chunk.data) !== chunk.crc) return `the checksum of chunk ${number} differs`;
  }
  return undefined;
}
