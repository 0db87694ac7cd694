/**
 * Power cuts while a spool of version 1 is brought forward: each image opens, in whichever version the cut left it, and has all its mail.
 *
 * A process of its own opens the old spool on the disk of `disk.ts`; images are taken from before it starts until it has read a message, one after another.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { createLog } from "../../server/observe/log.ts";
import { versionOne } from "../../server/queue/queue-fixture.ts";
import { openQueue } from "../../server/queue/sqlite-queue.ts";
import { Disk } from "./disk.ts";

export interface MigrationReport {
  readonly images: number;
  /** Images by the version that the cut had left. */
  readonly versions: Readonly<Record<string, number>>;
  readonly wrong: readonly string[];
}

const log = createLog("migration", "silent");
const content = Buffer.from("Subject: old\r\n\r\nfrom version 1\r\n");
const idOf = (number: number): string => `0old${String(number).padStart(12, "0")}`;
const MOST_IMAGES = 60;

function writeVersionOne(path: string, messages: number): void {
  const db = new DatabaseSync(path);
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN; ${versionOne}`);
  const envelope = JSON.stringify({ sender: "s@example.com", smtpUtf8: false, body: "8BITMIME", requireTls: false });
  const origin = JSON.stringify({ listener: "mx", clientAddress: "", clientName: "", helo: "", protocol: "ESMTP" });
  const message = db.prepare("INSERT INTO message VALUES (?, ?, 1, ?, ?, 1, ?, ?)");
  const recipient = db.prepare("INSERT INTO recipient VALUES (?, 0, 1, 0, 1, ?, ?, NULL, NULL)");
  const chunk = db.prepare("INSERT INTO chunk VALUES (?, ?, ?)");
  const nowMs = Date.now();
  for (let number = 1; number <= messages; number++) {
    message.run(number, idOf(number), nowMs, content.length, envelope, origin);
    recipient.run(number, nowMs + 86_400_000, `u${number}@example.org`);
    chunk.run(number * 65_536, crc32(content), content);
  }
  db.exec("COMMIT");
  db.close();
}

export async function migrationTest(messages: number): Promise<MigrationReport> {
  await using disk = Disk.create();
  const folder = join(disk.volume, "queue");
  mkdirSync(folder);
  writeVersionOne(join(folder, "0.sqlite"), messages);
  const images: string[] = [];
  {
    const child = spawn(process.execPath, [join(import.meta.dirname, "reader.ts"), join(folder, "0.sqlite")], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    try {
      let isOpen = false;
      void once(createInterface({ input: child.stdout }), "line").then(() => (isOpen = true));
      child.stdin.write(`${idOf(1)}\n`);
      while (!isOpen && child.exitCode === null && images.length < MOST_IMAGES) {
        images.push(disk.cut());
        await sleep(10);
      }
      images.push(disk.cut());
      const ended = once(child, "exit");
      child.stdin.end();
      await ended;
    } finally {
      child.kill("SIGKILL");
    }
  }
  const wrong: string[] = [];
  const versions: Record<string, number> = {};
  for (const [number, image] of images.entries()) {
    await using cut = await disk.open(image);
    const path = join(cut.folder, "queue", "0.sqlite");
    try {
      const version = versionOf(path);
      versions[version] = (versions[version] ?? 0) + 1;
      await using queue = await closing(path);
      const { messages: counts } = await queue.queue.summary(Date.now());
      if (counts.deferred !== messages) wrong.push(`image ${number}: ${JSON.stringify(counts)}`);
      for (const id of [idOf(1), idOf(messages)]) {
        const chunks: Buffer[] = [];
        for await (const chunk of queue.queue.read(id)) chunks.push(chunk);
        if (!Buffer.concat(chunks).equals(content)) wrong.push(`image ${number}: ${id} is damaged`);
      }
    } catch (error) {
      wrong.push(`image ${number}: ${String(error)}`);
    }
  }
  return { images: images.length, versions, wrong };
}

function versionOf(path: string): string {
  const db = new DatabaseSync(path);
  try {
    return String(db.prepare("SELECT value FROM meta WHERE name = 'schema'").get()?.["value"]);
  } finally {
    db.close();
  }
}

async function closing(path: string) {
  const queue = await openQueue({ path, shard: 0, minFreeBytes: () => 0, reserveBytes: 0, log });
  return { queue, [Symbol.asyncDispose]: () => queue.close() };
}
