/**
 * A queue in a process of its own that reads what it is told to, for tests of a disk that does not: `node reader.ts DATABASE`, an id a line on standard input,
 * a line of JSON back for each.
 */
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { createLog } from "../../server/observe/log.ts";
import { openQueue } from "../../server/queue/sqlite-queue.ts";

export interface Answer {
  /** Of the octets; undefined when they could not be had. */
  readonly hash?: string;
  readonly error?: string;
  readonly corrupt: number;
  readonly available: boolean;
}

if (import.meta.main) {
  const log = createLog("reader", "silent");
  const queue = await openQueue({ path: process.argv[2] ?? "", shard: 0, minFreeBytes: () => 0, reserveBytes: 0, log });
  for await (const id of createInterface({ input: process.stdin })) {
    const outcome: { hash?: string; error?: string } = {};
    try {
      const digest = createHash("sha256");
      for await (const chunk of queue.read(id)) digest.update(chunk);
      outcome.hash = digest.digest("hex");
    } catch (error) {
      outcome.error = String(error);
    }
    const available = queue.unavailable() === undefined;
    const corrupt = available ? (await queue.summary(Date.now())).messages.corrupt : 0;
    process.stdout.write(`${JSON.stringify({ ...outcome, corrupt, available } satisfies Answer)}\n`);
  }
  await queue.close();
}
