/**
 * An SMTP client for transcripts: sends exactly the bytes it is given, collects whole replies, upgrades to TLS when told. No opinions of its own.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

export class SmtpDialogue implements AsyncDisposable {
  #socket: Socket | TLSSocket;
  #buffer = "";
  #waiting: (() => void)[] = [];
  #ended = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#attach();
  }

  static async open(
    port: number,
    options: { readonly host?: string; readonly tls?: boolean; readonly localAddress?: string } = {},
  ): Promise<SmtpDialogue> {
    const host = options.host ?? "127.0.0.1";
    const { localAddress } = options;
    const address = { port, host, ...(localAddress === undefined ? {} : { localAddress }) };
    const socket = options.tls === true ? connectTls({ ...address, rejectUnauthorized: false }) : connect(address);
    await once(socket, options.tls === true ? "secureConnect" : "connect");
    // What is written apart travels apart, at once.
    socket.setNoDelay(true);
    return new SmtpDialogue(socket);
  }

  #attach(): void {
    this.#socket.on("data", (data: Buffer) => {
      this.#buffer += data.toString("latin1");
      this.#wake();
    });
    this.#socket.on("close", () => {
      this.#ended = true;
      this.#wake();
    });
    this.#socket.on("error", () => undefined);
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** One whole reply, lines joined by \n; "" when the peer closed. */
  async reply(timeoutMs = 15_000): Promise<string> {
    const deadline = AbortSignal.timeout(timeoutMs);
    for (;;) {
      const match = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n/.exec(this.#buffer);
      if (match !== null) {
        this.#buffer = this.#buffer.slice(match[0].length);
        return match[0].replaceAll("\r\n", "\n").trimEnd();
      }
      if (this.#ended) return "";
      if (deadline.aborted) throw new Error(`no reply within ${timeoutMs} ms; so far ${JSON.stringify(this.#buffer)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  write(text: string): void {
    this.#socket.write(Buffer.from(text, "latin1"));
  }

  /** A command line and its reply. */
  async command(line: string): Promise<string> {
    this.write(`${line}\r\n`);
    return this.reply();
  }

  async startTls(): Promise<TLSSocket> {
    const reply = await this.command("STARTTLS");
    if (!reply.startsWith("220")) throw new Error(`STARTTLS refused: ${reply}`);
    return this.afterTls();
  }

  /** The handshake, once the server has agreed to it. */
  async afterTls(certificate: { readonly cert?: string; readonly key?: string } = {}): Promise<TLSSocket> {
    this.#socket.removeAllListeners("data");
    const secure = connectTls({ socket: this.#socket, rejectUnauthorized: false, ...certificate });
    await once(secure, "secureConnect");
    this.#socket = secure;
    this.#attach();
    return secure;
  }

  /** EHLO, MAIL, RCPT, DATA, message; every reply in order, ending at the first refusal. */
  async send(mail: {
    readonly from: string;
    readonly to: readonly string[];
    readonly content: string;
  }): Promise<string[]> {
    const replies: string[] = [];
    for (const line of [`MAIL FROM:<${mail.from}>`, ...mail.to.map((to) => `RCPT TO:<${to}>`), "DATA"]) {
      const reply = await this.command(line);
      replies.push(reply);
      if (!/^[23]/.test(reply)) return replies;
    }
    const lines = mail.content.replaceAll(/\r?\n/g, "\r\n").replaceAll(/^\./gm, "..");
    this.write(`${lines}${lines.endsWith("\r\n") ? "" : "\r\n"}.\r\n`);
    replies.push(await this.reply());
    return replies;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#socket.end();
    this.#socket.destroy();
    await Promise.resolve();
  }
}
