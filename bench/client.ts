/**
 * A mail client that looks at the clock: one connection, one message at a time, one command after the other, as smtp-source.
 *
 * Any reply that is not the expected one is an error: a benchmark that loses mail has measured nothing.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

export interface Sent {
  /** performance.now() when the last octet of the message was handed to the kernel, and when its 250 was read. */
  readonly endMs: number;
  readonly acceptedMs: number;
}

export class Client implements Disposable {
  readonly #socket: Socket;
  #buffer = "";
  #wake: (() => void) | undefined;
  #ended = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding("latin1");
    socket.on("data", (data: string) => {
      this.#buffer += data;
      this.#wake?.();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  /** Connected, greeted, EHLO said. */
  static async open(port: number, localAddress = "127.0.0.1"): Promise<Client> {
    const socket = connect({ port, host: "127.0.0.1", localAddress });
    await once(socket, "connect");
    const client = new Client(socket);
    await client.#expect("220");
    await client.command("EHLO client.bench.example", "250");
    return client;
  }

  async send(recipient: string, bytes: number): Promise<Sent> {
    await this.command("MAIL FROM:<sender@bench.example>", "250");
    await this.command(`RCPT TO:<${recipient}>`, "250");
    await this.command("DATA", "354");
    this.#socket.write(`Subject: ${recipient}\r\n\r\n${text(bytes)}.\r\n`);
    const endMs = performance.now();
    await this.#expect("250");
    return { endMs, acceptedMs: performance.now() };
  }

  get isOpen(): boolean {
    return !this.#ended;
  }

  /** A line and its reply, which must have this code. */
  async command(line: string, code: string): Promise<void> {
    this.#socket.write(`${line}\r\n`);
    await this.#expect(code);
  }

  async #expect(code: string): Promise<void> {
    for (;;) {
      const reply = /^(?:\d{3}-[^\n]*\n)*(\d{3})[^\n-]?[^\n]*\n/.exec(this.#buffer);
      if (reply !== null) {
        this.#buffer = this.#buffer.slice(reply[0].length);
        if (reply[1] !== code) throw new Error(`${code} was expected, but the answer is ${reply[0].trim()}`);
        return;
      }
      if (this.#ended) throw new Error(`the connection ended where ${code} was expected`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

const texts = new Map<number, string>();

/** Lines of 78 octets, CRLF included, as many as make about `bytes`. */
function text(bytes: number): string {
  let lines = texts.get(bytes);
  if (lines === undefined)
    texts.set(bytes, (lines = `${"x".repeat(76)}\r\n`.repeat(Math.max(1, Math.round(bytes / 78)))));
  return lines;
}
