/**
 * A notice to the postmaster: what was said in a session that did not go well.
 *
 * Beside the reports about mail (`report.ts`): nothing was accepted, so there is no message to report on. Plain text, ASCII, as long as its lines; what
 * a stranger said cannot open a field. RFC 5321 §6.1 (null sender), RFC 3834 §3.1.7 (Auto-Submitted).
 */
import type { GeneratedMessage } from "../queue/queue.ts";
import { cut, field, fieldText, mailDate } from "./mime.ts";

export interface NoticeRequest {
  /** What went wrong, in the words of `queue.notify`. */
  readonly classes: readonly string[];
  readonly hostname: string;
  readonly to: readonly string[];
  readonly nowMs: number;
  /** Of the session, as in the log. */
  readonly session: string;
  readonly client: string;
  /** `In: …` and `Out: …`. */
  readonly lines: readonly string[];
  /** Lines left out, and sessions of which no notice was written. */
  readonly linesLeftOut: number;
  readonly noticesLeftOut: number;
}

export function noticeOn(request: NoticeRequest): GeneratedMessage {
  const { classes, hostname, to, nowMs, session, client, lines } = request;
  const what = classes.join(", ").toLowerCase();
  const text = [
    field("Date", mailDate(nowMs)),
    field("From", `MAILER-DAEMON@${hostname} (Mail Delivery System)`),
    field("To", to.map((address) => fieldText(address, true)).join(", ")),
    field("Subject", `Packetboat SMTP server: errors from ${fieldText(client, false)}`),
    field(
      "Message-ID",
      `<${fieldText(session, false).replaceAll(/[^0-9A-Za-z.-]/g, "-")}.${nowMs}.notice@${hostname}>`,
    ),
    field("Auto-Submitted", "auto-generated"),
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=us-ascii",
    "",
    `This is the mail system at host ${hostname}.`,
    "",
    `A client had trouble (${what}). This is what was said; the log has`,
    `more under session ${fieldText(session, false)}.`,
    "",
    ...lines.map((line) => cut(fieldText(line, false))),
    ...(request.linesLeftOut === 0 ? [] : [`(${request.linesLeftOut} more lines)`]),
    ...(request.noticesLeftOut === 0
      ? []
      : ["", `${request.noticesLeftOut} more sessions had such trouble since the last notice.`]),
    "",
  ].join("\r\n");
  const smtpUtf8 = to.some((address) => /\P{ASCII}/u.test(address));
  return {
    envelope: {
      sender: "",
      recipients: to.map((address) => ({ address, notify: ["NEVER"] as const })),
      smtpUtf8,
      body: smtpUtf8 ? "8BITMIME" : "7BIT",
      requireTls: false,
    },
    content: Buffer.from(text),
  };
}
