/** What the queue asks of its disk, and what it makes of a disk that refuses: order of syncs and replies under strace, and system calls that fail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { callsMade, everyFault, faultTest, straceMissing } from "../crash/faults.ts";
import { seeded } from "../crash/random.ts";
import { judge, syscallTest } from "../crash/syscalls.ts";

const missing = straceMissing();
const skip = missing === undefined ? {} : { skip: missing };

test("every 250 stands behind a sync of the log that holds the message", skip, async () => {
  for (const sessions of [1, 20]) {
    const { messages, syncs, early, unsynced } = await syscallTest(sessions, 1000);
    console.log(`${sessions} sessions: ${messages} messages, ${(syncs / messages).toFixed(2)} syncs each`);
    assert.ok(messages > 20, `only ${messages} messages`);
    assert.deepEqual(early, []);
    assert.equal(unsynced, 0);
  }
});

test("a 250 before its sync, without one, or behind another file's is noticed", () => {
  const written = 'pwrite64(27</q/0.sqlite-wal>, "idOne12345", 10, 0) = 10';
  const answered = 'write(30<TCP:[1->2]>, "250 2.0.0 Ok: queued as idOne12345\\r\\n", 36) = 36';
  const good = [
    "1 fsync(27</q/0.sqlite-wal>) = 0",
    "1 fsync(27</q/0.sqlite-wal> <unfinished ...>\n1 <... fsync resumed>) = 0",
  ];
  for (const sync of good) assert.deepEqual(judge(`1 ${written}\n${sync}\n2 ${answered}`).early, []);
  for (const bad of [
    `1 ${written}\n2 ${answered}`,
    `1 ${written}\n2 ${answered}\n${good[0]}`,
    `${good[0]}\n1 ${written}\n2 ${answered}`,
    `1 ${written}\n1 fsync(26</q/0.sqlite>) = 0\n2 ${answered}`,
    `1 ${written}\n1 fsync(27</q/0.sqlite-wal>) = -1 EIO (Input/output error)\n2 ${answered}`,
    `1 ${written}\n1 fsync(27</q/0.sqlite-wal> <unfinished ...>\n2 ${answered}\n1 <... fsync resumed>) = 0`,
    `${good[0]}\n2 ${answered}`,
    // Begun by another thread before the message was written.
    `3 fdatasync(33</q/0.sqlite-wal> <unfinished ...>\n1 ${written}\n3 <... fdatasync resumed>) = 0\n2 ${answered}`,
  ])
    assert.deepEqual(judge(bad).early, ["idOne12345"], bad);
  for (const [trace, unsynced] of [
    [`1 ${written}\n${good[0]}`, 0],
    [`1 ${written}\n${good[0]}\n1 ${written}\n2 ${answered}\n1 ${written}`, 2],
    [`1 ${written}`, 1],
  ] as const)
    assert.equal(judge(trace).unsynced, unsynced, trace);
});

test(
  "a system call that fails once, whichever it is and however: nothing is lost, mail is taken again",
  skip,
  async () => {
    const seed = Number(process.env["PACKETBOAT_SEED"] ?? Date.now() % 2 ** 31);
    const random = seeded(seed);
    const all = everyFault(await callsMade());
    const sample = Array.from({ length: 60 }, () => all[Math.floor(random() * all.length)]).filter(
      (fault) => fault !== undefined,
    );
    const { faults, wrong } = await faultTest(sample);
    console.log(`seed ${seed}: ${faults} of ${all.length} faults`);
    assert.deepEqual(wrong, []);
  },
);
