/**
 * `npm run bench -- objects`: 200,000 addresses from Mailbox objects; RCPT by RCPT, memory, and how long until they are there and until one more is.
 *
 * Beside it a Postfix with the same addresses in a hash table. The embedded mode reads the objects from YAML files, which is most of the start; the times of
 * one RCPT after the other are those of any pod. --scale F: objects and RCPTs times F.
 */
import { Packetboat } from "../e2e/peers/packetboat.ts";
import { until } from "../e2e/peers/ports.ts";
import { Postfix } from "../e2e/peers/postfix.ts";
import { Client } from "./client.ts";
import type { BenchOptions } from "./options.ts";
import { memoryMiB } from "./processes.ts";
import { rcptRows } from "./rcpt.ts";
import { type Report, shown, sideBySide, soFar } from "./report.ts";
import { mailServer, sideOf } from "./sides.ts";

const OBJECTS = 200_000;
const OF_A_FILE = 2000;
const RCPTS = 20_000;
const START_MS = 600_000;

const domain = `---
apiVersion: mail.packetboat.io/v1alpha1
kind: MailDomain
metadata: {name: bench}
spec: {domain: bench.example, serverRef: {name: mx}, class: Mailbox, delivery: {discard: {}}}
`;
const addressOf = (at: number): string => `user${at}@bench.example`;
const mailbox = (at: number): string => `apiVersion: mail.packetboat.io/v1alpha1
kind: Mailbox
metadata: {name: user${at}}
spec: {address: ${addressOf(at)}, domainRef: {name: bench}}
`;

function manifests(count: number): Record<string, string> {
  const files: Record<string, string> = { "bench.yaml": mailServer(9) + domain };
  for (let from = 0; from < count; from += OF_A_FILE) {
    const ofFile = Math.min(OF_A_FILE, count - from);
    files[`mailboxes-${from}.yaml`] = Array.from({ length: ofFile }, (_, at) => mailbox(from + at)).join("---\n");
  }
  return files;
}

/** Milliseconds the slowest of 20 RCPTs took, and whether the address is known by then. */
async function slowestUntil(
  port: number,
  address: string,
): Promise<{ readonly isKnown: boolean; readonly ms: number }> {
  using client = await Client.open(port);
  await client.command("MAIL FROM:<sender@elsewhere.example>", "250");
  let ms = 0;
  for (let at = 0; at < 20; at++) {
    const startMs = performance.now();
    await client.command(`RCPT TO:<${addressOf(at)}>`, "250");
    ms = Math.max(ms, performance.now() - startMs);
  }
  const isKnown = await client.command(`RCPT TO:<${address}>`, "250").then(
    () => true,
    () => false,
  );
  return { isKnown, ms };
}

export async function objects({ scale }: BenchOptions): Promise<Report> {
  const count = Math.max(100, Math.round(OBJECTS * scale));
  const recipients = Array.from({ length: count }, (_, at) => `${addressOf(at)} OK\n`).join("");
  await using postfix = await Postfix.configured({
    main: `myhostname = postfix.bench.example
mydestination =
mynetworks = 192.0.2.1
alias_maps =
relay_domains = bench.example
relay_recipient_maps = hash:$config_directory/recipients
smtpd_recipient_restrictions = reject_unauth_destination
# Transactions that come to nothing would count as mail that arrives and never leaves: a second each.
in_flow_delay = 0`,
    files: { recipients },
    hashed: ["recipients"],
  });
  const startMs = performance.now();
  await using packetboat = await Packetboat.start(manifests(count), undefined, {}, START_MS);
  const readySeconds = (performance.now() - startMs) / 1000;
  soFar("objects", [`${count} objects are there after ${shown(readySeconds)} s`]);
  const sides = [sideOf(packetboat), sideOf(postfix)];

  const { table, row } = sideBySide("objects");
  const rcpts = Math.max(100, Math.round(RCPTS * scale));
  await rcptRows(row, sides, [
    ["RCPT that exists", "250", rcpts, (at) => addressOf((at * 7919) % count)],
    ["RCPT that does not", "550", rcpts / 10, (at) => `nobody${at}@bench.example`],
  ]);
  row(
    "memory MiB",
    sides.map((side) => memoryMiB(side.root())),
  );

  const editMs = performance.now();
  packetboat.write("one-more.yaml", mailbox(count));
  let slowestMs = 0;
  await until("one more mailbox", START_MS, async () => {
    const { isKnown, ms } = await slowestUntil(packetboat.mx, addressOf(count));
    slowestMs = Math.max(slowestMs, ms);
    return isKnown;
  });
  return {
    table,
    notes: [
      `${count} Mailbox objects in ${Math.ceil(count / OF_A_FILE)} files, ${packetboat.shards().length} shards; ready after ${shown(readySeconds)} s; one more is live after ${shown((performance.now() - editMs) / 1000)} s, the slowest RCPT meanwhile took ${shown(slowestMs)} ms.`,
    ],
    targets: [],
  };
}
