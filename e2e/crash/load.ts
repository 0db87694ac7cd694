/**
 * Load whose every message can be told apart: a number of kept sessions, each message with a name in its Subject and random text, remembered by the text's
 * hash once its 250 was read. A session that breaks is opened anew; what had no reply is not counted as accepted.
 */
import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { SmtpDialogue } from "../peers/smtp.ts";

export const hash = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Name and text of a message that came through, line ends as LF. */
export function nameAndText(message: string): { readonly name: string; readonly text: string } {
  const plain = message.replaceAll("\r\n", "\n");
  return {
    name: /^Subject: (.+)$/m.exec(plain)?.[1] ?? "",
    text: plain.slice(plain.indexOf("\n\n") + 2).replace(/\n$/, ""),
  };
}

export interface LoadTarget {
  readonly port: number;
  readonly recipient: string;
  readonly sessions: number;
  /** Between two messages of a session; none by default. */
  readonly pauseMs?: number;
  /** Told of every reply that is no success, "" where the connection ended instead. */
  readonly onRefused?: (reply: string) => void;
}

export class MarkedLoad {
  /** Name → hash of the text, for every message answered 250. */
  readonly accepted = new Map<string, string>();
  readonly #sessions: readonly Promise<void>[];
  #stopping = false;

  constructor(target: LoadTarget) {
    this.#sessions = Array.from({ length: target.sessions }, (_, index) => this.#session(`s${index}`, target));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#sessions);
  }

  async #session(prefix: string, { port, recipient, pauseMs = 0, onRefused }: LoadTarget): Promise<void> {
    let number = 0;
    while (!this.#stopping) {
      try {
        await using client = await SmtpDialogue.open(port);
        const greeting = await client.reply();
        if (!greeting.startsWith("220")) {
          onRefused?.(greeting);
          await sleep(10);
          continue;
        }
        await client.command("EHLO load.example");
        while (!this.#stopping) {
          const name = `${prefix}-${++number};`;
          const text = randomBytes(1500).toString("base64").replaceAll(/.{76}/g, "$&\n");
          const replies = await client.send({
            from: "load@load.example",
            to: [recipient],
            content: `Subject: ${name}\n\n${text}\n`,
          });
          if (replies.at(-1)?.startsWith("250 ") === true && replies.length === 4) this.accepted.set(name, hash(text));
          else {
            onRefused?.(replies.at(-1) ?? "");
            break;
          }
          if (pauseMs > 0) await sleep(pauseMs);
        }
      } catch {
        // The server died under us: whatever had no reply is not ours to count.
      }
      await sleep(10);
    }
  }
}
