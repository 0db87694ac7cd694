/**
 * The next hop of a mail server under test, which takes, refuses or puts off by the local part of the address, and keeps what it was told:
 * `ghost` does not exist, `late` is put off until `late` is set free, all others are there. With `dsn` it offers RFC 3461.
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { SMTPServer, type SMTPServerEnvelope } from "smtp-server";

export interface Taken {
  readonly from: string;
  readonly to: readonly string[];
  readonly envelope: SMTPServerEnvelope;
  readonly content: Buffer;
}

export class NextHop implements AsyncDisposable {
  readonly messages: Taken[] = [];
  /** From now on `late` is there. */
  lateIsThere = false;
  /** How often somebody was put off. */
  putOff = 0;
  readonly #server: SMTPServer;

  private constructor(dsn: boolean) {
    this.#server = new SMTPServer({
      authOptional: true,
      disabledCommands: ["STARTTLS", "AUTH"],
      hideDSN: !dsn,
      hideSMTPUTF8: false,
      closeTimeout: 50,
      onRcptTo: (address, _session, callback) => {
        const refuse = (code: number, text: string): void =>
          callback(Object.assign(new Error(text), { responseCode: code }));
        if (address.address.startsWith("ghost")) refuse(550, "5.1.1 No such user here");
        else if (address.address.startsWith("late") && !this.lateIsThere) {
          this.putOff += 1;
          refuse(450, "4.2.0 Come back later");
        } else callback();
      },
      onData: (stream, session, callback) => {
        const chunks: Buffer[] = [];
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("end", () => {
          const { mailFrom, rcptTo } = session.envelope;
          this.messages.push({
            from: mailFrom === false ? "" : mailFrom.address,
            to: rcptTo.map(({ address }) => address),
            envelope: session.envelope,
            content: Buffer.concat(chunks),
          });
          callback();
        });
      },
    });
  }

  static async start(options: { readonly dsn?: boolean } = {}): Promise<NextHop> {
    const hop = new NextHop(options.dsn === true);
    hop.#server.on("error", () => undefined);
    hop.#server.listen(0, "127.0.0.1");
    await once(hop.#server.server, "listening");
    return hop;
  }

  get port(): number {
    return (this.#server.server.address() as AddressInfo).port;
  }

  /** What came for somebody, oldest first. */
  to(address: string): readonly Taken[] {
    return this.messages.filter(({ to }) => to.includes(address));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(resolve));
  }
}
