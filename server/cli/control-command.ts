/**
 * `packetboat control NAME`: a pod's end of the command line run elsewhere (`cluster.ts`). Not for people.
 *
 * A request's JSON body comes on standard input, the control socket's lines go out as they are; `content` gives octets, and EX_NOINPUT where there is no
 * such message. A server that cannot be reached is EX_UNAVAILABLE with a sentence on standard error.
 */
import { pipeline } from "node:stream/promises";
import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { dataFolder, localConnection, Unreachable } from "./control-client.ts";
import { print, type Terminal } from "./terminal.ts";

const EX_NOINPUT = 66;
const EX_UNAVAILABLE = 69;

export function controlCommand(program: Command, terminal: Terminal, end: (code: number) => void): void {
  program
    .command("control", { hidden: true })
    .argument("<name>")
    .option("--data <dir>")
    .action(async (name: string, options: { data?: string }) => {
      const server = localConnection(dataFolder(options.data));
      const body = JSON.parse(await text(terminal.input)) as { id?: unknown };
      try {
        if (name === "content") {
          const content = await server.content(String(body.id));
          if (content === undefined) return end(EX_NOINPUT);
          return await pipeline(content, terminal.output, { end: false });
        }
        for await (const line of server.ask(name, body)) await print(terminal, JSON.stringify(line));
      } catch (cause) {
        const error = cause instanceof Error ? cause.message : String(cause);
        if (!(cause instanceof Unreachable)) return await print(terminal, JSON.stringify({ error }));
        terminal.complaints.write(`${error}\n`);
        end(EX_UNAVAILABLE);
      }
    });
}
