/**
 * `npm run bench -- lookups`: accept rates with every address in MariaDB, Packetboat and a private Postfix with the same tables and queries, in turn.
 *
 * A million mailboxes in ViMbAdmin's schema, each with its alias to itself. Clients are strangers: what is taken is what the tables know. Every message has a
 * recipient of its own, so that no RCPT is answered from memory. RCPT is timed by itself, one after the other over one connection, for addresses that exist and that do not.
 * --scale F: rows and load times F.
 */
import { Mariadb, mariadbMissing, MARIADB_PASSWORD } from "../e2e/peers/mariadb.ts";
import { ensureCommands } from "../e2e/peers/packages.ts";
import { Packetboat } from "../e2e/peers/packetboat.ts";
import { Postfix, SmtpSink } from "../e2e/peers/postfix.ts";
import type { BenchOptions } from "./options.ts";
import { memoryMiB } from "./processes.ts";
import { rcptRows } from "./rcpt.ts";
import { eachRound, median, type Report, sideBySide, soFar, type Target } from "./report.ts";
import { mailServer, sideOf } from "./sides.ts";
import { measureLoad } from "./throughput.ts";

const ROWS = 1_000_000;
const MESSAGES = 5000;
const BYTES = 4096;
const RCPTS = 4000;
/** Our accept rate by Postfix's. */
const TARGET = 2.5;

/** As many for each part; smtp-source begins at 0 each time, so each of its runs has a part of its own. */
function fill(mariadb: Mariadb, parts: number, ofEach: number): void {
  mariadb.sql("USE vimbadmin; INSERT INTO domain (domain) VALUES ('bench.example');");
  for (let part = 0; part < parts; part++) {
    const address = `CONCAT(seq, '${recipientOf(part)}')`;
    mariadb.sql(`USE vimbadmin;
INSERT INTO mailbox (username, password) SELECT ${address}, 'x' FROM seq_0_to_${ofEach - 1};
INSERT INTO alias (address, goto) SELECT ${address}, ${address} FROM seq_0_to_${ofEach - 1};`);
  }
}
/** Behind a number. */
const recipientOf = (part: number): string => `user${part}@bench.example`;

const ours = (mariadb: Mariadb): string => `  lookups:
    mysql:
      - {name: db, hosts: ["127.0.0.1:${mariadb.port}"], database: vimbadmin, credentialsSecretName: db, schema: Vimbadmin}
---
apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {username: postfix, password: ${JSON.stringify(MARIADB_PASSWORD)}}
`;

/** The queries of `schema: Vimbadmin`, as tables of Postfix. */
function theirs(mariadb: Mariadb): string {
  const map = (name: string, query: string): string => `${name}_hosts = inet:127.0.0.1:${mariadb.port}
${name}_user = postfix
${name}_password = ${MARIADB_PASSWORD}
${name}_dbname = vimbadmin
${name}_query = ${query}
`;
  return `mynetworks = 192.0.2.1
${map("domains", "SELECT 1 FROM domain WHERE domain = '%s' AND active = '1'")}
${map("mailboxes", "SELECT 1 FROM mailbox WHERE username = '%s' AND active = '1'")}
${map("aliases", "SELECT goto FROM alias WHERE address = '%s' AND active = '1'")}
${map("transports", "SELECT transport FROM domain WHERE domain = '%s' AND active = '1' AND transport <> 'virtual'")}
relay_domains = mysql:domains
relay_recipient_maps = mysql:mailboxes mysql:aliases
virtual_alias_maps = mysql:aliases
transport_maps = mysql:transports
smtpd_recipient_restrictions = reject_non_fqdn_sender reject_non_fqdn_recipient reject_unauth_destination
`;
}

export async function lookups({ rounds = 5, scale }: BenchOptions): Promise<Report> {
  const missing = mariadbMissing() ?? ensureCommands({ "postfix-mysql": ["/usr/lib/postfix/postfix-mysql.so"] });
  if (missing !== undefined) throw new Error(missing);
  // One part to warm up, one for each round, one to be timed.
  const parts = rounds + 2;
  const messages = Math.max(20, Math.round(MESSAGES * scale));
  const ofEach = Math.max(messages, Math.round((ROWS * scale) / parts));
  await using mariadb = await Mariadb.start("", { bufferPoolMiB: 1024 });
  fill(mariadb, parts, ofEach);
  soFar("lookups", [`${parts * ofEach} mailboxes and aliases`]);
  await using ourSink = await SmtpSink.start();
  await using theirSink = await SmtpSink.start();
  await using packetboat = await Packetboat.start({
    "bench.yaml": mailServer(ourSink.port, ours(mariadb)).replace("trusted: [127.0.0.0/8]", "trusted: [192.0.2.1/32]"),
  });
  await using postfix = await Postfix.start(theirSink.port, theirs(mariadb));
  const sides = [
    { ...sideOf(packetboat), sink: ourSink },
    { ...sideOf(postfix), sink: theirSink },
  ] as const;

  const { table, row } = sideBySide("lookups");
  const load = {
    bytes: BYTES,
    sessions: 20,
    reconnect: false,
    messages,
    distinct: true,
  };
  const warmUp = { ...load, messages: Math.ceil(messages / 5), recipient: recipientOf(rounds) };
  for (const side of sides) await measureLoad(side, side.sink, warmUp);
  const results = await eachRound(rounds, async (round) => {
    const measured = [];
    for (const side of sides)
      measured.push(await measureLoad(side, side.sink, { ...load, recipient: recipientOf(round) }));
    return measured;
  });
  const medians = (figure: "accept" | "relay" | "cpuMs"): number[] =>
    sides.map((_, at) => median(results.map((result) => result[at]?.[figure] ?? Number.NaN)));
  const accepted = row("accept a second", medians("accept"));
  row("relay a second", medians("relay"));
  row("CPU ms a message", medians("cpuMs"));

  const count = Math.max(100, Math.round(RCPTS * scale));
  const someOf = (at: number): string => `${(at * 7919) % ofEach}${recipientOf(rounds + 1)}`;
  await rcptRows(row, sides, [
    ["RCPT that exists", "250", count, someOf],
    ["RCPT that does not", "550", count, (at) => `${at}nobody@bench.example`],
  ]);
  row(
    "memory MiB at the end",
    sides.map((side) => memoryMiB(side.root())),
  );
  const targets: Target[] = [
    { what: "accept with MySQL maps, times Postfix", figure: accepted, bound: TARGET, kind: "atLeast" },
  ];
  return {
    table,
    notes: [
      `${parts * ofEach} mailboxes, ${rounds} rounds of ${messages} messages of 4 KiB, 20 sessions, medians, ${packetboat.shards().length} shards; MariaDB on the same machine.`,
    ],
    targets,
  };
}
