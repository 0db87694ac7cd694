/** Between the port's values and the JSON text that travels to the worker and lies in the database. Main thread; pure. */
import type { Reply } from "../reply.ts";
import type { RawMessage, RawNewRecipient, RawRecipient, RawSettlement, StartState } from "./protocol.ts";
import type { Envelope, NewRecipient, Origin, QueuedMessage, QueuedRecipient, Settlement } from "./queue.ts";
import { recipientKey } from "./recipient-key.ts";

/** Equal addresses once: the first wins. */
export function distinctRecipients(recipients: readonly NewRecipient[]): readonly NewRecipient[] {
  if (recipients.length < 2) return recipients;
  const seen = new Set<string>();
  return recipients.filter(({ address }) => {
    const key = recipientKey(address);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** Named one by one: what else a caller's object carries does not belong on disk. */
export function envelopeText(envelope: Omit<Envelope, "recipients">): string {
  const { sender, envelopeId, return: returned, smtpUtf8, body, requireTls } = envelope;
  return JSON.stringify({ sender, envelopeId, return: returned, smtpUtf8, body, requireTls });
}

export function rawRecipient({ address, originalRecipient, notify, expanded }: NewRecipient): RawNewRecipient {
  const hasDetails = originalRecipient !== undefined || notify !== undefined;
  return {
    address,
    details: hasDetails ? JSON.stringify({ originalRecipient, notify }) : null,
    expanded: expanded === true,
  };
}

const replyText = (reply: Reply, remoteHost: string | undefined): string =>
  JSON.stringify({ code: reply.code, enhanced: reply.enhanced, text: reply.text, remoteHost });

export function rawSettlement(settlement: Settlement): RawSettlement {
  const { recipient } = settlement;
  switch (settlement.kind) {
    case "delivered":
    case "failed":
      return { recipient, kind: "closed" };
    case "deferred": {
      const { dueMs, delayWarned } = settlement;
      return {
        recipient,
        kind: "deferred",
        reply: replyText(settlement.reply, settlement.remoteHost),
        dueMs,
        delayWarned,
      };
    }
    case "expanded":
      return { recipient, kind: "expanded", into: settlement.into.map(rawRecipient) };
    case "returned":
      return { recipient, kind: "returned", dueMs: settlement.dueMs };
    case "held":
      return { recipient, kind: "held" };
  }
}

function queuedRecipient(raw: RawRecipient): QueuedRecipient {
  const details =
    raw.details === null ? {} : (JSON.parse(raw.details) as Pick<NewRecipient, "originalRecipient" | "notify">);
  const reply =
    raw.reply === null ? {} : { lastReply: JSON.parse(raw.reply) as NonNullable<QueuedRecipient["lastReply"]> };
  return {
    number: raw.number,
    address: raw.address,
    ...details,
    expanded: raw.expanded,
    state: raw.state,
    attempts: raw.attempts,
    dueMs: raw.dueMs,
    delayWarned: raw.delayWarned,
    ...reply,
  };
}

export function queuedMessage(raw: RawMessage): QueuedMessage {
  return {
    id: raw.id,
    receivedMs: raw.receivedMs,
    size: raw.size,
    envelope: JSON.parse(raw.envelope) as Omit<Envelope, "recipients">,
    origin: JSON.parse(raw.origin) as Origin,
    recipients: raw.recipients.map(queuedRecipient),
    ...(raw.corrupt ? { corrupt: true as const } : {}),
    ...(raw.dialogue === undefined ? {} : { lastDialogue: raw.dialogue }),
  };
}

/** What the database holds after a message was stored, without asking it. */
export function storedMessage(message: {
  readonly id: string;
  readonly receivedMs: number;
  readonly size: number;
  readonly envelope: Envelope;
  readonly origin: Origin;
  readonly recipients: readonly NewRecipient[];
  readonly start: StartState;
}): QueuedMessage {
  const { id, receivedMs, size, origin, recipients, start } = message;
  const { recipients: _, ...envelope } = message.envelope;
  return {
    id,
    receivedMs,
    size,
    envelope,
    origin,
    recipients: recipients.map(({ address, originalRecipient, notify, expanded }, number) => ({
      number,
      address,
      ...(originalRecipient === undefined ? {} : { originalRecipient }),
      ...(notify === undefined ? {} : { notify }),
      expanded: expanded === true,
      state: start,
      attempts: start === "active" ? 1 : 0,
      dueMs: receivedMs,
      delayWarned: false,
    })),
  };
}
