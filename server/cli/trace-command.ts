/**
 * `packetboat trace ID`: everything that is known of one message.
 *
 * What the queue says now with the last dialogue, what the shard remembers of its life (the newest messages only), and with `--log` the lines that the
 * log has about it: of the server's own file, of any file, of standard input, or of the pods. Exit code 1 when nobody knows it.
 */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { Command } from "commander";
import { podLog, podsOf } from "./cluster.ts";
import { dataFolder } from "./control-client.ts";
import type { Fleet, Traced } from "./fleet.ts";
import { type LogLine, traceText } from "./message-text.ts";
import { clusterOf, fleetOf, type TargetOptions, UsageError, withTarget } from "./target.ts";
import { complain, print, type Terminal } from "./terminal.ts";

interface Options extends TargetOptions {
  readonly log?: string | true;
}

/** Of a message that bounced and bounced again. */
const MOST_LINES = 10_000;

/** The lines that name this id: as the message's own or as a report's. */
export async function logLinesOf(id: string, stream: Readable): Promise<LogLine[]> {
  const found: LogLine[] = [];
  for await (const text of createInterface({ input: stream })) {
    // Most lines are about others: not parsed.
    if (!text.includes(id) || found.length >= MOST_LINES) continue;
    const start = text.indexOf("{");
    if (start < 0) continue;
    try {
      const line = JSON.parse(text.slice(start)) as LogLine;
      const { ids, ...rest } = line;
      if (line["id"] === id || line["report"] === id) found.push(line);
      // What an operator did to many at once.
      else if (Array.isArray(ids) && ids.includes(id)) found.push(rest);
    } catch {
      // Cut off by a rotation; there may be others.
    }
  }
  return found;
}

async function logOf(id: string, options: Options, terminal: Terminal): Promise<LogLine[]> {
  const { log } = options;
  if (log === undefined) return [];
  if (log === "-") return await logLinesOf(id, terminal.input);
  if (log !== true) return await logLinesOf(id, createReadStream(log));
  const cluster = clusterOf(options);
  if (cluster === undefined)
    return await logLinesOf(id, createReadStream(join(dataFolder(options.data), "server.log")));
  const lines = await Promise.all(
    (await podsOf(cluster)).map(async (pod) =>
      (await logLinesOf(id, podLog(cluster, pod))).map((line) => ({ ...line, pod })),
    ),
  );
  return lines.flat();
}

async function trace(id: string, options: Options, fleet: Fleet, terminal: Terminal): Promise<number> {
  // A log that holds everything does not need a server.
  const traced = await fleet.trace(id).catch((cause: unknown): Traced | undefined => {
    if (options.log === undefined) throw cause;
    complain(terminal, cause instanceof Error ? cause.message : String(cause));
    return undefined;
  });
  const log = await logOf(id, options, terminal);
  log.sort((a, b) => Date.parse(String(a.time)) - Date.parse(String(b.time)));
  if (traced === undefined && log.length === 0) {
    complain(
      terminal,
      `${id}: not in the queue, and not among the newest messages${options.log === undefined ? "; --log looks into the log" : ", and not in the log"}`,
    );
    return 1;
  }
  await print(
    terminal,
    options.json === true
      ? JSON.stringify({ ...(traced ?? { id, message: null, life: null }), log })
      : traceText(id, traced, log, Date.now()),
  );
  return fleet.incomplete ? 1 : 0;
}

export function traceCommand(program: Command, terminal: Terminal, end: (code: number) => void): void {
  withTarget(program.command("trace"))
    .description("one message's whole life: queue, last dialogue, what the server remembers, log")
    .argument("<id>", "queue id")
    .option("--log [file]", "add its log lines: of this file, of - , or of the server itself")
    .action(async (id: string, options: Options) => {
      if (!/^[0-9A-Za-z]{10,20}$/.test(id)) throw new UsageError(`not a queue id: ${JSON.stringify(id.slice(0, 40))}`);
      end(await trace(id, options, await fleetOf(options, terminal), terminal));
    });
}
