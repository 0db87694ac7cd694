/**
 * The kill test: shards of a running server die by SIGKILL at random moments under load, and every id answered 250 must turn up with the body it was sent with.
 *
 * Load comes over kept sessions, each message carrying a number and random text; a session that breaks is opened anew and what had no reply yet is not counted as
 * accepted. A run below 100 messages a second proves nothing and is void. Duplicates are counted and told: only deliveries whose settlement was cut off
 * may cause them.
 */
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";

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

const hash = (text: string): string => createHash("sha256").update(text).digest("hex");

async function session(
  port: number,
  prefix: string,
  accepted: Map<string, string>,
  stopping: () => boolean,
): Promise<void> {
  let number = 0;
  while (!stopping()) {
    try {
      await using client = await SmtpDialogue.open(port);
      if (!(await client.reply()).startsWith("220")) continue;
      await client.command("EHLO load.example");
      while (!stopping()) {
        const id = `${prefix}-${++number};`;
        const body = randomBytes(1500).toString("base64").replaceAll(/.{76}/g, "$&\n");
        const replies = await client.send({
          from: "load@load.example",
          to: ["box@crash.example"],
          content: `Subject: ${id}\n\n${body}\n`,
        });
        if (replies.at(-1)?.startsWith("250 ") === true && replies.length === 4) accepted.set(id, hash(body));
        else break;
      }
    } catch {
      // The shard died under us: whatever had no reply is not ours to count.
    }
    await sleep(10);
  }
}

/** `random` gives the moments of the kills; hand in a seeded one to repeat a run. */
export async function killTest(kills: number, random: () => number): Promise<KillReport> {
  await using boat = await Packetboat.start({ "all.yaml": manifest });
  const accepted = new Map<string, string>();
  let stop = false;
  const started = performance.now();
  const sessions = Array.from({ length: 12 }, (_, index) => session(boat.mx, `s${index}`, accepted, () => stop));
  for (let kill = 0; kill < kills; kill++) {
    await sleep(100 + random() * 1100);
    const shards = boat.shards();
    const victim = shards[Math.floor(random() * shards.length)];
    if (victim === undefined) kill--;
    else process.kill(victim, "SIGKILL");
  }
  await sleep(300);
  const seconds = (performance.now() - started) / 1000;
  stop = true;
  await Promise.all(sessions);
  await until("every shard to be back and the queue empty", 120_000, async () => {
    if ((await boat.admin("/readyz")).status !== 200) return false;
    const { messages } = await boat.json<{
      messages: { active: number; deferred: number; hold: number; corrupt: number };
    }>("/queue");
    return messages.active + messages.deferred + messages.hold + messages.corrupt === 0;
  });

  const found = new Map<string, number>();
  const damaged: string[] = [];
  for (const message of boat.maildir("mail/crash.example/box")) {
    const id = /^Subject: (.+)$/m.exec(message)?.[1] ?? "";
    found.set(id, (found.get(id) ?? 0) + 1);
    const expected = accepted.get(id);
    if (expected !== undefined && hash(message.slice(message.indexOf("\n\n") + 2, -1)) !== expected) damaged.push(id);
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
