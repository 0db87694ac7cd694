/**
 * Delivery into a maildir: a file written in tmp, synced, renamed into new, the folder synced.
 *
 * Final delivery of a recipient; called by `create.ts`. When it says delivered, the file survives a power cut. The name in `new` is made of the queue
 * id and recipient, so that a delivery repeated after a crash replaces its own file while nobody has read it. Return-Path and Delivered-To go in
 * front, line ends become LF, as every reader of maildirs expects. A full disk, a wrong owner: temporary, with the reason.
 * Maildir (cr.yp.to/proto/maildir.html), RFC 5321 §4.4 (Return-Path at final delivery).
 */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, rename, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { joined } from "../octets.ts";
import type { Reply } from "../reply.ts";
import type { DeliveryJob, DeliveryOutcome, DeliveryReport } from "./deliver.ts";
import { maildirPath } from "./maildir-path.ts";

let counter = 0;

export async function deliverToMaildir(job: DeliveryJob, dataDir: string, hostname: string): Promise<DeliveryReport> {
  const startedMs = performance.now();
  const { delivery, mailbox } = job.transport;
  const path =
    delivery.kind === "maildir" && mailbox !== undefined ? maildirPath(dataDir, delivery.base, mailbox) : undefined;
  const outcomes: DeliveryOutcome[] = [];
  for (const recipient of job.recipients) {
    const outcome = { recipient: recipient.number, remoteHost: "maildir" };
    try {
      if (path === undefined) throw new Error("maildir base lies outside the data folder");
      await prepared(path);
      await writeMessage(path, job, recipient.address, uniqueName(job, recipient.number, hostname));
      outcomes.push({
        ...outcome,
        kind: "delivered",
        reply: { code: 250, enhanced: "2.0.0", text: "delivered to maildir" },
      });
    } catch (error) {
      outcomes.push({ ...outcome, kind: "failed", reply: replyFor(error), scope: "recipient" });
    }
  }
  return { outcomes, connectMs: 0, transmitMs: performance.now() - startedMs };
}

/** Time, then what is unique for ever (queue id, recipient), then the host: a valid maildir name and the same at every attempt. */
function uniqueName(job: DeliveryJob, recipient: number, hostname: string): string {
  const host = hostname.replaceAll("/", "\\057").replaceAll(":", "\\072");
  return `${Math.floor(job.message.receivedMs / 1000)}.Q${job.message.id}R${recipient}.${host}`;
}

/** Makes what is missing, and the new folders durable: their entries in the parents are synced too. */
async function prepared(path: string): Promise<void> {
  if (await exists(join(path, "cur"))) return;
  const firstMade = await mkdir(join(path, "tmp"), { recursive: true, mode: 0o700 });
  await mkdir(join(path, "new"), { recursive: true, mode: 0o700 });
  await mkdir(join(path, "cur"), { recursive: true, mode: 0o700 });
  await syncFolder(path);
  const top = firstMade === undefined ? path : dirname(firstMade);
  for (let folder = path; folder.length > top.length; ) {
    folder = dirname(folder);
    await syncFolder(folder);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function writeMessage(path: string, job: DeliveryJob, address: string, name: string): Promise<void> {
  counter += 1;
  const temporary = join(path, "tmp", `${name}.P${process.pid}Q${counter}`);
  try {
    const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      await writeContent(file, job, address);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, join(path, "new", name));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncFolder(join(path, "new"));
}

async function writeContent(file: FileHandle, job: DeliveryJob, address: string): Promise<void> {
  await file.appendFile(`Return-Path: <${oneLine(job.message.envelope.sender)}>\nDelivered-To: ${oneLine(address)}\n`);
  let heldCr = false;
  for await (const chunk of job.content()) {
    job.signal.throwIfAborted();
    const { data, endsInCr } = withoutCr(chunk, heldCr);
    heldCr = endsInCr;
    if (data.length > 0) await file.appendFile(data);
  }
  if (heldCr) await file.appendFile("\r");
}

/** Addresses were checked at RCPT; a field of ours still never gets a second line. */
const oneLine = (text: string): string => text.replaceAll(/[\r\n\0]/g, "");

/** CRLF to LF. A CR at the end of a chunk is held back until the next one shows what it belongs to. */
export function withoutCr(chunk: Buffer, heldCr: boolean): { readonly data: Buffer; readonly endsInCr: boolean } {
  const endsInCr = chunk.length === 0 ? heldCr : chunk[chunk.length - 1] === 0x0d;
  const body = endsInCr && chunk.length > 0 ? chunk.subarray(0, -1) : chunk;
  const pieces: Buffer[] = heldCr && chunk.length > 0 && chunk[0] !== 0x0a ? [Buffer.from("\r")] : [];
  let start = 0;
  for (let crlf = body.indexOf("\r\n"); crlf >= 0; crlf = body.indexOf("\r\n", crlf + 2)) {
    pieces.push(body.subarray(start, crlf));
    start = crlf + 1;
  }
  pieces.push(body.subarray(start));
  return { data: joined(pieces), endsInCr };
}

function replyFor(error: unknown): Reply {
  const { code, name } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC") return { code: 452, enhanced: "4.3.1", text: "Insufficient storage for mailboxes" };
  if (code === "EDQUOT") return { code: 452, enhanced: "4.2.2", text: "Mailbox is over quota" };
  if (name === "CorruptMessage") return { code: 451, enhanced: "4.3.0", text: "Queued message could not be read" };
  return {
    code: 451,
    enhanced: "4.3.0",
    text: `Cannot write to the mailbox: ${code ?? (error instanceof Error ? error.message : "unknown error")}`,
  };
}
