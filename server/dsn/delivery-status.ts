/**
 * The part of a report that programs read: what became of which recipient, field by field.
 *
 * Pure. All that strangers said (addresses, replies, names) stays within its field and within a length, so that the whole is bounded by the number
 * of recipients. RFC 3464 §2 (fields), RFC 3461 §6.3 (what must be there), RFC 6533 §3 (forms of internationalized addresses).
 */
import type { QueuedMessage } from "../queue/queue.ts";
import { type Reply, replyLine } from "../reply.ts";
import { field, fieldText, mailDate, shortened } from "./mime.ts";
import type { ReportRequest, ReportedRecipient } from "./report.ts";
import { addressField, decodeXtext, originalRecipientField, originalRecipientOf } from "./typed-address.ts";

/** Of what another server said, in characters; RFC 5321 §4.5.3.1.5 lets a line have 512 octets. */
export const mostOfReply = 1000;

export function deliveryStatus(request: ReportRequest, utf8: boolean): string {
  const groups = [
    aboutMessage(request, utf8),
    ...request.recipients.map((each) => aboutRecipient(request, each, utf8)),
  ];
  return `${groups.map((group) => group.join("\r\n")).join("\r\n\r\n")}\r\n`;
}

function aboutMessage({ message, hostname }: ReportRequest, utf8: boolean): readonly string[] {
  const { envelope, origin } = message;
  return [
    field("Reporting-MTA", `dns; ${hostname}`),
    ...(envelope.envelopeId === undefined
      ? []
      : [field("Original-Envelope-Id", fieldText(decodeXtext(envelope.envelopeId), utf8))]),
    field("X-Packetboat-Queue-ID", message.id),
    field("X-Packetboat-Sender", envelope.sender === "" ? "rfc822; <>" : addressField(envelope.sender, utf8)),
    ...(origin.helo === "" ? [] : [field("Received-From-MTA", receivedFrom(origin))]),
    field("Arrival-Date", mailDate(message.receivedMs)),
  ];
}

/** RFC 3464 §2.2.4: the name it gave itself, and since nobody vouches for that, its address. */
function receivedFrom({ helo, clientAddress }: QueuedMessage["origin"]): string {
  const address = fieldText(clientAddress, false);
  return `dns; ${shortened(fieldText(helo, false), 255)}${address === "" ? "" : ` ([${address}])`}`;
}

function aboutRecipient(
  { nowMs, giveUpMs }: ReportRequest,
  { recipient, action, reply, remoteHost, status }: ReportedRecipient,
  utf8: boolean,
): readonly string[] {
  const original = recipient.originalRecipient ?? originalRecipientOf(recipient.address);
  return [
    field("Original-Recipient", originalRecipientField(original, utf8)),
    field("Final-Recipient", addressField(recipient.address, utf8)),
    field("Action", action),
    field("Status", status ?? statusOf(reply, action)),
    ...(remoteHost === undefined || remoteHost === inHouse
      ? []
      : [field("Remote-MTA", `dns; ${shortened(fieldText(remoteHost.replace(/\[.*$/, ""), false), 255)}`)]),
    field(
      "Diagnostic-Code",
      `${isOurWord(reply, remoteHost) ? "X-Packetboat" : "smtp"}; ${shortened(fieldText(replyLine(reply), utf8), mostOfReply)}`,
    ),
    // An expansion tried nothing.
    ...(action === "expanded" ? [] : [field("Last-Attempt-Date", mailDate(nowMs))]),
    ...(action === "delayed" ? [field("Will-Retry-Until", mailDate(giveUpMs))] : []),
  ];
}

/** RFC 3464 §2.3.4: the class must fit the action; a reply without an enhanced code gets the plain one of its class. */
export function statusOf(reply: Reply, action: ReportedRecipient["action"]): string {
  const kind = action === "failed" ? "5" : action === "delayed" ? "4" : "2";
  if (/^[245]\.\d{1,3}\.\d{1,3}$/.test(reply.enhanced) && reply.enhanced.startsWith(kind)) return reply.enhanced;
  // Given up after temporary failures: delivery time expired.
  return isGivenUp(reply, action) ? "4.4.7" : `${kind}.0.0`;
}

/** The host that deliveries into files name. */
const inHouse = "maildir";

/** Whether we say so ourselves (no connection, a lost one, a full disk) and not another server. */
export const isOurWord = ({ text }: Reply, remoteHost: string | undefined): boolean =>
  remoteHost === undefined ||
  remoteHost === inHouse ||
  text.startsWith("connect to ") ||
  text.startsWith(`${remoteHost.replace(/\[.*$/, "")}: `);

/** Failed although every single try might have been followed by another one. */
export const isGivenUp = (reply: Reply, action: ReportedRecipient["action"]): boolean =>
  action === "failed" && reply.code < 500;
