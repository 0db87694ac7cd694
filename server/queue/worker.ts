/**
 * The queue's worker thread: opens the database, then takes whatever has arrived and hands it to the group commit, again and again.
 *
 * While a group is being synced the next one gathers; nothing ever waits for company. Storage that fails ends the thread's work for good: it tells
 * the main thread once and answers nothing more.
 */
import type { DatabaseSync } from "node:sqlite";
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { pendingAdoptions } from "./adoption.ts";
import { LOCK_WAIT_MS, openDatabase } from "./database.ts";
import { GroupCommitter, type WorkRequest } from "./group.ts";
import type { Answer, FromWorker, Request, RequestBatch, WorkerOptions } from "./protocol.ts";
import { describeError } from "./sqlite-error.ts";

/** More in one transaction would make its first member wait for its last. */
const GROUP_REQUESTS = 500;
const GROUP_BYTES = 4_194_304;

if (parentPort === null) throw new Error("this is the queue's worker thread");
const port = parentPort;
const options = workerData as WorkerOptions;

const tell = (message: FromWorker, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);

/** What was read travels without being copied. */
function buffersOf(answers: readonly Answer[]): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = [];
  for (const answer of answers) {
    const result = "result" in answer ? answer.result : undefined;
    if (typeof result === "object" && result !== null && "chunks" in result)
      for (const chunk of result.chunks as readonly Uint8Array<ArrayBuffer>[]) buffers.push(chunk.buffer);
  }
  return buffers;
}

/** Give the octets back now, not when the collector comes by: a stream of large messages would pile up meanwhile. */
function free(group: readonly WorkRequest[]): void {
  for (const { body } of group) {
    const buffer = body?.buffer;
    if (buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0);
  }
}

class Inbox {
  readonly #committer: GroupCommitter;
  #requests: Request[] = [];
  #isScheduled = false;

  constructor(committer: GroupCommitter) {
    this.#committer = committer;
  }

  receive(batch: RequestBatch): void {
    for (const request of batch.requests) this.#requests.push(request);
    this.#turn();
  }

  #turn(): void {
    for (;;) {
      const more = receiveMessageOnPort(port) as { readonly message: RequestBatch } | undefined;
      if (more === undefined) break;
      for (const request of more.message.requests) this.#requests.push(request);
    }
    try {
      const group = this.#nextGroup();
      if (group.length > 0 || this.#committer.hasLongWork) {
        const answers = this.#committer.run(group);
        // Requests that came together share a buffer; those that did not fit into this group still need theirs.
        if (this.#requests.length === 0) free(group);
        tell(answers, buffersOf(answers.answers));
        this.#committer.tidy();
        this.#committer.syncBeside((error) => this.#fail(error));
      }
      const next = this.#requests[0];
      if (next?.op === "close") {
        this.#close(next.serial);
        return;
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#isScheduled || (this.#requests.length === 0 && !this.#committer.hasLongWork)) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#turn();
    });
  }

  /** Final: see above. */
  #fail(error: unknown): void {
    tell({ kind: "failed", message: describeError(error) });
    port.close();
  }

  /** From the front, up to a closing. */
  #nextGroup(): readonly WorkRequest[] {
    const group: WorkRequest[] = [];
    let bytes = 0;
    for (const request of this.#requests) {
      if (request.op === "close" || group.length >= GROUP_REQUESTS || bytes >= GROUP_BYTES) break;
      bytes += request.body?.byteLength ?? 0;
      group.push(request);
    }
    this.#requests = this.#requests.slice(group.length);
    return group;
  }

  #close(serial: number): void {
    const abandoned = this.#committer.close();
    const space = { innerFreeBytes: 0, missingReserveBytes: 0 };
    tell({ kind: "answers", answers: [...abandoned, { serial, result: undefined }], commit: undefined, space });
    port.close();
  }
}

function open(): void {
  let db: DatabaseSync | undefined;
  try {
    db = openDatabase(options.path, LOCK_WAIT_MS);
    if (options.maxDatabaseBytes !== undefined)
      db.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(options.maxDatabaseBytes / 4096))}`);
    const committer = new GroupCommitter(db, options);
    const { cutOff, halfReceived } = committer.recover(options.nowMs);
    const waiting = pendingAdoptions(db, options.path);
    committer.tidy();
    const inbox = new Inbox(committer);
    port.on("message", (batch: RequestBatch) => inbox.receive(batch));
    tell({ kind: "opened", cutOff, halfReceived, waiting, space: committer.space });
  } catch (error) {
    db?.close();
    tell({ kind: "not-opened", message: describeError(error) });
  }
}

open();
