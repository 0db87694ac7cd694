/**
 * Transaction: MAIL, RCPT and DATA, from the envelope to a message in the queue.
 *
 * Parses with path.ts and parameters.ts, asks the policy, keeps what was granted. 250 after DATA is given only after the queue's commit; from the
 * final dot on the message is ours even if the client is gone. Queue trouble is 452 4.3.1 (full) or 421 4.3.0 (failed). RFC 5321 §3.3, §4.1.1, §6.1.
 */
import { Intake, type IntakeFault, type IntakeResult } from "../content/intake.ts";
import { missingFields, protocolName, receivedField } from "../content/trace.ts";
import { acceptSeconds, bytesAccepted, messagesAccepted } from "../observe/metrics.ts";
import { type Decision, decide } from "../policy/chain.ts";
import type { MailFacts, RcptFacts } from "../policy/facts.ts";
import { stages } from "../policy/stages.ts";
import type { Reason } from "../policy/verdict.ts";
import { type Envelope, type MessageWriter, type NewRecipient, type Origin, QueueUnavailable } from "../queue/queue.ts";
import { type Reply, replyLine } from "../reply.ts";
import type { RecipientStanding } from "../route/resolve.ts";
import { type MailParameters, parseMailParameters, parseRcptParameters, type RcptParameters } from "./parameters.ts";
import { parsePath } from "./path.ts";
import { replies } from "./replies.ts";
import type { Answer, Session } from "./session.ts";
import type { DataSink } from "./wire.ts";

export interface Transaction {
  readonly sender: string;
  readonly mail: MailParameters;
  readonly recipients: Map<string, NewRecipient>;
  /** An access rule throws the whole message away. */
  readonly discarded: boolean;
  /** Recipients that were told yes and dropped. */
  discardedRecipients: number;
  refusedRecipients: number;
}

const isRefusal = (decision: Decision): decision is Extract<Decision, { kind: "reject" | "defer" }> =>
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
    };
    return replies.senderOk;
  };
  const decision = decide(stages.mail, facts);
  return decision instanceof Promise ? decision.then(act) : act(decision);
}

export function rcpt(session: Session, argument: string): Answer | Promise<Answer> {
  const { client, transaction } = session;
  if (transaction === undefined) return session.refusal("rcpt", "bad-sequence", replies.mailFirst);
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
    } else transaction.recipients.set(address, newRecipient(address, facts.rcpt));
    return replies.recipientOk;
  };
  const decision = decide(stages.rcpt, facts);
  return decision instanceof Promise ? decision.then(act) : act(decision);
}

const causeOf = (cause: unknown): { readonly error?: string } =>
  cause === undefined ? {} : { error: cause instanceof Error ? (cause.stack ?? cause.message) : typeof cause };

const newRecipient = (address: string, { notify, originalRecipient }: RcptParameters): NewRecipient => ({
  address,
  ...(notify === undefined ? {} : { notify }),
  ...(originalRecipient === undefined ? {} : { originalRecipient }),
});

const queueTrouble = (reason: "full" | "failed" | "closed"): { readonly reason: Reason; readonly reply: Reply } =>
  reason === "full"
    ? { reason: "queue-full", reply: replies.queueFull }
    : { reason: "queue-failed", reply: replies.queueFailed };

export async function data(session: Session, argument: string): Promise<Answer> {
  const { client, transaction } = session;
  if (argument !== "") return session.refusal("data", "bad-command", replies.noArgument("DATA"));
  if (transaction === undefined) return session.refusal("data", "bad-sequence", replies.mailFirst);
  if (transaction.recipients.size === 0 && transaction.discardedRecipients === 0) {
    // RFC 5321 §3.3: 554 where all were refused, 503 where none was named.
    return session.refusal(
      "data",
      "bad-sequence",
      transaction.refusedRecipients > 0 ? replies.noValidRecipients : replies.rcptFirst,
    );
  }
  const decision = await decide(stages.data, client);
  if (isRefusal(decision)) return session.refusal("data", decision.reason, decision.reply);
  const clientName = await client.name();
  let writer: MessageWriter;
  try {
    writer = session.ports.queue.newMessage();
  } catch (error) {
    if (!(error instanceof QueueUnavailable)) throw error;
    const trouble = queueTrouble(error.reason);
    return session.refusal("data", trouble.reason, trouble.reply);
  }
  receive(session, transaction, writer, clientName);
  return replies.startData;
}

function receive(
  session: Session,
  transaction: Transaction,
  writer: MessageWriter,
  clientName: string | undefined,
): void {
  const { client } = session;
  const { server } = client.config;
  const { tls, role } = client.listener;
  const receivedMs = Date.now();
  const isDiscarded = transaction.discarded || transaction.recipients.size === 0;
  const { id } = writer;
  const common = {
    extended: client.helo?.extended === true,
    authenticated: client.user !== undefined,
    smtpUtf8: transaction.mail.smtpUtf8,
  };
  const intake = new Intake({
    writer: isDiscarded ? undefined : writer,
    messageBytes: server.limits.messageSizeBytes,
    headerBytes: server.limits.headerSizeBytes,
    top: (header) => {
      const received = receivedField({
        ...common,
        helo: client.helo?.name ?? "",
        clientName,
        clientAddress: client.address,
        hostname: server.hostname,
        id,
        tls: client.tls,
        tellsTls: tls.receivedHeader,
        asksCertificate: tls.clientCertificates !== "Ignore",
        recipients: [...transaction.recipients.keys()],
        receivedMs,
      });
      if (role !== "Submission") return received;
      return (
        received + missingFields(header, { receivedMs, id, hostname: server.hostname, sender: transaction.sender })
      );
    },
  });
  // The identity is used, the place in the queue is not.
  if (isDiscarded) writer.abort().catch(() => undefined);
  session.intake = intake;

  const sink: DataSink = {
    feed: (chunk) => {
      const end = intake.feed(chunk);
      if (end < 0 && intake.isHopeless) {
        session.wire.reply(session.refusal("data", "message-too-large", replies.messageTooLarge));
        session.wire.close();
      }
      return end;
    },
    get pending() {
      return intake.pending;
    },
    ended: async () => {
      const endedMs = performance.now();
      session.dataEnded();
      const origin: Origin = {
        listener: session.listenerName,
        clientAddress: client.address,
        clientName: clientName ?? "",
        helo: client.helo?.name ?? "",
        protocol: protocolName({ ...common, secure: client.tls !== undefined }),
        ...(client.user === undefined ? {} : { authenticatedAs: client.user }),
      };
      const result = await intake.finish({ envelope: envelopeOf(transaction), origin });
      const reply = answer(session, transaction, id, result);
      if (result.kind === "queued") acceptSeconds.observe((performance.now() - endedMs) / 1000);
      await session.finishData(reply);
    },
  };
  session.wire.receive(sink);
}

const envelopeOf = ({ sender, recipients, mail: parameters }: Transaction): Envelope => ({
  sender,
  recipients: [...recipients.values()],
  smtpUtf8: parameters.smtpUtf8,
  body: parameters.body,
  requireTls: false,
  ...(parameters.envelopeId === undefined ? {} : { envelopeId: parameters.envelopeId }),
  ...(parameters.return === undefined ? {} : { return: parameters.return }),
});

const faultReplies: Readonly<Record<IntakeFault, Reply>> = {
  "bare-newline": replies.bareNewline,
  "nul-byte": replies.nulByte,
  "message-too-large": replies.messageTooLarge,
  "header-too-large": replies.headerTooLarge,
  "too-many-hops": replies.tooManyHops,
};

/** What became of the message, in log, metrics and reply. */
function answer(session: Session, { sender, recipients }: Transaction, id: string, result: IntakeResult): Reply {
  const { log, listenerName, client } = session;
  const refused = (reason: Reason, reply: Reply, error?: unknown): Reply => {
    log.info(
      { id, from: sender, nrcpt: recipients.size, reason, reply: replyLine(reply), ...causeOf(error) },
      "data-refused",
    );
    return session.refusal("data", reason, reply);
  };
  switch (result.kind) {
    case "queued": {
      const { message, header } = result;
      messagesAccepted.inc({ listener: listenerName });
      bytesAccepted.inc({ listener: listenerName }, message.size);
      log.info(
        {
          id,
          from: sender,
          nrcpt: recipients.size,
          size: message.size,
          helo: client.helo?.name,
          user: client.user,
          messageId: header.messageId,
        },
        "queued",
      );
      try {
        session.ports.onAccepted(message);
      } catch (error) {
        // It is stored and ours: whatever the scheduler says, the client must not send it again.
        log.error({ id, ...causeOf(error) }, "hand-over-failed");
      }
      return replies.queued(id);
    }
    case "discarded":
      log.info({ id, from: sender, size: result.size }, "discarded");
      return replies.queued(id);
    case "fault":
      return refused(result.fault, faultReplies[result.fault]);
    case "failed": {
      if (!(result.error instanceof QueueUnavailable)) return refused("internal", replies.internal, result.error);
      const { reason, reply } = queueTrouble(result.error.reason);
      return refused(reason, reply, result.error);
    }
    default:
      return result satisfies never;
  }
}
