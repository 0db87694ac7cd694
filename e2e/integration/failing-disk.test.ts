/** Disks that refuse: a whole server for some seconds (one of each kind, the seed is printed), and a queue with a sector that cannot be read. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { aFolder, aQueue, put } from "../../server/queue/queue-fixture.ts";
import { FailingDisk, failingDiskMissing } from "../crash/failing-disk.ts";
import { seeded } from "../crash/random.ts";
import type { Answer } from "../crash/reader.ts";
import { nameOf, troubles, troublesTest } from "../crash/trouble.ts";
import { ensureCommands } from "../peers/packages.ts";
import { until } from "../peers/ports.ts";
import { ServerAlone } from "../peers/server.ts";
import { SmtpDialogue } from "../peers/smtp.ts";

const missing = failingDiskMissing();
const skip = missing === undefined ? {} : { skip: missing };

test("a disk that is full, and one that is broken, for a while", skip, async () => {
  const seed = Number(process.env["PACKETBOAT_SEED"] ?? Date.now() % 2 ** 31);
  const random = seeded(seed);
  const chosen = (["full", "failed"] as const).flatMap((kind) => {
    const ofKind = troubles.filter(({ makes }) => makes === kind);
    return ofKind[Math.floor(random() * ofKind.length)] ?? [];
  });
  console.log(`seed ${seed}: ${chosen.map(nameOf).join("; ")}`);
  assert.equal(chosen.length, 2);
  for (const { trouble, wrong } of await troublesTest(chosen, (report) => console.log(JSON.stringify(report))))
    assert.deepEqual(wrong, [], trouble);
});

const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");

test(
  "a sector that cannot be read: one message waits, then is set aside; the others and the shard go on",
  skip,
  async () => {
    using disk = new FailingDisk();
    const folder = aFolder();
    const path = join(folder, "0.sqlite");
    const [bad, passing, good] = [randomBytes(200_000), randomBytes(200_000), randomBytes(200_000)] as const;
    const ids: string[] = [];
    {
      await using q = await aQueue({ folder });
      for (const content of [bad, passing, good]) ids.push((await put(q.queue, { content })).id);
    }
    const sectorOf = (content: Buffer): [number, number] => {
      const at = readFileSync(path).indexOf(content.subarray(100_000, 100_064));
      assert.ok(at > 0);
      return [at, at + 1];
    };
    const script = join(import.meta.dirname, "../crash/reader.ts");
    const child = spawn(process.execPath, [script, path], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...disk.environment(folder) },
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const read = async (id: string | undefined): Promise<Answer> => {
      child.stdin.write(`${id}\n`);
      return JSON.parse(String((await lines.next()).value)) as Answer;
    };
    try {
      disk.fail("EIO", ["read"], sectorOf(passing));
      assert.match((await read(ids[1])).error ?? "", /its part of the database cannot be read/);
      disk.heal();
      assert.equal((await read(ids[1])).hash, sha256(passing));

      disk.fail("EIO", ["read"], sectorOf(bad));
      for (const corrupt of [0, 0, 1, 1]) {
        const answer = await read(ids[0]);
        assert.ok(answer.error !== undefined);
        assert.deepEqual([answer.available, answer.corrupt], [true, corrupt], answer.error);
        assert.equal((await read(ids[2])).hash, sha256(good));
      }
      const ended = once(child, "exit");
      child.stdin.end();
      assert.deepEqual(await ended, [0, null]);
    } finally {
      child.kill("SIGKILL");
      rmSync(folder, { recursive: true });
    }
  },
);

const noLimits = ensureCommands({ "util-linux": ["/usr/bin/prlimit"] });
const skipLimits = noLimits === undefined ? {} : { skip: noLimits };

test("no descriptors left: sessions go on, and when there are some again so does the rest", skipLimits, async () => {
  await using server = await ServerAlone.start(1);
  const shard = server.shards()[0] ?? 0;
  const limit = (files: number): void =>
    void execFileSync("/usr/bin/prlimit", ["--pid", String(shard), `--nofile=${files}:`]);
  const usual = Number(/^Max open files +(\d+)/m.exec(readFileSync(`/proc/${shard}/limits`, "latin1"))?.[1]);
  const open = (): number => readdirSync(`/proc/${shard}/fd`).length;
  const mail = { from: "a@elsewhere.example", to: ["alice@example.org"], content: "Subject: one of few\n\nx\n" };
  const accepts = async (client: SmtpDialogue): Promise<boolean> => {
    const replies = await client.send(mail);
    assert.ok(
      replies.every((reply) => /^[234]/.test(reply)),
      replies.join(" | "),
    );
    return replies.at(-1)?.startsWith("250") === true;
  };

  await using early = await SmtpDialogue.open(server.mx);
  await early.reply();
  await early.command("EHLO client.example");
  const most = open() + 4;
  limit(most);
  const crowd = Array.from({ length: 20 }, () => connect(server.mx, "127.0.0.1").on("error", () => undefined));
  try {
    await until("the descriptors to be used up", 10_000, () => open() >= most);
    await accepts(early);
    limit(usual);
    const start = performance.now();
    await until("a new connection to be served", 20_000, async () => {
      await using late = await SmtpDialogue.open(server.mx);
      if (!(await late.reply()).startsWith("220")) return false;
      await late.command("EHLO client.example");
      return await accepts(late);
    });
    assert.ok(performance.now() - start < 10_000);
    assert.equal(server.shards()[0], shard, "the shard was started anew");
    await until("the mail to be in the mailbox", 20_000, () => server.maildir("mail/example.org/alice").length > 0);
  } finally {
    for (const socket of crowd) socket.destroy();
  }
});
