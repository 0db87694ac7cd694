/**
 * A short life of a queue in a process of its own, for faults.ts: everything a spool does once, each step's outcome as a JSON line on standard output.
 *
 * `node spool-life.ts FOLDER`. Storage that failed for good ends it with 75, as it ends a shard; else it ends with a line that says after how many
 * milliseconds mail was taken again, once every step is through.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createLog } from "../../server/observe/log.ts";
import { type Envelope, type Origin, QueueUnavailable } from "../../server/queue/queue.ts";
import { openQueue, type SqliteQueue } from "../../server/queue/sqlite-queue.ts";

const HEAL_MS = 10_000;
/** As the server's own exit code for this, see server/shard.ts. */
const EX_TEMPFAIL = 75;
const folder = process.argv[2] ?? "";
const tell = (line: Readonly<Record<string, unknown>>): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const origin: Origin = { listener: "mx", clientAddress: "", clientName: "", helo: "", protocol: "" };
const envelope = (recipients: number): Envelope => ({
  sender: "a@example.com",
  recipients: Array.from({ length: recipients }, (_, number) => ({ address: `r${number}@example.org` })),
  smtpUtf8: false,
  body: "7BIT",
  requireTls: false,
});
const reply = { code: 250, enhanced: "2.0.0", text: "Ok" };

let queue: SqliteQueue;

/** Fails as a shard does that cannot start, or whose queue is broken for good: whoever watches starts it anew. */
function end(error: unknown): never {
  tell({ step: "end", error: String(error) });
  process.exit(EX_TEMPFAIL);
}

async function open(): Promise<SqliteQueue> {
  try {
    return await openQueue({
      path: join(folder, "0.sqlite"),
      shard: 0,
      minFreeBytes: () => 0,
      log: createLog("spool-life", "silent"),
      reserveBytes: 1_048_576,
    });
  } catch (error) {
    return end(error);
  }
}

function told(step: string, error: unknown): void {
  const reason = error instanceof QueueUnavailable ? error.reason : "error";
  tell({ step, reason, error: String(error) });
  if (reason === "failed") end(error);
}

/** Accept a message; says its hash before, and its id once it is confirmed. */
async function accept(
  bytes: number,
  recipients: number,
  options: { claim?: boolean; hold?: boolean },
): Promise<string | undefined> {
  const content = Buffer.alloc(bytes, `${Math.random()}\r\n`);
  try {
    const writer = queue.newMessage();
    for (let at = 0; at < bytes; at += 65_536) await writer.write(content.subarray(at, at + 65_536));
    const { id } = await writer.commit(envelope(recipients), origin, options);
    tell({ step: "accept", id, hash: createHash("sha256").update(content).digest("hex") });
    return id;
  } catch (error) {
    told("accept", error);
    return undefined;
  }
}

async function step(name: string, work: (queue: SqliteQueue) => Promise<unknown>, gone?: string): Promise<void> {
  // What may be gone is said before: when the step fails nobody knows whether it happened.
  if (gone !== undefined) tell({ step: "may-go", id: gone });
  try {
    await work(queue);
  } catch (error) {
    told(name, error);
  }
}

queue = await open();
const small = await accept(3000, 1, { claim: true });
const large = await accept(300_000, 3, { claim: true });
const [first, second] = await Promise.all([accept(5000, 2, { claim: true }), accept(5000, 1, {})]);
const held = await accept(2000, 1, { hold: true });
const now = Date.now();
if (small !== undefined)
  await step("delivered", (q) => q.settle(small, [{ recipient: 0, kind: "delivered", reply }]), small);
if (first !== undefined)
  await step("deferred", (q) =>
    q.settle(first, [
      { recipient: 0, kind: "deferred", reply, dueMs: now },
      { recipient: 1, kind: "expanded", into: [{ address: "x@example.org" }, { address: "y@example.org" }] },
    ]),
  );
if (large !== undefined)
  await step(
    "bounced",
    (q) =>
      q.settle(
        large,
        [0, 1, 2].map((recipient) => ({ recipient, kind: "failed" as const, reply })),
        [{ envelope: { ...envelope(1), sender: "" }, content: Buffer.from("bounce\r\n") }],
      ),
    large,
  );
await step("claim", (q) => q.claimDue(Date.now() + 1000, 10));
if (held !== undefined) await step("release", (q) => q.release(held, now));
if (second !== undefined) await step("remove", (q) => q.remove(second), second);
await step("flush", (q) => q.flush(now));
await step("close", (q) => q.close());
queue = await open();
await accept(3000, 1, {});

const healingMs = performance.now();
while ((await accept(100, 1, {})) === undefined && performance.now() - healingMs < HEAL_MS) await sleep(200);
tell({ step: "healed", afterMs: Math.round(performance.now() - healingMs) });
await queue.close();
