/**
 * Test fixture: the Queue port in memory, with its promises but stable storage. Used by *.test.ts only.
 */
import { contentOf, origin, text } from "../deliver/outbound-fixture.ts";
import type {
  Envelope,
  GeneratedMessage,
  MessageWriter,
  Queue,
  QueuedMessage,
  QueuedRecipient,
  QueueSummary,
  Settlement,
} from "../queue/queue.ts";
import { laneOf, senderKey } from "../queue/sender-key.ts";

interface Stored {
  message: QueuedMessage;
  recipients: Map<number, QueuedRecipient>;
  content: Buffer;
  nextNumber: number;
}

/** The Queue port in memory: the promises of queue.ts but for stable storage. */
export class MemoryQueue implements Queue {
  readonly stored = new Map<string, Stored>();
  readonly settlements: { readonly id: string; readonly settlement: Settlement }[] = [];
  failNextSettles: Error[] = [];
  #ids = 0;
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  put(
    envelope: Partial<Envelope> & { readonly recipients: Envelope["recipients"] },
    content: string | Buffer = text,
    receivedMs = this.#now(),
  ): QueuedMessage {
    const id = `0Memory${String(++this.#ids).padStart(6, "0")}`;
    const { recipients, ...rest } = envelope;
    const bytes = Buffer.from(content);
    const message: QueuedMessage = {
      id,
      receivedMs,
      size: bytes.length,
      envelope: { sender: "sender@remote.test", smtpUtf8: false, body: "7BIT", requireTls: false, ...rest },
      origin,
      recipients: [],
    };
    const stored: Stored = { message, recipients: new Map(), content: bytes, nextNumber: 0 };
    for (const recipient of recipients) this.#add(stored, recipient);
    this.stored.set(id, stored);
    return this.#claimed(stored, [...stored.recipients.values()]);
  }

  #add(stored: Stored, recipient: Envelope["recipients"][number]): QueuedRecipient | undefined {
    if ([...stored.recipients.values()].some(({ address }) => address === recipient.address)) return undefined;
    const number = stored.nextNumber++;
    const queued: QueuedRecipient = {
      expanded: false,
      ...recipient,
      number,
      state: "active",
      attempts: 1,
      dueMs: this.#now(),
      delayWarned: false,
    };
    stored.recipients.set(number, queued);
    return queued;
  }

  #claimed(stored: Stored, recipients: readonly QueuedRecipient[]): QueuedMessage {
    return { ...stored.message, recipients };
  }

  settle(
    id: string,
    settlements: readonly Settlement[],
    reports: readonly GeneratedMessage[] = [],
  ): Promise<readonly QueuedMessage[]> {
    const failure = this.failNextSettles.shift();
    if (failure !== undefined) return Promise.reject(failure);
    const stored = this.stored.get(id);
    if (stored === undefined) return Promise.resolve([]);
    const added: QueuedRecipient[] = [];
    for (const settlement of settlements) {
      const recipient = stored.recipients.get(settlement.recipient);
      const isFinal = settlement.kind === "delivered" || settlement.kind === "failed";
      if (recipient === undefined || (recipient.state !== "active" && !isFinal))
        throw new Error(`recipient ${settlement.recipient} of ${id} is not claimed`);
      this.settlements.push({ id, settlement });
      const change = (next: Partial<QueuedRecipient>): void =>
        void stored.recipients.set(recipient.number, { ...recipient, ...next });
      if (settlement.kind === "deferred") {
        change({
          state: "deferred",
          dueMs: settlement.dueMs,
          lastReply: settlement.reply,
          delayWarned: settlement.delayWarned ?? recipient.delayWarned,
        });
      } else if (settlement.kind === "returned")
        change({ state: "deferred", dueMs: settlement.dueMs, attempts: recipient.attempts - 1 });
      else if (settlement.kind === "held") change({ state: "hold" });
      else {
        stored.recipients.delete(recipient.number);
        if (settlement.kind === "expanded")
          added.push(...settlement.into.flatMap((each) => this.#add(stored, each) ?? []));
      }
    }
    if (stored.recipients.size === 0) this.stored.delete(id);
    const written = reports.map(({ envelope, content }) => this.put(envelope, content));
    return Promise.resolve([...written, ...(added.length > 0 ? [this.#claimed(stored, added)] : [])]);
  }

  claimDue(
    nowMs: number,
    limit: number,
    { fullLanes = [] }: Parameters<Queue["claimDue"]>[2] = {},
  ): Promise<readonly QueuedMessage[]> {
    const claimed: QueuedMessage[] = [];
    for (const stored of this.stored.values()) {
      if (fullLanes.includes(laneOf(senderKey(stored.message.envelope, stored.message.origin)))) continue;
      const due = [...stored.recipients.values()].filter(({ state, dueMs }) => state === "deferred" && dueMs <= nowMs);
      if (due.length === 0 || claimed.length >= limit) continue;
      const active = due.map(
        (recipient): QueuedRecipient => ({ ...recipient, state: "active", attempts: recipient.attempts + 1 }),
      );
      for (const recipient of active) stored.recipients.set(recipient.number, recipient);
      claimed.push(this.#claimed(stored, active));
    }
    return Promise.resolve(claimed);
  }

  nextDueMs(): Promise<number | undefined> {
    const due = [...this.stored.values()].flatMap(({ recipients }) =>
      [...recipients.values()].flatMap(({ state, dueMs }) => (state === "deferred" ? [dueMs] : [])),
    );
    return Promise.resolve(due.length === 0 ? undefined : Math.min(...due));
  }

  read(id: string): AsyncIterable<Buffer> {
    return contentOf(this.stored.get(id)?.content ?? Buffer.alloc(0));
  }

  flush(nowMs: number): Promise<number> {
    let count = 0;
    for (const { recipients } of this.stored.values()) {
      for (const recipient of recipients.values()) {
        if (recipient.state !== "deferred") continue;
        recipients.set(recipient.number, { ...recipient, dueMs: nowMs });
        count += 1;
      }
    }
    return Promise.resolve(count);
  }

  active(): Promise<readonly QueuedMessage[]> {
    return Promise.resolve(
      [...this.stored.values()].flatMap((stored) => {
        const active = [...stored.recipients.values()].filter(({ state }) => state === "active");
        return active.length === 0 ? [] : [this.#claimed(stored, active)];
      }),
    );
  }
  newMessage(): MessageWriter {
    throw new Error("the outbound tests put messages directly");
  }
  unavailable(): undefined {
    return undefined;
  }
  async summary(): Promise<QueueSummary> {
    const active = (await this.active()).length;
    return {
      messages: { active, deferred: 0, hold: 0, corrupt: 0 },
      recipients: 0,
      bytes: 0,
      oldestMs: 0,
    };
  }
  list(): Promise<readonly QueuedMessage[]> {
    return Promise.resolve(
      [...this.stored.values()].map((stored) => this.#claimed(stored, [...stored.recipients.values()])),
    );
  }
  get(id: string): Promise<QueuedMessage | undefined> {
    const stored = this.stored.get(id);
    return Promise.resolve(stored === undefined ? undefined : this.#claimed(stored, [...stored.recipients.values()]));
  }
  hold(): Promise<boolean> {
    return Promise.resolve(false);
  }
  release(): Promise<boolean> {
    return Promise.resolve(false);
  }
  remove(): Promise<boolean> {
    return Promise.resolve(false);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}
