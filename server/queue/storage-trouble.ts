/**
 * A process that takes mail until its storage refuses, for `failure.test.ts`, which gives it a disk that is too small or a limit on the size of files.
 *
 * `node storage-trouble.ts DATABASE`: prints one JSON line of what it saw. Every body is the id's hash, so that the reader can check what is there.
 * With `crowded` behind it, a file of somebody else fills the disk meanwhile.
 */
import { createHash } from "node:crypto";
import { rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Envelope, Origin } from "./queue.ts";
import { QueueUnavailable } from "./queue.ts";
import { capturedLog, contentOf } from "./queue-fixture.ts";
import { reservePath } from "./reserve.ts";
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

export interface SeenCrowded {
  readonly refusal: string;
  /** The disk has as many octets free again as the reserve had. */
  readonly hasGivenUp: boolean;
  /** Asked again and again for as long as two refusals last. */
  readonly takenMeanwhile: number;
  readonly why: string;
  readonly settling: string;
  readonly healed: boolean;
  readonly events: readonly unknown[];
}

/** How long a queue is watched that must not take mail. */
const WATCHED_MS = 2500;
const SPARE_BYTES = 262_144;

async function watchCrowded(path: string): Promise<SeenCrowded> {
  const { log, lines } = capturedLog();
  const queue = await openQueue({ path, shard: 0, minFreeBytes: () => 0, log });
  const stored: string[] = [];
  const store = async (): Promise<void> => {
    const writer = queue.newMessage();
    await writer.write(Buffer.alloc(100_000));
    await writer.commit(envelope, origin, { claim: true });
    stored.push(writer.id);
  };
  const free = (): number => {
    const { bavail, bsize } = statfsSync(dirname(path));
    return bavail * bsize;
  };
  for (let count = 0; count < 10; count++) await store();
  const reserved = statSync(reservePath(path), { throwIfNoEntry: false })?.size ?? 0;
  const strange = join(dirname(path), "somebody-elses");
  writeFileSync(strange, Buffer.alloc(Math.max(0, free() - SPARE_BYTES)));
  let refusal = "done";
  for (let tries = 0; tries < 100 && refusal === "done"; tries++) refusal = await outcome(store());
  const hasGivenUp = reserved > 0 && free() > reserved / 2;
  const before = stored.length;
  const start = performance.now();
  while (performance.now() - start < WATCHED_MS) {
    await outcome((async () => store())());
    await sleep(100);
  }
  const why = queue.unavailable()?.message ?? "";
  const settlings = await Promise.all(
    stored.map((id) => outcome(queue.settle(id, [{ recipient: 0, kind: "delivered", reply }]))),
  );
  rmSync(strange);
  for (let tries = 0; queue.unavailable() !== undefined && tries < 50; tries++) await sleep(100);
  const healed = (await outcome((async () => store())())) === "done";
  await queue.close();
  return {
    refusal,
    hasGivenUp,
    takenMeanwhile: stored.length - before - (healed ? 1 : 0),
    why,
    settling: settlings.find((result) => result !== "done") ?? "done",
    healed,
    events: lines.map(({ event }) => event),
  };
}

if (import.meta.main) {
  const [, , path = "", mode] = process.argv;
  console.log(JSON.stringify(await (mode === "crowded" ? watchCrowded(path) : watch(path))));
}
