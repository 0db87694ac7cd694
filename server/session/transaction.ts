/**
 * Transaction: MAIL and RCPT, the envelope. The message itself is message.ts's.
 *
 * Parses with path.ts and parameters.ts, asks the policy, keeps what was granted. RFC 5321 §3.3, §4.1.1.
 */
import { type Decision, decide } from "../policy/chain.ts";
import { addEffects, type Effect } from "../policy/effect.ts";
import type { MailFacts, RcptFacts } from "../policy/facts.ts";
import { stagesOf } from "../policy/reinject.ts";
import type { NewRecipient } from "../queue/queue.ts";
import { replyLine } from "../reply.ts";
import { completion } from "../rewrite/rewriting.ts";
import type { RecipientStanding } from "../route/resolve.ts";
import { type MailParameters, parseMailParameters, parseRcptParameters, type RcptParameters } from "./parameters.ts";
import { logNotes } from "./notes.ts";
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
  /** Refused because there are too many. */
  excessRecipients: number;
  /** What checks want to happen to the message. */
  readonly effects: Effect[];
}

export type RefusalDecision = Extract<Decision, { kind: "reject" | "defer" }>;
export const isRefusal = (decision: Decision): decision is RefusalDecision =>
  decision.kind === "reject" || decision.kind === "defer";

export function mail(session: Session, argument: string): Answer | Promise<Answer> {
  const { client } = session;
  if (session.transaction !== undefined) return session.refusal("mail", "bad-sequence", replies.nestedMail);
  const strict = client.config.server.strictEnvelopes;
  if (!/^from\s*:/i.test(argument)) return session.refusal("mail", "bad-address", replies.mailSyntax);
  const parsed = parsePath(argument, "FROM", { strict, ...completion(client.config) });
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
    logNotes(session, decision, { from: facts.sender.address });
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
      excessRecipients: 0,
      effects: [...(decision.effects ?? [])],
    };
    return replies.senderOk;
  };
  const decision = decide(stagesOf(client.listener).mail, facts);
  return decision instanceof Promise ? decision.then(act) : act(decision);
}

export function rcpt(session: Session, argument: string): Answer | Promise<Answer> {
  const { client, transaction } = session;
  if (transaction === undefined) return session.refusal("rcpt", "bad-sequence", replies.mailFirst);
  if (session.incoming !== undefined) return session.refusal("rcpt", "bad-sequence", replies.messageBegun);
  if (!/^to\s*:/i.test(argument)) return session.refusal("rcpt", "bad-address", replies.rcptSyntax);
  const parsed = parsePath(argument, "TO", {
    strict: client.config.server.strictEnvelopes,
    ...completion(client.config),
  });
  if (parsed === undefined || parsed.path.address === "")
    return session.refusal("rcpt", "bad-address", replies.badRecipient);
  const parameters = parseRcptParameters(parsed.rest, { smtpUtf8: transaction.mail.smtpUtf8 });
  if (parameters.kind === "unknown") return session.refusal("rcpt", "bad-parameter", replies.parameterUnknown);
  if (parameters.kind === "problem")
    return session.refusal("rcpt", "bad-parameter", replies.parameterSyntax(parameters.name));
  // Look-ups are asked before the checks, so that these need not wait; objects answer at once.
  const standing = isAskedAbout(session, transaction, parsed.path.address)
    ? session.ports.standingOf(client.config, parsed.path.address)
    : strangers;
  const judge = (known: RecipientStanding): Answer | Promise<Answer> =>
    judged(session, transaction, { recipient: parsed.path, rcpt: parameters.value, standing: () => known });
  return standing instanceof Promise ? standing.then(judge) : judge(standing);
}

/** What no check gets to see is not looked up: recipients beyond the limit, and those that a filter gives back. */
const strangers: RecipientStanding = { kind: "remote" };
function isAskedAbout({ client }: Session, { recipients }: Transaction, address: string): boolean {
  if (client.listener.role === "Reinject") return false;
  return recipients.size < client.config.server.limits.recipients || recipients.has(address);
}

function judged(
  session: Session,
  transaction: Transaction,
  { recipient, rcpt, standing }: Pick<RcptFacts, "recipient" | "rcpt" | "standing">,
): Answer | Promise<Answer> {
  const { client } = session;
  const { address } = recipient;
  const facts: RcptFacts = {
    client,
    sender: transaction.sender,
    recipient,
    rcpt,
    recipients: transaction.recipients.size,
    repeated: transaction.recipients.has(address),
    smtpUtf8: transaction.mail.smtpUtf8,
    declaredSize: transaction.mail.size,
    standing,
  };
  const act = (decision: Decision): Answer => {
    logNotes(session, decision, { from: transaction.sender, to: address });
    if (isRefusal(decision)) {
      const { check, reason, reply, cause } = decision;
      transaction.refusedRecipients += 1;
      if (reason === "too-many-recipients") {
        transaction.excessRecipients += 1;
        if (transaction.excessRecipients > client.config.server.limits.recipientOvershoot) session.strike();
      }
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
      addEffects(transaction.effects, decision.effects);
    }
    return replies.recipientOk;
  };
  const decision = decide(stagesOf(client.listener).rcpt, facts);
  return decision instanceof Promise ? decision.then(act) : act(decision);
}

export const causeOf = (cause: unknown): { readonly error?: string } =>
  cause === undefined ? {} : { error: cause instanceof Error ? (cause.stack ?? cause.message) : typeof cause };

const newRecipient = (address: string, { notify, originalRecipient }: RcptParameters): NewRecipient => ({
  address,
  ...(notify === undefined ? {} : { notify }),
  ...(originalRecipient === undefined ? {} : { originalRecipient }),
});
