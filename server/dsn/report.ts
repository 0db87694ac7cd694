/**
 * Delivery status notifications: what the sender is told about recipients that failed, wait, or were reached.
 *
 * Made by the scheduler after an attempt, stored by the queue in the same commit as the attempt's result. Pure but for the content handed in.
 * Three parts: a text for people, `message/delivery-status` for programs, the original (or its header). Always from the null sender, so that a
 * report about a report cannot circle. The Message-ID comes from the queue id: the same report made twice is the same message.
 * RFC 3461 §6, RFC 3462 (multipart/report), RFC 3464 (fields), RFC 3834 §3.1.7 (Auto-Submitted), RFC 6533 (internationalized forms).
 */
import type { GeneratedMessage, NewRecipient, QueuedMessage, QueuedRecipient } from "../queue/queue.ts";
import { type Reply, replyLine } from "../reply.ts";
import { boundaryFor, decodeXtext, field, fieldText, mailDate } from "./mime.ts";
import { type ReturnedContent, returnedContent } from "./returned-content.ts";

export type ReportKind = "failed" | "delayed" | "success";

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
  /** The server's own name: Reporting-MTA, and the domain of MAILER-DAEMON. */
  readonly hostname: string;
  readonly message: QueuedMessage;
  readonly recipients: readonly ReportedRecipient[];
  readonly nowMs: number;
  /** When we shall give up; for delayed. */
  readonly giveUpMs: number;
  /** Whom to tell. The sender itself, or the postmaster about a report that could not be delivered. */
  readonly to: readonly NewRecipient[];
  /** Said to a postmaster: this is about mail from the null sender. */
  readonly aboutNullSender?: boolean;
  readonly content: AsyncIterable<Buffer>;
}

export async function reportOn(request: ReportRequest): Promise<GeneratedMessage> {
  const { message } = request;
  const utf8 = needsUtf8(request);
  const returned = await returnedContent(request.content, request.kind === "failed" ? message.envelope.return : "HDRS");
  const people = Buffer.from(textForPeople(request, utf8));
  const status = Buffer.from(deliveryStatus(request, utf8));
  const first = request.recipients[0]?.recipient;
  const seed = `${message.id}.${request.kind}.${first?.number ?? 0}.${first?.attempts ?? 0}`;
  const boundary = boundaryFor(seed, [people, status, returned.bytes]);
  const eightBit = utf8 || has8Bit(returned.bytes);
  const content = Buffer.concat([
    Buffer.from(header(request, seed, boundary, eightBit, utf8)),
    Buffer.from(part(boundary, "Notification", `text/plain; charset=${utf8 ? "utf-8" : "us-ascii"}`, utf8)),
    people,
    Buffer.from(
      part(boundary, "Delivery report", utf8 ? "message/global-delivery-status" : "message/delivery-status", utf8),
    ),
    status,
    Buffer.from(
      part(
        boundary,
        returned.kind === "message" ? "Undelivered message" : "Message header",
        originalType(returned, utf8),
        has8Bit(returned.bytes),
      ),
    ),
    returned.bytes,
    Buffer.from(`${returned.bytes.length > 0 && !endsLine(returned.bytes) ? "\r\n" : ""}\r\n--${boundary}--\r\n`),
  ]);
  return {
    // RFC 3461 §6: the null sender, and nothing reported about the report.
    envelope: {
      sender: "",
      recipients: request.to.map((recipient) => ({ ...recipient, notify: ["NEVER"] as const })),
      return: "HDRS",
      smtpUtf8: utf8,
      body: eightBit ? "8BITMIME" : "7BIT",
      requireTls: false,
    },
    content,
  };
}

/** RFC 6533 §3: the global forms only where an address needs them; every reader understands the others. */
const needsUtf8 = ({ message, recipients, to }: ReportRequest): boolean =>
  [
    message.envelope.sender,
    ...recipients.map(({ recipient }) => recipient.address),
    ...to.map(({ address }) => address),
  ].some((address) => /\P{ASCII}/u.test(address));

const has8Bit = (bytes: Buffer): boolean => bytes.some((byte) => byte >= 0x80);
const endsLine = (bytes: Buffer): boolean => bytes.length >= 2 && bytes[bytes.length - 1] === 0x0a;

function originalType({ kind, bytes }: ReturnedContent, utf8: boolean): string {
  const global = utf8 || has8Bit(bytes.subarray(0, Math.max(0, bytes.indexOf("\r\n\r\n"))));
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

const subjects: Readonly<Record<ReportKind, string>> = {
  failed: "Undelivered Mail Returned to Sender",
  delayed: "Delayed Mail (still being retried)",
  success: "Successful Mail Delivery Report",
};

function header(request: ReportRequest, seed: string, boundary: string, eightBit: boolean, utf8: boolean): string {
  const { hostname, nowMs, to, kind } = request;
  const subject = request.aboutNullSender === true ? "Undeliverable Delivery Report" : subjects[kind];
  return `${[
    field("Date", mailDate(nowMs)),
    field("From", `MAILER-DAEMON@${hostname} (Mail Delivery System)`),
    field("To", to.map(({ address }) => fieldText(address, utf8)).join(", ")),
    field("Subject", subject),
    field("Message-ID", `<${seed}@${hostname}>`),
    field("Auto-Submitted", "auto-replied"),
    "MIME-Version: 1.0",
    ...(eightBit ? ["Content-Transfer-Encoding: 8bit"] : []),
    `Content-Type: multipart/report; report-type=${utf8 ? "global-delivery-status" : "delivery-status"};\r\n boundary="${boundary}"`,
    "",
    "This is a MIME-encapsulated message.",
  ].join("\r\n")}\r\n`;
}

function textForPeople(request: ReportRequest, utf8: boolean): string {
  const { hostname, kind, recipients, message, giveUpMs } = request;
  const lines = [`This is the mail system at host ${hostname}.`, ""];
  if (request.aboutNullSender === true) {
    lines.push(
      "A delivery report (a message without a sender) could not be delivered,",
      "and there is nobody else to tell. It is attached below.",
      "",
    );
  } else if (kind === "failed") {
    lines.push(
      "I'm sorry to have to inform you that your message could not",
      "be delivered to one or more recipients. It's attached below.",
      "",
    );
    lines.push(
      "Nothing more will be tried: to reach them, correct what the lines",
      "below complain about and send the message again.",
      "",
    );
  } else if (kind === "delayed") {
    lines.push(
      "Your message could not be delivered yet. You need not send it again:",
      `delivery will be tried until ${mailDate(giveUpMs)}.`,
      "",
    );
  } else lines.push("Your message was handed over as you asked to be told about.", "");
  for (const { recipient, reply, remoteHost, action } of recipients) {
    const where = remoteHost === undefined ? "" : ` host ${fieldText(remoteHost, utf8)} said:`;
    lines.push(
      ...wrapped(`<${fieldText(recipient.address, utf8)}>:${where} ${fieldText(replyLine(reply), utf8)} (${action})`),
    );
    const original = originalAddress(recipient);
    if (original !== undefined && original !== recipient.address)
      lines.push(`    (originally sent to <${fieldText(original, utf8)}>)`);
    lines.push("");
  }
  lines.push(`The message is known here as ${message.id}; please name it when you`, "ask the postmaster about this.");
  return `${lines.join("\r\n")}\r\n`;
}

function wrapped(text: string): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line.length + word.length > 74 && line.trim() !== "") {
      lines.push(line);
      line = "   ";
    }
    line += line === "" ? word.slice(0, 800) : ` ${word.slice(0, 800)}`;
  }
  return [...lines, line];
}

function deliveryStatus(request: ReportRequest, utf8: boolean): string {
  const { message, hostname, kind, nowMs, giveUpMs } = request;
  const type = utf8 ? "utf-8" : "rfc822";
  const perMessage = [
    field("Reporting-MTA", `dns; ${hostname}`),
    ...(message.envelope.envelopeId === undefined
      ? []
      : [field("Original-Envelope-Id", fieldText(decodeXtext(message.envelope.envelopeId), utf8))]),
    field("X-Packetboat-Queue-ID", message.id),
    field("X-Packetboat-Sender", `${type}; ${fieldText(message.envelope.sender, utf8)}`),
    field("Arrival-Date", mailDate(message.receivedMs)),
  ];
  const perRecipient = request.recipients.map(({ recipient, action, reply, remoteHost, status }) => [
    ...(recipient.originalRecipient === undefined
      ? []
      : [field("Original-Recipient", originalField(recipient.originalRecipient, utf8))]),
    field("Final-Recipient", `${type}; ${fieldText(recipient.address, utf8)}`),
    field("Action", action),
    field("Status", status ?? statusOf(reply, action)),
    ...(remoteHost === undefined
      ? []
      : [field("Remote-MTA", `dns; ${fieldText(remoteHost.replace(/\[.*$/, ""), false)}`)]),
    field(
      "Diagnostic-Code",
      `${remoteHost === undefined ? "X-Packetboat" : "smtp"}; ${fieldText(replyLine(reply), utf8)}`,
    ),
    field("Last-Attempt-Date", mailDate(nowMs)),
    ...(kind === "delayed" ? [field("Will-Retry-Until", mailDate(giveUpMs))] : []),
  ]);
  return `${[perMessage, ...perRecipient].map((group) => group.join("\r\n")).join("\r\n\r\n")}\r\n`;
}

/** RFC 3464 §2.3.4: the class must fit the action; a reply without an enhanced code gets the plain one of its class. */
function statusOf(reply: Reply, action: ReportedRecipient["action"]): string {
  const kind = action === "failed" ? "5" : action === "delayed" ? "4" : "2";
  if (reply.enhanced.startsWith(kind)) return reply.enhanced;
  // Given up after temporary failures: delivery time expired.
  return kind === "5" && reply.code < 500 ? "4.4.7" : `${kind}.0.0`;
}

/** ORCPT as given is `type;xtext`. */
function originalField(orcpt: string, utf8: boolean): string {
  const at = orcpt.indexOf(";");
  return at < 0
    ? `rfc822; ${fieldText(orcpt, utf8)}`
    : `${fieldText(orcpt.slice(0, at), false)}; ${fieldText(decodeXtext(orcpt.slice(at + 1)), utf8)}`;
}

function originalAddress({ originalRecipient }: NewRecipient): string | undefined {
  if (originalRecipient === undefined) return undefined;
  const at = originalRecipient.indexOf(";");
  return decodeXtext(at < 0 ? originalRecipient : originalRecipient.slice(at + 1));
}
