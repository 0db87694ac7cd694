/**
 * The kill test: shards of a running server die by SIGKILL at random moments under load, and every id answered 250 must turn up with the body it was sent with.
 *
 * A run below 100 messages a second proves nothing and is void. Duplicates are counted and told: only deliveries whose settlement was cut off
 * may cause them.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isQueueEmpty } from "../peers/admin.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { hash, MarkedLoad, nameAndText } from "./load.ts";

export interface KillReport {
  readonly kills: number;
  readonly accepted: number;
  readonly lost: readonly string[];
  /** Delivered with another body than was sent. */
  readonly damaged: readonly string[];
  readonly duplicates: number;
  readonly perSecond: number;
}

const manifest = `apiVersion: mail.packetboat.io/v1alpha1
kind: MailServer
metadata: {name: mx}
spec: {hostname: mx.crash.example}
---
apiVersion: mail.packetboat.io/v1alpha1
kind: MailDomain
metadata: {name: crash}
spec: {domain: crash.example, serverRef: {name: mx}, class: Mailbox, delivery: {maildir: {}}}
---
apiVersion: mail.packetboat.io/v1alpha1
kind: Mailbox
metadata: {name: box}
spec: {address: box@crash.example, domainRef: {name: crash}}
`;

/**
 * `random` gives the moments of the kills; hand in a seeded one to repeat a run. `pauses` makes the time between them longer: each costs a start of a shard, which a slow
 * machine needs for mail.
 */
export async function killTest(kills: number, random: () => number, pauses = 1): Promise<KillReport> {
  await using boat = await Packetboat.start({ "all.yaml": manifest });
  const load = new MarkedLoad({ port: boat.mx, recipient: "box@crash.example", sessions: 12 });
  const { accepted } = load;
  const started = performance.now();
  let last: number | undefined;
  for (let kill = 0; kill < kills; kill++) {
    await sleep(pauses * (100 + random() * 1100));
    const shards = boat.shards();
    const victim = shards[Math.floor(random() * shards.length)];
    if (victim === undefined) {
      kill--;
      continue;
    }
    process.kill(victim, "SIGKILL");
    last = victim;
  }
  await sleep(300);
  const seconds = (performance.now() - started) / 1000;
  await load.stop();
  await until("every shard to be back and the queue empty", 120_000, async () => {
    // A shard that is away is left out of the sum, and what lies in its queue would count as lost.
    if (boat.shards().includes(last ?? 0) || !(await boat.isWhole())) return false;
    return isQueueEmpty(boat);
  });

  const found = new Map<string, number>();
  const damaged: string[] = [];
  for (const message of boat.maildir("mail/crash.example/box")) {
    const { name, text } = nameAndText(message);
    found.set(name, (found.get(name) ?? 0) + 1);
    const expected = accepted.get(name);
    if (expected !== undefined && hash(text) !== expected) damaged.push(name);
  }
  return {
    kills,
    accepted: accepted.size,
    lost: [...accepted.keys()].filter((id) => !found.has(id)),
    damaged,
    duplicates: [...found.values()].reduce((sum, times) => sum + times - 1, 0),
    perSecond: accepted.size / seconds,
  };
}
