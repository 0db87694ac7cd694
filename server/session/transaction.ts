/**
 * Transaction: MAIL and RCPT, the envelope. The message itself is message.ts's.
 *
 * Parses with path.ts and parameters.ts, asks the policy, keeps what was granted. RFC 5321 §3.3, §4.1.1.
 */
import { type Decision, decide } from "../policy/chain.ts";
import type { Effect } from "../policy/effect.ts";
import type { MailFacts, RcptFacts } from "../policy/facts.ts";
import { stages } from "../policy/stages.ts";
import type { NewRecipient } from "../queue/queue.ts";
import { replyLine } from "../reply.ts";
import type { RecipientStanding } from "../route/resolve.ts";
import { type MailParameters, parseMailParameters, parseRcptParameters, type RcptParameters } from "./parameters.ts";
import { parsePath } from "./path.ts";
import { replies } from "./replies.ts";
import type { Answer, Session } from "./session.ts";

export interface Transaction {
  readonly sender: string;
  readonly mail: MailParameters;
  readonly recipients: Map<string, NewRecipient>;
  /** An access rule throws the whole message away. */
  readonly discarded: boolean;
  /** Recipients that were told yes and dropped. */
  discardedRecipients: number;
  refusedRecipients: number;
  /** What checks want to happen to the message. */
  readonly effects: Effect[];
}

export const isRefusal = (decision: Decision): decision is Extract<Decision, { kind: "reject" | "defer" }> =>
  decision.kind === "reject" || decision.kind === "defer";

export function mail(session: Session, argument: string): Answer | Promise<Answer> {
  const { client } = session;
  if (session.transaction !== undefined) return session.refusal("mail", "bad-sequence", replies.nestedMail);
  const strict = client.config.server.strictEnvelopes;
  if (!/^from\s*:/i.test(argument)) return session.refusal("mail", "bad-address", replies.mailSyntax);
  const parsed = parsePath(argument, "FROM", { strict });
  if (parsed === undefined) return session.refusal("mail", "bad-address", replies.badSender);
  const parameters = parseMailParameters(parsed.rest);
  if (parameters.kind === "unknown") return session.refusal("mail", "bad-parameter", replies.parameterUnknown);
  if (parameters.kind === "problem")
    return session.refusal("mail", "bad-parameter", replies.parameterSyntax(parameters.name));
  const facts: MailFacts = {
    client,
    sender: parsed.path,
    mail: parameters.value,
    queueUnavailable: session.ports.queue.unavailable()?.reason,
  };
  const act = (decision: Decision): Answer => {
    if (isRefusal(decision)) {
      const { check, reason, reply, cause } = decision;
      session.log.info(
        {
          from: facts.sender.address,
          helo: client.helo?.name,
          user: client.user,
          check,
          reason,
          reply: replyLine(reply),
          ...causeOf(cause),
        },
        "mail-refused",
      );
      return session.refusal("mail", reason, reply);
    }
    session.transaction = {
      sender: facts.sender.address,
      mail: facts.mail,
      recipients: new Map(),
      discarded: decision.kind === "discard",
      discardedRecipients: 0,
      refusedRecipients: 0,
      effects: [...(decision.effects ?? [])],
    };
    return replies.senderOk;
  };
  const decision = decide(stages.mail, facts);
  return decision instanceof Promise ? decision.then(act) : act(decision);
}

export function rcpt(session: Session, argument: string): Answer | Promise<Answer> {
  const { client, transaction } = session;
  if (transaction === undefined) return session.refusal("rcpt", "bad-sequence", replies.mailFirst);
  if (session.incoming !== undefined) return session.refusal("rcpt", "bad-sequence", replies.messageBegun);
  if (!/^to\s*:/i.test(argument)) return session.refusal("rcpt", "bad-address", replies.rcptSyntax);
  const parsed = parsePath(argument, "TO", { strict: client.config.server.strictEnvelopes });
  if (parsed === undefined || parsed.path.address === "")
    return session.refusal("rcpt", "bad-address", replies.badRecipient);
  const parameters = parseRcptParameters(parsed.rest, { smtpUtf8: transaction.mail.smtpUtf8 });
  if (parameters.kind === "unknown") return session.refusal("rcpt", "bad-parameter", replies.parameterUnknown);
  if (parameters.kind === "problem")
    return session.refusal("rcpt", "bad-parameter", replies.parameterSyntax(parameters.name));
  const { address } = parsed.path;
  let standing: RecipientStanding | undefined;
  const facts: RcptFacts = {
    client,
    sender: transaction.sender,
    recipient: parsed.path,
    rcpt: parameters.value,
    recipients: transaction.recipients.size,
    repeated: transaction.recipients.has(address),
    smtpUtf8: transaction.mail.smtpUtf8,
    standing: () => (standing ??= session.ports.standingOf(client.config, address)),
  };
  const act = (decision: Decision): Answer => {
    if (isRefusal(decision)) {
      const { check, reason, reply, cause } = decision;
      transaction.refusedRecipients += 1;
      session.log.info(
        {
          from: transaction.sender,
          to: address,
          helo: client.helo?.name,
          user: client.user,
          check,
          reason,
          reply: replyLine(reply),
          ...causeOf(cause),
        },
        "rcpt-refused",
      );
      return session.refusal("rcpt", reason, reply);
    }
    if (decision.kind === "discard") {
      transaction.discardedRecipients += 1;
      session.log.info({ from: transaction.sender, to: address, check: decision.check }, "rcpt-discarded");
    } else {
      transaction.recipients.set(address, newRecipient(address, facts.rcpt));
      transaction.effects.push(...(decision.effects ?? []));
    }
    return replies.recipientOk;
  };
  const decision = decide(stages.rcpt, facts);
  return decision instanceof Promise ? decision.then(act) : act(decision);
}

export const causeOf = (cause: unknown): { readonly error?: string } =>
  cause === undefined ? {} : { error: cause instanceof Error ? (cause.stack ?? cause.message) : typeof cause };

const newRecipient = (address: string, { notify, originalRecipient }: RcptParameters): NewRecipient => ({
  address,
  ...(notify === undefined ? {} : { notify }),
  ...(originalRecipient === undefined ? {} : { originalRecipient }),
});
