/**
 * A process that takes mail until its storage refuses, for `failure.test.ts`, which gives it a disk that is too small or a limit on the size of files.
 *
 * `node storage-trouble.ts DATABASE`: prints one JSON line of what it saw. Every body is the id's hash, so that the reader can check what is there.
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Envelope, Origin } from "./queue.ts";
import { QueueUnavailable } from "./queue.ts";
import { capturedLog, contentOf } from "./queue-fixture.ts";
import { openQueue } from "./sqlite-queue.ts";

export interface Seen {
  /** Confirmed and not settled. */
  readonly stored: readonly string[];
  readonly settled: readonly string[];
  /** Why new mail was refused, and which reason the queue gave then. */
  readonly refusal: string;
  readonly unavailable: string | undefined;
  /** What became of calls after the refusal. */
  readonly settling: string;
  readonly reading: string;
  readonly healed: boolean;
  /** After a restart of a queue that was full: everything stored is there with its octets, everything settled is gone. */
  readonly kept: boolean;
  readonly events: readonly unknown[];
}

export const bodyOf = (id: string): Buffer => Buffer.alloc(20_000, createHash("sha256").update(id).digest());

const origin: Origin = { listener: "", clientAddress: "", clientName: "", helo: "", protocol: "" };
const envelope: Envelope = {
  sender: "",
  recipients: [{ address: "a@example.org" }],
  smtpUtf8: false,
  body: "7BIT",
  requireTls: false,
};
const reply = { code: 250, enhanced: "2.0.0", text: "OK" };

const outcome = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "done",
    (error: unknown) => (error instanceof QueueUnavailable ? error.reason : String(error)),
  );

async function isAllThere(path: string, ids: readonly string[]): Promise<boolean> {
  const queue = await openQueue({ path, shard: 0, minFreeBytes: () => 0, log: capturedLog().log });
  try {
    for (const id of ids) if (!(await contentOf(queue, id)).equals(bodyOf(id))) return false;
    const { messages } = await queue.summary(Date.now());
    return messages.deferred === ids.length;
  } finally {
    await queue.close();
  }
}

async function watch(path: string): Promise<Seen> {
  const { log, lines } = capturedLog();
  const queue = await openQueue({ path, shard: 0, minFreeBytes: () => 0, log });
  const stored: string[] = [];
  const store = async (): Promise<void> => {
    const writer = queue.newMessage();
    await writer.write(bodyOf(writer.id));
    await writer.commit(envelope, origin, { claim: true });
    stored.push(writer.id);
  };
  let refusal = "done";
  while (refusal === "done" && stored.length < 10_000) {
    const results = await Promise.all(Array.from({ length: 10 }, () => outcome(store())));
    refusal = results.find((result) => result !== "done") ?? "done";
  }
  const unavailable = queue.unavailable()?.reason;
  const settled = stored.slice(0, Math.floor(stored.length / 2));
  const first = settled[0] ?? "";
  const reading = await outcome(
    (async () => {
      for await (const _ of queue.read(first));
    })(),
  );
  const settlings = await Promise.all(
    settled.map((id) => outcome(queue.settle(id, [{ recipient: 0, kind: "delivered", reply }]))),
  );
  const settling = settlings.find((result) => result !== "done") ?? "done";
  let healed = false;
  if (unavailable === "full") {
    for (let tries = 0; queue.unavailable() !== undefined && tries < 50; tries++) await sleep(100);
    healed = (await outcome(store())) === "done";
  }
  await queue.close();
  const left = settling === "done" ? stored.slice(settled.length) : stored;
  return {
    stored: left,
    settled: settling === "done" ? settled : [],
    kept: unavailable === "full" && (await isAllThere(path, left)),
    refusal,
    unavailable,
    settling,
    reading,
    healed,
    events: lines.map(({ event }) => event),
  };
}

if (import.meta.main) console.log(JSON.stringify(await watch(process.argv[2] ?? "")));
