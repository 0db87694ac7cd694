/**
 * Calls between the primary and its shards over the channel that node:cluster gives them.
 *
 * One request, one answer, matched by number; both sides may call. Promises that a call ends: with the answer, the peer's error, a timeout, or
 * "channel closed" when the other process is gone. Values are JSON. Nothing here knows what is being said.
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
  readonly packetboat: "call" | "answer" | "error";
  readonly number: number;
  readonly method?: string;
  readonly value?: unknown;
}

const isWire = (message: unknown): message is Wire =>
  typeof message === "object" && message !== null && "packetboat" in message;

/** One end of the channel. `handlers` answers what the other side asks; a throw becomes the caller's error. */
export class Peer {
  readonly #channel: Channel;
  readonly #calls = new Map<number, Call>();
  #last = 0;
  #closed = false;

  constructor(channel: Channel, handlers: Readonly<Record<string, Handler>>) {
    this.#channel = channel;
    channel.onMessage((message) => {
      if (!isWire(message)) return;
      if (message.packetboat === "call") void this.#answer(message, handlers);
      else this.#settle(message);
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
      this.#channel.send({ packetboat: "call", number, method, value } satisfies Wire);
    });
  }

  async #answer(message: Wire, handlers: Readonly<Record<string, Handler>>): Promise<void> {
    let answer: Wire;
    try {
      const handler = handlers[message.method ?? ""];
      if (handler === undefined) throw new Error(`unknown call ${message.method}`);
      answer = { packetboat: "answer", number: message.number, value: await handler(message.value as never) };
    } catch (cause) {
      answer = {
        packetboat: "error",
        number: message.number,
        value: cause instanceof Error ? cause.message : String(cause),
      };
    }
    if (!this.#closed) this.#channel.send(answer);
  }

  #settle(message: Wire): void {
    const call = this.#calls.get(message.number);
    if (call === undefined) return;
    this.#calls.delete(message.number);
    clearTimeout(call.timer);
    if (message.packetboat === "answer") call.resolve(message.value);
    else call.reject(new Error(String(message.value)));
  }
}
