/**
 * Delivery status notifications: what the sender is told about recipients that failed, wait, or were reached.
 *
 * Made by the scheduler after an attempt, stored by the queue in the same commit as the attempt's result. Pure but for the content handed in.
 * Three parts: a text for people, `message/delivery-status` for programs, the original (or its header). Always from the null sender, so that a
 * report about a report cannot circle. The Message-ID comes from the queue id: the same report made twice is the same message. The size is bounded
 * by the number of recipients, which the caller bounds.
 * RFC 3461 §6, RFC 6522 (multipart/report), RFC 3464 (fields), RFC 3834 §3.1.7 (Auto-Submitted), RFC 6533 (internationalized forms).
 */
import type { GeneratedMessage, NewRecipient, QueuedMessage, QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import { deliveryStatus } from "./delivery-status.ts";
import { humanText } from "./human-text.ts";
import { boundaryFor, field, fieldText, mailDate } from "./mime.ts";
import { headerSection, type ReturnedContent, returnedContent } from "./returned-content.ts";

/** success: delivered, relayed or expanded. cleared: delivered after a warning. */
export type ReportKind = "failed" | "delayed" | "cleared" | "success";

export interface ReportedRecipient {
  readonly recipient: QueuedRecipient;
  readonly action: "failed" | "delayed" | "delivered" | "relayed" | "expanded";
  readonly reply: Reply;
  readonly remoteHost?: string;
  /** X.Y.Z; made from the reply where absent. */
  readonly status?: string;
}

export interface ReportRequest {
  readonly kind: ReportKind;
  /** Whether it is for the sender itself, or a copy for those who run the server (about the null sender: the only one). */
  readonly audience: "sender" | "postmaster";
  /** The server's own name: Reporting-MTA, and the domain of MAILER-DAEMON. */
  readonly hostname: string;
  readonly message: QueuedMessage;
  readonly recipients: readonly ReportedRecipient[];
  readonly nowMs: number;
  /** When we shall give up; for delayed. */
  readonly giveUpMs: number;
  readonly to: readonly NewRecipient[];
  /** The whole message may go back, where it is short and its sender did not say otherwise. */
  readonly mayReturnAll: boolean;
  readonly content: AsyncIterable<Buffer>;
}

const isAscii = (text: string): boolean => !/\P{ASCII}/u.test(text);
const has8Bit = (bytes: Buffer): boolean => bytes.some((byte) => byte >= 0x80);
const endsLine = (bytes: Buffer): boolean => bytes.length >= 2 && bytes[bytes.length - 1] === 0x0a;

export async function reportOn(request: ReportRequest): Promise<GeneratedMessage> {
  const { message, kind, audience, recipients, to } = request;
  const returned = await returnedContent(request.content, request.mayReturnAll ? message.envelope.return : "HDRS");
  const understandsUtf8 =
    to.some(({ address }) => !isAscii(address)) || (audience === "sender" && message.envelope.smtpUtf8);
  const people = humanText(request, understandsUtf8);
  const status = deliveryStatus(request, understandsUtf8);
  const header8Bit = has8Bit(headerSection(returned.bytes));
  // Who says SMTPUTF8 with every message gets the forms that every mail reader knows, unless there is a need for the others.
  const utf8 = understandsUtf8 && (header8Bit || ![people, status, ...to.map(({ address }) => address)].every(isAscii));
  const first = recipients[0]?.recipient;
  const seed = `${message.id}.${kind}.${audience === "sender" ? "" : "copy."}${first?.number ?? 0}.${first?.attempts ?? 0}`;
  const boundary = boundaryFor(seed, [Buffer.from(people), Buffer.from(status), returned.bytes]);
  const eightBit = utf8 || has8Bit(returned.bytes);
  const head = [
    header({ request, seed, boundary, eightBit, utf8, returned }),
    part(boundary, "Notification", `text/plain; charset=${utf8 ? "utf-8" : "us-ascii"}`, utf8),
    people,
    part(boundary, "Delivery report", utf8 ? "message/global-delivery-status" : "message/delivery-status", utf8),
    status,
    part(
      boundary,
      returned.kind === "headers" ? "Message header" : kind === "failed" ? "Undelivered message" : "Message",
      originalType(returned, utf8 || header8Bit),
      has8Bit(returned.bytes),
    ),
  ];
  return {
    // RFC 3461 §6: the null sender, and nothing reported about the report.
    envelope: {
      sender: "",
      recipients: to.map((recipient) => ({ ...recipient, notify: ["NEVER"] as const })),
      return: "HDRS",
      smtpUtf8: utf8,
      body: eightBit ? "8BITMIME" : "7BIT",
      requireTls: false,
    },
    content: Buffer.concat([
      Buffer.from(head.join("")),
      returned.bytes,
      Buffer.from(`${returned.bytes.length > 0 && !endsLine(returned.bytes) ? "\r\n" : ""}\r\n--${boundary}--\r\n`),
    ]),
  };
}

function originalType({ kind }: ReturnedContent, global: boolean): string {
  if (kind === "message") return global ? "message/global" : "message/rfc822";
  return global ? "message/global-headers" : "text/rfc822-headers";
}

const part = (boundary: string, description: string, type: string, eightBit: boolean): string =>
  [
    `\r\n--${boundary}`,
    `Content-Description: ${description}`,
    `Content-Type: ${type}`,
    ...(eightBit ? ["Content-Transfer-Encoding: 8bit"] : []),
    "",
    "",
  ].join("\r\n");

const subjects: Readonly<Record<ReportRequest["audience"], Readonly<Record<ReportKind, string>>>> = {
  sender: {
    failed: "Undelivered Mail Returned to Sender",
    delayed: "Delayed Mail (still being retried)",
    cleared: "Delayed Mail (now delivered)",
    success: "Successful Mail Delivery Report",
  },
  postmaster: {
    failed: "Postmaster Copy: Undelivered Mail",
    delayed: "Postmaster Warning: Delayed Mail",
    cleared: "Postmaster Copy: Delayed Mail (now delivered)",
    success: "Postmaster Copy: Successful Mail Delivery Report",
  },
};

interface HeaderOptions {
  readonly request: ReportRequest;
  readonly seed: string;
  readonly boundary: string;
  readonly eightBit: boolean;
  readonly utf8: boolean;
  readonly returned: ReturnedContent;
}

function header({ request, seed, boundary, eightBit, utf8, returned }: HeaderOptions): string {
  const { hostname, nowMs, to, kind, audience, message } = request;
  const subject =
    message.envelope.sender === "" ? "Postmaster Copy: Undeliverable Delivery Report" : subjects[audience][kind];
  const about = messageId(returned.bytes);
  return `${[
    field("Date", mailDate(nowMs)),
    field("From", `MAILER-DAEMON@${hostname} (Mail Delivery System)`),
    field("To", to.map(({ address }) => fieldText(address, utf8)).join(", ")),
    field("Subject", subject),
    field("Message-ID", `<${seed}@${hostname}>`),
    // RFC 3834 §3.1.5: mail readers show it with what it is about.
    ...(about === undefined || audience === "postmaster"
      ? []
      : [field("In-Reply-To", about), field("References", about)]),
    field("Auto-Submitted", audience === "sender" ? "auto-replied" : "auto-generated"),
    "MIME-Version: 1.0",
    `Content-Transfer-Encoding: ${eightBit ? "8bit" : "7bit"}`,
    `Content-Type: multipart/report; report-type=${utf8 ? "global-delivery-status" : "delivery-status"};\r\n boundary="${boundary}"`,
    "",
    "This is a MIME-encapsulated message.",
  ].join("\r\n")}\r\n`;
}

/** Only one that is written plainly; it comes from a stranger. */
function messageId(content: Buffer): string | undefined {
  const fields = headerSection(content).toString("latin1");
  return /^message-id:[ \t]{0,9}(?:\r\n[ \t]{1,9})?(<[!-;=?-~]{1,250}>)[ \t]{0,9}\r$/im.exec(fields)?.[1];
}
