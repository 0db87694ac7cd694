/**
 * One message over one session: what to say for it, and what the replies mean for each recipient.
 *
 * Between `smtp.ts` (which host) and `session.ts` (the wire). Promises for every recipient either an outcome or that another host may be tried.
 * 421 and a lost connection are the host's trouble; a reply to MAIL or to the final dot is about the message, a reply to RCPT (LMTP: to the final
 * dot too) about the recipient. Once the final dot is out, no other host is tried in this attempt: the message may have been taken.
 * RFC 5321 §4.2.4.2 (meaning of codes), §4.5.3.1.10 (552 to RCPT), RFC 2033 §4.2, RFC 3461 §5.2.2, RFC 6531 §3.4, RFC 8689 §4.2.
 */
import { domainKey, splitAddress } from "../config/address.ts";
import type { Envelope, QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import type { FailureScope } from "./deliver.ts";
import type { Mail, MailReplies, Session } from "./session.ts";

export type Envelopes = Omit<Envelope, "recipients">;

/** Without the recipient's number and host: `smtp.ts` adds them. */
export type RecipientOutcome =
  | { readonly kind: "delivered"; readonly reply: Reply; readonly elsewhere?: undefined }
  | {
      readonly kind: "failed";
      readonly reply: Reply;
      readonly scope: FailureScope;
      /** This host has said "not now" and certainly not taken the message: another one may be asked. */
      readonly elsewhere?: boolean;
    };

export interface TransactionResult {
  /** By recipient number; a recipient without one may be tried at the next host. */
  readonly outcomes: ReadonlyMap<number, RecipientOutcome>;
  /** Set when recipients are left. */
  readonly hostFailure: Reply | undefined;
  /** Some were put off only because there were too many at once: the same session, once more. RFC 5321 §4.5.3.1.10. */
  readonly again: boolean;
  /** Nothing was answered at all: on a session that was kept idle it means the peer had hung up. */
  readonly unanswered: boolean;
}

/** What the library will not put on the wire. */
const unspeakable = /[\r\n<>\0]/;
const nonAscii = /\P{ASCII}/u;

export type Said =
  | {
      readonly kind: "mail";
      readonly mail: Mail;
      readonly recipients: readonly QueuedRecipient[];
      /** Whom this server cannot be told about. */
      readonly unsayable: readonly { readonly recipient: QueuedRecipient; readonly reply: Reply }[];
    }
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
  if (!isSpeakable(envelope.sender)) return refuse(501, "5.1.7", "Bad sender address syntax");
  if (session.largestMessage > 0 && size > session.largestMessage) {
    return refuse(552, "5.3.4", `Message size ${size} exceeds the server's limit of ${session.largestMessage}`);
  }
  if (session.supports("SIZE")) parameters.push(`SIZE=${size}`);
  if (envelope.body === "8BITMIME" && session.supports("8BITMIME")) parameters.push("BODY=8BITMIME");
  const sender = plainest(envelope.sender);
  const addressed = recipients.map((recipient) => ({ recipient, address: plainest(recipient.address) }));
  const forAll = nonAscii.test(sender) || hasUtf8Header(envelope, content.head);
  const utf8 = session.supports("SMTPUTF8");
  const sayable = utf8 ? addressed : addressed.filter(({ address }) => !nonAscii.test(address));
  if (!utf8 && (forAll || sayable.length === 0)) return { kind: "refused", reply: noUtf8 };
  if (forAll || sayable.some(({ address }) => nonAscii.test(address))) parameters.push("SMTPUTF8");
  if (envelope.requireTls) {
    if (!session.secure || !session.supports("REQUIRETLS"))
      return refuse(550, "5.7.30", "Server does not support REQUIRETLS");
    parameters.push("REQUIRETLS");
  }
  const dsn = session.supports("DSN");
  if (dsn && envelope.return !== undefined) parameters.push(`RET=${envelope.return}`);
  if (dsn && envelope.envelopeId !== undefined) parameters.push(...isOneWord(`ENVID=${envelope.envelopeId}`));
  return {
    kind: "mail",
    mail: {
      sender,
      parameters,
      recipients: sayable.map(({ recipient, address }) => ({
        address,
        parameters: dsn ? dsnParameters(recipient) : [],
      })),
      content: content.data,
      size,
    },
    recipients: sayable.length === recipients.length ? recipients : sayable.map(({ recipient }) => recipient),
    unsayable:
      sayable.length === recipients.length
        ? []
        : recipients
            .filter((recipient) => !sayable.some((each) => each.recipient === recipient))
            .map((recipient) => ({ recipient, reply: noUtf8 })),
  };
}

const refuse = (code: number, enhanced: string, text: string): Said => ({
  kind: "refused",
  reply: { code, enhanced, text },
});

/** A parameter, or nothing: what is no single word would be another one, or another command. */
const isOneWord = (parameter: string): readonly string[] => (/[\s\p{Cc}]/u.test(parameter) ? [] : [parameter]);

export const isSpeakable = (address: string): boolean => !unspeakable.test(address);

function dsnParameters({ notify, originalRecipient }: QueuedRecipient): readonly string[] {
  return [
    ...(notify === undefined || notify.length === 0 ? [] : [`NOTIFY=${notify.join(",")}`]),
    ...(originalRecipient === undefined || !/^[\x21-\x7e]+$/.test(originalRecipient)
      ? []
      : [`ORCPT=${originalRecipient}`]),
  ];
}

/** RFC 6531 §3.5; RFC 3463 X.6.7. */
const noUtf8: Reply = {
  code: 550,
  enhanced: "5.6.7",
  text: "Server does not take internationalized mail (SMTPUTF8)",
};

/** A domain has an ASCII form that every server knows (RFC 5890 A-labels); only a local part outside ASCII needs SMTPUTF8. */
function plainest(address: string): string {
  if (!nonAscii.test(address)) return address;
  const parts = splitAddress(address);
  const domain = parts === undefined || nonAscii.test(parts.localPart) ? undefined : domainKey(parts.domain);
  return parts === undefined || domain === undefined ? address : `${parts.localPart}@${domain}`;
}

/** Declared by the client and really there: many clients declare SMTPUTF8 for plain ASCII mail, which any server may have. */
function hasUtf8Header(envelope: Envelopes, head: Buffer): boolean {
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
  let again = false;
  const fail = (recipient: QueuedRecipient, reply: Reply, scope: FailureScope): void => {
    const elsewhere = isPutOff(reply) && scope !== "host";
    outcomes.set(recipient.number, { kind: "failed", reply, scope, ...(elsewhere ? { elsewhere } : {}) });
  };
  const failAll = (of: readonly QueuedRecipient[], reply: Reply, scope: FailureScope): void => {
    for (const recipient of of) fail(recipient, reply, scope);
  };
  const unanswered = replies.mail === undefined && replies.failure?.step === "lost";

  if (replies.failure?.step === "content") failAll(recipients, replies.failure.reply, "message");
  else if (replies.failure?.step === "protocol" && replies.mail === undefined)
    failAll(recipients, replies.failure.reply, "message");
  else if (replies.mail !== undefined && replies.mail.code >= 300) {
    if (isOfHost(replies.mail)) hostFailure = replies.mail;
    else failAll(recipients, intelligible(replies.mail), "message");
  } else {
    const accepted: QueuedRecipient[] = [];
    const tooMany: { readonly recipient: QueuedRecipient; readonly reply: Reply }[] = [];
    for (const [at, recipient] of recipients.entries()) {
      const reply = replies.rcpt[at];
      if (reply === undefined) continue;
      if (reply.code === 421) hostFailure = reply;
      else if (reply.code >= 300) {
        const known = asTooManyRecipients(intelligible(reply));
        if (isTooManyRecipients(known)) tooMany.push({ recipient, reply: known });
        else fail(recipient, known, "recipient");
      } else accepted.push(recipient);
    }
    // A probe ends here: what was accepted would be delivered.
    if (replies.probed) {
      for (const [at, recipient] of recipients.entries()) {
        const reply = replies.rcpt[at];
        if (reply !== undefined && accepted.includes(recipient))
          outcomes.set(recipient.number, { kind: "delivered", reply });
      }
    }
    if (accepted.length > 0 && replies.data !== undefined && replies.data.code >= 400) {
      if (isOfHost(replies.data)) hostFailure = replies.data;
      else failAll(accepted, replies.data, "message");
    } else if (replies.data !== undefined && replies.data.code < 400) {
      for (const [at, recipient] of accepted.entries()) {
        const reply = lmtp ? replies.final[at] : replies.final[0];
        if (reply !== undefined && reply.code < 300) outcomes.set(recipient.number, { kind: "delivered", reply });
        else if (reply !== undefined && (reply.code !== 421 || replies.dataEnded))
          fail(recipient, intelligible(reply), lmtp ? "recipient" : "message");
        else if (replies.dataEnded) {
          const text = `${host}: lost connection after end of data; the message may be sent more than once`;
          fail(recipient, { code: 451, enhanced: "4.4.2", text }, "host");
        }
      }
    }
    // Only after a transaction that did come to its end: each round then leaves fewer.
    again = tooMany.length > 0 && accepted.some(({ number }) => outcomes.get(number)?.kind === "delivered");
    if (!again) for (const { recipient, reply } of tooMany) fail(recipient, reply, "recipient");
  }
  if (again) return { outcomes, hostFailure: undefined, again, unanswered };
  const left = recipients.some(({ number }) => !outcomes.has(number));
  const lost: Reply = { code: 451, enhanced: "4.4.2", text: `${host}: lost connection` };
  return { outcomes, hostFailure: left ? (hostFailure ?? lost) : undefined, again, unanswered };
}

/** 421, or trouble of the mail system itself before it has seen the message (RFC 3463 X.3.x: full, not accepting, …): another host may be well. */
const isOfHost = ({ code, enhanced }: Reply): boolean =>
  code === 421 || (code >= 400 && code < 500 && enhanced.startsWith("4.3."));

/** As it was said: what we made of something else (`intelligible`) leaves open what the host did. */
const isPutOff = ({ code, enhanced }: Reply): boolean => code >= 400 && code < 500 && enhanced !== UNINTELLIGIBLE;
const UNINTELLIGIBLE = "4.5.0";

/** RFC 5321 §4.2.1: 3yz where none was asked for is neither yes nor no. Unknown is temporary. */
const intelligible = (reply: Reply): Reply =>
  reply.code < 400
    ? { code: 451, enhanced: UNINTELLIGIBLE, text: `Unexpected reply: ${reply.code} ${reply.text}` }
    : reply;

const isTooManyRecipients = ({ code, enhanced }: Reply): boolean =>
  code === 452 && (enhanced === "" || enhanced === "4.5.3");

/** RFC 5321 §4.5.3.1.10: 552 to RCPT is the old way to say "too many recipients", to be read as 452. */
const asTooManyRecipients = (reply: Reply): Reply =>
  reply.code === 552 && (reply.enhanced === "" || reply.enhanced === "5.5.3")
    ? { ...reply, code: 452, enhanced: "4.5.3" }
    : reply;
