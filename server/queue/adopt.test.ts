/** Taking over the queue of a shard that is no more, cut off at every step. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { adoptSpool } from "./adopt.ts";
import { adopt } from "./adoption.ts";
import { openDatabase } from "./database.ts";
import type { QueuedMessage } from "./queue.ts";
import { aFolder, aQueue, assertTotals, contentOf, put, START_MS, tryLater } from "./queue-fixture.ts";
import { Spool } from "./spool.ts";

const MAX_FUTURE_MS = 864_000_000;

interface Orphan {
  readonly path: string;
  readonly messages: readonly { readonly message: QueuedMessage; readonly content: Buffer }[];
}

/** A closed queue with messages in every state, one of them large. */
async function anOrphan(folder: string, name = "1.sqlite", small = 20): Promise<Orphan> {
  await using q = await aQueue({ folder, path: join(folder, name) });
  const contents = [...Array.from({ length: small }, () => randomBytes(3000)), randomBytes(700_000)];
  const store = async (content: Buffer, index: number): Promise<{ readonly id: string; readonly content: Buffer }> => {
    const { id } = await put(q.queue, { content, to: ["a@example.org", "b@example.org"], hold: index % 5 === 1 });
    if (index % 5 === 2)
      await q.queue.settle(id, [
        { recipient: 0, kind: "deferred", reply: tryLater, dueMs: START_MS + 60_000, delayWarned: true },
        { recipient: 1, kind: "failed", reply: tryLater },
      ]);
    return { id, content };
  };
  const stored = await Promise.all(contents.map(store));
  await q.reopen();
  const messages = [];
  for (const { id, content } of stored) {
    const message = await q.queue.get(id);
    assert.ok(message !== undefined);
    messages.push({ message, content });
  }
  return { path: q.path, messages };
}

/** Everything of the orphan is in the queue, once, as it was. */
async function assertAdopted(q: Awaited<ReturnType<typeof aQueue>>, orphans: readonly Orphan[]): Promise<void> {
  const expected = orphans.flatMap(({ messages }) => messages);
  const listed = await q.queue.list({ limit: 1000 });
  assert.deepEqual(
    listed.map(({ id }) => id),
    expected.map(({ message }) => message.id).toSorted(),
  );
  for (const { message, content } of expected) {
    assert.deepEqual(await q.queue.get(message.id), message);
    assert.ok((await contentOf(q.queue, message.id)).equals(content));
  }
  assert.deepEqual(
    readdirSync(q.folder).filter((name) => !name.startsWith("0.sqlite")),
    [],
  );
}

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = aFolder();
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("states, attempts, replies and octets come along; the orphan's file goes", () =>
  inFolder(async (folder) => {
    const orphan = await anOrphan(folder);
    await using q = await aQueue({ folder });
    const [adopted, between] = await Promise.all([adoptSpool(q.queue, orphan.path), put(q.queue)]);
    assert.equal(adopted, 21);
    const before = await q.queue.summary(START_MS);
    await q.queue.remove(between.id);
    await assertAdopted(q, [orphan]);
    await q.reopen();
    await assertAdopted(q, [orphan]);
    const after = await q.queue.summary(START_MS);
    assert.equal(before.recipients - 1, after.recipients);
    assert.equal((await q.queue.claimDue(START_MS, 100)).length, 13);
  }));

test("what was in flight in the orphan is due now", () =>
  inFolder(async (folder) => {
    const orphan = await aQueue({ folder, path: join(folder, "1.sqlite") });
    const { id } = await put(orphan.queue);
    await orphan.queue.close();
    await using q = await aQueue({ folder });
    assert.equal(await adoptSpool(q.queue, join(folder, "1.sqlite")), 1);
    assert.deepEqual(
      (await q.queue.claimDue(START_MS, 1)).map((message) => [message.id, message.recipients[0]?.attempts]),
      [[id, 2]],
    );
  }));

test("no such file: nothing to do", async () => {
  await using q = await aQueue();
  assert.equal(await adoptSpool(q.queue, join(q.folder, "7.sqlite")), 0);
});

test("an orphan that is in use is refused, and left to its owner", () =>
  inFolder(async (folder) => {
    await using owner = await aQueue({ folder, path: join(folder, "1.sqlite") });
    const { id } = await put(owner.queue);
    await using q = await aQueue({ folder });
    await assert.rejects(adoptSpool(q.queue, owner.path), /1\.sqlite is in use by another process/);
    await assert.rejects(adoptSpool(q.queue, q.path), /own queue/);
    assert.equal((await owner.queue.get(id))?.id, id);
    await assertTotals(q.queue, {});
  }));

test("an orphan that is damaged is refused, and stays where it is", () =>
  inFolder(async (folder) => {
    const path = join(folder, "1.sqlite");
    writeFileSync(path, "not a database ".repeat(1000));
    await using q = await aQueue({ folder });
    await assert.rejects(adoptSpool(q.queue, path), /1\.sqlite is damaged/);
    assert.ok(readdirSync(folder).includes("1.sqlite"));
    await put(q.queue);
  }));

test("a corrupt message stays corrupt", () =>
  inFolder(async (folder) => {
    const orphan = await aQueue({ folder, path: join(folder, "1.sqlite") });
    const { id } = await put(orphan.queue);
    await orphan.queue.close();
    const db = new DatabaseSync(orphan.path);
    db.exec("UPDATE chunk SET crc = crc + 1");
    db.close();
    await orphan.reopen();
    await assert.rejects(contentOf(orphan.queue, id), { name: "CorruptMessage" });
    await orphan.queue.close();
    await using q = await aQueue({ folder });
    assert.equal(await adoptSpool(q.queue, orphan.path), 1);
    await assertTotals(q.queue, { corrupt: 1 });
    assert.equal((await q.queue.get(id))?.corrupt, true);
  }));

test("a message that is here already is not taken twice", () =>
  inFolder(async (folder) => {
    const orphan = await anOrphan(folder);
    copyFileSync(orphan.path, join(folder, "2.sqlite"));
    await using q = await aQueue({ folder });
    assert.equal(await adoptSpool(q.queue, orphan.path), 21);
    assert.equal(await adoptSpool(q.queue, join(folder, "2.sqlite")), 0);
    await assertAdopted(q, [orphan]);
  }));

/**
 * Do as the worker does, but stop for good after so many steps, committed or rolled back: what a crash leaves. Returns whether it came to its end.
 */
function adoptUntil(ours: string, path: string, steps: number, lastIsCommitted: boolean): boolean {
  const db = openDatabase(ours, 0);
  try {
    const spool = new Spool(db, MAX_FUTURE_MS);
    const work = adopt(spool, { path, ours, token: "T", nowMs: START_MS, maxFutureMs: MAX_FUTURE_MS });
    for (let step = 1; step <= steps; step++) {
      db.exec("BEGIN IMMEDIATE");
      const { done } = work.next();
      if (step === steps && !lastIsCommitted) db.exec("ROLLBACK");
      else db.exec("COMMIT");
      if (done === true) return true;
    }
    work.return(0);
    return false;
  } finally {
    db.close();
  }
}

for (const lastIsCommitted of [true, false]) {
  test(`cut off after every step, the last one ${lastIsCommitted ? "committed" : "rolled back"}: neither lost nor doubled`, async () => {
    for (let steps = 1, isDone = false; !isDone; steps++) {
      await inFolder(async (folder) => {
        const orphan = await anOrphan(folder, "1.sqlite", 80);
        await (await aQueue({ folder })).queue.close();
        isDone = adoptUntil(join(folder, "0.sqlite"), orphan.path, steps, lastIsCommitted);
        await using q = await aQueue({ folder });
        // The primary may ask again, or not: the file has no longer the name of an orphan.
        await adoptSpool(q.queue, orphan.path);
        await assertAdopted(q, [orphan]);
      });
      assert.ok(steps < 20);
    }
  });
}

test("delivered between the commit and the deletion of the file: not there again after the crash", () =>
  inFolder(async (folder) => {
    const orphan = await anOrphan(folder, "1.sqlite", 5);
    await (await aQueue({ folder })).queue.close();
    const ours = join(folder, "0.sqlite");
    // One slice, the revealing commit; the deletion is not reached.
    assert.equal(adoptUntil(ours, orphan.path, 1, true), false);
    const leftover = readdirSync(folder).find((name) => name.includes(".adopting."));
    assert.ok(leftover !== undefined);
    const saved = join(folder, "saved");
    mkdirSync(saved);
    copyFileSync(join(folder, leftover), join(saved, leftover));
    const q = await aQueue({ folder });
    for (const { id } of await q.queue.list({ limit: 100 })) await q.queue.remove(id);
    await q.queue.close();
    // The crash: the file is still there, and the note in the database too.
    copyFileSync(join(saved, leftover), join(folder, leftover));
    rmSync(saved, { recursive: true });
    const db = new DatabaseSync(ours);
    db.prepare("INSERT INTO meta (name, value) VALUES (?, '6')").run(`adopted:${leftover}`);
    db.close();
    await using again = await aQueue({ folder });
    await assertTotals(again.queue, {});
    assert.ok(!readdirSync(folder).includes(leftover));
  }));

test("an orphan that was itself taking over another: both are adopted", () =>
  inFolder(async (folder) => {
    const grandparent = await anOrphan(folder, "2.sqlite", 5);
    const parent = await anOrphan(folder, "1.sqlite", 5);
    // Shard 1 had begun with shard 2's queue, and was cut off before anything was revealed.
    adoptUntil(parent.path, grandparent.path, 1, false);
    assert.ok(readdirSync(folder).some((name) => name.startsWith("2.sqlite.adopting.1.sqlite.")));
    await using q = await aQueue({ folder });
    assert.equal(await adoptSpool(q.queue, parent.path), 12);
    await assertAdopted(q, [grandparent, parent]);
  }));
