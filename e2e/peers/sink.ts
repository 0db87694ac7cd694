/**
 * A mail server that takes everything and keeps it: the outside world of a test. Whatever is here has left the server under test.
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { SMTPServer } from "smtp-server";

export interface Sunk {
  readonly from: string;
  readonly to: readonly string[];
  readonly content: string;
}

export class Sink implements AsyncDisposable {
  readonly messages: Sunk[] = [];
  /** Connections so far: even a message that was refused later leaves a trace here. */
  connections = 0;
  /** Every recipient gets a 4xx while this is true. */
  refuses = false;
  /** Told of each message before its 250. */
  onMessage: (message: Sunk) => void = () => undefined;
  readonly #server: SMTPServer;

  private constructor() {
    this.#server = new SMTPServer({
      authOptional: true,
      disabledCommands: ["STARTTLS", "AUTH"],
      // Sessions that the server under test keeps for later are nobody's loss.
      closeTimeout: 50,
      onConnect: (_session, callback) => {
        this.connections += 1;
        callback();
      },
      onRcptTo: (_address, _session, callback) => {
        if (!this.refuses) return callback();
        callback(Object.assign(new Error("4.2.0 Not now"), { responseCode: 450 }));
      },
      onData: (stream, session, callback) => {
        const chunks: Buffer[] = [];
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("end", () => {
          const { mailFrom, rcptTo } = session.envelope;
          const message: Sunk = {
            from: mailFrom === false ? "" : mailFrom.address,
            to: rcptTo.map(({ address }) => address),
            content: Buffer.concat(chunks).toString("latin1"),
          };
          this.messages.push(message);
          this.onMessage(message);
          callback();
        });
      },
    });
  }

  /** `port` 0: any free one. */
  static async start(port = 0): Promise<Sink> {
    const sink = new Sink();
    sink.#server.on("error", () => undefined);
    sink.#server.listen(port, "127.0.0.1");
    await once(sink.#server.server, "listening");
    return sink;
  }

  get port(): number {
    return (this.#server.server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(resolve));
  }
}
