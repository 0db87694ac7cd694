/**
 * Taking over the database of a shard that is no more, so that a crash at any point neither loses nor repeats a message.
 *
 *   1. the orphan is opened (which fails while any process has it), recovered like any queue, closed as one file;
 *   2. it is renamed to `ORPHAN.adopting.OURS.TOKEN`, so that nobody else takes it up: a name of its own, nothing is overwritten;
 *   3. its messages are copied in slices under the state adopting, which nothing sees and a restart erases;
 *   4. one commit reveals them all and notes that this file is done;
 *   5. the file is deleted, then the note.
 *
 * A restart before 4 starts over with the file, one after 4 only deletes it (`pendingAdoptions`). Files that the orphan itself had begun to
 * take over are renamed to ours before the orphan is, so that they cannot be forgotten. A message whose id is here already is not copied.
 */
import { existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openDatabase, syncDirectory } from "./database.ts";
import { MOST_CHUNKS } from "./protocol.ts";
import { Query } from "./query.ts";
import { messageState } from "./schema.ts";
import { reservePath } from "./reserve.ts";
import { Spool } from "./spool.ts";
import { describeError, troubleOf } from "./sqlite-error.ts";

/** Chunks copied in one transaction, so that mail flows meanwhile. */
const SLICE = 64;

const notePrefix = "adopted:";

/** Files next to a database whose adoption by it has begun. Those that are done are deleted on the way. Call within no transaction. */
export function pendingAdoptions(db: DatabaseSync, path: string): string[] {
  const folder = dirname(path);
  const done = new Query<{ name: string }>(
    db,
    `SELECT name FROM meta WHERE substr(name, 1, ${notePrefix.length}) = '${notePrefix}'`,
  ).all();
  for (const { name } of done) rmSync(join(folder, name.slice(notePrefix.length)), { force: true });
  if (done.length > 0) {
    syncDirectory(folder);
    const forget = new Query(db, "DELETE FROM meta WHERE name = ?");
    for (const { name } of done) forget.run(name);
  }
  const marker = `.adopting.${basename(path)}.`;
  return readdirSync(folder)
    .filter((name) => name.includes(marker) && !name.endsWith("-journal"))
    .sort()
    .map((name) => join(folder, name));
}

/**
 * What is wrong with the orphan is no trouble of ours: without a result code of SQLite it fails the adoption, not this queue. A full disk is everybody's.
 */
function orphanTrouble(error: unknown, orphan: string): unknown {
  const trouble = troubleOf(error);
  if (trouble === "full" || trouble === "other") return error;
  return new Error(
    `the queue ${orphan} cannot be taken over: ${describeError(error)}; its mail stays in it. Repair a copy of it (sqlite3's .recover) and put it back, or move it away`,
    { cause: error },
  );
}

/** Rows of the orphan; errors of reading them are told from errors of writing them here. */
function* rowsOf<Row>(query: Query<Row>, orphan: string, ...values: number[]): Generator<Row, void> {
  try {
    // The consumer's errors do not come by here.
    yield* query.iterate(...values);
  } catch (error) {
    throw orphanTrouble(error, orphan);
  }
}

/** Steps 1 and 2; returns the files that are ours now. Nothing when there is no such orphan. */
function takeFiles({ path: orphan, ours, token, nowMs, maxFutureMs }: AdoptionOptions): string[] {
  if (!existsSync(orphan)) return [];
  if (resolve(orphan) === resolve(ours)) throw new Error(`${orphan} is this shard's own queue`);
  const db = openDatabase(orphan, 0);
  let taken: string[];
  try {
    rmSync(reservePath(orphan), { force: true });
    new Spool(db, maxFutureMs).transitions.recover(nowMs);
    taken = [...pendingAdoptions(db, orphan), orphan];
    db.exec("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE");
  } catch (error) {
    throw orphanTrouble(error, orphan);
  } finally {
    db.close();
  }
  const folder = dirname(ours);
  return taken.map((file, index) => {
    const original = basename(file).split(".adopting.")[0] ?? basename(file);
    const mine = join(folder, `${original}.adopting.${basename(ours)}.${token}${index}`);
    renameSync(file, mine);
    syncDirectory(folder);
    return mine;
  });
}

export interface AdoptionOptions {
  /** An orphan, or a file of `pendingAdoptions`. */
  readonly path: string;
  readonly ours: string;
  readonly token: string;
  readonly nowMs: number;
  readonly maxFutureMs: number;
}

/** Each step between two `yield`s runs in a transaction that is committed before the next begins. Returns how many messages were taken over. */
export function* adopt(spool: Spool, options: AdoptionOptions): Generator<void, number> {
  const isOurs = basename(options.path).includes(`.adopting.${basename(options.ours)}.`);
  const files = isOurs ? [options.path] : takeFiles(options);
  let adopted = 0;
  for (const file of files) adopted += yield* adoptFile(spool, file);
  return adopted;
}

function* adoptFile(spool: Spool, file: string): Generator<void, number> {
  const { db } = spool;
  const note = `${notePrefix}${basename(file)}`;
  // What an attempt that failed half-way has left.
  spool.messages.eraseAdopting();
  const source = new DatabaseSync(file, { readOnly: true, timeout: 0 });
  try {
    const copy = copySlices(source, db, file);
    while (copy.next().done !== true) yield;
  } finally {
    source.close();
  }
  const revealed = new Query(db, `UPDATE message SET state = state - 2 WHERE state >= ${messageState.adopting}`).run();
  new Query(db, "INSERT INTO meta (name, value) VALUES (?, ?)").run(note, String(revealed));
  spool.census.count();
  yield;
  rmSync(file, { force: true });
  syncDirectory(dirname(file));
  new Query(db, "DELETE FROM meta WHERE name = ?").run(note);
  return revealed;
}

interface SourceMessage {
  readonly key: number;
  readonly id: string;
  readonly state: number;
  readonly received_ms: number;
  readonly size: number;
  readonly chunks: number;
  readonly envelope: string;
  readonly origin: string;
}
type SourceRecipient = Record<
  "number" | "state" | "flags" | "attempts" | "due_ms" | "address" | "details" | "reply",
  number | string | null
>;

interface SourceChunk {
  readonly number: number;
  readonly crc: number;
  readonly data: Uint8Array;
}

/** Preparing reads the schema, which may be damaged too. */
function prepareSource(
  source: DatabaseSync,
  file: string,
): {
  readonly messages: Query<SourceMessage>;
  readonly recipients: Query<SourceRecipient>;
  readonly chunks: Query<SourceChunk>;
  readonly dialogue: Query<{ text: string }> | undefined;
} {
  try {
    const messages = new Query<SourceMessage>(
      source,
      `SELECT key, id, state, received_ms, size, chunks, envelope, origin FROM message
     WHERE state IN (${messageState.queued}, ${messageState.corrupt}) ORDER BY id`,
    );
    const recipients = new Query<SourceRecipient>(
      source,
      "SELECT number, state, flags, attempts, due_ms, address, details, reply FROM recipient WHERE message = ?",
    );
    const chunks = new Query<SourceChunk>(
      source,
      `SELECT key - ?1 * ${MOST_CHUNKS} AS number, crc, data FROM chunk
     WHERE key >= ?1 * ${MOST_CHUNKS} AND key < (?1 + 1) * ${MOST_CHUNKS}`,
    );
    // Version 1 had none; a file that it began to take over is read as it is.
    const hasDialogue = new Query(source, "SELECT 1 FROM sqlite_schema WHERE name = 'dialogue'").get() !== undefined;
    const dialogue = hasDialogue
      ? new Query<{ text: string }>(source, "SELECT text FROM dialogue WHERE message = ?")
      : undefined;
    return { messages, recipients, chunks, dialogue };
  } catch (error) {
    throw orphanTrouble(error, file);
  }
}

/** Yields after each slice. Chunks are copied as they are, with the checksums they have. */
function* copySlices(source: DatabaseSync, target: DatabaseSync, file: string): Generator<void, void> {
  const { messages, recipients, chunks, dialogue } = prepareSource(source, file);
  const insertMessage = new Query(
    target,
    `INSERT INTO message (id, state, received_ms, size, chunks, envelope, origin) VALUES (?, ? + 2, ?, ?, ?, ?, ?)`,
  );
  const isHere = new Query(target, "SELECT 1 FROM message WHERE id = ?");
  const insertRecipient = new Query(
    target,
    `INSERT INTO recipient (message, number, state, flags, attempts, due_ms, address, details, reply)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const insertDialogue = new Query(target, "INSERT INTO dialogue (message, text) VALUES (?, ?)");
  const insertChunk = new Query(target, `INSERT INTO chunk (key, crc, data) VALUES (? * ${MOST_CHUNKS} + ?, ?, ?)`);
  let work = 0;
  for (const message of rowsOf(messages, file)) {
    if (isHere.get(message.id) !== undefined) continue;
    const { id, state, received_ms, size, envelope, origin } = message;
    const key = insertMessage.insert(id, state, received_ms, size, message.chunks, envelope, origin);
    for (const row of rowsOf(recipients, file, message.key))
      insertRecipient.run(
        key,
        row.number,
        row.state,
        row.flags,
        row.attempts,
        row.due_ms,
        row.address,
        row.details,
        row.reply,
      );
    if (dialogue !== undefined)
      for (const { text } of rowsOf(dialogue, file, message.key)) insertDialogue.run(key, text);
    for (const { number, crc, data } of rowsOf(chunks, file, message.key)) {
      insertChunk.run(key, number, crc, data);
      if (++work >= SLICE) {
        work = 0;
        yield;
      }
    }
  }
}
