/**
 * What an error of SQLite means for the queue. Result codes: https://sqlite.org/rescode.html (the low octet is the primary code).
 */
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_PROTOCOL = 15;
const SQLITE_NOTADB = 26;
const SQLITE_IOERR_READ = 266;
const SQLITE_IOERR_WRITE = 778;

export type Trouble = "full" | "busy" | "damaged" | "storage" | "other";

export function troubleOf(error: unknown): Trouble {
  if (!(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number") return "other";
  switch (error.errcode & 0xff) {
    case SQLITE_FULL:
      return "full";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "busy";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "damaged";
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
      return "storage";
    default:
      return "other";
  }
}

const hasCode = (error: unknown, code: number): boolean =>
  error instanceof Error && "errcode" in error && error.errcode === code;

/** The disk does not give back what it was given. */
export const isUnreadable = (error: unknown): boolean => hasCode(error, SQLITE_IOERR_READ);

/** A write was refused, and nothing was synced since: whatever the cause, the transaction is simply not there. A failed sync is another matter. */
export const isRefusedWrite = (error: unknown): boolean => hasCode(error, SQLITE_IOERR_WRITE);

/** `disk I/O error (SQLite 1034)`: the extended code tells fsync from write. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "errcode" in error ? `${error.message} (SQLite ${String(error.errcode)})` : error.message;
}
