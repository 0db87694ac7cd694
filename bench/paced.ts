/**
 * Mail at a steady pace, whatever becomes of it: a message every so many milliseconds, over some kept connections.
 *
 * A delay counts from when the message was due to be sent, so that a server that makes its clients wait cannot hide it (coordinated omission).
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Arrivals } from "./arrivals.ts";
import { Client } from "./client.ts";

export interface Pace {
  readonly port: number;
  readonly perSecond: number;
  readonly seconds: number;
  readonly bytes: number;
  readonly connections: number;
  /** Address of the n-th message; each its own. */
  readonly recipient: (number: number) => string;
}

/** Recipient → when its message was due to be sent. Resolves when each has its 250. */
export async function sendPaced(pace: Pace): Promise<ReadonlyMap<string, number>> {
  const idle = await Promise.all(Array.from({ length: pace.connections }, () => Client.open(pace.port)));
  const all = [...idle];
  const waiting: ((client: Client) => void)[] = [];
  const dueMs = new Map<string, number>();
  const sending: Promise<void>[] = [];
  const start = performance.now();
  const sendOne = async (recipient: string): Promise<void> => {
    const client = idle.pop() ?? (await new Promise<Client>((resolve) => waiting.push(resolve)));
    await client.send(recipient, pace.bytes);
    const next = waiting.shift();
    if (next === undefined) idle.push(client);
    else next(client);
  };
  try {
    for (let number = 0; number < pace.perSecond * pace.seconds; number++) {
      const due = start + (number * 1000) / pace.perSecond;
      if (due > performance.now()) await sleep(due - performance.now());
      const recipient = pace.recipient(number);
      dueMs.set(recipient, due);
      const sent = sendOne(recipient);
      // Looked at below; until then it is nobody's unhandled failure.
      sent.catch(() => undefined);
      sending.push(sent);
    }
    await Promise.all(sending);
  } finally {
    for (const client of all) client[Symbol.dispose]();
  }
  return dueMs;
}

/** How long each took; Infinity for what has not come `patienceMs` after the last was sent. */
export async function delays(
  arrivals: Arrivals,
  dueMs: ReadonlyMap<string, number>,
  patienceMs: number,
): Promise<number[]> {
  const late = new AbortController();
  await Promise.race([
    Promise.all([...dueMs.keys()].map((recipient) => arrivals.arrival(recipient))),
    sleep(patienceMs, undefined, { signal: late.signal }).catch(() => undefined),
  ]);
  late.abort();
  return [...dueMs].map(([recipient, due]) => (arrivals.at(recipient) ?? Number.POSITIVE_INFINITY) - due);
}
