/**
 * Several servers asked as one: their lists merged by age, their tables added up, an id found wherever it is.
 *
 * One server here, or each pod of a MailServer. A server that cannot be asked is complained about and left out, and the command ends with 1 although
 * the others have answered: what it holds cannot be known now. When none can be asked, the first one's reason is thrown.
 */
import type { Readable } from "node:stream";
import type { ServerInfo } from "../admin/socket.ts";
import type { Verb } from "../admin/shard-tools.ts";
import type { ActResult, Progress, ShapeResult, TraceResult } from "../admin/tools.ts";
import type { Verification } from "../admin/verify.ts";
import { Shape } from "../queue/age.ts";
import type { QueuedMessage, QueueFilter, QueueSummary } from "../queue/queue.ts";
import { addSummaries } from "../queue/summary.ts";
import type { Connection } from "./control-client.ts";

export type Listed = QueuedMessage & { readonly shard: number; readonly pod?: string };
export type Traced = TraceResult & { readonly pod?: string };
export type ShowProgress = (progress: Progress) => void;

const sentence = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

export class Fleet {
  readonly #servers: readonly Connection[];
  readonly #complain: (text: string) => void;
  /** Something is missing from what was answered. */
  incomplete = false;

  constructor(servers: readonly Connection[], complain: (text: string) => void) {
    this.#servers = servers;
    this.#complain = complain;
  }

  async info(): Promise<ServerInfo> {
    return await answerOf<ServerInfo>(this.#first, "info", {});
  }

  async summary(): Promise<QueueSummary> {
    return addSummaries(await this.#each((server) => answerOf<QueueSummary>(server, "summary", {})));
  }

  /** The oldest first. */
  async *list(filter: QueueFilter, limit: number): AsyncGenerator<Listed, void> {
    const streams = await this.#each(async (server) => {
      const lines = server.ask("list", { filter, limit });
      return { server, lines, head: await this.#nextItem(server, lines) };
    });
    try {
      for (let count = 0; count < limit; count++) {
        let first: (typeof streams)[number] | undefined;
        for (const stream of streams)
          if (stream.head !== undefined && (first?.head === undefined || stream.head.id < first.head.id))
            first = stream;
        if (first?.head === undefined) return;
        yield { ...first.head, ...inPod(first.server) };
        first.head = await this.#nextItem(first.server, first.lines).catch((cause: unknown) => {
          this.#isMissing(sentence(cause));
          return undefined;
        });
      }
    } finally {
      for (const { lines } of streams) await lines.return().catch(() => undefined);
    }
  }

  async #nextItem(server: Connection, lines: ReturnType<Connection["ask"]>): Promise<Listed | undefined> {
    for (;;) {
      const { value, done } = await lines.next();
      if (done === true || value === undefined) return undefined;
      if ("item" in value) return value.item as Listed;
      if ("result" in value) {
        this.#shardsDown(server, value.result as { shardsDown: number });
        return undefined;
      }
    }
  }

  /** On these ids, wherever they are. */
  async actOn(verb: Verb, ids: readonly string[], domain: string | undefined, show: ShowProgress): Promise<ActResult> {
    const results = await this.#act("act-on", { verb, ids, domain }, show);
    // Missing is what nobody has.
    const missing = ids.filter((id) => results.every((result) => result.missing.includes(id)));
    return { ...sum(verb, results), changed: ids.length - missing.length, missing };
  }

  async actOnAll(verb: Verb, filter: QueueFilter, show: ShowProgress): Promise<ActResult> {
    return sum(verb, await this.#act("act-on-all", { verb, filter }, show));
  }

  async flush(): Promise<number> {
    const results = await this.#each(async (server) => {
      const result = await answerOf<{ recipients: number; shardsDown: number }>(server, "flush", {});
      this.#shardsDown(server, result);
      return result;
    });
    return results.reduce((total, { recipients }) => total + recipients, 0);
  }

  async shape(by: "recipient" | "sender", state: string | undefined, show: ShowProgress): Promise<ShapeResult> {
    const results = await this.#together<ShapeResult>("shape", { by, state }, show);
    const shape = new Shape();
    for (const { rows } of results) for (const { domain, ages } of rows) shape.add(domain, ages);
    return { by, rows: shape.rows(), shardsDown: results.reduce((total, { shardsDown }) => total + shardsDown, 0) };
  }

  async trace(id: string): Promise<Traced | undefined> {
    const results = await this.#each(async (server): Promise<Traced | undefined> => {
      const found = await answerOf<TraceResult | null>(server, "trace", { id });
      return found === null ? undefined : { ...found, ...inPod(server) };
    });
    return (
      results.find((result) => result !== undefined && result.message !== null) ??
      results.find((result) => result !== undefined)
    );
  }

  async content(id: string): Promise<Readable | undefined> {
    return (await this.#each((server) => server.content(id))).find((stream) => stream !== undefined);
  }

  /** They all run the same configuration: one is asked. */
  verify(question: { readonly address: string; readonly sender: string }): Promise<Verification> {
    return answerOf<Verification>(this.#first, "verify", question);
  }

  get #first(): Connection {
    const [first] = this.#servers;
    if (first === undefined) throw new Error("there is no server to ask");
    return first;
  }

  async #act(name: string, body: unknown, show: ShowProgress): Promise<readonly ActResult[]> {
    return await this.#together<ActResult>(name, body, show);
  }

  /** The same long work everywhere, its progress as one. */
  async #together<Result extends { readonly shardsDown: number }>(
    name: string,
    body: unknown,
    show: ShowProgress,
  ): Promise<Result[]> {
    const progress = new Map<Connection, Progress>();
    return await this.#each(async (server) => {
      for await (const line of server.ask(name, body)) {
        if ("result" in line) {
          const result = line.result as Result;
          this.#shardsDown(server, result);
          return result;
        }
        if (!("progress" in line)) continue;
        progress.set(server, line.progress);
        const all = [...progress.values()];
        show({
          done: all.reduce((total, { done }) => total + done, 0),
          total: all.reduce<number | undefined>(
            (total, each) => (total === undefined || each.total === undefined ? undefined : total + each.total),
            0,
          ),
        });
      }
      throw new Error("no result");
    });
  }

  async #each<Answer>(ask: (server: Connection) => Promise<Answer>): Promise<Answer[]> {
    const settled = await Promise.allSettled(this.#servers.map(ask));
    const failed = settled.filter((each) => each.status === "rejected");
    if (failed.length === this.#servers.length && failed[0] !== undefined) throw failed[0].reason;
    for (const { reason } of failed) this.#isMissing(sentence(reason));
    return settled.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  }

  #shardsDown({ where }: Connection, { shardsDown }: { readonly shardsDown: number }): void {
    if (shardsDown > 0)
      this.#isMissing(`${where === "" ? "" : `${where}: `}${shardsDown} shard(s) are down; what they hold is left out`);
  }

  #isMissing(why: string): void {
    this.incomplete = true;
    this.#complain(why);
  }
}

const inPod = ({ where }: Connection): { readonly pod?: string } => (where === "" ? {} : { pod: where });

const sum = (verb: Verb, results: readonly ActResult[]): ActResult => ({
  verb,
  changed: results.reduce((total, { changed }) => total + changed, 0),
  missing: [],
  shardsDown: results.reduce((total, { shardsDown }) => total + shardsDown, 0),
});

async function answerOf<Answer>(server: Connection, name: string, body: unknown): Promise<Answer> {
  for await (const line of server.ask(name, body)) if ("result" in line) return line.result as Answer;
  throw new Error("no result");
}
