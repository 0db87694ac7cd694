/**
 * `node bench/queue.ts`: what the queue alone can do, through its port, from the main thread.
 *
 * Accept (commit, claimed) and settle (delivered, which deletes) with 50 in parallel, every commit synced; then a lone message, one after the other.
 * Options: --messages N (default 30000), --bytes N (default 4096), --concurrency N (default 50), --read (read each message back before settling),
 * --folder DIR (default: the system's temporary folder; its disk is what is measured).
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createLog } from "../server/observe/log.ts";
import { commitItems, commitSeconds } from "../server/observe/metrics.ts";
import type { Envelope, Origin } from "../server/queue/queue.ts";
import { openQueue } from "../server/queue/sqlite-queue.ts";

const { values } = parseArgs({
  options: {
    messages: { type: "string", default: "30000" },
    bytes: { type: "string", default: "4096" },
    concurrency: { type: "string", default: "50" },
    read: { type: "boolean", default: false },
    folder: { type: "string", default: tmpdir() },
  },
});
const messages = Number(values.messages);
const concurrency = Number(values.concurrency);
const body = randomBytes(Number(values.bytes));

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

const folder = mkdtempSync(join(values.folder, "bench-queue-"));
const queue = await openQueue({
  path: join(folder, "0.sqlite"),
  shard: 0,
  minFreeBytes: () => 0,
  log: createLog("bench", "warn"),
});

async function one(): Promise<void> {
  const writer = queue.newMessage();
  await writer.write(body);
  const { id } = await writer.commit(envelope, origin, { claim: true });
  if (values.read) for await (const _ of queue.read(id));
  await queue.settle(id, [{ recipient: 0, kind: "delivered", reply: { code: 250, enhanced: "2.0.0", text: "OK" } }]);
}

async function rate(count: number, parallel: number): Promise<number> {
  let left = count;
  const start = performance.now();
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      while (left-- > 0) await one();
    }),
  );
  return (count * 1000) / (performance.now() - start);
}

try {
  await rate(messages / 10, concurrency);
  commitItems.reset();
  commitSeconds.reset();
  const together = await rate(messages, concurrency);
  const { sum, count } = Object.fromEntries(
    (await commitItems.get()).values.map(({ metricName, value }) => [metricName?.split("_").at(-1), value]),
  ) as { sum: number; count: number };
  const alone = await rate(Math.min(messages, 2000), 1);
  console.log(
    `${values.bytes} bytes, ${concurrency} in parallel: ${together.toFixed(0)} messages a second accepted and settled, ${(sum / count).toFixed(1)} operations a commit`,
  );
  console.log(
    `${values.bytes} bytes, one after the other: ${alone.toFixed(0)} a second, ${(1000 / alone).toFixed(2)} ms each`,
  );
} finally {
  await queue.close();
  rmSync(folder, { recursive: true, force: true });
}
