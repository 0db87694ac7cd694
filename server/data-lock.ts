/**
 * One server for one data folder: a second one on the same queue would deliver everything twice.
 *
 * SQLite's own file lock is held for the life of the process and vanishes with it, however it ends. Throws a sentence when the folder is in use.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

export function lockData(data: string): { readonly release: () => void } {
  mkdirSync(join(data, "queue"), { recursive: true, mode: 0o700 });
  const database = new DatabaseSync(join(data, "queue", "lock"), { timeout: 0 });
  try {
    database.exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    throw new Error(
      `the data folder ${data} is in use by another packetboat server; stop that one or give another --data`,
      { cause },
    );
  }
  return { release: () => database.close() };
}
