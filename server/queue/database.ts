/**
 * The database file of a queue: found or created durably, locked, brought to the newest schema.
 *
 * Promises: one process at a time (SQLite's own exclusive lock, gone with the process however it ends); after opening, the file, its log and every
 * folder made on the way are on stable storage; what cannot be read is refused with a sentence and never touched. Runs on the worker thread.
 * The log (WAL) is synced at every commit (synchronous=FULL), with the one exception that `Log.syncsCommits` makes, and checkpointed by `checkpoint` only,
 * so that a failing checkpoint is seen.
 */
import { closeSync, existsSync, fdatasync, fsyncSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Query } from "./query.ts";
import { migrate, refuseStrangers } from "./schema.ts";
import { describeError, troubleOf } from "./sqlite-error.ts";

/** How long a process that has just been killed may take to let go of its lock. */
export const LOCK_WAIT_MS = 500;
/** Live data up to this size is rewritten at the start when the file around it is much larger. */
const COMPACT_BYTES = 67_108_864;

/** For the power test's own test: it must notice a queue that does not sync. Nobody sets this by mistake, and `openQueue` says so as an error. */
export const isUnsafe = process.env["PACKETBOAT_TEST_UNSAFE_NO_SYNC"] === "lose-mail";

export function syncDirectory(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** A new folder's name is safe only when the folder above it is synced. */
export function makeDirectoryDurably(path: string): void {
  const missing: string[] = [];
  for (let folder = resolve(path); !existsSync(folder); folder = dirname(folder)) missing.push(folder);
  for (const folder of missing.toReversed()) {
    mkdirSync(folder, { mode: 0o700, recursive: true });
    syncDirectory(dirname(folder));
  }
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Throws an Error whose message is for the person who runs the server. */
export function openDatabase(path: string, lockWaitMs: number): DatabaseSync {
  makeDirectoryDurably(dirname(path));
  // SQLite would throw the log of an empty database away.
  if (sizeOf(path) === 0 && sizeOf(`${path}-wal`) > 0)
    throw new Error(
      `the queue database ${path} is empty or missing, but its log ${path}-wal is not; ${howToRepair(path)}`,
    );
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path, { timeout: lockWaitMs });
    // The lock first: with it held before the log is opened, SQLite needs no shared memory file.
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    refuseStrangers(db, path);
    db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${isUnsafe ? "OFF" : "FULL"}`);
    // A read-only root file system has no place for temporary files.
    db.exec("PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384");
    migrate(db, path);
    compact(db);
    syncDirectory(dirname(path));
    return db;
  } catch (error) {
    db?.close();
    throw explained(error, path);
  }
}

const howToRepair = (path: string): string =>
  `nothing was changed. Copy ${path} and ${path}-wal to a safe place, then repair the copy (sqlite3's .recover) and put it back, or move both away to start with an empty queue`;

function explained(error: unknown, path: string): unknown {
  switch (troubleOf(error)) {
    case "busy":
      return new Error(`the queue database ${path} is in use by another process`, { cause: error });
    case "damaged":
      return new Error(`the queue database ${path} is damaged: ${describeError(error)}; ${howToRepair(path)}`, {
        cause: error,
      });
    case "full":
    case "storage":
      return new Error(`the queue database ${path} cannot be opened: ${describeError(error)}`, { cause: error });
    case "other":
      return error;
  }
}

/** Octets within the file that new rows will fill before it grows. */
export class FreeSpace {
  readonly #pages: Query<{ freelist_count: number }>;
  readonly #pageBytes: number;

  constructor(db: DatabaseSync) {
    this.#pages = new Query(db, "PRAGMA freelist_count");
    this.#pageBytes = new Query<{ page_size: number }>(db, "PRAGMA page_size").get()?.page_size ?? 4096;
  }

  bytes(): number {
    return (this.#pages.get()?.freelist_count ?? 0) * this.#pageBytes;
  }
}

/** A file that a flood has blown up gives its space back at the next start, when that costs little. */
function compact(db: DatabaseSync): void {
  const freeBytes = new FreeSpace(db).bytes();
  const pages = new Query<{ page_count: number }>(db, "PRAGMA page_count").get()?.page_count ?? 0;
  const pageBytes = new Query<{ page_size: number }>(db, "PRAGMA page_size").get()?.page_size ?? 4096;
  if (freeBytes < COMPACT_BYTES || pages * pageBytes - freeBytes > COMPACT_BYTES) return;
  try {
    db.exec("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
  } catch (error) {
    // No room to rewrite it: it stays large, which harms nobody.
    if (troubleOf(error) !== "full") throw error;
  }
}

/** Pages waiting in the log, and whether they are on stable storage. */
export class Log {
  readonly #db: DatabaseSync;
  readonly #count: Query<{ log: number }>;
  readonly #checkpoint: Query<{ busy: number }>;
  readonly #truncate: Query<{ busy: number }>;
  #syncsCommits = true;
  /** Or will be by the sync that is under way. */
  #isSynced = true;
  #isSyncing = false;
  #isClosed = false;
  /** SQLite's locks are on the database file: a descriptor of the log more or less harms none. */
  readonly #descriptor: number;

  /** `path` is the database's. */
  constructor(db: DatabaseSync, path: string) {
    this.#db = db;
    // There since the database was opened. Now, because a server that is out of descriptors later must not fail for one of its own.
    this.#descriptor = openSync(`${path}-wal`, "r+");
    this.#count = new Query(db, "PRAGMA wal_checkpoint(NOOP)");
    this.#checkpoint = new Query(db, "PRAGMA wal_checkpoint(PASSIVE)");
    this.#truncate = new Query(db, "PRAGMA wal_checkpoint(TRUNCATE)");
  }

  /** Between transactions: whether the next COMMIT returns only when the log is synced. Without, it is in the kernel's hands, which a killed process does not harm. */
  set syncsCommits(value: boolean) {
    if (value === this.#syncsCommits || isUnsafe) return;
    this.#db.exec(`PRAGMA synchronous = ${value ? "FULL" : "NORMAL"}`);
    this.#syncsCommits = value;
  }

  /** After each COMMIT that wrote something. A sync is of the whole log: it serves all commits before it. */
  committed(): void {
    this.#isSynced = this.#syncsCommits;
  }

  /** Sync what is not yet, on another thread, so that the next commit does not wait for it. `failed`: it did, which is final. */
  syncBeside(failed: (cause: Error) => void): void {
    if (this.#isSynced || this.#isSyncing) return;
    this.#isSyncing = true;
    this.#isSynced = true;
    fdatasync(this.#descriptor, (cause) => {
      this.#isSyncing = false;
      if (this.#isClosed) closeSync(this.#descriptor);
      else if (cause !== null) failed(cause);
      else this.syncBeside(failed);
    });
  }

  pages(): number {
    return this.#count.get()?.log ?? 0;
  }

  /** Bring everything into the database file, so that the log starts over in its place. */
  checkpoint(): void {
    this.#checkpoint.get();
  }

  /** Empty it, for the end. */
  truncate(): void {
    this.#truncate.get();
    this.#isClosed = true;
    if (!this.#isSyncing) closeSync(this.#descriptor);
  }
}
