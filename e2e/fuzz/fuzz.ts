/**
 * The fuzzers: so many cases, spread over all parsers and over whole connections, from one seed.
 *
 * `npm run fuzz -- --cases 1000000 --seed 42` before a release; a small share runs with the integration tests. A failure names its property, the seed, the path to it and
 * the smallest input found. The same seed gives the same cases.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { object } from "../integration/manifests.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { converse, dialogues, SMUGGLER } from "./dialogue.ts";
import { parserProperties } from "./parsers.ts";

export interface FuzzOptions {
  readonly cases: number;
  readonly seed: number;
  /** What has been done, for a person who waits. */
  readonly tell?: (what: string) => void;
}

/** A connection costs as much as some hundred parses. */
const DIALOGUE_SHARE = 0.1;
/** Their lines fit into the server's log, which is looked at in the end and keeps its last 100 MiB. */
const OF_A_SERVER = 10_000;

export async function fuzzParsers({ cases, seed, tell }: FuzzOptions): Promise<void> {
  const numRuns = Math.max(1, Math.ceil(cases / parserProperties.length));
  for (const { name, check } of parserProperties) {
    try {
      check({ numRuns, seed });
    } catch (cause) {
      throw new Error(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
    tell?.(`${name}: ${numRuns}`);
    // Let timers and signals through: a million cases take their time.
    await new Promise(setImmediate);
  }
}

const manifests = {
  "all.yaml":
    object("MailServer", "mx", {
      hostname: "mx.example.org",
      limits: { softErrors: 1000, hardErrors: 1000, connectionsPerClient: 0 },
      listeners: [{ name: "mx", role: "MX", port: 25, etrn: true }],
    }) +
    object("MailDomain", "ours", {
      domain: "example.org",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: { maildir: {} },
    }) +
    object("Mailbox", "alice", { address: "alice@example.org", domainRef: { name: "ours" } }),
};

export async function fuzzDialogues({ cases, seed, tell }: FuzzOptions): Promise<void> {
  await using boat = await Packetboat.start(manifests);
  const pid = boat.shards().toString();
  let messages = 0;
  await fc.assert(
    fc.asyncProperty(dialogues, async (steps) => {
      messages += await converse(boat.mx, steps);
    }),
    { numRuns: Math.max(1, cases), seed },
  );
  tell?.(`whole connections: ${cases}, ${messages} messages taken`);
  // What was taken is there, once each, and from nobody else; and no process had to be started again.
  await until("an empty queue", 60_000, async () => {
    const { recipients } = await boat.json<{ recipients: number }>("/queue");
    return recipients === 0;
  });
  const said = (): Record<string, unknown>[] => boat.log().filter(({ event }) => event === "queued");
  await until("a line of each", 5000, () => said().length >= messages);
  const queued = said();
  assert.equal(queued.length, messages);
  assert.equal(boat.maildir("mail/example.org/alice").length, messages);
  assert.equal(queued.filter(({ from }) => from === SMUGGLER).length, 0);
  assert.deepEqual(
    boat.log().filter(({ event }) => event === "command-failed"),
    [],
  );
  assert.equal(boat.shards().toString(), pid);
}

export async function fuzz(options: FuzzOptions): Promise<void> {
  const connections = Math.ceil(options.cases * DIALOGUE_SHARE);
  await fuzzParsers({ ...options, cases: options.cases - connections });
  for (let from = 0; from < connections; from += OF_A_SERVER)
    await fuzzDialogues({ ...options, seed: options.seed + from, cases: Math.min(OF_A_SERVER, connections - from) });
}
