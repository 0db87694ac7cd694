/**
 * The power test: the disk under a running server as a power cut would leave it, at random moments under load, many times.
 *
 * Every message whose 250 a client had read before the cut must have left the server before it, or be in the queue that is recovered from the cut, with the
 * text it was sent with. The next hop takes mail in one second and defers it in the next, so that cuts meet mail in every state. Most images are recovered by
 * the queue alone, some by a whole server that must deliver all of it. With `mutate` the server does not sync, and a test that is worth something
 * finds mail missing. A run below 100 messages a second proves nothing and is void.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createLog } from "../../server/observe/log.ts";
import { openQueue } from "../../server/queue/sqlite-queue.ts";
import { isQueueEmpty } from "../peers/admin.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { Sink } from "../peers/sink.ts";
import { Disk } from "./disk.ts";
import { hash, MarkedLoad, nameAndText } from "./load.ts";

export interface PowerReport {
  readonly images: number;
  /** Of them, brought back by a whole server. */
  readonly servers: number;
  readonly accepted: number;
  /** Accepted, not delivered, and in no recovered queue: name and number of the image. */
  readonly lost: readonly string[];
  readonly damaged: readonly string[];
  /** Delivered, and in the recovered queue all the same: the settlement was cut off. The worst image. */
  readonly mostTwice: number;
  readonly mostQueued: number;
  readonly perSecond: number;
}

export interface PowerOptions {
  readonly images: number;
  readonly random: () => number;
  readonly mutate?: boolean;
  /** Of so many images one is recovered by a whole server. */
  readonly serverEvery?: number;
}

/** The one setting that makes the queue lie, see server/queue/database.ts. */
const NO_SYNC = { PACKETBOAT_TEST_UNSAFE_NO_SYNC: "lose-mail" };

const manifests = (sinkPort: number): Record<string, string> => ({
  "all.yaml": `apiVersion: mail.packetboat.io/v1alpha1
kind: MailServer
metadata: {name: mx}
spec:
  hostname: mx.power.example
  networks: {trusted: [127.0.0.0/8]}
  queue: {minBackoff: 1s, maxBackoff: 2s}
  outbound: {relayHost: {host: 127.0.0.1, port: ${sinkPort}}}
`,
});

const log = createLog("power", "fatal");

interface Image {
  readonly number: number;
  readonly path: string;
  /** What had to survive it: name → hash. */
  readonly owed: ReadonlyMap<string, string>;
  readonly delivered: ReadonlySet<string>;
}

class Findings {
  readonly lost: string[] = [];
  readonly damaged: string[] = [];
  mostTwice = 0;
  mostQueued = 0;

  /** `recovered`: name → hash of what came back. */
  judge(image: Image, recovered: ReadonlyMap<string, string>): void {
    let twice = 0;
    for (const name of recovered.keys()) if (image.delivered.has(name)) twice += 1;
    for (const [name, expected] of image.owed) {
      const found = recovered.get(name);
      if (found === undefined) this.lost.push(`image ${image.number}: ${name}`);
      else if (found !== expected) this.damaged.push(`image ${image.number}: ${name}`);
    }
    this.mostTwice = Math.max(this.mostTwice, twice);
    this.mostQueued = Math.max(this.mostQueued, recovered.size);
  }
}

export async function powerTest({
  images,
  random,
  mutate = false,
  serverEvery = 25,
}: PowerOptions): Promise<PowerReport> {
  await using disk = Disk.create();
  await using sink = await Sink.start();
  const delivered = new Set<string>();
  const findings = new Findings();
  let expected: ReadonlyMap<string, string> = new Map();
  const arrived: { readonly name: string; readonly hash: string }[] = [];
  sink.onMessage = ({ content }) => {
    const { name, text } = nameAndText(content);
    delivered.add(name);
    arrived.push({ name, hash: hash(text) });
  };
  const cuts: Image[] = [];
  let perSecond = 0;
  let accepted = 0;
  {
    await using boat = await Packetboat.start(manifests(sink.port), join(disk.volume, "data"), mutate ? NO_SYNC : {});
    const load = new MarkedLoad({ port: boat.mx, recipient: "x@elsewhere.example", sessions: 12 });
    const turn = setInterval(() => (sink.refuses = !sink.refuses), 1000);
    const started = performance.now();
    await sleep(1000);
    for (let number = 1; number <= images; number++) {
      await sleep(50 + random() * 500);
      // Nothing of ours runs between these lines and the end of the copy.
      const owed = new Map([...load.accepted].filter(([name]) => !delivered.has(name)));
      cuts.push({ number, owed, delivered: new Set(delivered), path: disk.cut() });
    }
    perSecond = (load.accepted.size * 1000) / (performance.now() - started);
    accepted = load.accepted.size;
    expected = load.accepted;
    clearInterval(turn);
    await load.stop();
  }
  for (const { name, hash: found } of arrived)
    if (expected.has(name) && expected.get(name) !== found) findings.damaged.push(`delivered: ${name}`);
  // Afterwards, so that looking at them does not slow the load down.
  let servers = 0;
  for (const image of cuts) {
    const withServer = image.number % serverEvery === 0;
    if (withServer) servers += 1;
    // A queue that cannot be opened has lost everything.
    const recovered = (withServer ? byServer : byQueue)(disk, image).catch((error: unknown) => {
      console.error(`image ${image.number}: ${String(error)}`);
      return new Map<string, string>();
    });
    findings.judge(image, await recovered);
  }
  return {
    images,
    servers,
    accepted,
    lost: findings.lost,
    damaged: findings.damaged,
    mostTwice: findings.mostTwice,
    mostQueued: findings.mostQueued,
    perSecond,
  };
}

async function byQueue(disk: Disk, image: Image): Promise<Map<string, string>> {
  await using volume = await disk.open(image.path);
  const found = new Map<string, string>();
  const folder = join(volume.folder, "data/queue");
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".sqlite"))) {
    const queue = await openQueue({
      path: join(folder, file),
      shard: 0,
      minFreeBytes: () => 0,
      log,
    });
    try {
      let after = "";
      for (;;) {
        const messages = await queue.list({ limit: 1000, after });
        for (const { id } of messages) {
          const chunks: Buffer[] = [];
          for await (const chunk of queue.read(id)) chunks.push(chunk);
          const { name, text } = nameAndText(Buffer.concat(chunks).toString("latin1"));
          found.set(name, hash(text));
        }
        const last = messages.at(-1);
        if (last === undefined) break;
        after = last.id;
      }
    } finally {
      await queue.close();
    }
  }
  return found;
}

async function byServer(disk: Disk, image: Image): Promise<Map<string, string>> {
  await using volume = await disk.open(image.path);
  await using sink = await Sink.start();
  await using boat = await Packetboat.start(manifests(sink.port), join(volume.folder, "data"));
  await until("the recovered queue to be delivered", 120_000, () => isQueueEmpty(boat));
  return new Map(
    sink.messages.map(({ content }) => {
      const { name, text } = nameAndText(content);
      return [name, hash(text)];
    }),
  );
}
