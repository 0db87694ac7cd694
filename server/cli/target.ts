/** Which servers a command is for: options that every command shares, and what they lead to. A mistake is commander's sentence and exit code 2. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { type ClusterOptions, podConnection, podsOf } from "./cluster.ts";
import { type Connection, dataFolder, localConnection } from "./control-client.ts";
import { Fleet } from "./fleet.ts";
import { complain, type Terminal } from "./terminal.ts";

export interface TargetOptions {
  readonly data?: string;
  readonly namespace?: string;
  readonly server?: string;
  readonly pod?: string;
  readonly context?: string;
  readonly json?: true;
}

/** RFC 1123: what Kubernetes names may be; so nothing that kubectl could take for an option. */
function kubernetesName(text: string): string {
  if (!/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/.test(text))
    throw new InvalidArgumentError("not a name of Kubernetes.");
  return text;
}

export function withTarget(command: Command): Command {
  return command
    .addOption(new Option("--data <dir>", "data folder of a server on this machine (else PACKETBOAT_DATA)"))
    .addOption(new Option("-n, --namespace <name>", "namespace of a MailServer in a cluster").argParser(kubernetesName))
    .addOption(new Option("--server <name>", "name of the MailServer in the cluster").argParser(kubernetesName))
    .addOption(new Option("--pod <name>", "only this pod of it").argParser(kubernetesName))
    .addOption(new Option("--context <name>", "context of kubectl"))
    .option("--json", "JSON for programs instead of text for people");
}

/** Undefined: a server on this machine. */
export function clusterOf({ namespace, server, pod, context, data }: TargetOptions): ClusterOptions | undefined {
  if (server === undefined && pod === undefined) {
    if (namespace !== undefined || context !== undefined) throw new UsageError("--server NAME is needed for a cluster");
    return undefined;
  }
  if (data !== undefined) throw new UsageError("--data is for a server on this machine, --server for one in a cluster");
  return { namespace: namespace ?? "default", server: server ?? "", pod, context };
}

export class UsageError extends Error {
  override readonly name = "UsageError";
}

export async function fleetOf(options: TargetOptions, terminal: Terminal): Promise<Fleet> {
  const cluster = clusterOf(options);
  const servers: readonly Connection[] =
    cluster === undefined
      ? [localConnection(dataFolder(options.data))]
      : (await podsOf(cluster)).map((pod) => podConnection(cluster, pod));
  return new Fleet(servers, (text) => complain(terminal, text));
}
