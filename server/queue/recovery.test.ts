/** What a start finds: mail in flight, damage, newer versions, another process. Nothing is ever thrown away. */
import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { aFolder, aQueue, assertTotals, contentOf, put, START_MS, statesOf } from "./queue-fixture.ts";

test("what was in flight is due now, its attempt counted; what was asked to be held is held", async () => {
  await using q = await aQueue();
  const cutOff = await put(q.queue, { to: ["a@example.org", "b@example.org"] });
  const held = await put(q.queue, { to: ["held@example.org"] });
  await q.queue.hold(held.id);
  const later = await put(q.queue);
  const dueMs = START_MS + 600_000;
  await q.queue.settle(later.id, [
    { recipient: 0, kind: "deferred", reply: { code: 451, enhanced: "", text: "" }, dueMs },
  ]);
  q.nowMs += 5000;
  await q.reopen();
  assert.equal(q.lines.find(({ event }) => event === "queue-recovered")?.["cutOff"], 3);
  assert.deepEqual(await statesOf(q.queue, held.id), ["held@example.org:hold"]);
  await assertTotals(q.queue, { deferred: 2, hold: 1, recipients: 4 });
  const claimed = await q.queue.claimDue(q.nowMs, 10);
  assert.deepEqual(
    claimed.map(({ id, recipients }) => [id, recipients.map(({ attempts }) => attempts)]),
    [[cutOff.id, [2, 2]]],
  );
  assert.equal(await q.queue.nextDueMs(), dueMs);
});

test("the totals after a restart are those before", async () => {
  await using q = await aQueue();
  await put(q.queue, { claim: false, content: Buffer.alloc(100), to: ["a@example.org", "b@example.org"] });
  await put(q.queue, { hold: true, content: Buffer.alloc(50) });
  const before = await q.queue.summary(START_MS);
  await q.reopen();
  assert.deepEqual(await q.queue.summary(START_MS), before);
});

test("folders above the database are made, for the owner only", async () => {
  const folder = aFolder();
  const path = join(folder, "data", "queue", "0.sqlite");
  await using q = await aQueue({ folder, path });
  await put(q.queue);
  assert.ok(existsSync(path));
  await q.queue.close();
  rmSync(folder, { recursive: true });
});

test("a closed queue is one file", async () => {
  await using q = await aQueue();
  await put(q.queue);
  await q.queue.close();
  assert.deepEqual(readdirSync(q.folder), ["0.sqlite"]);
});

test("a second process (here: a second queue) on the same database is refused, and harms nothing", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { content: Buffer.from("mine") });
  await assert.rejects(aQueue({ folder: q.folder }), /0\.sqlite is in use by another process/);
  assert.equal(String(await contentOf(q.queue, id)), "mine");
});

/** A closed queue with some messages in it. */
async function aClosedQueue(messages: number): Promise<{ readonly folder: string; readonly path: string }> {
  const folder = aFolder();
  const q = await aQueue({ folder });
  await Promise.all(Array.from({ length: messages }, () => put(q.queue, { content: Buffer.alloc(2000) })));
  await q.queue.close();
  return { folder, path: q.path };
}

for (const { what, damage, sentence } of [
  {
    what: "a file that is no database",
    damage: (path: string) => writeFileSync(path, "this is not a database\n".repeat(500)),
    sentence: /queue database .*0\.sqlite is damaged: file is not a database.*nothing was changed.*Copy .*-wal/,
  },
  {
    what: "a database whose inner pages are overwritten",
    damage: (path: string) => {
      const descriptor = openSync(path, "r+");
      for (let page = 1; page < 40; page++) writeSync(descriptor, Buffer.alloc(4096, 0xa5), 0, 4096, page * 4096);
      closeSync(descriptor);
    },
    sentence: /is damaged: .*malformed/,
  },
  {
    what: "a database of another program",
    damage: (path: string) => {
      rmSync(path);
      const db = new DatabaseSync(path);
      db.exec("CREATE TABLE songs (title TEXT)");
      db.close();
    },
    sentence: /is a database, but not a queue of this program; it was left as it is/,
  },
  {
    what: "a queue of a newer version",
    damage: (path: string) => {
      const db = new DatabaseSync(path);
      db.exec("UPDATE meta SET value = '99' WHERE name = 'schema'");
      db.close();
    },
    sentence:
      /written by a newer version of this program \(its schema is 99, this program knows 2\); start the newer version/,
  },
  {
    what: "an emptied database beside a log that is not empty",
    damage: (path: string) => {
      truncateSync(path, 0);
      writeFileSync(`${path}-wal`, Buffer.alloc(8192, 1));
    },
    sentence: /is empty or missing, but its log .*0\.sqlite-wal is not/,
  },
]) {
  test(`${what} is refused with a sentence, and stays as it is`, async () => {
    const { folder, path } = await aClosedQueue(60);
    damage(path);
    const before = readFileSync(path);
    await assert.rejects(aQueue({ folder }), sentence);
    assert.ok(readFileSync(path).equals(before), "the file was changed");
    rmSync(folder, { recursive: true });
  });
}

test("a folder in the database's place is refused with a sentence", async () => {
  const folder = aFolder();
  mkdirSync(join(folder, "0.sqlite"));
  await assert.rejects(aQueue({ folder }), /queue database .*0\.sqlite cannot be opened/);
  rmSync(folder, { recursive: true });
});
