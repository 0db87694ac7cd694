/**
 * The newest messages' lives, in memory: what `packetboat trace` tells besides the queue and the log.
 *
 * One in each shard. Fed where mail is accepted and by every settlement that was stored (`settled`); gone with the process. Bounded in messages and,
 * against mass mailings, in what it keeps of all of them; the oldest go first. On the path of every message, so it keeps values that exist
 * anyway and makes few of its own. Never asked for a decision.
 */
import type { Origin, QueuedMessage, Settlement } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";

export type LifeEvent = { readonly atMs: number } & (
  | {
      readonly kind: "delivered" | "failed" | "deferred";
      readonly recipient: string;
      readonly reply: Reply;
      readonly remoteHost?: string | undefined;
      readonly nextMs?: number | undefined;
    }
  | { readonly kind: "expanded"; readonly recipient: string; readonly into: readonly string[] }
  | { readonly kind: "returned" | "held"; readonly recipient: string }
  /** A report about it was stored. */
  | { readonly kind: "reported"; readonly report: string }
  | { readonly kind: "operator"; readonly verb: string }
);

export interface Life {
  readonly id: string;
  readonly receivedMs: number;
  readonly size: number;
  readonly sender: string;
  readonly origin: Origin;
  /** How many it was accepted for, and the first of them. */
  readonly recipientCount: number;
  readonly recipients: readonly string[];
  readonly events: readonly LifeEvent[];
  /** Events between the first and the last that are not kept. */
  readonly dropped: number;
}

interface Kept {
  readonly message: QueuedMessage;
  /** By number; those of `message` are not repeated here. */
  added: Map<number, string> | undefined;
  readonly events: LifeEvent[];
  dropped: number;
  weight: number;
}

export interface HistoryLimits {
  readonly messages: number;
  /** Recipients and events of all together. */
  readonly weight: number;
  /** Of one message. */
  readonly events: number;
}

const usual: HistoryLimits = { messages: 5000, weight: 50_000, events: 64 };
const RECIPIENTS_SHOWN = 20;
const LONGEST_REPLY = 500;

export class History {
  readonly #limits: HistoryLimits;
  readonly #now: () => number;
  readonly #lives = new Map<string, Kept>();
  #weight = 0;

  constructor(limits: Partial<HistoryLimits> = {}, now: () => number = Date.now) {
    this.#limits = { ...usual, ...limits };
    this.#now = now;
  }

  /** A message that is in the queue from now on. */
  accepted(message: QueuedMessage): void {
    this.#keep({
      message,
      added: undefined,
      events: [],
      dropped: 0,
      weight: 2 + message.recipients.length,
    });
  }

  happened(id: string, event: LifeEvent): void {
    const life = this.#lives.get(id);
    if (life === undefined) return;
    const { events } = life;
    if (events.length >= this.#limits.events) {
      // The beginning says how it came about, the end how it stands.
      events.splice(this.#limits.events / 2, 1);
      life.dropped += 1;
    } else {
      life.weight += 1;
      this.#weight += 1;
      this.#shrink();
    }
    events.push(event);
  }

  operator(id: string, verb: string): void {
    this.happened(id, { atMs: this.#now(), kind: "operator", verb });
  }

  life(id: string): Life | undefined {
    const kept = this.#lives.get(id);
    if (kept === undefined) return undefined;
    const { message, events, dropped } = kept;
    return {
      id,
      receivedMs: message.receivedMs,
      size: message.size,
      sender: message.envelope.sender,
      origin: message.origin,
      recipientCount: message.recipients.length,
      recipients: message.recipients.slice(0, RECIPIENTS_SHOWN).map(({ address }) => address),
      events: [...events],
      dropped,
    };
  }

  /** Results that are on disk; `stored` is what the queue gave back for them. */
  settled(id: string, settlements: readonly Settlement[], stored: readonly QueuedMessage[]): void {
    const life = this.#lives.get(id);
    const atMs = this.#now();
    if (life !== undefined) {
      for (const settlement of settlements) this.happened(id, this.#eventOf(life, settlement, atMs));
    }
    for (const message of stored) {
      if (message.id === id) {
        if (life === undefined) continue;
        life.added ??= new Map();
        for (const { number, address } of message.recipients) life.added.set(number, address);
        life.weight += message.recipients.length;
        this.#weight += message.recipients.length;
        this.#shrink();
      } else {
        this.accepted(message);
        this.happened(id, { atMs, kind: "reported", report: message.id });
      }
    }
  }

  #eventOf({ message, added }: Kept, settlement: Settlement, atMs: number): LifeEvent {
    const { recipient: number } = settlement;
    // Stored in the order of their numbers; a message met half-way (after a restart) may lack some.
    const known = message.recipients[number];
    const recipient =
      (known?.number === number ? known.address : undefined) ??
      added?.get(number) ??
      message.recipients.find((each) => each.number === number)?.address ??
      `recipient ${number}`;
    switch (settlement.kind) {
      case "delivered":
      case "failed":
      case "deferred": {
        const { kind, reply, remoteHost } = settlement;
        const bounded =
          reply.text.length > LONGEST_REPLY ? { ...reply, text: reply.text.slice(0, LONGEST_REPLY) } : reply;
        return {
          atMs,
          kind,
          recipient,
          reply: bounded,
          remoteHost,
          nextMs: kind === "deferred" ? settlement.dueMs : undefined,
        };
      }
      case "expanded":
        return {
          atMs,
          kind: "expanded",
          recipient,
          into: settlement.into.slice(0, RECIPIENTS_SHOWN).map(({ address }) => address),
        };
      case "returned":
      case "held":
        return { atMs, kind: settlement.kind, recipient };
    }
  }

  #keep(life: Kept): void {
    this.#lives.set(life.message.id, life);
    this.#weight += life.weight;
    this.#shrink();
  }

  #shrink(): void {
    while (this.#lives.size > this.#limits.messages || (this.#weight > this.#limits.weight && this.#lives.size > 1)) {
      for (const [id, life] of this.#lives) {
        this.#lives.delete(id);
        this.#weight -= life.weight;
        break;
      }
    }
  }
}
