/**
 * One embedded Packetboat for one data folder: a second one would write its configuration under the feet of the first one's server.
 *
 * SQLite's file lock, which vanishes with the process however it ends. A folder that cannot be used is a sentence.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

export function ownFolder(folder: string): { readonly release: () => void } | string {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    return `The data folder ${folder} cannot be made (${(cause as NodeJS.ErrnoException).code}); give another one with --data DIR.`;
  }
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(join(folder, "local.lock"), { timeout: 0 });
    lock.exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    const held = lock;
    return { release: () => held.close() };
  } catch (cause) {
    lock?.close();
    const busy = cause instanceof Error && cause.message.includes("locked");
    return busy
      ? `The data folder ${folder} is in use by another Packetboat; stop that one, or give another folder with --data DIR.`
      : `The data folder ${folder} cannot be written; give another one with --data DIR.`;
  }
}
