/** A host that takes connections and never says anything: what a hung server, or a firewall in the wrong place, is to a client. */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";

export class Deaf implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
    });
  }

  static async listen(): Promise<Deaf> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return new Deaf(server, address.port);
  }

  /** Connections so far. */
  get met(): number {
    return this.#sockets.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
