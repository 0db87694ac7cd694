/**
 * `packetboat queue …`: Postfix's mailq, postqueue, postsuper, postcat and qshape.
 *
 * Changes go in batches that the server commits one by one, so that a purge of a hundred thousand messages shows how far it is and stops nothing else;
 * interrupted, it has done what it has done. Exit code 1 when an id is nowhere or a server could not be asked.
 */
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Verb, verbs } from "../admin/shard-tools.ts";
import type { QueueFilter } from "../queue/queue.ts";
import type { Fleet, Listed, ShowProgress } from "./fleet.ts";
import { listHead, listRow, messageText, shapeText } from "./message-text.ts";
import { duration, octets, parseDuration, table } from "./table.ts";
import { fleetOf, type TargetOptions, UsageError, withTarget } from "./target.ts";
import { complain, print, progressBar, type Terminal } from "./terminal.ts";

interface FilterOptions extends TargetOptions {
  readonly sender?: string;
  readonly recipient?: string;
  readonly domain?: string;
  readonly state?: "active" | "deferred" | "hold" | "corrupt";
  readonly olderThan?: number;
  readonly all?: true;
}

/** Rows whose columns are lined up together; ids sent in one request. */
const ROWS = 100;
const IDS = 1000;
const validId = /^[0-9A-Za-z]{10,20}$/;

function age(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError("30s, 5m, 2h, 3d or the like is needed.");
  return ms;
}

function count(text: string): number {
  const value = Number(text);
  if (!/^\d{1,9}$/.test(text) || value < 1) throw new InvalidArgumentError("a whole number from 1 is needed.");
  return value;
}

function messageId(text: string): string {
  if (!validId.test(text)) throw new InvalidArgumentError("not a queue id.");
  return text;
}

const withFilter = (command: Command): Command =>
  command
    .option("--sender <address>", "sender: an address, @domain, or <> for the null sender")
    .option("--recipient <address>", "a recipient: an address or @domain")
    .option("--domain <domain>", "a recipient's domain")
    .addOption(new Option("--state <state>", "state").choices(["active", "deferred", "hold", "corrupt"]))
    .addOption(new Option("--older-than <age>", "in the queue for longer than 30s, 5m, 2h, 3d …").argParser(age));

/** Undefined when no condition was given. */
export function filterOf(options: FilterOptions, nowMs: number): QueueFilter | undefined {
  const { sender, recipient, domain, state, olderThan } = options;
  const filter: QueueFilter = {
    ...(sender === undefined ? {} : { sender: sender === "<>" ? "" : sender }),
    ...(recipient === undefined ? {} : { recipient }),
    ...(domain === undefined ? {} : { domain: domain.startsWith("@") ? domain.slice(1) : domain }),
    ...(state === undefined ? {} : { state }),
    ...(olderThan === undefined ? {} : { receivedBeforeMs: nowMs - olderThan }),
  };
  return Object.keys(filter).length === 0 ? undefined : filter;
}

/** As postsuper reads them: one a line, what follows is a comment. */
async function* idsOf(given: readonly string[], terminal: Terminal): AsyncGenerator<string, void> {
  for (const word of given) {
    if (word !== "-") yield messageId(word);
    else
      for await (const line of createInterface({ input: terminal.input })) {
        const [id = ""] = line.trim().split(/\s/, 1);
        if (id === "") continue;
        if (validId.test(id)) yield id;
        else complain(terminal, `not a queue id: ${JSON.stringify(id.slice(0, 40))}`);
      }
  }
}

const past: Readonly<Record<Verb, string>> = {
  hold: "put on hold",
  release: "released",
  delete: "deleted",
  requeue: "requeued",
  flush: "made due",
};

async function change(
  verb: Verb,
  ids: readonly string[],
  options: FilterOptions,
  fleet: Fleet,
  terminal: Terminal,
): Promise<number> {
  const filter = filterOf(options, Date.now());
  const byFilter = options.all === true || (filter !== undefined && ids.length === 0);
  if (options.all === true && (ids.length > 0 || filter !== undefined))
    throw new UsageError("--all stands alone: ids or conditions would say less");
  if (!byFilter && ids.length === 0) throw new UsageError("name ids (- reads them), conditions, or --all");
  if (ids.length > 0 && filter !== undefined && !(verb === "flush" && Object.keys(filter).join() === "domain"))
    throw new UsageError("ids and conditions together: give one of them");
  const bar = progressBar(terminal, verb);
  const missing: string[] = [];
  let changed = 0;
  try {
    if (byFilter) {
      const wanted = verb === "flush" ? { state: "deferred" as const, ...filter } : (filter ?? {});
      changed = (await fleet.actOnAll(verb, wanted, (progress) => bar.show(progress))).changed;
    } else {
      let done = 0;
      const send = async (batch: readonly string[]): Promise<void> => {
        const show: ShowProgress = (progress) => bar.show({ done: done + progress.done, total: undefined });
        const result = await fleet.actOn(verb, batch, options.domain, show);
        done += batch.length;
        changed += result.changed;
        missing.push(...result.missing);
      };
      let batch: string[] = [];
      for await (const id of idsOf(ids, terminal)) {
        batch.push(id);
        if (batch.length < IDS) continue;
        await send(batch);
        batch = [];
      }
      if (batch.length > 0) await send(batch);
    }
  } finally {
    bar.end();
  }
  if (options.json === true) await print(terminal, JSON.stringify({ verb, changed, missing }));
  else {
    for (const id of missing) complain(terminal, `${id}: not in the queue${verb === "release" ? ", or corrupt" : ""}`);
    await print(terminal, `${changed} message${changed === 1 ? "" : "s"} ${past[verb]}`);
  }
  return missing.length > 0 ? 1 : 0;
}

async function list(options: FilterOptions & { limit: number; summary?: true }, fleet: Fleet, terminal: Terminal) {
  if (options.summary === true) {
    const summary = await fleet.summary();
    if (options.json === true) return await print(terminal, JSON.stringify(summary));
    const { messages } = summary;
    const rows = Object.entries(messages).map(([state, number]) => [state, String(number)]);
    await print(terminal, table(["STATE", "MESSAGES"], rows, ["left", "right"]));
    const oldest = summary.oldestMs === 0 ? "" : `, the oldest ${duration(summary.oldestMs)} old`;
    return await print(terminal, `${summary.recipients} recipients, ${octets(summary.bytes)}${oldest}`);
  }
  const filter = filterOf(options, Date.now()) ?? {};
  let shown = 0;
  let rows: Listed[] = [];
  const flush = async (isFirst: boolean): Promise<void> => {
    const withPod = rows.some(({ pod }) => pod !== undefined);
    const nowMs = Date.now();
    const text = table(
      listHead(withPod),
      rows.map((row) => listRow(row, nowMs)),
      ["left", "left", "right", "right"],
    );
    // The columns of a long list may shift from page to page; its head stands once.
    await print(terminal, isFirst ? text : text.slice(text.indexOf("\n") + 1));
    rows = [];
  };
  for await (const message of fleet.list(filter, options.limit)) {
    shown += 1;
    if (options.json === true) await print(terminal, JSON.stringify(message));
    else {
      rows.push(message);
      if (rows.length === ROWS) await flush(shown <= ROWS);
    }
  }
  if (rows.length > 0) await flush(shown <= ROWS);
  if (options.json === true) return;
  if (shown === 0) await print(terminal, "no message");
  if (shown === options.limit) complain(terminal, `shown are the oldest ${shown}; --limit shows more`);
}

export function queueCommand(program: Command, terminal: Terminal, end: (code: number) => void): void {
  const queue = program.command("queue").description("what is in the queue, and what becomes of it");
  const run =
    <Parameters extends readonly unknown[]>(
      work: (fleet: Fleet, ...parameters: Parameters) => Promise<number | void>,
      optionsOf: (...parameters: Parameters) => TargetOptions,
    ) =>
    async (...parameters: Parameters): Promise<void> => {
      const fleet = await fleetOf(optionsOf(...parameters), terminal);
      const code = (await work(fleet, ...parameters)) ?? 0;
      end(code === 0 && fleet.incomplete ? 1 : code);
    };
  type Options = FilterOptions & { limit: number; summary?: true; bySender?: true; id?: string };
  const first = (options: Options): TargetOptions => options;
  const second = (_: unknown, options: Options): TargetOptions => options;

  withFilter(withTarget(queue.command("list")))
    .description("messages, the oldest first (mailq)")
    .option("--limit <n>", "at most so many", count, 1000)
    .option("--summary", "only how many there are")
    .action(run((fleet: Fleet, options: Options) => list(options, fleet, terminal), first));

  withTarget(queue.command("show"))
    .description("envelope, recipients with state, attempts and last reply, last dialogue")
    .argument("<id>", "queue id", messageId)
    .action(
      run(async (fleet: Fleet, id: string, options: Options) => {
        const traced = await fleet.trace(id);
        if (traced?.message == null) {
          complain(terminal, `${id}: not in the queue`);
          return 1;
        }
        const where = `${traced.pod === undefined ? "" : `pod ${traced.pod}, `}shard ${traced.shard}`;
        const { message, shard, pod } = traced;
        const whole = { ...message, shard, ...(pod === undefined ? {} : { pod }) };
        await print(terminal, options.json === true ? JSON.stringify(whole) : messageText(message, Date.now(), where));
        return 0;
      }, second),
    );

  withTarget(queue.command("cat"))
    .description("the message itself, header and body (postcat)")
    .argument("<id>", "queue id", messageId)
    .action(
      run(async (fleet: Fleet, id: string, options: Options) => {
        const content = await fleet.content(id);
        if (content === undefined) {
          complain(terminal, `${id}: not in the queue`);
          return 1;
        }
        if (options.json === true) {
          const pieces = await content.toArray();
          await print(terminal, JSON.stringify({ id, content: Buffer.concat(pieces as Buffer[]).toString("base64") }));
        } else await pipeline(content, terminal.output, { end: false });
        return 0;
      }, second),
    );

  const said: Readonly<Record<Verb, string>> = {
    hold: "keep from delivery until released (postsuper -h)",
    release: "what is on hold is due now (postsuper -H)",
    delete: "delete, without telling the sender (postsuper -d)",
    requeue: "start over: due now, attempts from nothing, aliases and routes asked again (postsuper -r)",
    flush: "what is deferred is due now: everything, or only some (postqueue -f, -i, -s)",
  };
  for (const verb of verbs) {
    const command = withFilter(withTarget(queue.command(verb)))
      .description(said[verb])
      .argument("[ids...]", "queue ids; - reads them, one a line");
    if (verb === "flush") command.addOption(new Option("--id <id>", "only this message").argParser(messageId));
    else command.option("--all", "every message");
    command.action(
      run(async (fleet: Fleet, ids: string[], options: Options) => {
        const named = options.id === undefined ? ids : [...ids, options.id];
        if (verb === "flush" && named.length === 0 && filterOf(options, 0) === undefined) {
          const recipients = await fleet.flush();
          await print(
            terminal,
            options.json === true ? JSON.stringify({ verb, recipients }) : `${recipients} recipients made due`,
          );
          return 0;
        }
        return await change(verb, named, options, fleet, terminal);
      }, second),
    );
  }

  withTarget(queue.command("shape"))
    .description("ages by recipients' domain, in minutes (qshape)")
    .option("--by-sender", "by the sender's domain")
    .option("--sender", "the same")
    .addOption(new Option("--state <state>", "only this state").choices(["active", "deferred", "hold"]))
    .option("--limit <n>", "rows shown", count, 50)
    .action(
      run(
        async (fleet: Fleet, options: Options & { sender?: unknown }) => {
          const by = options.bySender === true || options.sender !== undefined ? "sender" : "recipient";
          const bar = progressBar(terminal, "shape");
          const { rows } = await fleet
            .shape(by, options.state, (progress) => bar.show(progress))
            .finally(() => bar.end());
          if (options.json === true) await print(terminal, JSON.stringify({ by, rows }));
          else {
            await print(
              terminal,
              shapeText(rows, by)
                .split("\n")
                .slice(0, options.limit + 2)
                .join("\n"),
            );
            if (rows.length > options.limit) complain(terminal, `${rows.length - options.limit} more; see --limit`);
          }
          return 0;
        },
        first as (options: Options & { sender?: unknown }) => TargetOptions,
      ),
    );
}
