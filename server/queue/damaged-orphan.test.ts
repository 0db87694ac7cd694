/** A damaged spool of a shard that is no more: told, left where it is, and no trouble of the shard that was to take it over. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { adoptSpool } from "./adopt.ts";
import { Query } from "./query.ts";
import { aQueue, assertTotals, closing, contentOf, put } from "./queue-fixture.ts";

const PAGE_BYTES = 4096;

/** Overwrites the first page of a table, which leads to all others. */
function ruin(path: string, table: string): void {
  const db = new DatabaseSync(path, { readOnly: true });
  const root = new Query<{ rootpage: number }>(db, "SELECT rootpage FROM sqlite_schema WHERE name = ?").get(table);
  db.close();
  assert.ok(root !== undefined);
  const bytes = readFileSync(path);
  bytes.fill(0xa5, (root.rootpage - 1) * PAGE_BYTES, root.rootpage * PAGE_BYTES);
  writeFileSync(path, bytes);
}

// recipient: met while it is recovered; chunk: met while it is copied, when its file bears our name already and slices are committed.
for (const [table, atRestart] of [
  ["recipient", 0],
  ["chunk", 1],
] as const) {
  test(`a spool whose table ${table} is damaged is refused, and the shard goes on, also after a restart`, async () => {
    await using ours = await aQueue();
    const path = join(ours.folder, "1.sqlite");
    const orphan = await aQueue({ folder: ours.folder, path });
    for (let count = 0; count < 100; count++) await put(orphan.queue, { content: randomBytes(9000) });
    await orphan.queue.close();
    ruin(path, table);

    const before = await put(ours.queue, { claim: false });
    await assert.rejects(adoptSpool(ours.queue, path), /cannot be taken over: .*malformed.*its mail stays in it/);
    assert.equal(ours.queue.unavailable(), undefined);
    await assertTotals(ours.queue, { deferred: 1, recipients: 1 });
    const after = await put(ours.queue, { content: Buffer.from("still here") });
    assert.equal((await contentOf(ours.queue, after.id)).toString(), "still here");
    await ours.queue.settle(after.id, closing(after));

    await ours.reopen();
    assert.equal(ours.queue.unavailable(), undefined);
    assert.equal(ours.lines.filter(({ event }) => event === "queue-adoption-failed").length, atRestart);
    assert.deepEqual(
      (await ours.queue.list({ limit: 10 })).map(({ id }) => id),
      [before.id],
    );
    assert.equal(existsSync(path), atRestart === 0);
  });
}
