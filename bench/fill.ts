/**
 * A million deferred messages, on both sides, without waiting for a million deliveries to fail.
 *
 * Ours: through the queue's own port into the databases of a server that is not running: accepted and claimed, then put off, with reply and dialogue, as after
 * one attempt that failed; every commit synced.
 * Postfix's: a message that it has deferred itself is copied, queue file and defer log; each copy gets the name that its inode demands, another recipient of the
 * same length, and the time of its next attempt as Postfix keeps it (the file's time).
 * The next attempts are spread evenly over the longest back-off that each has by default, as in a queue that has been waiting for long.
 */
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
  chownSync,
} from "node:fs";
import { join } from "node:path";
import { createLog } from "../server/observe/log.ts";
import type { Reply } from "../server/reply.ts";
import { openQueue } from "../server/queue/sqlite-queue.ts";

/** MailServer's queue.maxBackoff; Postfix's maximal_backoff_time. */
const OUR_LONGEST_BACKOFF_MS = 4 * 3_600_000;
const THEIR_LONGEST_BACKOFF_S = 4000;
/** The oldest message. */
const AGE_MS = 86_400_000;
const IN_PARALLEL = 400;
const SENDERS = 1000;
/** Three digits, so that all are of one length. */
const DOMAINS = 1000;

export const deadRecipient = (number: number): string =>
  `user@d${String(number % DOMAINS).padStart(3, "0")}.dead.example`;

const reply: Reply = {
  code: 451,
  enhanced: "4.4.1",
  text: "could not connect to any of the servers: connection refused",
};
const dialogue = "connect 127.0.0.1: connection refused (ECONNREFUSED)\n".repeat(4);

/** Into the databases of `shards` shards. */
export async function fillOurs(folder: string, shards: number, messages: number, bytes: number): Promise<void> {
  const body = Buffer.from(`Subject: waiting\r\n\r\n${`${"x".repeat(76)}\r\n`.repeat(Math.round(bytes / 78))}`);
  const log = createLog("bench", "warn");
  const startMs = Date.now();
  await Promise.all(
    Array.from({ length: shards }, async (_, shard) => {
      let next = shard;
      const queue = await openQueue({
        path: join(folder, `${shard}.sqlite`),
        shard,
        minFreeBytes: () => 0,
        log,
        now: () => startMs - AGE_MS + Math.floor((AGE_MS * next) / messages),
      });
      try {
        await Promise.all(
          Array.from({ length: IN_PARALLEL }, async () => {
            while (next < messages) {
              const number = next;
              next += shards;
              const writer = queue.newMessage();
              await writer.write(body);
              const { id } = await writer.commit(
                {
                  sender: `sender${number % SENDERS}@bench.example`,
                  recipients: [{ address: deadRecipient(number) }],
                  smtpUtf8: false,
                  body: "8BITMIME",
                  requireTls: false,
                },
                {
                  listener: "mx",
                  clientAddress: "127.0.0.1",
                  clientName: "localhost",
                  helo: "client.bench.example",
                  protocol: "ESMTP",
                },
                { claim: true },
              );
              const dueMs = startMs + Math.floor((OUR_LONGEST_BACKOFF_MS * ((number * 7919) % messages)) / messages);
              await queue.settle(id, [{ recipient: 0, kind: "deferred", reply, remoteHost: "127.0.0.1", dueMs }], [], {
                dialogue,
              });
            }
          }),
        );
      } finally {
        await queue.close();
      }
    }),
  );
}

/** Names of the queue files below a folder of Postfix's, which sorts them by their first digit. */
export function queueFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);
}

/** `spool`: of a Postfix that is stopped, with one deferred message to `deadRecipient(0)`. */
export function fillPostfix(spool: string, messages: number): void {
  const [original = ""] = queueFiles(join(spool, "deferred"));
  const at = (folder: string, name: string): string => join(spool, folder, name[0] ?? "0", name);
  const paths = { deferred: at("deferred", original), defer: at("defer", original) };
  const recipient = Buffer.from(deadRecipient(0));
  const copies = Object.entries(paths).map(([folder, path]) => {
    const bytes = readFileSync(path);
    const places: number[] = [];
    for (let place = bytes.indexOf(recipient); place >= 0; place = bytes.indexOf(recipient, place + 1))
      places.push(place);
    return { folder, bytes, places, status: statSync(path) };
  });
  const nowS = Date.now() / 1000;
  for (const { folder } of copies)
    for (const digit of "0123456789ABCDEF") {
      const made = mkdirSync(join(spool, folder, digit), { recursive: true, mode: 0o700 });
      if (made !== undefined) chownSync(made, copies[0]?.status.uid ?? 0, copies[0]?.status.gid ?? 0);
    }
  for (let number = 1; number < messages; number++) {
    const address = Buffer.from(deadRecipient(number));
    let name = "";
    for (const { folder, bytes, places, status } of copies) {
      for (const place of places) address.copy(bytes, place);
      const draft = join(spool, folder, "draft");
      const file = openSync(draft, "wx");
      writeSync(file, bytes);
      fchmodSync(file, status.mode & 0o777);
      fchownSync(file, status.uid, status.gid);
      if (name === "") {
        // Microseconds in five digits, then the inode: what Postfix checks at its start.
        const microseconds = ((number * 7919) % 1_000_000).toString(16).padStart(5, "0");
        name = `${microseconds}${fstatSync(file).ino.toString(16)}`.toUpperCase();
        futimesSync(file, nowS, nowS + (THEIR_LONGEST_BACKOFF_S * ((number * 7919) % messages)) / messages);
      }
      closeSync(file);
      renameSync(draft, at(folder, name));
    }
  }
}
