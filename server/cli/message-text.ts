/** A queued message, its life and what-if answers as text for people. Pure. */
import type { LifeEvent } from "../admin/history.ts";
import type { Branch, Destination, Verification } from "../admin/verify.ts";
import { replyLine } from "../reply.ts";
import type { QueuedMessage } from "../queue/queue.ts";
import { AGE_LIMITS, type ShapeRow, sumOf } from "../queue/age.ts";
import type { Listed, Traced } from "./fleet.ts";
import { duration, instant, octets, plain, table } from "./table.ts";

/** As the summary counts it. */
export function stateOf({ corrupt, recipients }: QueuedMessage): string {
  if (corrupt === true) return "corrupt";
  return (
    (["active", "deferred", "hold"] as const).find((state) => recipients.some((each) => each.state === state)) ?? ""
  );
}

function forwardedText(forwarded: QueuedMessage["origin"]["forwarded"]): string | undefined {
  if (forwarded === undefined) return undefined;
  const { clientName = "unknown", clientAddress = "unknown", queueId } = forwarded;
  return `${clientName} [${clientAddress}]${queueId === undefined ? "" : `, there ${queueId}`}`;
}

const clientText = ({ clientName, clientAddress }: QueuedMessage["origin"]): string =>
  `${clientName === "" ? "unknown" : clientName} [${clientAddress}]`;
const senderText = (sender: string): string => (sender === "" ? "<>" : sender);

export function listRow(message: Listed, nowMs: number): string[] {
  const [first] = message.recipients;
  const more = message.recipients.length - 1;
  const due = message.recipients.filter(({ state }) => state === "deferred").map(({ dueMs }) => dueMs);
  const reply = message.recipients.find(({ lastReply }) => lastReply !== undefined)?.lastReply;
  return [
    message.id,
    stateOf(message),
    duration(nowMs - message.receivedMs),
    octets(message.size),
    senderText(message.envelope.sender),
    `${first?.address ?? ""}${more > 0 ? ` +${more}` : ""}`,
    due.length === 0 ? "" : duration(Math.min(...due) - nowMs),
    reply === undefined ? "" : replyLine(reply).slice(0, 120),
    ...(message.pod === undefined ? [] : [message.pod]),
  ];
}

export const listHead = (withPod: boolean): string[] => [
  "ID",
  "STATE",
  "AGE",
  "SIZE",
  "SENDER",
  "RECIPIENT",
  "NEXT",
  "LAST REPLY",
  ...(withPod ? ["POD"] : []),
];

function facts(rows: readonly (readonly [string, string | undefined])[]): string {
  const shown = rows.filter((row): row is readonly [string, string] => row[1] !== undefined && row[1] !== "");
  const width = Math.max(...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width + 2)}${plain(value)}`).join("\n");
}

/** Envelope, recipients, the last dialogue. */
export function messageText(message: QueuedMessage, nowMs: number, where: string | undefined): string {
  const { envelope, origin } = message;
  const head = facts([
    ["id", message.id],
    ["where", where],
    ["received", `${instant(message.receivedMs)} (${duration(nowMs - message.receivedMs)} ago)`],
    ["size", `${message.size} octets`],
    ["state", stateOf(message)],
    ["sender", senderText(envelope.sender)],
    [
      "from",
      origin.clientAddress === ""
        ? "this server"
        : `${clientText(origin)}, HELO ${origin.helo}, ${origin.protocol}, listener ${origin.listener}`,
    ],
    ["authenticated", origin.authenticatedAs],
    ["came from first", forwardedText(origin.forwarded)],
    ["envelope id", envelope.envelopeId],
    ["return", envelope.return],
    ["body", `${envelope.body}${envelope.smtpUtf8 ? " SMTPUTF8" : ""}${envelope.requireTls ? " REQUIRETLS" : ""}`],
  ]);
  const rows = message.recipients.map((recipient) => [
    recipient.address,
    recipient.state,
    String(recipient.attempts),
    recipient.state === "deferred" ? duration(recipient.dueMs - nowMs) : "",
    recipient.lastReply === undefined
      ? ""
      : `${recipient.lastReply.remoteHost === undefined ? "" : `${recipient.lastReply.remoteHost}: `}${replyLine(recipient.lastReply)}`,
  ]);
  const recipients = table(["RECIPIENT", "STATE", "ATTEMPTS", "NEXT", "LAST REPLY"], rows, ["left", "left", "right"]);
  const dialogue =
    message.lastDialogue === undefined
      ? ""
      : `\n\nlast dialogue:\n${message.lastDialogue
          .split("\n")
          .map((line) => `  ${plain(line)}`)
          .join("\n")}`;
  return `${head}\n\n${recipients}${dialogue}`;
}

function eventText(event: LifeEvent): string {
  switch (event.kind) {
    case "delivered":
    case "failed":
    case "deferred": {
      const at = event.remoteHost === undefined ? "" : ` by ${event.remoteHost}`;
      const next = event.nextMs === undefined ? "" : `, next ${instant(event.nextMs)}`;
      return `${event.kind} ${event.recipient}${at}: ${replyLine(event.reply)}${next}`;
    }
    case "expanded":
      return `expanded ${event.recipient} into ${event.into.join(", ")}`;
    case "returned":
      return `not tried ${event.recipient}`;
    case "held":
      return `held ${event.recipient}`;
    case "reported":
      return `report ${event.report}`;
    case "operator":
      return `operator: ${event.verb}`;
  }
}

export interface LogLine {
  readonly time?: string;
  readonly event?: string;
  readonly [field: string]: unknown;
}

const commonFields = new Set(["time", "level", "component", "event", "id", "pod"]);

function logText(line: LogLine): string {
  const fields = Object.entries(line)
    .filter(([name]) => !commonFields.has(name))
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return `${String(line.event ?? "")} ${fields.join(" ")}`;
}

/** Everything known of one message, in the order of time. */
export function traceText(id: string, traced: Traced | undefined, log: readonly LogLine[], nowMs: number): string {
  const parts: string[] = [];
  const life = traced?.life ?? null;
  const where =
    traced === undefined ? undefined : `${traced.pod === undefined ? "" : `pod ${traced.pod}, `}shard ${traced.shard}`;
  if (traced?.message != null) parts.push(messageText(traced.message, nowMs, where));
  else if (life !== null)
    parts.push(
      facts([
        ["id", id],
        ["where", where],
        ["state", "no longer in the queue"],
        ["received", instant(life.receivedMs)],
        ["size", `${life.size} octets`],
        ["sender", senderText(life.sender)],
        [
          "recipients",
          `${life.recipients.join(", ")}${life.recipientCount > life.recipients.length ? ` and ${life.recipientCount - life.recipients.length} more` : ""}`,
        ],
      ]),
    );
  if (life !== null) {
    const { origin } = life;
    const accepted =
      origin.clientAddress === ""
        ? "written by this server"
        : `accepted from ${clientText(origin)} ${origin.protocol}${origin.authenticatedAs === undefined ? "" : ` as ${origin.authenticatedAs}`}`;
    const lines = [
      `${instant(life.receivedMs)}  ${accepted}`,
      ...life.events.map((event) => `${instant(event.atMs)}  ${eventText(event)}`),
      ...(life.dropped > 0 ? [`(${life.dropped} events in between are not kept)`] : []),
    ];
    parts.push(`life:\n${lines.map((line) => `  ${plain(line)}`).join("\n")}`);
  }
  if (log.length > 0)
    parts.push(
      `log:\n${log.map((line) => `  ${plain(`${instant(Date.parse(String(line.time)))}  ${logText(line)}`)}`).join("\n")}`,
    );
  return parts.join("\n\n");
}

/** As Postfix's qshape prints it. */
export function shapeText(rows: readonly ShapeRow[], by: "recipient" | "sender"): string {
  const total = AGE_LIMITS.map((_, at) => at)
    .concat(AGE_LIMITS.length)
    .map((at) => rows.reduce((sum, { ages }) => sum + (ages[at] ?? 0), 0));
  const row = (name: string, ages: readonly number[]): string[] => [name, String(sumOf(ages)), ...ages.map(String)];
  return table(
    [by === "sender" ? "SENDER DOMAIN" : "DOMAIN", "T", ...AGE_LIMITS.map(String), `${AGE_LIMITS.at(-1)}+`],
    [row("TOTAL", total), ...rows.map(({ domain, ages }) => row(domain === "" ? "<>" : domain, ages))],
    ["left", ...Array.from({ length: AGE_LIMITS.length + 2 }, () => "right" as const)],
  );
}

function branchLines(branch: Branch, indent: string): string[] {
  const again = branch.again === true ? " (see above)" : "";
  return [
    `${indent}${branch.address}  ${branch.is}${again}`,
    ...(branch.into ?? []).flatMap((child) => branchLines(child, `${indent}  `)),
  ];
}

function destinationLines(destination: Destination): string[] {
  const { address, refused, transport, tls, nextHops, noNextHop } = destination;
  if (refused !== undefined) return [`  ${address}  ${transport ?? ""} refused: ${refused}`];
  return [
    `  ${address}  by ${transport ?? "?"}, destination ${destination.destination ?? "?"}`,
    ...(destination.leavesAs === undefined ? [] : [`    leaves as ${destination.leavesAs}`]),
    ...(destination.senderLeavesAs === undefined ? [] : [`    its sender as ${destination.senderLeavesAs}`]),
    ...(tls === undefined
      ? []
      : [
          `    TLS ${tls.level} (policy of ${tls.policy})${tls.names === undefined || tls.names.length === 0 ? "" : `, certificate for ${tls.names.join(" or ")}`}${tls.trouble === undefined ? "" : `: ${tls.trouble}`}`,
        ]),
    ...(nextHops ?? []).map(
      ({ host, endpoint, preference }) =>
        `    next hop ${preference === undefined ? "" : `${preference} `}${host} ${endpoint}`,
    ),
    ...(noNextHop === undefined ? [] : [`    no next hop: ${noNextHop}`]),
  ];
}

function rewritingLines(rewriting: Verification["rewriting"]): string[] {
  if (rewriting === undefined) return [];
  const { recipient, sender, headerRecipient, headerSender, trouble } = rewriting;
  const rows = [
    ["the recipient", recipient],
    ["the sender", sender],
    ["the recipient in headers of our clients", headerRecipient],
    ["the sender in headers of our clients", headerSender],
    ["trouble", trouble],
  ] as const;
  return [
    "rewriting:",
    ...rows.flatMap(([name, becomes]) => (becomes === undefined ? [] : [`  ${name}: ${becomes}`])),
    "",
  ];
}

export function verificationText(verification: Verification): string {
  const { stranger } = verification;
  const lines = [
    facts([
      ["address", verification.address],
      ["sender", senderText(verification.sender)],
      ["standing", verification.standing],
      ["a stranger hears", `${stranger.reply}${stranger.check === undefined ? "" : ` (${stranger.check})`}`],
      ["configuration", verification.hash.slice(0, 12)],
    ]),
    "",
    ...rewritingLines(verification.rewriting),
    "expansion:",
    ...branchLines(verification.tree, "  "),
    "",
    "delivery:",
    ...verification.destinations.flatMap(destinationLines),
  ];
  return lines.map((line) => line.split("\n").map(plain).join("\n")).join("\n");
}
