/**
 * Postfix as the oracle: both servers of a setup are started once, have the same dialogues one after another, and are compared.
 *
 * Same: every reply has the same class, and so has its enhanced code where both give one; and the same recipients got the mail, reports to senders included.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { selfSigned } from "../../peers/certificates.ts";
import { Packetboat } from "../../peers/packetboat.ts";
import { freePort, until } from "../../peers/ports.ts";
import { Postfix } from "../../peers/postfix.ts";
import { Sink } from "../../peers/sink.ts";
import { type Answer, type Dialogue, type KeyPair, perform } from "./transcript.ts";
import { type Difference, differences } from "./differences.ts";
import { base, type Peer, type Pair, type Surroundings } from "./pair.ts";

export interface Verdict {
  readonly id: string;
  /** Undefined: the same. */
  readonly differs: { readonly step: string; readonly postfix: string; readonly packetboat: string } | undefined;
  /** The entry that names this difference. */
  readonly listed: Difference | undefined;
  /** Same classes, but other subjects in the enhanced code (4.7.1, 4.3.0), or another code. Told, not counted. */
  readonly nuances: readonly string[];
}

const AT_ONCE = 4;

type Heard = { readonly answers: readonly Answer[]; readonly recipients: readonly string[] };

const classOf = (reply: string): string =>
  /^\d/.test(reply)
    ? reply
        .split(" ")
        .map((part) => part[0])
        .join(" ")
    : reply;
/** An enhanced code that only one side gives is no difference. */
const alike = (a: string, b: string): boolean => {
  const [one, other] = [classOf(a).split(" "), classOf(b).split(" ")];
  return one[0] === other[0] && (one[1] === undefined || other[1] === undefined || one[1] === other[1]);
};
const subject = (reply: string): string => reply.split(".").slice(0, 2).join(".");

const matches = (pattern: string, id: string): boolean =>
  new RegExp(`^${pattern.replaceAll(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")}$`).test(id);

export function compare(id: string, theirs: Heard, ours: Heard, list: readonly Difference[] = differences): Verdict {
  const nuances: string[] = [];
  let differs: Verdict["differs"];
  for (let index = 0; index < Math.max(theirs.answers.length, ours.answers.length); index += 1) {
    const [their, our] = [theirs.answers[index], ours.answers[index]];
    const [a, b] = [their?.reply ?? "closed", our?.reply ?? "closed"];
    if (!alike(a, b)) {
      differs = { step: their?.step ?? our?.step ?? "", postfix: classOf(a), packetboat: classOf(b) };
      nuances.push(`${a} | ${b}`);
      break;
    }
    if (a.includes(".") && b.includes(".") && subject(a) !== subject(b))
      nuances.push(`${their?.step ?? ""}: ${a} | ${b}`);
  }
  const [to, ourTo] = [theirs.recipients, ours.recipients].map((list) => `to ${list.join(", ")}`.trim());
  if (differs === undefined && to !== ourTo)
    differs = { step: "recipients", postfix: to ?? "", packetboat: ourTo ?? "" };
  const found = differs;
  const listed =
    found === undefined
      ? undefined
      : list.find(
          (each) =>
            each.answers.some(([a, b]) => a === found.postfix && b === found.packetboat) &&
            each.dialogues.some((pattern) => matches(pattern, id)),
        );
  return { id, differs, listed, nuances };
}

/** `"alice"@Example.org` is alice@example.org (RFC 5321 §4.1.2). */
const plain = (address: string): string =>
  address.toLowerCase().replace(/"([a-z0-9!#$%&'*+/=?^_`{|}~.-]+)"(?=@)/, (_, local: string) => local);

/** Who got the message of that mark: recipients, and `report to` whom one that holds it went without a sender. */
function recipientsOf(sink: Sink): ReadonlyMap<string, readonly string[]> {
  const byMark = new Map<string, string[]>();
  for (const { from, to, content } of sink.messages) {
    const mark = /^X-Oracle: (\S+)/m.exec(content)?.[1];
    if (mark === undefined) continue;
    const outer = content.slice(0, content.search(/\r?\n\r?\n/));
    const isReport = from === "" && !outer.includes("X-Oracle:");
    byMark.set(mark, [...(byMark.get(mark) ?? []), ...to.map((each) => (isReport ? `report ${each}` : each))]);
  }
  return new Map([...byMark].map(([mark, to]) => [mark, to.map(plain).sort()]));
}

/** Both sides of a setup while they run. */
export interface Sides {
  readonly postfix: Postfix;
  readonly packetboat: Packetboat;
}

export interface RunOptions {
  /** Which of its dialogues. @default all */
  readonly only?: (id: string) => boolean;
  /** Packetboat's manifests, changed: for the test of the oracle itself. */
  readonly mutate?: (manifests: string) => string;
  readonly list?: readonly Difference[];
}

export async function runPair(pair: Pair, options: RunOptions = {}): Promise<readonly Verdict[]> {
  await using stack = new AsyncDisposableStack();
  const [theirSink, ourSink] = [stack.use(await Sink.start()), stack.use(await Sink.start())];
  const certificates: Record<string, KeyPair> = {};
  for (const name of ["server", ...(pair.certificates ?? [])]) certificates[name] = await selfSigned(`${name}.example`);
  const peers: Record<string, Peer> = {};
  for (const [name, start] of Object.entries(pair.peers ?? {})) peers[name] = stack.use(await start());
  const nameserver = pair.nameserver?.(peers);
  const around = (sink: Sink): Surroundings => ({
    sink: sink.port,
    certificates,
    ...(nameserver === undefined ? {} : { nameserver }),
    peers: Object.fromEntries(Object.entries(peers).map(([name, { port }]) => [name, port])),
  });
  const theirs = pair.postfix(around(theirSink));
  const [submission, submissions] = [await freePort(), await freePort()];
  const postfix = stack.use(
    await Postfix.configured({
      main: withDefaults(theirs.main, {
        ...base(theirSink.port),
        // Without a DNS server of the test's, nobody's name is looked up: the machine's own resolver is no part of this.
        ...(nameserver === undefined ? { smtpd_peername_lookup: "no" } : {}),
      }),
      files: {
        "server.crt": certificates["server"]?.certificate ?? "",
        "server.key": certificates["server"]?.privateKey ?? "",
        ...theirs.files,
      },
      services:
        theirs.submission === undefined
          ? []
          : [
              { port: submission, options: theirs.submission },
              { port: submissions, options: { ...theirs.submission, smtpd_tls_wrappermode: "yes" } },
            ],
      nameserver,
    }),
  );
  const manifests = pair.packetboat(around(ourSink));
  const packetboat = stack.use(await Packetboat.start({ "all.yaml": options.mutate?.(manifests) ?? manifests }));
  const dialogues = pair.dialogues.filter(({ id }) => options.only?.(`${pair.name}/${id}`) ?? true);
  const theirPorts = { mx: postfix.port, submission, submissions };
  const ourPorts = { mx: packetboat.mx, submission: packetboat.submission, submissions: packetboat.submissions };

  const answers = new Map<Dialogue, readonly [theirs: readonly Answer[], ours: readonly Answer[]]>();
  const marks = new Map(dialogues.map((dialogue, number) => [dialogue, `m${number}e`]));
  for (const stretch of stretches(pair.dialogues)) {
    const event = stretch[0]?.event;
    if (event !== undefined) await pair.events?.[event]?.(peers);
    const waiting = stretch.filter((dialogue) => marks.has(dialogue));
    if (waiting.length === 0) continue;
    const visitor = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const mark = marks.get(next) ?? "";
        const [theirs, ours] = await Promise.all([
          perform(next, theirPorts, certificates, mark),
          perform(next, ourPorts, certificates, mark),
        ]);
        answers.set(next, [theirs, ours]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, visitor));
    await drained({ postfix, packetboat });
  }
  const [theirTo, ourTo] = [recipientsOf(theirSink), recipientsOf(ourSink)];
  return dialogues.map((dialogue) => {
    const [theirs = [], ours = []] = answers.get(dialogue) ?? [];
    const mark = marks.get(dialogue) ?? "";
    return compare(
      `${pair.name}/${dialogue.id}`,
      { answers: theirs, recipients: theirTo.get(mark) ?? [] },
      { answers: ours, recipients: ourTo.get(mark) ?? [] },
      options.list,
    );
  });
}

/** main.cf with what it does not say itself. */
function withDefaults(main: string, defaults: Readonly<Record<string, string>>): string {
  const said = new Set(main.split("\n").map((line) => /^(\w+)\s*=/.exec(line)?.[1]));
  const lines = Object.entries(defaults).filter(([name]) => !said.has(name));
  return `${lines.map(([name, value]) => `${name} = ${value}\n`).join("")}${main}`;
}

/** Dialogues that are had at the same time: an event begins the next. */
function stretches(dialogues: readonly Dialogue[]): readonly (readonly Dialogue[])[] {
  const all: Dialogue[][] = [[]];
  for (const dialogue of dialogues) {
    if (dialogue.event !== undefined) all.push([]);
    all.at(-1)?.push(dialogue);
  }
  return all.filter((each) => each.length > 0);
}

/** Nothing under way any more on either side; what was put off or held stays where it is. */
async function drained({ postfix, packetboat }: Sides): Promise<void> {
  let quiet = 0;
  await until("both queues to come to rest", 60_000, async () => {
    const { messages } = await packetboat.json<{ messages: { active: number } }>("/queue");
    quiet = messages.active === 0 && postfix.moving() === 0 ? quiet + 1 : 0;
    // More than once: Postfix's mail is between two queues for a moment.
    if (quiet < 3) await sleep(100);
    return quiet >= 3;
  });
}

/** Entries of the list that none of these shows: of no use any more. Only for a run of everything. */
export const unseen = (
  verdicts: readonly Verdict[],
  list: readonly Difference[] = differences,
): readonly Difference[] => list.filter((each) => !verdicts.some(({ listed }) => listed === each));
