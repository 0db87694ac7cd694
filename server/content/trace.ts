/**
 * Trace and repair: the fields this server puts on top of a message.
 *
 * Received for every message; Date, Message-ID and From where a submitted one lacks them (and only there: RFC 6409 §8 lets a submission server,
 * nobody lets a relay). Pure. Everything a client said is made harmless before it enters a field. The recipient is named only when there
 * is exactly one, so that no blind copy is told to the others.
 * RFC 5321 §4.4 (Received), RFC 3848 and RFC 6531 §4.3 (with), RFC 5322 §3.3 (date), §2.1.1 (lines of at most 998 octets).
 */
import type { TlsFacts } from "../policy/facts.ts";

export interface Trace {
  readonly helo: string;
  readonly extended: boolean;
  readonly clientName: string | undefined;
  readonly clientAddress: string;
  readonly hostname: string;
  readonly id: string;
  readonly tls: TlsFacts | undefined;
  /** Whether the listener writes TLS and certificate into the field. */
  readonly tellsTls: boolean;
  readonly asksCertificate: boolean;
  readonly authenticated: boolean;
  /** Whom the listener names in the field. */
  readonly authenticatedAs: string | undefined;
  readonly smtpUtf8: boolean;
  readonly recipients: readonly string[];
  /** The field tells nothing of the client's machine. */
  readonly hidesClient: boolean;
  readonly receivedMs: number;
}

/** RFC 3848; RFC 6531 §4.3 for the UTF8SMTP family. */
export function protocolName(facts: {
  readonly extended: boolean;
  readonly secure: boolean;
  readonly authenticated: boolean;
  readonly smtpUtf8: boolean;
}): string {
  const base = facts.smtpUtf8 ? "UTF8SMTP" : facts.extended ? "ESMTP" : "SMTP";
  return facts.extended || facts.smtpUtf8 ? `${base}${facts.secure ? "S" : ""}${facts.authenticated ? "A" : ""}` : base;
}

export const addressLiteral = (address: string): string =>
  address.includes(":") ? `[IPv6:${address}]` : `[${address}]`;

/** Only what a domain or an address literal is made of; anything else would be a comment, a quote or a fold. */
const harmless = (text: string): string => text.replaceAll(/[^A-Za-z0-9._:[\]-]/g, "?").slice(0, 255);

/** RFC 5322 §3.2.2: what may stand in a comment as it is, `@` among it. */
const inComment = (text: string): string => text.replaceAll(/[^A-Za-z0-9._@+=-]/g, "?").slice(0, 255);

const days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (value: number): string => String(value).padStart(2, "0");

/** RFC 5322 §3.3, in UTC. */
export function mailDate(ms: number): string {
  const at = new Date(ms);
  const date = `${at.getUTCDate()} ${months[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
  return `${days[at.getUTCDay()]}, ${date} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} +0000`;
}

function clientLines(trace: Trace): string[] {
  const lines = [
    `from ${harmless(trace.helo)} (${trace.clientName ?? "unknown"} ${addressLiteral(trace.clientAddress)})`,
  ];
  if (!trace.tellsTls || trace.tls === undefined) return lines;
  const { protocol, cipher, bits, clientCertificate } = trace.tls;
  lines.push(`(using ${protocol} with cipher ${cipher} (${bits}/${bits} bits))`);
  if (clientCertificate !== undefined) lines.push(`(client certificate sha256:${clientCertificate.certificate})`);
  else if (trace.asksCertificate) lines.push("(no client certificate presented)");
  return lines;
}

/** With `hidesClient` the from clause is missing: RFC 5321 §4.4 wants it, our users' addresses are none of the world's business. */
export function receivedField(trace: Trace): string {
  const lines = trace.hidesClient ? [] : clientLines(trace);
  // As Postfix's smtpd_sasl_authenticated_header writes it.
  if (trace.authenticatedAs !== undefined) lines.push(`(Authenticated sender: ${inComment(trace.authenticatedAs)})`);
  const protocol = protocolName({ ...trace, secure: trace.tls !== undefined });
  lines.push(`by ${trace.hostname} (Packetboat) with ${protocol} id ${trace.id}`);
  const [recipient, ...others] = trace.recipients;
  if (recipient !== undefined && others.length === 0) lines.push(`for <${recipient}>`);
  return `Received: ${lines.join("\r\n\t")};\r\n\t${mailDate(trace.receivedMs)}\r\n`;
}

/** The fields a submitted message lacks. */
export function missingFields(
  header: { readonly hasDate: boolean; readonly hasFrom: boolean; readonly messageId: string | undefined },
  facts: { readonly receivedMs: number; readonly id: string; readonly hostname: string; readonly sender: string },
): string {
  let fields = "";
  if (!header.hasDate) fields += `Date: ${mailDate(facts.receivedMs)}\r\n`;
  if (header.messageId === undefined) fields += `Message-ID: <${facts.id}@${facts.hostname}>\r\n`;
  if (!header.hasFrom && facts.sender !== "") fields += `From: <${facts.sender}>\r\n`;
  return fields;
}
