/**
 * Calls between the primary and its shards over the channel that node:cluster gives them.
 *
 * One request, one answer, matched by number; both sides may call, or tell something that needs no answer. Promises that a call ends: with the answer,
 * the peer's error, a timeout, or "channel closed" when the other process is gone. Values are JSON. What one turn of the event loop says travels in one
 * message: a write and a read of the pipe cost more than what is in them. Nothing here knows what is being said.
 */
export interface Channel {
  send(message: unknown): boolean;
  onMessage(listener: (message: unknown) => void): void;
  onClose(listener: () => void): void;
}

export type Handler = (parameters: never) => unknown;

interface Call {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

interface Wire {
  readonly kind: "call" | "tell" | "answer" | "error";
  readonly number: number;
  readonly method?: string;
  readonly value?: unknown;
}

interface Packet {
  readonly packetboat: readonly Wire[];
}

const isPacket = (message: unknown): message is Packet =>
  typeof message === "object" && message !== null && "packetboat" in message && Array.isArray(message.packetboat);

/** One end of the channel. `handlers` answers what the other side asks; a throw becomes the caller's error. */
export class Peer {
  readonly #channel: Channel;
  readonly #calls = new Map<number, Call>();
  #last = 0;
  #closed = false;
  #outbox: Wire[] = [];

  constructor(channel: Channel, handlers: Readonly<Record<string, Handler>>) {
    this.#channel = channel;
    channel.onMessage((message) => {
      if (!isPacket(message)) return;
      for (const wire of message.packetboat) {
        if (wire.kind === "call" || wire.kind === "tell") void this.#answer(wire, handlers);
        else this.#settle(wire);
      }
    });
    channel.onClose(() => {
      this.#closed = true;
      for (const call of this.#calls.values()) {
        clearTimeout(call.timer);
        call.reject(new Error("the channel to the other process is closed"));
      }
      this.#calls.clear();
    });
  }

  /** Ask the other side. `Answer` is what the peer's handler of that name returns; both ends are this program. */
  call<Answer>(method: string, value: unknown = null, timeoutMs = 10_000): Promise<Answer> {
    if (this.#closed) return Promise.reject(new Error("the channel to the other process is closed"));
    const number = ++this.#last;
    return new Promise<Answer>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#calls.delete(number);
        reject(new Error(`no answer to ${method} within ${timeoutMs} ms`));
      }, timeoutMs);
      timer.unref();
      this.#calls.set(number, { resolve: resolve as (value: unknown) => void, reject, timer });
      this.#send({ kind: "call", number, method, value });
    });
  }

  /** Say something that nobody answers; lost, like everything else, when the other process is gone. */
  tell(method: string, value: unknown): void {
    if (!this.#closed) this.#send({ kind: "tell", number: 0, method, value });
  }

  /** An answer goes out with this tick, before anything that was put off (an exit, for one); calls wait for the others of this turn. */
  #send(wire: Wire): void {
    this.#outbox.push(wire);
    if (wire.kind === "answer" || wire.kind === "error") process.nextTick(() => this.#flush());
    else if (this.#outbox.length === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    const wires = this.#outbox;
    if (wires.length === 0) return;
    this.#outbox = [];
    if (!this.#closed) this.#channel.send({ packetboat: wires } satisfies Packet);
  }

  async #answer(message: Wire, handlers: Readonly<Record<string, Handler>>): Promise<void> {
    let answer: Wire;
    try {
      const handler = handlers[message.method ?? ""];
      if (handler === undefined) throw new Error(`unknown call ${message.method}`);
      answer = { kind: "answer", number: message.number, value: await handler(message.value as never) };
    } catch (cause) {
      answer = {
        kind: "error",
        number: message.number,
        value: cause instanceof Error ? cause.message : String(cause),
      };
    }
    if (message.kind === "call" && !this.#closed) this.#send(answer);
  }

  #settle(message: Wire): void {
    const call = this.#calls.get(message.number);
    if (call === undefined) return;
    this.#calls.delete(message.number);
    clearTimeout(call.timer);
    if (message.kind === "answer") call.resolve(message.value);
    else call.reject(new Error(String(message.value)));
  }
}
