/**
 * Asking the MTA pods which configuration they run: the only thing the operator ever says to a mail server, over its admin port.
 *
 * Reads `GET /config` and `GET /queue` of each pod that has an address, all at once, bounded in time and size. Fails as a value: a pod that does not answer is one
 * that does not run the configuration, with the reason. Promises nothing about how long an answer stays true.
 */
import { z } from "zod";
import type { KubeObject } from "../kube/types.ts";

export const ADMIN_PORT = 9125;
const TIMEOUT_MS = 2000;
const MAX_BYTES = 256 * 1024;

export interface Pod extends KubeObject {
  readonly status?: {
    readonly podIP?: string;
    readonly hostIP?: string;
    readonly phase?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

export interface PodAnswer {
  readonly name: string;
  /** The set that every shard of it runs. */
  readonly hash?: string;
  readonly ready: boolean;
  /** Why it does not run, or cannot take, the newest set. */
  readonly problem?: string;
  /** True when the server itself looked at a newer set and refused it. */
  readonly rejected: boolean;
  readonly queue?: { readonly messages: number; readonly recipients: number; readonly oldestSeconds: number };
}

const configAnswer = z.object({
  hash: z.string().nullable(),
  shards: z.array(z.object({ notReady: z.string().nullable() })),
  pending: z.object({ kind: z.enum(["incomplete", "invalid"]), message: z.string() }).nullable(),
});

const queueAnswer = z.object({
  messages: z.object({ active: z.number(), deferred: z.number(), hold: z.number(), corrupt: z.number() }),
  recipients: z.number(),
  oldestMs: z.number(),
});

const isReady = (pod: Pod): boolean =>
  pod.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ?? false;

/** An answer larger than any of ours is not ours. */
async function json(url: string, signal: AbortSignal): Promise<unknown> {
  const response = await fetch(url, { signal, redirect: "error" });
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    size += part.length;
    if (size > MAX_BYTES) throw new Error("the answer is too large");
    parts.push(part);
  }
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return JSON.parse(Buffer.concat(parts).toString("utf8"));
}

export async function askPod(pod: Pod, stopping: AbortSignal, port = ADMIN_PORT): Promise<PodAnswer> {
  const { name } = pod.metadata;
  const ready = isReady(pod);
  const address = pod.status?.podIP;
  if (pod.metadata.deletionTimestamp !== undefined)
    return { name, ready, rejected: false, problem: "the pod is being deleted" };
  if (address === undefined)
    return { name, ready, rejected: false, problem: `the pod has no address yet (${pod.status?.phase ?? "Pending"})` };
  const base = `http://${address.includes(":") ? `[${address}]` : address}:${port}`;
  const signal = AbortSignal.any([stopping, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    const [config, queue] = await Promise.all([
      json(`${base}/config`, signal).then((value) => configAnswer.parse(value)),
      json(`${base}/queue`, signal).then((value) => queueAnswer.safeParse(value)),
    ]);
    const problem =
      config.pending?.message ?? config.shards.find((shard) => shard.notReady !== null)?.notReady ?? undefined;
    return {
      name,
      ready,
      rejected: config.pending?.kind === "invalid",
      ...(config.hash === null ? {} : { hash: config.hash }),
      ...(problem === undefined ? {} : { problem }),
      ...(queue.success
        ? {
            queue: {
              messages: Object.values(queue.data.messages).reduce((sum, count) => sum + count, 0),
              recipients: queue.data.recipients,
              oldestSeconds: Math.round(queue.data.oldestMs / 1000),
            },
          }
        : {}),
    };
  } catch (cause) {
    return {
      name,
      ready,
      rejected: false,
      problem: `its admin port does not answer: ${cause instanceof Error ? cause.message : String(cause)}`,
    };
  }
}
