/** The command line of the embedded default: `npm start -- --manifests DIR --data DIR --offset N --server NAME`. A mistake is commander's sentence and exit code 1. */
import { resolve } from "node:path";
import { Command, InvalidArgumentError } from "commander";

export interface LocalOptions {
  /** Absolute. */
  readonly manifests: string;
  /** Absolute. */
  readonly data: string;
  /** Added to every port. */
  readonly offset: number;
  /** `name` or `namespace/name` of the MailServer to run, where the folder holds several. */
  readonly server?: string;
}

/** So that 9125 + N, and any listener's port the container may have, stays a port. */
const MAX_OFFSET = 50_000;

function offset(text: string): number {
  const value = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || value > MAX_OFFSET)
    throw new InvalidArgumentError(`a whole number from 0 to ${MAX_OFFSET} is needed.`);
  return value;
}

export interface Folders {
  /** Where relative paths are meant from. */
  readonly startedIn: string;
  /** Where the defaults lie. */
  readonly projectFolder: string;
}

export function parseLocalOptions(argv: readonly string[], { startedIn, projectFolder }: Folders): LocalOptions {
  const command = new Command("packetboat")
    .description("Packetboat on this machine: a mail server from a folder of manifests, without Kubernetes.")
    .option(
      "--manifests <dir>",
      "folder of MailServer, MailDomain, Mailbox … and Secret manifests",
      resolve(projectFolder, "examples/quickstart"),
    )
    .option("--data <dir>", "folder of the queue, the mailboxes and the log", resolve(projectFolder, ".data"))
    .option("--offset <n>", "added to every port", offset, 0)
    .option("--server <name>", "which MailServer to run, if the folder holds several")
    .parse([...argv], { from: "user" });
  const options = command.opts<LocalOptions>();
  return { ...options, manifests: resolve(startedIn, options.manifests), data: resolve(startedIn, options.data) };
}
