/**
 * `npm run bench -- queue`: what the queue alone can do, through its port, from the main thread.
 *
 * Accept (commit, claimed) and settle (delivered, which deletes) of 4 KiB with 50 in parallel, every commit synced; then a lone message, one after the
 * other. In the system's temporary folder, whose disk is measured. Postfix has nothing to put beside it.
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog } from "../server/observe/log.ts";
import { commitItems } from "../server/observe/metrics.ts";
import type { Envelope, Origin, Queue } from "../server/queue/queue.ts";
import { openQueue } from "../server/queue/sqlite-queue.ts";
import type { BenchOptions } from "./options.ts";
import type { Report } from "./report.ts";

const MESSAGES = 30_000;
const CONCURRENCY = 50;
const BYTES = 4096;

const envelope: Envelope = {
  sender: "sender@example.com",
  recipients: [{ address: "recipient@example.org" }],
  smtpUtf8: false,
  body: "8BITMIME",
  requireTls: false,
};
const origin: Origin = {
  listener: "mx",
  clientAddress: "192.0.2.1",
  clientName: "client.example.com",
  helo: "client.example.com",
  protocol: "ESMTPS",
};

async function one(queue: Queue, body: Buffer): Promise<void> {
  const writer = queue.newMessage();
  await writer.write(body);
  const { id } = await writer.commit(envelope, origin, { claim: true });
  await queue.settle(id, [{ recipient: 0, kind: "delivered", reply: { code: 250, enhanced: "2.0.0", text: "OK" } }]);
}

async function rate(queue: Queue, count: number, parallel: number): Promise<number> {
  const body = randomBytes(BYTES);
  let left = count;
  const start = performance.now();
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      while (left-- > 0) await one(queue, body);
    }),
  );
  return (count * 1000) / (performance.now() - start);
}

export async function queueAlone({ scale }: BenchOptions): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "bench-queue-"));
  const queue = await openQueue({
    path: join(folder, "0.sqlite"),
    shard: 0,
    minFreeBytes: () => 0,
    log: createLog("bench", "warn"),
  });
  const messages = Math.round(MESSAGES * scale);
  try {
    await rate(queue, messages / 10, CONCURRENCY);
    commitItems.reset();
    const together = await rate(queue, messages, CONCURRENCY);
    const { sum, count } = Object.fromEntries(
      (await commitItems.get()).values.map(({ metricName, value }) => [metricName?.split("_").at(-1), value]),
    ) as { sum: number; count: number };
    const alone = await rate(queue, Math.min(messages, 2000), 1);
    return {
      table: [
        ["4 KiB, accepted and settled", "messages a second"],
        [`${CONCURRENCY} in parallel`, together.toFixed(0)],
        ["one after the other", alone.toFixed(0)],
      ],
      notes: [`${(sum / count).toFixed(1)} operations a commit.`],
      targets: [],
    };
  } finally {
    await queue.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
