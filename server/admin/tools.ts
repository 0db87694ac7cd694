/**
 * A postmaster's tools over all shards of a pod: walks, changes in batches, ages, one message's life.
 *
 * Primary process. Every walk is many short calls, so that a queue of a million messages is listed or purged while mail goes on, and a caller who goes
 * away stops it. A shard that is down is left out and said so: what it holds cannot be seen now. Ends with the peer's error when a call fails.
 */
import { randomUUID } from "node:crypto";
import type { QueuedMessage, QueueFilter } from "../queue/queue.ts";
import { Shape, type ShapeRow } from "../queue/age.ts";
import type { Life, ShardMethod, ShardRequests, Verb } from "./shard-tools.ts";

export interface ShardPeer {
  readonly index: number;
  call<Answer>(method: string, value: unknown, timeoutMs?: number): Promise<Answer>;
}

export interface ToolsSource {
  /** Those that can be asked now. */
  shards(): readonly ShardPeer[];
  readonly shardCount: number;
  /** Messages in the queue, for the progress. */
  count(): Promise<number>;
}

export interface Progress {
  readonly done: number;
  /** Unknown where only some were asked for. */
  readonly total: number | undefined;
}
export type Step<Item> = { readonly item: Item } | { readonly progress: Progress };

export interface ActResult {
  readonly verb: Verb;
  readonly changed: number;
  /** Of the ids given: those that no shard has (or that are corrupt and must not be released). */
  readonly missing: readonly string[];
  readonly shardsDown: number;
}

export interface ShapeResult {
  readonly by: "recipient" | "sender";
  readonly rows: readonly ShapeRow[];
  readonly shardsDown: number;
}

export interface TraceResult {
  readonly id: string;
  readonly shard: number;
  readonly message: QueuedMessage | null;
  readonly life: Life | null;
}

/** Messages changed in one commit, listed in one page, and how often to say how far it is. */
const BATCH = 200;
const PAGE = 100;
const PROGRESS_MS = 200;
const CALL_MS = 60_000;
const CONTENT_MS = 3_600_000;

export class Tools {
  readonly #source: ToolsSource;
  readonly #contents = new Map<string, (data: Buffer) => Promise<boolean>>();

  constructor(source: ToolsSource) {
    this.#source = source;
  }

  #call<M extends ShardMethod>(
    shard: ShardPeer,
    method: M,
    request: ShardRequests[M][0],
    timeoutMs = CALL_MS,
  ): Promise<ShardRequests[M][1]> {
    return shard.call<ShardRequests[M][1]>(method, request, timeoutMs);
  }

  get #shardsDown(): number {
    return this.#source.shardCount - this.#source.shards().length;
  }

  /** By id, which is by age, over all shards. */
  async *list(
    filter: QueueFilter,
    limit: number,
  ): AsyncGenerator<Step<QueuedMessage & { readonly shard: number }>, { readonly shardsDown: number }> {
    const walks = this.#source.shards().map((shard) => ({ shard, rows: this.#walk(shard, filter) }));
    const heads = await Promise.all(walks.map(async (walk) => ({ walk, next: await walk.rows.next() })));
    for (let count = 0; count < limit; count++) {
      let first: (typeof heads)[number] | undefined;
      for (const head of heads) {
        if (head.next.done === true) continue;
        if (first === undefined || first.next.done === true || head.next.value.id < first.next.value.id) first = head;
      }
      if (first === undefined || first.next.done === true) break;
      yield { item: { ...first.next.value, shard: first.walk.shard.index } };
      first.next = await first.walk.rows.next();
    }
    return { shardsDown: this.#shardsDown };
  }

  async *#walk(shard: ShardPeer, filter: QueueFilter): AsyncGenerator<QueuedMessage, void> {
    for (let after: string | null = null; ; ) {
      const page: ShardRequests["tools-scan"][1] = await this.#call(shard, "tools-scan", {
        after,
        limit: PAGE,
        filter,
        idsOnly: false,
      });
      yield* page.messages;
      // An end is left out of the JSON.
      if (page.next === undefined) return;
      after = page.next;
    }
  }

  /** To these ids, wherever they are. */
  async *actOn(verb: Verb, ids: readonly string[], domain: string | undefined): AsyncGenerator<Step<never>, ActResult> {
    const shards = this.#source.shards();
    const missing: string[] = [];
    let changed = 0;
    for (let at = 0; at < ids.length; at += BATCH) {
      const batch = ids.slice(at, at + BATCH);
      const answers = await Promise.all(
        shards.map((shard) => this.#call(shard, "tools-act", { verb, ids: batch, domain: domain ?? null })),
      );
      for (const [place, id] of batch.entries()) {
        if (answers.some((answer) => answer[place] === true)) changed += 1;
        else missing.push(id);
      }
      yield { progress: { done: at + batch.length, total: ids.length } };
    }
    await this.#wakeAfter(verb, shards);
    return { verb, changed, missing, shardsDown: this.#shardsDown };
  }

  /** To all that fit and are here already: what comes in meanwhile is not meant. */
  async *actOnAll(verb: Verb, filter: QueueFilter): AsyncGenerator<Step<never>, ActResult> {
    const shards = this.#source.shards();
    const total = await this.#source.count();
    const bounded = { ...filter, receivedBeforeMs: Math.min(filter.receivedBeforeMs ?? Infinity, Date.now() + 1) };
    let seen = 0;
    let changed = 0;
    let stopped = false;
    const work = Promise.all(
      shards.map(async (shard) => {
        for (let after: string | null = null; !stopped; ) {
          const page: ShardRequests["tools-scan"][1] = await this.#call(shard, "tools-scan", {
            after,
            limit: BATCH,
            filter: bounded,
            idsOnly: true,
          });
          if (page.ids.length > 0) {
            const request = { verb, ids: page.ids, domain: filter.domain ?? null };
            const answers = await this.#call(shard, "tools-act", request);
            changed += answers.filter(Boolean).length;
          }
          seen += page.seen;
          if (page.next === undefined) return;
          after = page.next;
        }
      }),
    );
    try {
      yield* this.#progress(work, () => ({ done: Math.min(seen, total), total }));
    } finally {
      stopped = true;
    }
    await this.#wakeAfter(verb, shards);
    return { verb, changed, missing: [], shardsDown: this.#shardsDown };
  }

  /** Everything that waits, at once and cheaper than one by one. */
  async flush(): Promise<{ readonly recipients: number; readonly shardsDown: number }> {
    const counts = await Promise.all(
      this.#source.shards().map((shard) => this.#call(shard, "tools-flush", null, CONTENT_MS)),
    );
    return { recipients: counts.reduce((sum, count) => sum + count, 0), shardsDown: this.#shardsDown };
  }

  async *shape(options: {
    readonly by: "recipient" | "sender";
    readonly state: "active" | "deferred" | "hold" | undefined;
  }): AsyncGenerator<Step<never>, ShapeResult> {
    const { by, state = null } = options;
    const nowMs = Date.now();
    const total = await this.#source.count();
    const shape = new Shape();
    let done = 0;
    let stopped = false;
    const work = Promise.all(
      this.#source.shards().map(async (shard) => {
        for (let after: string | null = null; !stopped; ) {
          const request = { after, nowMs, by, state };
          const slice: ShardRequests["tools-shape"][1] = await this.#call(shard, "tools-shape", request);
          for (const [domain, ages] of slice.counts) shape.add(domain, ages);
          done += slice.seen;
          if (slice.next === undefined) return;
          after = slice.next;
        }
      }),
    );
    try {
      yield* this.#progress(work, () => ({ done: Math.min(done, total), total }));
    } finally {
      stopped = true;
    }
    return { by, rows: shape.rows(), shardsDown: this.#shardsDown };
  }

  async trace(id: string): Promise<TraceResult | undefined> {
    const answers = await Promise.all(
      this.#source
        .shards()
        .map(async (shard) => ({ shard: shard.index, ...(await this.#call(shard, "tools-trace", { id })) })),
    );
    const found = answers.find(({ message }) => message !== null) ?? answers.find(({ life }) => life !== null);
    return found === undefined ? undefined : { id, ...found };
  }

  /** False when no shard has it. `write` resolves to whether more is wanted. */
  async content(id: string, write: (data: Buffer) => Promise<boolean>): Promise<boolean> {
    for (const shard of this.#source.shards()) {
      const token = randomUUID();
      this.#contents.set(token, write);
      try {
        if (await this.#call(shard, "tools-content", { id, token }, CONTENT_MS)) return true;
      } finally {
        this.#contents.delete(token);
      }
    }
    return false;
  }

  /** A piece that a shard sends; see `content`. */
  async received({ token, data }: { readonly token: string; readonly data: string }): Promise<boolean> {
    return (await this.#contents.get(token)?.(Buffer.from(data, "base64"))) ?? false;
  }

  async #wakeAfter(verb: Verb, shards: readonly ShardPeer[]): Promise<void> {
    if (verb === "hold" || verb === "delete") return;
    await Promise.all(shards.map((shard) => this.#call(shard, "tools-wake", null)));
  }

  async *#progress(work: Promise<unknown>, now: () => Progress): AsyncGenerator<Step<never>, void> {
    const ended = work.then(() => true as const);
    // A caller who went away does not look at how it ended.
    ended.catch(() => undefined);
    for (;;) {
      const tick = Promise.withResolvers<false>();
      const timer = setTimeout(() => tick.resolve(false), PROGRESS_MS);
      try {
        if (await Promise.race([ended, tick.promise])) return;
      } finally {
        clearTimeout(timer);
      }
      yield { progress: now() };
    }
  }
}
