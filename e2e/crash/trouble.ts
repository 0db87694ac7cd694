/**
 * A whole server on a disk that refuses for a while: the right replies meanwhile, no crash loop, nothing lost, and well again by itself.
 *
 * Sessions send mail all the time and a next hop takes it. Then every call of some kinds on the queue's files fails, for some seconds, then none. A disk that
 * is full, by space or by quota, is answered 452 by the same process; storage that is broken 421 or 451, readiness fails and says why, and the shard is
 * started anew, at most every few seconds. Never a 5xx, and within ten seconds after the disk is well again mail is taken. In the end every message
 * answered 250, before, during or after, has reached the next hop with its text.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isQueueEmpty } from "../peers/admin.ts";
import { until } from "../peers/ports.ts";
import { ServerAlone } from "../peers/server.ts";
import { Sink } from "../peers/sink.ts";
import { type Errno, FailingDisk, type Kind } from "./failing-disk.ts";
import { hash, MarkedLoad, nameAndText } from "./load.ts";

export interface Trouble {
  readonly errno: Errno;
  readonly calls: readonly Kind[];
  /** What the queue is then: short of space, broken until a new start, or fine all the same. */
  readonly makes: "full" | "failed" | "nothing";
}

export const troubles: readonly Trouble[] = [
  { errno: "ENOSPC", calls: ["write"], makes: "full" },
  { errno: "EDQUOT", calls: ["write"], makes: "full" },
  { errno: "ENOSPC", calls: ["open", "write"], makes: "full" },
  { errno: "EMFILE", calls: ["open"], makes: "nothing" },
  { errno: "EIO", calls: ["write"], makes: "failed" },
  { errno: "EIO", calls: ["sync"], makes: "failed" },
  { errno: "EIO", calls: ["open", "read", "write", "sync"], makes: "failed" },
  { errno: "ENOSPC", calls: ["sync"], makes: "failed" },
  { errno: "EDQUOT", calls: ["sync"], makes: "failed" },
  { errno: "EROFS", calls: ["open", "write"], makes: "failed" },
];

export const nameOf = ({ errno, calls }: Trouble): string => `${errno} from ${calls.join(", ")}`;

export interface TroubleReport {
  readonly trouble: string;
  readonly accepted: number;
  /** Replies while the disk refused, by code. */
  readonly replies: Readonly<Record<string, number>>;
  readonly notReady: string;
  readonly restarts: number;
  readonly healedMs: number;
  readonly wrong: readonly string[];
}

/** Long enough for a shard whose storage failed to end and to try again. */
const TROUBLE_MS = 9000;
const FULL_MS = 3000;
const HEAL_MS = 10_000;
/** A shard that ends five seconds after its storage failed and then pauses up to five is started so often at most. */
const MOST_RESTARTS = 8;

export async function troubleTest(trouble: Trouble): Promise<TroubleReport> {
  using disk = new FailingDisk();
  await using sink = await Sink.start();
  await using server = await ServerAlone.prepare(1);
  server.environment = disk.environment(`${server.data}/queue`);
  await server.render((sample) => ({
    ...sample,
    server: {
      ...sample.server,
      trustedNetworks: ["127.0.0.0/8"],
      limits: { ...sample.server.limits, softErrors: 1000, hardErrors: 1000 },
      queue: { ...sample.server.queue, minBackoffMs: 1000, maxBackoffMs: 2000 },
      outbound: {
        ...sample.server.outbound,
        relayHost: { host: "127.0.0.1", port: sink.port, lookupMX: false, implicitTLS: false },
      },
    },
  }));
  const startedMs = performance.now();
  server.run();
  await until("the server to be ready", 30_000, async () => (await server.ready()) === "ok");
  // A shard whose storage failed ends and is started anew; what a start takes here and now is not the disk's healing.
  const mostMs = HEAL_MS + performance.now() - startedMs;
  const shard = server.shards()[0];
  const wrong: string[] = [];
  const replies: Record<string, number> = {};
  let isTrouble = false;
  const load = new MarkedLoad({
    port: server.mx,
    recipient: "x@elsewhere.example",
    sessions: 4,
    pauseMs: 20,
    onRefused: (reply) => {
      const code = reply.slice(0, 3);
      if (reply !== "" && !code.startsWith("4")) wrong.push(`answered ${reply}`);
      if (isTrouble) replies[code] = (replies[code] ?? 0) + 1;
    },
  });
  await until("mail to flow", 20_000, () => sink.messages.length > 20);

  isTrouble = true;
  disk.fail(trouble.errno, trouble.calls);
  let notReady = "";
  let restarts = 0;
  let last = shard;
  const endMs = performance.now() + (trouble.makes === "failed" ? TROUBLE_MS : FULL_MS);
  while (performance.now() < endMs) {
    const said = await server.ready();
    if (said !== "ok" && said !== "" && !/is down|starting/.test(said)) notReady = said;
    const now = server.shards()[0];
    if (now !== undefined && now !== last) restarts += 1;
    last = now ?? last;
    await sleep(50);
  }
  disk.heal();
  isTrouble = false;
  const healStart = performance.now();
  const before = load.accepted.size;
  await until("mail to be taken again", 2 * mostMs, () => load.accepted.size > before + 4);
  const healedMs = performance.now() - healStart;
  await load.stop();
  if (healedMs > mostMs) wrong.push(`took mail again only after ${healedMs.toFixed(0)} ms`);
  await until("the queue to be empty", 30_000, () => isQueueEmpty(server));

  const found = new Map(sink.messages.map(({ content }) => [nameAndText(content).name, nameAndText(content).text]));
  for (const [name, expected] of load.accepted) {
    const text = found.get(name);
    if (text === undefined) wrong.push(`lost ${name}`);
    else if (hash(text) !== expected) wrong.push(`damaged ${name}`);
  }
  const codes = Object.keys(replies).filter((code) => code !== "");
  switch (trouble.makes) {
    case "full":
      if (codes.join() !== "452") wrong.push(`answered ${codes.join(", ")} instead of 452`);
      if (restarts > 0) wrong.push("the shard was started anew");
      if (!/space|bytes are free/.test(notReady)) wrong.push(`readiness said ${JSON.stringify(notReady)}`);
      break;
    case "failed":
      if (codes.length === 0) wrong.push("nobody was refused");
      if (codes.includes("452")) wrong.push("answered 452");
      if (restarts > MOST_RESTARTS) wrong.push(`${restarts} starts: a crash loop`);
      if (!/storage failed|cannot start/.test(notReady)) wrong.push(`readiness said ${JSON.stringify(notReady)}`);
      break;
    case "nothing":
      if (restarts > 0) wrong.push("the shard was started anew");
      break;
  }
  return {
    trouble: nameOf(trouble),
    accepted: load.accepted.size,
    replies,
    notReady,
    restarts,
    healedMs: Math.round(healedMs),
    wrong: wrong.slice(0, 10),
  };
}

/** Two servers at a time: they mostly wait. */
export async function troublesTest(
  chosen: readonly Trouble[],
  tell: (report: TroubleReport) => void,
): Promise<readonly TroubleReport[]> {
  const left = [...chosen];
  const reports: TroubleReport[] = [];
  const work = async (): Promise<void> => {
    for (let trouble = left.shift(); trouble !== undefined; trouble = left.shift()) {
      const report = await troubleTest(trouble);
      reports.push(report);
      tell(report);
    }
  };
  await Promise.all([work(), work()]);
  return reports;
}
