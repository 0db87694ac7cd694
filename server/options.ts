/**
 * The server's command line: where configuration and data are, and where to listen. Everything else is configuration.
 *
 * Read by main.ts in the primary and in every shard (same arguments). A mistake ends the process with commander's sentence and exit code 1.
 */
import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError } from "commander";

export interface ServerOptions {
  /** Folder of rendered files (manifest.json …). */
  readonly config: string;
  /** Folder of the queue, maildirs and the lock. */
  readonly data: string;
  readonly listen: readonly string[];
  /** Added to every listener's port. */
  readonly portOffset: number;
  readonly adminPort: number;
  readonly shards: number;
  /** How long SIGTERM lets transactions and deliveries finish. */
  readonly drainMs: number;
}

function integer(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < minimum || value > maximum)
      throw new InvalidArgumentError(`a whole number from ${minimum} to ${maximum} is needed.`);
    return value;
  };
}

export function parseOptions(argv: readonly string[]): ServerOptions {
  const command = new Command("packetboat-server")
    .description("One MTA: a primary and its shards.")
    .requiredOption("--config <dir>", "folder of the rendered configuration")
    .requiredOption("--data <dir>", "folder of the queue and local mailboxes")
    .option(
      "--listen <addresses>",
      "addresses to listen on, comma separated",
      (text) => text.split(",").filter((part) => part !== ""),
      ["::"],
    )
    .option("--port-offset <n>", "added to every listener's port", integer(0, 60000), 0)
    .option("--admin-port <port>", "port of /metrics, /healthz, /readyz, /config, /queue", integer(1, 65535), 9125)
    .option("--shards <n>", "shard processes", integer(1, 64), Math.max(1, availableParallelism()))
    .option("--drain <seconds>", "grace at SIGTERM", integer(0, 3600), 25)
    .parse([...argv], { from: "user" });
  const { drain, ...rest } = command.opts<Omit<ServerOptions, "drainMs"> & { drain: number }>();
  return { ...rest, drainMs: drain * 1000 };
}
