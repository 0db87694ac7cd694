/** Builders for tests of the queue: a queue in a folder of its own with a clock that is set by hand, messages, captured log lines. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { Log } from "../observe/log.ts";
import type { Reply } from "../reply.ts";
import type { Envelope, GeneratedMessage, NewRecipient, Origin, QueuedMessage, Settlement } from "./queue.ts";
import { openQueue, type QueueOptions, type SqliteQueue } from "./sqlite-queue.ts";

/** A plausible time of day; tests move on from it. */
export const START_MS = 1_800_000_000_000;

export const anOrigin: Origin = {
  listener: "mx",
  clientAddress: "192.0.2.7",
  clientName: "client.example.com",
  helo: "client.example.com",
  protocol: "ESMTPS",
};

export const delivered: Reply = { code: 250, enhanced: "2.0.0", text: "OK" };
export const tryLater: Reply = { code: 451, enhanced: "4.3.0", text: "try later" };
export const noSuchUser: Reply = { code: 550, enhanced: "5.1.1", text: "no such user" };

export function anEnvelope(
  recipients: readonly (string | NewRecipient)[] = ["alice@example.org"],
  more: Partial<Envelope> = {},
): Envelope {
  return {
    sender: "sender@example.com",
    recipients: recipients.map((recipient) => (typeof recipient === "string" ? { address: recipient } : recipient)),
    smtpUtf8: false,
    body: "8BITMIME",
    requireTls: false,
    ...more,
  };
}

export const aReport = (to: string, content = randomBytes(700)): GeneratedMessage => ({
  envelope: anEnvelope([to], { sender: "" }),
  content,
});

export function closing(message: QueuedMessage): Settlement[] {
  return message.recipients.map(({ number }) => ({ recipient: number, kind: "delivered", reply: delivered }));
}

export interface TestQueue {
  readonly queue: SqliteQueue;
  readonly path: string;
  readonly folder: string;
  /** Log lines, parsed. */
  readonly lines: Record<string, unknown>[];
  /** What `now` says. */
  nowMs: number;
  /** Close and open again, as a restart would. */
  reopen(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export function capturedLog(): { readonly log: Log; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>);
  return { log: pino({ messageKey: "event", base: {} }, { write }), lines };
}

export const aFolder = (): string => mkdtempSync(join(tmpdir(), "packetboat-queue-"));

/** The folder is removed with the queue, unless it was given. */
export async function aQueue(options: Partial<QueueOptions> & { readonly folder?: string } = {}): Promise<TestQueue> {
  const folder = options.folder ?? aFolder();
  const path = options.path ?? join(folder, "0.sqlite");
  const { log, lines } = capturedLog();
  const clock = { nowMs: START_MS };
  const open = (): Promise<SqliteQueue> =>
    openQueue({ path, shard: 0, minFreeBytes: () => 0, reserveBytes: 0, log, now: () => clock.nowMs, ...options });
  let queue = await open();
  return {
    get queue() {
      return queue;
    },
    path,
    folder,
    lines,
    get nowMs() {
      return clock.nowMs;
    },
    set nowMs(value) {
      clock.nowMs = value;
    },
    async reopen() {
      await queue.close();
      queue = await open();
    },
    async [Symbol.asyncDispose]() {
      await queue.close();
      if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function put(
  queue: SqliteQueue,
  options: {
    readonly to?: readonly (string | NewRecipient)[];
    readonly content?: Buffer;
    readonly claim?: boolean;
    readonly hold?: boolean;
    readonly envelope?: Partial<Envelope>;
  } = {},
): Promise<QueuedMessage> {
  const writer = queue.newMessage();
  await writer.write(options.content ?? Buffer.from("Subject: hello\r\n\r\nhello\r\n"));
  return await writer.commit(anEnvelope(options.to, options.envelope), anOrigin, {
    claim: options.claim ?? true,
    ...(options.hold === undefined ? {} : { hold: options.hold }),
  });
}

export async function contentOf(queue: SqliteQueue, id: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of queue.read(id)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** `address:state` of every unsettled recipient. */
export async function statesOf(queue: SqliteQueue, id: string): Promise<string[]> {
  const message = await queue.get(id);
  return message === undefined ? ["(gone)"] : message.recipients.map(({ address, state }) => `${address}:${state}`);
}

export async function assertTotals(
  queue: SqliteQueue,
  expected: Partial<Record<"active" | "deferred" | "hold" | "corrupt" | "recipients", number>>,
): Promise<void> {
  const { messages, recipients } = await queue.summary(START_MS);
  assert.deepEqual(
    { ...messages, recipients },
    { active: 0, deferred: 0, hold: 0, corrupt: 0, recipients: 0, ...expected },
  );
}

/** An empty spool of version 1, as the first release wrote it; never to be changed. */
export const versionOne = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE message (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    size INTEGER NOT NULL, chunks INTEGER NOT NULL, envelope TEXT NOT NULL, origin TEXT NOT NULL);
  CREATE INDEX message_unusual ON message (state) WHERE state <> 1;
  CREATE TABLE recipient (message INTEGER NOT NULL, number INTEGER NOT NULL, state INTEGER NOT NULL, flags INTEGER NOT NULL,
    attempts INTEGER NOT NULL, due_ms INTEGER NOT NULL, address TEXT NOT NULL, details TEXT, reply TEXT,
    PRIMARY KEY (message, number)) WITHOUT ROWID;
  CREATE INDEX recipient_due ON recipient (due_ms) WHERE state = 1;
  CREATE TABLE chunk (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL);
  INSERT INTO meta VALUES ('schema', '1');`;
