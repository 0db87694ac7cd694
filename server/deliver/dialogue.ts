/**
 * Dialogue: what was said during an attempt, kept in case it fails.
 *
 * Filled by `smtp-client.ts` while it speaks, read by `smtp.ts` only when a recipient failed or was deferred. Keeps references to strings that exist
 * anyway and builds no text before it is asked, so that mail that goes well pays next to nothing. Holds no message content and no password. Bounded:
 * in entries while it is filled, in octets when it is read; the middle goes first. The first lines say whom we met, the last what went wrong.
 */

/** Octets of the text as a whole. */
export const longestDialogue = 8192;
/** Of one line; RFC 5321 §4.5.3.1.5 allows 512. */
const longestLine = 1024;
/** Kept at each end: a transaction has at most 100 recipients. */
const mostEntries = 256;

type Entry = readonly [who: "C" | "S" | "*", what: string | number];

export class Dialogue {
  readonly #head: Entry[] = [];
  readonly #tail: Entry[] = [];
  #dropped = 0;

  /** A command, as it went out. */
  client(line: string): void {
    this.#add(["C", line]);
  }

  /** A reply, as it came in: octets as latin1, lines ended by LF. */
  server(reply: string): void {
    this.#add(["S", reply]);
  }

  /** Message content: how much, never what. */
  content(octets: number): void {
    this.#add(["C", octets]);
  }

  /** What neither side said: connected, handshake, lost. */
  event(what: string): void {
    this.#add(["*", what]);
  }

  get empty(): boolean {
    return this.#head.length === 0;
  }

  lines(): string[] {
    return [
      ...this.#head.flatMap(linesOf),
      ...(this.#dropped === 0 ? [] : [`* ${this.#dropped} more`]),
      ...this.#tail.flatMap(linesOf),
    ];
  }

  #add(entry: Entry): void {
    if (this.#head.length < mostEntries) this.#head.push(entry);
    else {
      this.#tail.push(entry);
      // Cut in halves, not one by one: a list that only grows at its end is cheap.
      if (this.#tail.length >= 2 * mostEntries) this.#dropped += this.#tail.splice(0, mostEntries).length;
    }
  }
}

function linesOf([who, what]: Entry): string[] {
  if (typeof what === "number") return [`${who}: [message content, ${what} octets]`];
  if (who === "*") return [`* ${clean(what)}`];
  if (who === "C") return [`C: ${clean(what)}`];
  return what
    .slice(0, longestDialogue)
    .split(/\r?\n/)
    .map((line) => `S: ${clean(Buffer.from(line, "latin1").toString("utf8"))}`);
}

/** No control characters: the text is shown on terminals. */
const clean = (text: string): string =>
  text
    .slice(0, longestLine)
    .replaceAll(/\p{Cc}+/gu, " ")
    .trimEnd();

/** All of an attempt as one text of at most 8 KiB. */
export function dialogueText(dialogues: readonly Dialogue[]): string | undefined {
  const lines = dialogues.flatMap((dialogue) => dialogue.lines());
  if (lines.length === 0) return undefined;
  const size = (line: string): number => Buffer.byteLength(line) + 1;
  if (lines.reduce((sum, line) => sum + size(line), 0) <= longestDialogue) return lines.join("\n");
  const room = longestDialogue / 2 - 32;
  const take = (from: readonly string[]): string[] => {
    const taken: string[] = [];
    let left = room;
    for (const line of from) {
      left -= size(line);
      if (left < 0) break;
      taken.push(line);
    }
    return taken;
  };
  const head = take(lines);
  const tail = take(lines.slice(head.length).toReversed()).toReversed();
  return [...head, `* ${lines.length - head.length - tail.length} lines left out`, ...tail].join("\n");
}
