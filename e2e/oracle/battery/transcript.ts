/**
 * One dialogue: what a client says, to Postfix and to Packetboat alike, and what each of them answers to every line.
 *
 * A step is a command line; `STARTTLS` is followed by the handshake; `DATA` by the message, when it is asked for. Replies are compared by their classes only
 * (RFC 5321 §4.2.1, RFC 3463 §2), because texts are each server's own. A server that hangs up says "closed", one that says nothing for ten seconds "silence".
 */
import { SmtpDialogue } from "../../peers/smtp.ts";

/** What may be said: a line, a message, or raw bytes with as many replies as are waited for. */
export type Step =
  | string
  | { readonly message: string; readonly dot?: string }
  | { readonly raw: string; readonly replies: number };

export interface Client {
  /** Its address on loopback. */
  readonly address: string;
  /** Which port it goes to. @default mx */
  readonly port?: "mx" | "submission" | "submissions";
  /** Name of one of the setup's client certificates, shown in the handshake. */
  readonly certificate?: string;
}

export interface Dialogue {
  /** Unique in its setup: words with slashes, the last one being the client where a table is crossed with clients. */
  readonly id: string;
  readonly client: Client;
  readonly steps: readonly Step[];
  /** Done before it: an event of the setup, such as an outage of its database. */
  readonly event?: string;
}

export interface KeyPair {
  readonly certificate: string;
  readonly privateKey: string;
}

export interface Answer {
  /** What was said, shortened. */
  readonly step: string;
  /** 550 5.1.1, 250, closed, silence. */
  readonly reply: string;
}

const shown = (text: string): string => {
  const line = JSON.stringify(text).slice(1, -1);
  return line.length > 80 ? `${line.slice(0, 77)}…` : line;
};

const coded = (reply: string): string => {
  if (reply === "") return "closed";
  const last = reply.split("\n").at(-1) ?? "";
  // EHLO and the greeting carry host names and keywords where others carry a status.
  const match = /^(\d{3})(?: ([245]\.\d{1,3}\.\d{1,3})(?=\s|$))?/.exec(last);
  return match === null
    ? `unreadable ${shown(reply)}`
    : [match[1], match[2]].filter((part) => part !== undefined).join(" ");
};

async function replyOf(talk: SmtpDialogue): Promise<string> {
  try {
    return coded(await talk.reply(10_000));
  } catch {
    return "silence";
  }
}

/** Says it all; stops where the server hangs up or falls silent. `mark` stands in the header of every message. */
export async function perform(
  dialogue: Dialogue,
  ports: Readonly<Record<"mx" | "submission" | "submissions", number>>,
  certificates: Readonly<Record<string, KeyPair>>,
  mark: string,
): Promise<readonly Answer[]> {
  const { client } = dialogue;
  const answers: Answer[] = [];
  const pair = client.certificate === undefined ? undefined : certificates[client.certificate];
  if (client.certificate !== undefined && pair === undefined) throw new Error(`no certificate ${client.certificate}`);
  await using talk = await SmtpDialogue.open(ports[client.port ?? "mx"], {
    localAddress: client.address,
    tls: client.port === "submissions",
  });
  const hear = async (step: string): Promise<boolean> => {
    const reply = await replyOf(talk);
    answers.push({ step: shown(step), reply });
    return reply !== "closed" && reply !== "silence";
  };
  if (!(await hear("connect"))) return answers;
  for (const step of dialogue.steps) {
    if (typeof step === "string") {
      talk.write(`${step}\r\n`);
      if (!(await hear(step))) return answers;
      if (step === "STARTTLS" && answers.at(-1)?.reply.startsWith("220") === true)
        await talk.afterTls(pair === undefined ? {} : { cert: pair.certificate, key: pair.privateKey });
    } else if ("raw" in step) {
      talk.write(step.raw);
      for (let count = 0; count < step.replies; count += 1) if (!(await hear(step.raw))) return answers;
    } else {
      talk.write("DATA\r\n");
      if (!(await hear("DATA"))) return answers;
      if (answers.at(-1)?.reply !== "354") continue;
      talk.write(`X-Oracle: ${mark}\r\n${step.message.replaceAll(/\r?\n/g, "\r\n")}${step.dot ?? "\r\n.\r\n"}`);
      if (!(await hear("message"))) return answers;
    }
  }
  return answers;
}
