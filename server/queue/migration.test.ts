/** Spools of older versions: what version 1 wrote is brought forward with its mail; a newer version is refused (recovery.test.ts). */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { rmSync } from "node:fs";
import { schemaVersion } from "./schema.ts";
import { aFolder, anOrigin, aQueue, contentOf, START_MS, tryLater, versionOne } from "./queue-fixture.ts";

const content = Buffer.from("Subject: old\r\n\r\nfrom version 1\r\n");
const id = "0oldMessage0001";

function writeVersionOne(path: string): void {
  const db = new DatabaseSync(path);
  db.exec("PRAGMA journal_mode = WAL");
  db.exec(versionOne);
  const envelope = { sender: "s@example.com", smtpUtf8: false, body: "8BITMIME", requireTls: false };
  db.prepare("INSERT INTO message VALUES (7, ?, 1, ?, ?, 1, ?, ?)").run(
    id,
    START_MS - 1000,
    content.length,
    JSON.stringify(envelope),
    JSON.stringify(anOrigin),
  );
  const reply = JSON.stringify({ code: 451, enhanced: "4.3.0", text: "wait", remoteHost: "mx.test" });
  db.prepare("INSERT INTO recipient VALUES (7, 0, 1, 2, 3, ?, 'a@x.test', NULL, ?)").run(START_MS - 1, reply);
  db.prepare("INSERT INTO recipient VALUES (7, 1, 0, 0, 1, ?, 'b@x.test', NULL, NULL)").run(START_MS - 1);
  db.prepare("INSERT INTO chunk VALUES (?, ?, ?)").run(7 * 65_536, crc32(content), content);
  db.close();
}

test("a spool of version 1 is brought forward: its mail, attempts and replies are there, and new things work", async () => {
  const folder = aFolder();
  try {
    const path = join(folder, "0.sqlite");
    writeVersionOne(path);
    {
      await using box = await aQueue({ folder });
      const message = await box.queue.get(id);
      assert.deepEqual(
        message?.recipients.map(({ address, attempts, state, delayWarned, lastReply }) => [
          address,
          attempts,
          state,
          delayWarned,
          lastReply?.text,
        ]),
        [
          ["a@x.test", 3, "deferred", true, "wait"],
          ["b@x.test", 1, "deferred", false, undefined],
        ],
      );
      assert.equal(message?.lastDialogue, undefined);
      assert.deepEqual(await contentOf(box.queue, id), content);
      assert.equal((await box.queue.claimDue(START_MS, 5)).length, 1);
      await box.queue.settle(id, [{ recipient: 0, kind: "deferred", reply: tryLater, dueMs: START_MS }], [], {
        dialogue: "S: 451 wait",
      });
      assert.equal((await box.queue.get(id))?.lastDialogue, "S: 451 wait");
    }
    const db = new DatabaseSync(path);
    assert.deepEqual(
      { ...db.prepare("SELECT value FROM meta WHERE name = 'schema'").get() },
      {
        value: String(schemaVersion),
      },
    );
    db.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the spool of version 1 of a shard that is no more is taken over, also one whose adoption version 1 had begun", async () => {
  await using box = await aQueue();
  const orphan = join(box.folder, "1.sqlite");
  writeVersionOne(orphan);
  assert.equal(await box.queue.adopt(orphan), 1);
  assert.deepEqual(await contentOf(box.queue, id), content);
  assert.equal(await box.queue.remove(id), true);

  const begun = join(box.folder, "2.sqlite.adopting.0.sqlite.token");
  writeVersionOne(begun);
  await box.reopen();
  assert.deepEqual(await contentOf(box.queue, id), content);
  // With the dialogue of a newer orphan.
  const other = await aQueue({ path: join(box.folder, "3.sqlite") });
  const writer = other.queue.newMessage();
  await writer.write(content);
  const message = await writer.commit(
    { sender: "", recipients: [{ address: "x@y.test" }], smtpUtf8: false, body: "7BIT", requireTls: false },
    anOrigin,
    { claim: true },
  );
  await other.queue.settle(message.id, [{ recipient: 0, kind: "deferred", reply: tryLater, dueMs: START_MS }], [], {
    dialogue: "S: 421 bye",
  });
  await other.queue.close();
  assert.equal(await box.queue.adopt(join(box.folder, "3.sqlite")), 1);
  assert.equal((await box.queue.get(message.id))?.lastDialogue, "S: 421 bye");
  rmSync(other.folder, { recursive: true });
});
