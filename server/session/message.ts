/**
 * The message itself: DATA and BDAT, from the first octet to a place in the queue.
 *
 * Between the envelope (transaction.ts) and content/intake.ts. 250 is given only after the queue's commit; from the end of the message on it is ours
 * even if the client is gone. Octets that BDAT announces are read whatever the answer, or they would be taken for commands. Queue trouble is
 * 452 4.3.1 (full) or 421 4.3.0 (failed). RFC 5321 §4.1.1.4, §6.1, RFC 3030 §2.
 */
import { ChunkDecoder } from "../content/chunk-decoder.ts";
import { DataDecoder, type Decoder } from "../content/data-decoder.ts";
import { Intake, type IntakeFault, type IntakeResult } from "../content/intake.ts";
import { missingFields, protocolName, receivedField } from "../content/trace.ts";
import { acceptSeconds, bytesAccepted, messagesAccepted } from "../observe/metrics.ts";
import { decide } from "../policy/chain.ts";
import type { DataFacts } from "../policy/facts.ts";
import { stagesOf } from "../policy/reinject.ts";
import { defer, type Reason } from "../policy/verdict.ts";
import {
  type Envelope,
  type MessageWriter,
  type Origin,
  type QueuedMessage,
  QueueUnavailable,
} from "../queue/queue.ts";
import { type Reply, replyLine } from "../reply.ts";
import { headerEditor, isHeaderOurs, rewrittenEnvelope, senderOnTheWayIn } from "../rewrite/incoming.ts";
import { RewritingTrouble } from "../rewrite/rewriting.ts";
import { routeReplies } from "../route/replies.ts";
import { isHeldBy, prependedFields, recipientsOf } from "./effects.ts";
import { logNotes } from "./notes.ts";
import { replies } from "./replies.ts";
import type { Answer, Session } from "./session.ts";
import { causeOf, isRefusal, type RefusalDecision, type Transaction } from "./transaction.ts";
import type { DataSink } from "./wire.ts";
import { forwardedFields } from "./xclient.ts";

/** A message under way. */
export interface Incoming {
  readonly intake: Intake;
  /** Present while it comes by BDAT. */
  readonly chunks: ChunkDecoder | undefined;
  /** The end has come: store it, answer. */
  readonly conclude: () => Promise<void>;
}

export async function data(session: Session, argument: string): Promise<Answer> {
  if (argument !== "") return session.refusal("data", "bad-command", replies.noArgument("DATA"));
  // RFC 3030 §2: DATA and BDAT do not mix.
  if (session.incoming !== undefined) return session.refusal("data", "bad-sequence", replies.messageBegun);
  const begun = await begin(session, new DataDecoder());
  if ("code" in begun) return begun;
  session.incoming = begun;
  session.wire.receive(intoIntake(session, begun.intake, begun.conclude));
  return replies.startData;
}

function intoIntake(session: Session, intake: Intake, ended: () => Promise<void>): DataSink {
  return {
    feed: (chunk) => {
      const end = intake.feed(chunk);
      if (end < 0 && intake.isHopeless) giveUp(session);
      return end;
    },
    get pending() {
      return intake.pending;
    },
    ended,
  };
}

/** `BDAT octets [LAST]`. */
const chunkArgument = /^(\d{1,15})(?: +(LAST))?$/i;

export async function bdat(session: Session, argument: string): Promise<Answer> {
  const match = chunkArgument.exec(argument);
  if (match === null) {
    // How many octets follow nobody can tell: none of them may become a command.
    session.wire.reply(session.tempered(session.refusal("data", "bad-command", replies.bdatSyntax)));
    session.wire.close();
    return undefined;
  }
  const octets = Number(match[1]);
  const isLast = match[2] !== undefined;
  const refused = await beginChunks(session);
  const { incoming } = session;
  if (refused !== undefined || incoming?.chunks === undefined) {
    skip(session, octets, refused ?? session.refusal("data", "bad-sequence", replies.mailFirst));
    return undefined;
  }
  const { intake, chunks, conclude } = incoming;
  const ended = async (): Promise<void> => {
    if (isLast) return await conclude();
    const { fault } = intake;
    if (fault === undefined) return await session.finishData(replies.chunkTaken(octets));
    // Said at once; what follows is read and refused, until the client begins anew.
    intake.cancel();
    session.dataEnded();
    await session.finishData(session.refusal("data", fault, faultReplies[fault]));
  };
  if (octets === 0) {
    await ended();
    return undefined;
  }
  chunks.expect(octets);
  session.wire.receive(intoIntake(session, intake, ended));
  return undefined;
}

/** The first BDAT of a message begins it. */
async function beginChunks(session: Session): Promise<Reply | undefined> {
  if (session.incoming !== undefined) return undefined;
  const chunks = new ChunkDecoder();
  const begun = await begin(session, chunks);
  if ("code" in begun) return begun;
  session.incoming = { ...begun, chunks };
  return undefined;
}

/** RFC 3030 §2: a refused chunk is read all the same, then answered. Bounded like a message that is too large. */
function skip(session: Session, octets: number, reply: Reply): void {
  let left = octets;
  const { messageSizeBytes } = session.client.config.server.limits;
  if (left === 0 || (messageSizeBytes > 0 && left > 2 * messageSizeBytes)) {
    session.wire.reply(session.tempered(reply));
    if (left > 0) session.wire.close();
    return;
  }
  session.wire.receive({
    feed: (chunk) => {
      const mine = Math.min(left, chunk.length);
      left -= mine;
      return left === 0 ? mine : -1;
    },
    pending: undefined,
    ended: () => session.finishData(reply),
  });
}

/** Twice the limit has come: this client does not stop by itself. */
function giveUp(session: Session): void {
  session.wire.reply(session.tempered(session.refusal("data", "message-too-large", replies.messageTooLarge)));
  session.wire.close();
}

/** May a message come, and where to? A refusal, or the message under way. */
async function begin(session: Session, decoder: Decoder): Promise<Reply | Incoming> {
  const { client, transaction } = session;
  if (transaction === undefined) return session.refusal("data", "bad-sequence", replies.mailFirst);
  if (transaction.recipients.size === 0 && transaction.discardedRecipients === 0) {
    // RFC 5321 §3.3: 554 where all were refused, 503 where none was named.
    return session.refusal(
      "data",
      "bad-sequence",
      transaction.refusedRecipients > 0 ? replies.noValidRecipients : replies.rcptFirst,
    );
  }
  const decision = await decide(stagesOf(client.listener).data, dataFacts(session, transaction));
  logNotes(session, decision, { from: transaction.sender });
  if (isRefusal(decision)) return refusedMessage(session, transaction, decision);
  transaction.effects.push(...(decision.effects ?? []));
  const clientName = await client.name();
  try {
    const isDiscarded = transaction.discarded || decision.kind === "discard";
    const writer = session.ports.queue.newMessage();
    return incomingOf(session, { transaction, isDiscarded, writer, clientName, decoder });
  } catch (error) {
    if (!(error instanceof QueueUnavailable)) throw error;
    const trouble = queueTrouble(error.reason);
    return session.refusal("data", trouble.reason, trouble.reply);
  }
}

function incomingOf(
  session: Session,
  from: {
    readonly transaction: Transaction;
    readonly isDiscarded: boolean;
    readonly writer: MessageWriter;
    readonly clientName: string | undefined;
    readonly decoder: Decoder;
  },
): Incoming {
  const { transaction, writer, clientName, decoder } = from;
  const { client } = session;
  const { server } = client.config;
  const { tls, role, authenticatedHeader, cleanHeaders } = client.listener;
  const receivedMs = Date.now();
  const { forwarded } = session;
  const isDiscarded = from.isDiscarded || transaction.recipients.size === 0;
  const { id } = writer;
  // The transaction is over, and its name gone, when the services for whole messages are asked.
  const instance = server.policyServices.length === 0 ? "" : client.instance;
  const common = {
    extended: client.helo?.extended === true,
    authenticated: client.user !== undefined,
    smtpUtf8: transaction.mail.smtpUtf8,
  };
  const intake = new Intake({
    decoder,
    writer: isDiscarded ? undefined : writer,
    messageBytes: server.limits.messageSizeBytes,
    headerBytes: server.limits.headerSizeBytes,
    edit: headerEditor(client),
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
        authenticatedAs: authenticatedHeader === true ? client.user : undefined,
        recipients: [...transaction.recipients.keys()],
        hidesClient: cleanHeaders?.hideClientAddress === true,
        receivedMs,
      });
      const top = prependedFields(transaction.effects) + received;
      if (role !== "Submission" && !isHeaderOurs(client)) return top;
      const moved = senderOnTheWayIn(client, transaction.sender);
      // Trouble with the sender keeps the message from being stored (below); what its header would say does not matter.
      const sender = moved.kind === "address" ? moved.address : transaction.sender;
      return top + missingFields(header, { receivedMs, id, hostname: server.hostname, sender });
    },
  });
  // The identity is used, the place in the queue is not.
  if (isDiscarded) writer.abort().catch(() => undefined);

  const conclude = async (): Promise<void> => {
    const endedMs = performance.now();
    session.dataEnded();
    const origin: Origin = {
      listener: session.listenerName,
      clientAddress: client.address,
      clientName: clientName ?? "",
      helo: client.helo?.name ?? "",
      protocol: protocolName({ ...common, secure: client.tls !== undefined }),
      ...(client.user === undefined ? {} : { authenticatedAs: client.user }),
      ...(forwarded === undefined ? {} : { forwarded }),
    };
    let refusal: Reply | undefined;
    const result = await intake.finish(async () => {
      const facts = { ...dataFacts(session, transaction), id, instance, size: intake.size };
      const decision = await decide(stagesOf(client.listener).end, facts);
      logNotes(session, decision, { from: transaction.sender });
      if (isRefusal(decision)) {
        refusal = refusedMessage(session, transaction, decision, id);
        return "refuse";
      }
      if (decision.kind === "discard") return "discard";
      transaction.effects.push(...(decision.effects ?? []));
      const hold = client.config.server.queue.hold || isHeldBy(transaction.effects);
      const rewritten = rewrittenEnvelope(client, envelopeOf(transaction));
      if (rewritten.kind === "trouble") {
        const trouble = {
          ...defer("internal", routeReplies.rewriting),
          check: "rewriting",
          cause: new Error(rewritten.reason),
        };
        refusal = refusedMessage(session, transaction, trouble, id);
        return "refuse";
      }
      return { envelope: rewritten.envelope, origin, hold };
    });
    const reply = refusal ?? answer(session, transaction, id, result);
    if (result.kind === "queued") acceptSeconds.observe((performance.now() - endedMs) / 1000);
    await session.finishData(reply);
  };
  return { intake, chunks: undefined, conclude };
}

const dataFacts = ({ client }: Session, { sender, recipients, mail: { size } }: Transaction): DataFacts => ({
  client,
  sender,
  recipients: [...recipients.keys()],
  declaredSize: size,
});

/** At DATA and at the end of it: by policy, not for what the message is. */
function refusedMessage(
  session: Session,
  { sender, recipients }: Transaction,
  refusal: RefusalDecision,
  id?: string,
): Reply {
  const { check, reason, reply, cause } = refusal;
  const { client } = session;
  session.log.info(
    {
      ...(id === undefined ? {} : { id }),
      from: sender,
      nrcpt: recipients.size,
      helo: client.helo?.name,
      user: client.user,
      check,
      reason,
      reply: replyLine(reply),
      ...causeOf(cause),
    },
    "data-refused",
  );
  return session.refusal("data", reason, reply);
}

const queueTrouble = (reason: "full" | "failed" | "closed"): { readonly reason: Reason; readonly reply: Reply } =>
  reason === "full"
    ? { reason: "queue-full", reply: replies.queueFull }
    : { reason: "queue-failed", reply: replies.queueFailed };

const envelopeOf = (transaction: Transaction): Envelope => {
  const { sender, recipients, effects, mail: parameters } = transaction;
  return {
    sender,
    recipients: recipientsOf(recipients, effects),
    smtpUtf8: parameters.smtpUtf8,
    body: parameters.body,
    requireTls: false,
    ...(parameters.envelopeId === undefined ? {} : { envelopeId: parameters.envelopeId }),
    ...(parameters.return === undefined ? {} : { return: parameters.return }),
  };
};

const faultReplies: Readonly<Record<IntakeFault, Reply>> = {
  "bare-newline": replies.bareNewline,
  "nul-byte": replies.nulByte,
  "message-too-large": replies.messageTooLarge,
  "header-too-large": replies.headerTooLarge,
  "too-many-hops": replies.tooManyHops,
};

/** To the scheduler, once the client has its answer: it waits for nothing but the commit. */
function handOver(session: Session, message: QueuedMessage): void {
  setImmediate(() => {
    try {
      session.ports.onAccepted(message);
    } catch (error) {
      // It is stored and ours: it stays claimed, and the next start finds it.
      session.log.error({ id: message.id, ...causeOf(error) }, "hand-over-failed");
    }
  });
}

/** What became of the message, in log, metrics and reply. */
function answer(
  session: Session,
  { sender, recipients, effects }: Transaction,
  id: string,
  result: IntakeResult,
): Reply {
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
      const isHeld = message.recipients.every(({ state }) => state === "hold");
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
          ...forwardedFields(message.origin.forwarded),
          ...(isHeld ? { held: true } : {}),
          ...(effects.length === 0 ? {} : { effects }),
        },
        "queued",
      );
      if (!isHeld) handOver(session, message);
      return replies.queued(id);
    }
    case "refused":
      // Whoever said so has said why.
      return replies.internal;
    case "discarded":
      log.info({ id, from: sender, size: result.size }, "discarded");
      return replies.queued(id);
    case "fault":
      return refused(result.fault, faultReplies[result.fault]);
    case "failed": {
      if (result.error instanceof RewritingTrouble) return refused("internal", routeReplies.rewriting, result.error);
      if (!(result.error instanceof QueueUnavailable)) return refused("internal", replies.internal, result.error);
      const { reason, reply } = queueTrouble(result.error.reason);
      return refused(reason, reply, result.error);
    }
    default:
      return result satisfies never;
  }
}
