/**
 * The promise under fire: a child process takes and settles mail at speed and writes down what was confirmed; it is killed (SIGKILL) at a
 * random moment, and what it had confirmed must be in the queue.
 *
 * `node server/queue/crash.ts --kills 50`; the unit suite runs a few. Lines of the child: `S id hash` commit confirmed, `B id` about to
 * settle, `D id` settling confirmed. Stored and not begun to settle: must be there with the same octets. Settled: must be gone. Between: either.
 * The same folder goes through all kills, so that recovery recovers from recoveries.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createLog } from "../observe/log.ts";
import type { Envelope, Origin } from "./queue.ts";
import { openQueue, type SqliteQueue } from "./sqlite-queue.ts";

const origin: Origin = { listener: "", clientAddress: "", clientName: "", helo: "", protocol: "" };
const envelope: Envelope = {
  sender: "a@example.com",
  recipients: [{ address: "b@example.org" }, { address: "c@example.org" }],
  smtpUtf8: false,
  body: "8BITMIME",
  requireTls: false,
};
const reply = { code: 250, enhanced: "2.0.0", text: "OK" };
const PARALLEL = 20;

const open = (path: string): Promise<SqliteQueue> =>
  openQueue({ path, shard: 0, minFreeBytes: () => 0, log: createLog("crash", "error") });

const hashOf = (data: Buffer): string => createHash("sha256").update(data).digest("hex").slice(0, 16);

/** Until killed: store, then settle two of three. */
async function work(path: string): Promise<never> {
  const queue = await open(path);
  const say = (line: string): void => void writeSync(1, `${line}\n`);
  process.send?.("ready");
  const worker = async (): Promise<never> => {
    for (let turn = 0; ; turn++) {
      const content = randomBytes(turn % 25 === 24 ? 700_000 : 200 + Math.floor(Math.random() * 8000));
      const writer = queue.newMessage();
      for (let at = 0; at < content.length; at += 50_000) await writer.write(content.subarray(at, at + 50_000));
      const { id } = await writer.commit(envelope, origin, { claim: turn % 2 === 0 });
      say(`S ${id} ${hashOf(content)}`);
      if (turn % 2 !== 0) await queue.claimDue(Date.now(), 3);
      if (turn % 3 === 0) continue;
      say(`B ${id}`);
      await queue.settle(
        id,
        [0, 1].map((recipient) => ({ recipient, kind: "delivered", reply })),
      );
      say(`D ${id}`);
    }
  };
  return await Promise.race(Array.from({ length: PARALLEL }, worker));
}

interface Confirmed {
  readonly hash: string;
  fate: "stored" | "settling" | "settled";
}

function record(lines: readonly string[], confirmed: Map<string, Confirmed>): void {
  for (const line of lines) {
    const [verb, id = "", hash = ""] = line.split(" ");
    const known = confirmed.get(id);
    // A line that the kill has cut short says nothing.
    if (verb === "S" && hash.length === 16) confirmed.set(id, { hash, fate: "stored" });
    else if (verb === "B" && known !== undefined) known.fate = "settling";
    else if (verb === "D" && known !== undefined) known.fate = "settled";
  }
}

async function verifyOne(
  queue: SqliteQueue,
  id: string,
  { hash, fate }: Confirmed,
  confirmed: Map<string, Confirmed>,
): Promise<void> {
  const message = await queue.get(id);
  if (fate === "settled") assert.equal(message, undefined, `message ${id} was settled and is back`);
  if (message === undefined) {
    assert.notEqual(fate, "stored", `message ${id} was confirmed and is lost`);
    confirmed.delete(id);
    return;
  }
  assert.ok(
    message.recipients.every(({ state }) => state === "deferred"),
    `message ${id} is still in flight`,
  );
  const pieces: Buffer[] = [];
  for await (const piece of queue.read(id)) pieces.push(piece);
  assert.equal(hashOf(Buffer.concat(pieces)), hash, `message ${id} has other octets`);
  // What may have been settled counts from now on as what it turned out to be.
  confirmed.set(id, { hash, fate: "stored" });
}

async function verify(path: string, confirmed: Map<string, Confirmed>): Promise<number> {
  const queue = await open(path);
  try {
    await Promise.all(Array.from(confirmed, ([id, was]) => verifyOne(queue, id, was, confirmed)));
    const { messages } = await queue.summary(Date.now());
    assert.equal(messages.active + messages.hold + messages.corrupt, 0);
    // What was stored without ever being confirmed goes, so that the folder does not grow; so does most of the rest.
    const left = await queue.list({ limit: 1000 });
    const going = left.filter(({ id }) => !confirmed.has(id) || Math.random() < 0.9);
    await Promise.all(going.map(({ id }) => queue.remove(id)));
    for (const { id } of going) confirmed.delete(id);
    return messages.deferred;
  } finally {
    await queue.close();
  }
}

/** Throws on the first confirmed message that is not as it must be. */
export async function crashQueue(
  kills: number,
  random: () => number = Math.random,
): Promise<{ readonly confirmed: number }> {
  const folder = mkdtempSync(join(tmpdir(), "packetboat-crash-"));
  const path = join(folder, "0.sqlite");
  const journalPath = join(folder, "journal");
  const confirmed = new Map<string, Confirmed>();
  let total = 0;
  try {
    for (let kill = 1; kill <= kills; kill++) {
      // A file: what is written to it stays when the writer is killed, and a slow reader holds up nobody.
      const journal = openSync(journalPath, "w");
      const child = spawn(process.execPath, [import.meta.filename, "--child", path], {
        stdio: ["ignore", journal, "inherit", "ipc"],
      });
      closeSync(journal);
      const exited = once(child, "exit");
      await Promise.race([once(child, "message"), exited]);
      await sleep(20 + random() * 400);
      child.kill("SIGKILL");
      await exited;
      assert.equal(child.signalCode, "SIGKILL", "the child ended by itself");
      const before = confirmed.size;
      record(readFileSync(journalPath, "utf8").split("\n"), confirmed);
      total += confirmed.size - before;
      await verify(path, confirmed);
    }
    assert.ok(total > 0, "nothing was confirmed: the test tested nothing");
    return { confirmed: total };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { kills: { type: "string", default: "50" }, child: { type: "string" } } });
  if (values.child !== undefined) await work(values.child);
  const { confirmed } = await crashQueue(Number(values.kills));
  console.log(`${values.kills} kills, ${confirmed} messages confirmed, none lost, none back`);
}
