/**
 * The tables of a queue database, and the way from each older version to the newest.
 *
 * Version numbers live in `meta`. A newer database than this code knows is refused untouched; an older one is brought forward step by step in one
 * transaction, so that a crash on the way leaves the old version. A step, once released, is never changed.
 */
import type { DatabaseSync } from "node:sqlite";
import { Query } from "./query.ts";

/** States of `message.state`. Only queued and corrupt ones are visible; the adopting ones become them by subtracting 2. */
export const messageState = { incoming: 0, queued: 1, corrupt: 2, adopting: 3, adoptingCorrupt: 4 } as const;
/** States of `recipient.state`, in the order in which one stands for its message; from `closed` on nothing is left to do. */
export const recipientState = { active: 0, deferred: 1, hold: 2, closed: 3, expanded: 4 } as const;
/** Bits of `recipient.flags`. holdWanted: an operator's hold that waits for the attempt under way to end. */
export const recipientFlag = { expanded: 1, delayWarned: 2, holdWanted: 4 } as const;
/** Above them stands the lane of the message's sender (`sender-key.ts`): due mail is claimed in turn over the lanes. */
export const LANE_SHIFT = 8;

const steps: readonly string[] = [
  // Version 1. `chunk.key` is message * 65536 + number: the octets of a message lie side by side, without an index of their own.
  // Closed recipients stay until their message goes: they say which addresses it already had.
  `CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
   CREATE TABLE message (
     key INTEGER PRIMARY KEY,
     id TEXT NOT NULL UNIQUE,
     state INTEGER NOT NULL,
     received_ms INTEGER NOT NULL,
     size INTEGER NOT NULL,
     chunks INTEGER NOT NULL,
     envelope TEXT NOT NULL,
     origin TEXT NOT NULL
   );
   CREATE INDEX message_unusual ON message (state) WHERE state <> 1;
   CREATE TABLE recipient (
     message INTEGER NOT NULL,
     number INTEGER NOT NULL,
     state INTEGER NOT NULL,
     flags INTEGER NOT NULL,
     attempts INTEGER NOT NULL,
     due_ms INTEGER NOT NULL,
     address TEXT NOT NULL,
     details TEXT,
     reply TEXT,
     PRIMARY KEY (message, number)
   ) WITHOUT ROWID;
   CREATE INDEX recipient_due ON recipient (due_ms) WHERE state = 1;
   CREATE TABLE chunk (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL);`,
  // Version 2: what was said at the last attempt that failed. A table of its own, so that walking over messages does not read it.
  // And due mail by the lane of its sender; that of version 1 lies in lane 0.
  `CREATE TABLE dialogue (message INTEGER PRIMARY KEY, text TEXT NOT NULL);
   CREATE INDEX recipient_lane ON recipient (flags >> 8, due_ms) WHERE state = 1;`,
];

export const schemaVersion = steps.length;

/** Throws a sentence, and changes nothing, when the database is not one that this code can work with. Returns its version, 0 for an empty one. */
export function refuseStrangers(db: DatabaseSync, path: string): number {
  const tables = new Query<{ name: string }>(db, "SELECT name FROM sqlite_schema WHERE type = 'table'").all();
  if (tables.length === 0) return 0;
  const isOurs = tables.some(({ name }) => name === "meta") && tables.some(({ name }) => name === "message");
  const row = isOurs
    ? new Query<{ value: string }>(db, "SELECT value FROM meta WHERE name = 'schema'").get()
    : undefined;
  const version = Number(row?.value ?? Number.NaN);
  if (!Number.isInteger(version))
    throw new Error(`${path} is a database, but not a queue of this program; it was left as it is`);
  if (version > schemaVersion)
    throw new Error(
      `the queue database ${path} was written by a newer version of this program (its schema is ${version}, this program knows ${schemaVersion}); start the newer version`,
    );
  return version;
}

export function migrate(db: DatabaseSync, path: string): void {
  const version = refuseStrangers(db, path);
  if (version === schemaVersion) return;
  db.exec("BEGIN IMMEDIATE");
  for (const step of steps.slice(version)) db.exec(step);
  new Query(db, "INSERT OR REPLACE INTO meta (name, value) VALUES ('schema', ?)").run(String(schemaVersion));
  db.exec("COMMIT");
}
