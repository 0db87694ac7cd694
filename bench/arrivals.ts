/**
 * Where the mail of a benchmark arrives, in the process that sent it, so that both look at the same clock. Nothing is kept but when which recipient's came.
 *
 * And the destinations that make trouble: `hang` connects and says nothing, `refuse4xx` puts every recipient off, `drip` sends its greeting an octet at a
 * time and never ends it. Refusing connections needs nobody.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

export type Manner = "take" | "hang" | "refuse4xx" | "drip";

const DRIP_MS = 500;
const END_OF_DATA = "\r\n.\r\n";

export class Arrivals implements AsyncDisposable {
  readonly #at = new Map<string, number>();
  readonly #waiting = new Map<string, (atMs: number) => void>();
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  #messages = 0;

  /** performance.now() of the last octet of the recipient's message; undefined while it is not here. */
  at(recipient: string): number | undefined {
    return this.#at.get(recipient);
  }

  arrival(recipient: string): Promise<number> {
    const at = this.#at.get(recipient);
    return at === undefined ? new Promise((resolve) => this.#waiting.set(recipient, resolve)) : Promise.resolve(at);
  }

  /** So far, those of the same recipient included. */
  get messages(): number {
    return this.#messages;
  }

  /** Returns the port; 0 for any. */
  async listen(manner: Manner = "take", address = "127.0.0.1", port = 0): Promise<number> {
    const server = createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => this.#sockets.delete(socket));
      this.#talk(socket, manner);
    });
    this.#servers.push(server);
    server.listen({ port, host: address, backlog: 1000 });
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  }

  #talk(socket: Socket, manner: Manner): void {
    if (manner === "hang") {
      socket.resume();
      return;
    }
    if (manner === "drip") {
      const drops = "220-a greeting that never ends\r\n";
      let next = 0;
      const timer = setInterval(() => socket.write(drops[next++ % drops.length] ?? "-"), DRIP_MS);
      socket.on("close", () => clearInterval(timer));
      socket.resume();
      return;
    }
    socket.setEncoding("latin1");
    socket.write("220 sink.bench.example ESMTP\r\n");
    let buffer = "";
    let isData = false;
    let recipients: string[] = [];
    socket.on("data", (data: string) => {
      buffer += data;
      for (;;) {
        if (isData) {
          const end = buffer.indexOf(END_OF_DATA);
          if (end < 0) {
            buffer = buffer.slice(-(END_OF_DATA.length - 1));
            return;
          }
          this.#arrived(recipients);
          recipients = [];
          isData = false;
          buffer = buffer.slice(end + END_OF_DATA.length);
          socket.write("250 2.0.0 Ok\r\n");
          continue;
        }
        const end = buffer.indexOf("\r\n");
        if (end < 0) return;
        const line = buffer.slice(0, end);
        buffer = buffer.slice(end + 2);
        const verb = line.slice(0, 4).toUpperCase();
        if (verb === "EHLO") socket.write("250-sink.bench.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
        else if (verb === "RCPT" && manner === "refuse4xx") socket.write("450 4.2.0 Not now\r\n");
        else if (verb === "DATA" && recipients.length === 0) socket.write("554 5.5.1 No valid recipients\r\n");
        else if (verb === "DATA") {
          isData = true;
          // The line end of DATA itself counts for a message that is empty.
          buffer = `\r\n${buffer}`;
          socket.write("354 Go\r\n");
        } else if (verb === "QUIT") socket.end("221 2.0.0 Bye\r\n");
        else {
          if (verb === "RCPT") recipients.push(/<([^>]*)>/.exec(line)?.[1] ?? "");
          else if (verb === "RSET" || verb === "MAIL") recipients = [];
          socket.write("250 2.0.0 Ok\r\n");
        }
      }
    });
  }

  #arrived(recipients: readonly string[]): void {
    const now = performance.now();
    this.#messages += 1;
    for (const recipient of recipients) {
      // The first counts: a second would be a duplicate.
      if (!this.#at.has(recipient)) this.#at.set(recipient, now);
      this.#waiting.get(recipient)?.(now);
      this.#waiting.delete(recipient);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  }
}
