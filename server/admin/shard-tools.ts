/**
 * A shard's answers to a postmaster's tools: short calls by the primary, each bounded whatever the queue holds.
 *
 * The primary (`tools.ts`) turns them into walks over everything. A batch of changes joins one group commit; between two batches the shard takes and
 * delivers mail. Ids that are not here are answered as such: the other shards may have them.
 */
import type { History, Life, LifeEvent } from "./history.ts";
import type { Log } from "../observe/log.ts";
import type { Queue, QueuedMessage, QueueFilter, QueuePage, QueueTools, ShapeSlice } from "../queue/queue.ts";

export const verbs = ["hold", "release", "delete", "requeue", "flush"] as const;
export type Verb = (typeof verbs)[number];

export interface ShardRequests {
  "tools-scan": [
    { readonly after: string | null; readonly limit: number; readonly filter: QueueFilter; readonly idsOnly: boolean },
    QueuePage,
  ];
  "tools-shape": [
    {
      readonly after: string | null;
      readonly nowMs: number;
      readonly by: "recipient" | "sender";
      readonly state: "active" | "deferred" | "hold" | null;
    },
    ShapeSlice,
  ];
  /** One answer for each id. */
  "tools-act": [
    { readonly verb: Verb; readonly ids: readonly string[]; readonly domain: string | null },
    readonly boolean[],
  ];
  "tools-wake": [null, true];
  "tools-flush": [null, number];
  "tools-trace": [{ readonly id: string }, { readonly message: QueuedMessage | null; readonly life: Life | null }];
  /** Sends the content in pieces by calls of `content`; resolves to whether it was there. */
  "tools-content": [{ readonly id: string; readonly token: string }, boolean];
}
export type ShardMethod = keyof ShardRequests;
export const shardMethods: readonly ShardMethod[] = [
  "tools-scan",
  "tools-shape",
  "tools-act",
  "tools-wake",
  "tools-flush",
  "tools-trace",
  "tools-content",
];

export interface ShardToolsParts {
  readonly queue: Queue & QueueTools;
  readonly history: History;
  readonly scheduler: { wake(): void; flush(): Promise<number> };
  /** A piece of a message, base64; resolves when more may come, to false when nobody wants it any more. */
  readonly sendContent: (token: string, data: string) => Promise<boolean>;
  readonly log: Log;
}

type Handlers = { readonly [M in ShardMethod]: (request: ShardRequests[M][0]) => Promise<ShardRequests[M][1]> };

export function shardTools({ queue, history, scheduler, sendContent, log }: ShardToolsParts): Handlers {
  const change = async (verb: Verb, id: string, domain: string | null): Promise<boolean> => {
    switch (verb) {
      case "hold":
        return await queue.hold(id);
      case "release":
        return await queue.release(id, Date.now());
      case "delete":
        return await queue.remove(id);
      case "requeue":
        return await queue.requeue(id, Date.now());
      case "flush":
        return (await queue.hasten(id, Date.now(), domain ?? undefined)) > 0 || (await queue.get(id)) !== undefined;
    }
  };

  return {
    "tools-scan": ({ after, ...request }) => queue.scan({ ...request, after: after ?? undefined }),
    "tools-shape": ({ after, state, ...request }) =>
      queue.shape({ ...request, after: after ?? undefined, state: state ?? undefined }),
    "tools-act": async ({ verb, ids, domain }) => {
      const found = await Promise.all(ids.map((id) => change(verb, id, domain)));
      const changed = ids.filter((_, at) => found[at] === true);
      for (const id of changed) history.operator(id, verb);
      // One line a batch: a purge of a million messages must not write a million lines, but each id is in one.
      if (changed.length > 0) log.info({ event: "operator", verb, ids: changed });
      return found;
    },
    "tools-wake": () => {
      scheduler.wake();
      return Promise.resolve(true);
    },
    "tools-flush": () => scheduler.flush(),
    "tools-trace": async ({ id }) => ({
      message: (await queue.get(id)) ?? null,
      life: history.life(id) ?? null,
    }),
    "tools-content": async ({ id, token }) => {
      if ((await queue.get(id)) === undefined) return false;
      for await (const chunk of queue.read(id)) if (!(await sendContent(token, chunk.toString("base64")))) break;
      return true;
    },
  };
}

export type { Life, LifeEvent };
