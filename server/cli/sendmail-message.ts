/**
 * A message as programs hand it to sendmail: read from a stream, its header put right.
 *
 * A missing Date, Message-ID and From are added; Bcc, Return-Path and Content-Length are taken out; a line `From …` of an mbox in front is dropped; text
 * without a header gets one. The header is held in memory up to a bound, the body streams by. Line ends are the client's business.
 * RFC 5322 §3.6 (fields), §3.3 (date); RFC 6409 §8 (fix-ups of a submission).
 */
import { randomUUID } from "node:crypto";
import addressparser from "nodemailer/lib/addressparser";

export interface Field {
  /** Lower case. */
  readonly name: string;
  /** As it came, continuation lines and all, without the last line end. */
  readonly text: string;
}

export interface SubmittedMessage {
  readonly fields: readonly Field[];
  readonly body: AsyncIterable<Buffer>;
}

export class HeaderTooLarge extends Error {}

const MOST_HEADER_BYTES = 1_048_576;
/** Of a line that has no end, before it is passed on in pieces. */
const LONGEST_LINE = 65_536;
const removed = new Set(["bcc", "resent-bcc", "return-path", "content-length"]);
/** RFC 5322 §2.2: printable ASCII but the colon; blanks before the colon were once allowed. */
const fieldStart = /^([!-9;-~]{1,200})[ \t]*:/;

/** Lines without their ends; `isWhole` is false for a piece of one that is too long to be held. */
async function* linesOf(
  input: AsyncIterable<Buffer>,
): AsyncGenerator<{ readonly line: Buffer; readonly isWhole: boolean; readonly hasEnd: boolean }, void> {
  let carry: Buffer = Buffer.alloc(0);
  let isStart = true;
  for await (const chunk of input) {
    let data = carry.length === 0 ? chunk : Buffer.concat([carry, chunk]);
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10)) {
      const line = data.subarray(0, end > 0 && data[end - 1] === 13 ? end - 1 : end);
      yield { line, isWhole: isStart, hasEnd: true };
      isStart = true;
      data = data.subarray(end + 1);
    }
    carry = data;
    if (carry.length > LONGEST_LINE) {
      // The last octet may be the CR of a line end.
      yield { line: carry.subarray(0, -1), isWhole: false, hasEnd: false };
      isStart = false;
      carry = carry.subarray(-1);
    }
  }
  if (carry.length > 0) yield { line: carry, isWhole: isStart, hasEnd: false };
}

export async function readMessage(
  input: AsyncIterable<Buffer>,
  { dotEnds }: { readonly dotEnds: boolean },
): Promise<SubmittedMessage> {
  const lines = linesOf(input);
  const texts: string[] = [];
  let size = 0;
  /** The first line of the body, where it was not separated from the header. */
  let first: Buffer | undefined;
  let isEmpty = false;
  for (;;) {
    const { value, done } = await lines.next();
    if (done === true) {
      isEmpty = true;
      break;
    }
    const { line } = value;
    size += line.length + 2;
    if (size > MOST_HEADER_BYTES) throw new HeaderTooLarge("the header is larger than 1 MiB");
    if (line.length === 0) break;
    if (dotEnds && value.isWhole && line.equals(Buffer.from("."))) {
      isEmpty = true;
      break;
    }
    const text = line.toString("latin1");
    if (texts.length === 0 && size === line.length + 2 && /^>?From /.test(text)) continue;
    if (/^[ \t]/.test(text) && texts.length > 0) texts.push(`${texts.pop() ?? ""}\r\n${text}`);
    else if (fieldStart.test(text)) texts.push(text);
    else {
      first = Buffer.concat([line, Buffer.from(value.hasEnd ? "\r\n" : "")]);
      break;
    }
  }
  const fields = texts.map((text) => ({ name: (fieldStart.exec(text)?.[1] ?? "").toLowerCase(), text }));
  return { fields, body: isEmpty ? noBody() : bodyOf(lines, first, dotEnds) };
}

async function* noBody(): AsyncGenerator<Buffer, void> {}

async function* bodyOf(
  lines: ReturnType<typeof linesOf>,
  first: Buffer | undefined,
  dotEnds: boolean,
): AsyncGenerator<Buffer, void> {
  const end = Buffer.from("\r\n");
  if (first !== undefined) yield first;
  let pieces: Buffer[] = [];
  let size = 0;
  for await (const { line, isWhole, hasEnd } of lines) {
    if (dotEnds && isWhole && line.length === 1 && line[0] === 46) break;
    pieces.push(line, ...(hasEnd ? [end] : []));
    size += line.length;
    if (size > LONGEST_LINE) {
      yield Buffer.concat(pieces);
      pieces = [];
      size = 0;
    }
  }
  if (pieces.length > 0) yield Buffer.concat(pieces);
}

/** Addresses of To, Cc and Bcc; where the message was resent, of the Resent- ones alone. RFC 5322 §3.6.6. */
export function recipientsIn(fields: readonly Field[]): string[] {
  const names = new Set(["to", "cc", "bcc"]);
  const isResent = fields.some(({ name }) => name.startsWith("resent-") && names.has(name.slice(7)));
  const wanted = fields.filter(({ name }) =>
    isResent ? name.startsWith("resent-") && names.has(name.slice(7)) : names.has(name),
  );
  return wanted.flatMap(({ text }) => {
    const value = Buffer.from(text.slice(text.indexOf(":") + 1), "latin1").toString("utf8");
    return addressparser(value.replaceAll(/\r\n/g, " "), { flatten: true })
      .map(({ address }) => address ?? "")
      .filter((address) => address !== "");
  });
}

/** Never two lines, whatever is put into it. */
const oneLine = (text: string): string => text.replaceAll(/\p{Cc}+/gu, " ").trim();

/** `Full Name <address>`, quoted or encoded where it must be. RFC 5322 §3.4, RFC 2047 §5. */
export function mailbox(name: string | undefined, address: string): string {
  const bare = oneLine(name ?? "");
  if (bare === "") return address;
  if (/^[\w !#$%&'*+/=?^`{|}~-]+$/.test(bare)) return `${bare} <${address}>`;
  if (/^[\x20-\x7e]+$/.test(bare)) return `"${bare.replaceAll(/["\\]/g, "\\$&")}" <${address}>`;
  return `=?utf-8?B?${Buffer.from(bare).toString("base64")}?= <${address}>`;
}

/** RFC 5322 §3.3. */
export function mailDate(date: Date): string {
  return date.toUTCString().replace(/GMT$/, "+0000");
}

export function headerText(
  fields: readonly Field[],
  {
    sender,
    fullName,
    host,
    now,
  }: {
    readonly sender: string;
    readonly fullName: string | undefined;
    readonly host: string;
    readonly now: Date;
  },
): string {
  const has = (name: string): boolean => fields.some((field) => field.name === name);
  const added: string[] = [];
  if (!has("from")) added.push(`From: ${mailbox(fullName, sender)}`);
  if (!has("date")) added.push(`Date: ${mailDate(now)}`);
  if (!has("message-id")) added.push(`Message-ID: <${randomUUID()}@${host}>`);
  const kept = fields.filter(({ name }) => !removed.has(name)).map(({ text }) => text);
  return [...kept, ...added.map((line) => Buffer.from(line).toString("latin1")), "", ""].join("\r\n");
}
