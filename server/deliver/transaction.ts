/**
 * One message over one session: what to say for it, and what the replies mean for each recipient.
 *
 * Between `smtp.ts` (which host) and `session.ts` (the wire). Promises for every recipient either an outcome or that another host may be tried.
 * 421 and a lost connection are the host's trouble; a reply to MAIL or to the final dot is about the message, a reply to RCPT (LMTP: to the final
 * dot too) about the recipient. Once the final dot is out, no other host is tried in this attempt: the message may have been taken.
 * RFC 5321 §4.2.4.2 (meaning of codes), §4.5.3.1.10 (552 to RCPT), RFC 2033 §4.2, RFC 3461 §5.2.2, RFC 6531 §3.4, RFC 8689 §4.2.
 */
import type { Envelope, QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import type { FailureScope } from "./deliver.ts";
import type { Mail, MailReplies, Session } from "./session.ts";

export type Envelopes = Omit<Envelope, "recipients">;

/** Without the recipient's number and host: `smtp.ts` adds them. */
export type RecipientOutcome =
  | { readonly kind: "delivered"; readonly reply: Reply }
  | { readonly kind: "failed"; readonly reply: Reply; readonly scope: FailureScope };

export interface TransactionResult {
  /** By recipient number; a recipient without one may be tried at the next host. */
  readonly outcomes: ReadonlyMap<number, RecipientOutcome>;
  /** Set when recipients are left. */
  readonly hostFailure: Reply | undefined;
  /** Nothing was answered at all: on a session that was kept idle it means the peer had hung up. */
  readonly unanswered: boolean;
}

/** What the library will not put on the wire. */
const unspeakable = /[\r\n<>\0]/;
const nonAscii = /\P{ASCII}/u;

export type Said =
  | { readonly kind: "mail"; readonly mail: Mail; readonly recipients: readonly QueuedRecipient[] }
  | { readonly kind: "refused"; readonly reply: Reply };

/** The commands for these recipients, as far as this server's extensions allow them. */
export function mailFor(
  session: Pick<Session, "supports" | "largestMessage" | "secure">,
  envelope: Envelopes,
  size: number,
  recipients: readonly QueuedRecipient[],
  content: { readonly data: Mail["content"]; readonly head: Buffer },
): Said {
  const parameters: string[] = [];
  if (session.largestMessage > 0 && size > session.largestMessage) {
    return refuse(552, "5.3.4", `Message size ${size} exceeds the server's limit of ${session.largestMessage}`);
  }
  if (session.supports("SIZE")) parameters.push(`SIZE=${size}`);
  if (envelope.body === "8BITMIME" && session.supports("8BITMIME")) parameters.push("BODY=8BITMIME");
  if (needsUtf8(envelope, recipients, content.head)) {
    if (!session.supports("SMTPUTF8"))
      return refuse(550, "5.6.7", "Server does not take internationalized mail (SMTPUTF8)");
    parameters.push("SMTPUTF8");
  }
  if (envelope.requireTls) {
    if (!session.secure || !session.supports("REQUIRETLS"))
      return refuse(550, "5.7.30", "Server does not support REQUIRETLS");
    parameters.push("REQUIRETLS");
  }
  const dsn = session.supports("DSN");
  if (dsn && envelope.return !== undefined) parameters.push(`RET=${envelope.return}`);
  if (dsn && envelope.envelopeId !== undefined) parameters.push(`ENVID=${envelope.envelopeId}`);
  return {
    kind: "mail",
    mail: {
      sender: envelope.sender,
      parameters,
      recipients: recipients.map((recipient) => ({
        address: recipient.address,
        parameters: dsn ? dsnParameters(recipient) : [],
      })),
      content: content.data,
    },
    recipients,
  };
}

const refuse = (code: number, enhanced: string, text: string): Said => ({
  kind: "refused",
  reply: { code, enhanced, text },
});

export const isSpeakable = (address: string): boolean => !unspeakable.test(address);

function dsnParameters({ notify, originalRecipient }: QueuedRecipient): readonly string[] {
  return [
    ...(notify === undefined || notify.length === 0 ? [] : [`NOTIFY=${notify.join(",")}`]),
    ...(originalRecipient === undefined || !/^[\x21-\x7e]+$/.test(originalRecipient)
      ? []
      : [`ORCPT=${originalRecipient}`]),
  ];
}

/** Declared by the client and really there: many clients declare SMTPUTF8 for plain ASCII mail, which any server may have. */
function needsUtf8(envelope: Envelopes, recipients: readonly QueuedRecipient[], head: Buffer): boolean {
  if (nonAscii.test(envelope.sender) || recipients.some(({ address }) => nonAscii.test(address))) return true;
  if (!envelope.smtpUtf8) return false;
  const end = head.indexOf("\r\n\r\n");
  return (end < 0 ? head : head.subarray(0, end)).some((byte) => byte >= 0x80);
}

export function interpret(
  replies: MailReplies,
  recipients: readonly QueuedRecipient[],
  lmtp: boolean,
  host: string,
): TransactionResult {
  const outcomes = new Map<number, RecipientOutcome>();
  let hostFailure: Reply | undefined = replies.failure?.reply;
  const fail = (recipient: QueuedRecipient, reply: Reply, scope: FailureScope): void => {
    outcomes.set(recipient.number, { kind: "failed", reply, scope });
  };
  const failAll = (of: readonly QueuedRecipient[], reply: Reply, scope: FailureScope): void => {
    for (const recipient of of) fail(recipient, reply, scope);
  };
  const unanswered = replies.mail === undefined && replies.failure?.step === "lost";

  if (replies.failure?.step === "content") failAll(recipients, replies.failure.reply, "message");
  else if (replies.failure?.step === "protocol" && replies.mail === undefined)
    failAll(recipients, replies.failure.reply, "message");
  else if (replies.mail !== undefined && replies.mail.code >= 300) {
    if (replies.mail.code === 421) hostFailure = replies.mail;
    else failAll(recipients, replies.mail, "message");
  } else {
    const accepted: QueuedRecipient[] = [];
    for (const [at, recipient] of recipients.entries()) {
      const reply = replies.rcpt[at];
      if (reply === undefined) continue;
      if (reply.code === 421) hostFailure = reply;
      else if (reply.code >= 300) fail(recipient, asTooManyRecipients(reply), "recipient");
      else accepted.push(recipient);
    }
    if (accepted.length > 0 && replies.data !== undefined && replies.data.code >= 400) {
      if (replies.data.code === 421) hostFailure = replies.data;
      else failAll(accepted, replies.data, "message");
    } else if (replies.data !== undefined && replies.data.code < 400) {
      for (const [at, recipient] of accepted.entries()) {
        const reply = lmtp ? replies.final[at] : replies.final[0];
        if (reply !== undefined && reply.code < 300) outcomes.set(recipient.number, { kind: "delivered", reply });
        else if (reply !== undefined && (reply.code !== 421 || replies.dataEnded))
          fail(recipient, reply, lmtp ? "recipient" : "message");
        else if (replies.dataEnded) {
          const text = `${host}: lost connection after end of data; the message may be sent more than once`;
          fail(recipient, { code: 451, enhanced: "4.4.2", text }, "host");
        }
      }
    }
  }
  const left = recipients.some(({ number }) => !outcomes.has(number));
  const lost: Reply = { code: 451, enhanced: "4.4.2", text: `${host}: lost connection` };
  return { outcomes, hostFailure: left ? (hostFailure ?? lost) : undefined, unanswered };
}

/** RFC 5321 §4.5.3.1.10: 552 to RCPT is the old way to say "too many recipients", to be read as 452. */
const asTooManyRecipients = (reply: Reply): Reply =>
  reply.code === 552 && (reply.enhanced === "" || reply.enhanced === "5.5.3")
    ? { ...reply, code: 452, enhanced: "4.5.3" }
    : reply;
