/** Storage that is full or broken, for real where the machine lets us: a disk of 48 MiB, a limit on the size of files. */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { queueUnavailable } from "../observe/metrics.ts";
import type { Settlement } from "./queue.ts";
import {
  aFolder,
  anEnvelope,
  anOrigin,
  aQueue,
  aReport,
  assertTotals,
  contentOf,
  delivered,
  put,
  statesOf,
} from "./queue-fixture.ts";
import { bodyOf, type Seen, type SeenCrowded } from "./storage-trouble.ts";

const done: Settlement = { recipient: 0, kind: "delivered", reply: delivered };
const isFull = { name: "QueueUnavailable", reason: "full" };

async function gauge(reason: string): Promise<number | undefined> {
  const { values } = await queueUnavailable.get();
  return values.find(({ labels }) => labels.reason === reason)?.value;
}

const script = join(import.meta.dirname, "storage-trouble.ts");

async function seenBy<What = Seen>(command: string, ...parameters: string[]): Promise<What> {
  const { stdout, stderr } = await promisify(execFile)(command, parameters, { timeout: 60_000 });
  assert.match(stdout, /^\{/, stderr);
  return JSON.parse(stdout) as What;
}

async function assertKept(folder: string, seen: Seen): Promise<void> {
  const q = await aQueue({ folder });
  for (const id of seen.stored) assert.ok((await contentOf(q.queue, id)).equals(bodyOf(id)), id);
  for (const id of seen.settled) assert.equal(await q.queue.get(id), undefined);
  await q.queue.close();
}

test("a database that may not grow: new mail is refused, settling goes on, and then there is room again", async () => {
  await using q = await aQueue({ maxDatabaseBytes: 4_000_000 });
  const content = Buffer.alloc(100_000, 7);
  const stored: string[] = [];
  await assert.rejects(async () => {
    for (let count = 0; count < 100; count++) stored.push((await put(q.queue, { content })).id);
  }, isFull);
  assert.ok(stored.length > 20);
  assert.equal(q.queue.unavailable()?.reason, "full");
  assert.equal(await gauge("full"), 1);
  assert.throws(() => q.queue.newMessage(), isFull);
  await assertTotals(q.queue, { active: stored.length, recipients: stored.length });
  for (const id of stored) assert.ok((await contentOf(q.queue, id)).equals(content));

  await Promise.all(stored.map((id) => q.queue.settle(id, [done])));
  await assertTotals(q.queue, {});
  while (q.queue.unavailable() !== undefined) await sleep(50);
  assert.equal(await gauge("full"), 0);
  await put(q.queue, { content });
  assert.deepEqual(
    q.lines.map(({ event }) => event),
    ["queue-full", "queue-no-longer-full"],
  );
});

/** A mount of our own, without or with root. */
const mounting = ["unshare", "--user", "--map-root-user", "--mount"];
const mayMount =
  spawnSync(mounting[0] ?? "", [...mounting.slice(1), "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]).status === 0;
const onSmallDisk = { skip: mayMount ? false : "this machine does not let us mount a small file system" };

/** On a disk of 48 MiB that is gone with the process. */
async function seenOnSmallDisk<What>(...mode: string[]): Promise<What> {
  const folder = aFolder();
  const inside = `mount -t tmpfs -o size=48m none "$1" && "$2" "$3" "$1/0.sqlite" $4`;
  const [command = "", ...options] = mounting;
  const parameters = ["sh", "-c", inside, "sh", folder, process.execPath, script, ...mode];
  const seen = await seenBy<What>(command, ...options, ...parameters);
  rmSync(folder, { recursive: true });
  return seen;
}

describe("side by side, because they wait for room", { concurrency: true }, () => {
  test("in one group with mail that does not fit, settlements are stored all the same", async () => {
    await using q = await aQueue({ maxDatabaseBytes: 2_000_000 });
    const { id } = await put(q.queue, { content: Buffer.alloc(60_000) });
    const kept = await put(q.queue);
    const large = { ...aReport("postmaster@example.org"), content: Buffer.alloc(3_000_000) };
    const writer = q.queue.newMessage();
    await writer.write(Buffer.alloc(200_000));
    const results = await Promise.allSettled([
      q.queue.settle(id, [done]),
      writer.commit(anEnvelope(), anOrigin),
      q.queue.settle(kept.id, [done], [large]),
      q.queue.get(kept.id),
    ]);
    // A settlement whose report does not fit is not stored by halves, and holds up nobody else.
    assert.equal(results[0].status, "fulfilled");
    assert.equal(results[2].status, "rejected");
    assert.deepEqual(await statesOf(q.queue, kept.id), ["alice@example.org:active"]);
    await q.queue.settle(kept.id, [done]);
    assert.equal(await q.queue.get(id), undefined);
  });

  test("a large message that does not fit: refused as full, its beginning is removed", async () => {
    await using q = await aQueue({ maxDatabaseBytes: 4_000_000 });
    const writer = q.queue.newMessage();
    const writing = async (): Promise<void> => {
      for (let count = 0; count < 20; count++) await writer.write(Buffer.alloc(500_000));
      await writer.commit(anEnvelope(), anOrigin);
    };
    await assert.rejects(writing(), isFull);
    await writer.abort();
    await assertTotals(q.queue, {});
    // All the room is there again.
    await put(q.queue, { content: Buffer.alloc(3_000_000) }).catch(async () => {
      while (q.queue.unavailable() !== undefined) await sleep(50);
      await put(q.queue, { content: Buffer.alloc(3_000_000) });
    });
  });

  test("below minFree new mail is refused before it hurts; what is there goes on; a new limit counts at once", async () => {
    let minFreeBytes = 0;
    await using q = await aQueue({ minFreeBytes: () => minFreeBytes });
    const { id } = await put(q.queue);
    const begun = q.queue.newMessage();
    minFreeBytes = Number.MAX_SAFE_INTEGER;
    assert.equal(q.queue.unavailable()?.reason, "full");
    assert.match(
      q.queue.unavailable()?.message ?? "",
      /only \d+ bytes are free for the queue, less than the 9007199254740991/,
    );
    assert.throws(() => q.queue.newMessage(), isFull);
    // Begun before: it is taken.
    await begun.write(Buffer.from("x"));
    await begun.commit(anEnvelope(), anOrigin);
    await q.queue.settle(id, [done]);
    minFreeBytes = 0;
    assert.equal(q.queue.unavailable(), undefined);
  });

  const frees =
    "a full disk: refused as full, settling frees space, then mail is taken again; nothing confirmed is lost";
  test(frees, onSmallDisk, async () => {
    const seen = await seenOnSmallDisk<Seen>();
    assert.equal(seen.refusal, "full");
    assert.equal(seen.unavailable, "full");
    assert.equal(seen.reading, "done");
    assert.equal(seen.settling, "done");
    assert.equal(seen.healed, true);
    assert.equal(seen.kept, true);
    assert.ok(seen.stored.length > 50);
    assert.deepEqual(seen.events, ["queue-full", "queue-no-longer-full"]);
  });

  const spares = "a disk that others have filled: the reserve that is given up is for settling, not for mail";
  test(spares, onSmallDisk, async () => {
    const seen = await seenOnSmallDisk<SeenCrowded>("crowded");
    assert.equal(seen.refusal, "full");
    assert.equal(seen.hasGivenUp, true);
    assert.equal(seen.takenMeanwhile, 0);
    assert.match(seen.why, /less than the 16777216 that must be/);
    assert.equal(seen.settling, "done");
    assert.equal(seen.healed, true);
    assert.deepEqual(seen.events, ["queue-full", "queue-no-longer-full"]);
  });

  test("an I/O error is final: every call fails, nothing is confirmed any more, and a new start finds all that was", async () => {
    const folder = aFolder();
    // Writing beyond the limit is an error that SQLite reports as an I/O error (the unit is 512 octets).
    const limited = `ulimit -f 12000; exec "$1" "$2" "$3"`;
    const seen = await seenBy("sh", "-c", limited, "sh", process.execPath, script, join(folder, "0.sqlite"));
    assert.equal(seen.refusal, "failed");
    assert.equal(seen.unavailable, "failed");
    assert.equal(seen.reading, "failed");
    assert.equal(seen.settling, "failed");
    assert.deepEqual(seen.events, ["queue-failed"]);
    assert.ok(seen.stored.length > 100);
    await assertKept(folder, seen);
    rmSync(folder, { recursive: true });
  });
});
