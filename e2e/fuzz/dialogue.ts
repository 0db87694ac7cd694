/**
 * Whole connections: dialogues of commands, nonsense, messages and chunks against a running server.
 *
 * The client keeps count: one reply for each command, one for each message, none for anything inside a message, and the connection in step to its end. What a message
 * holds are imitations of its end with commands of somebody else behind them; those must never be obeyed. The server must answer the next client as if nothing had been.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import fc from "fast-check";
import { cut, cuts, text } from "./octets.ts";

export const SMUGGLER = "smuggled@attacker.example";

type Step =
  | { readonly kind: "lines"; readonly lines: readonly string[] }
  | { readonly kind: "data"; readonly body: string; readonly cuts: readonly number[] }
  | { readonly kind: "chunks"; readonly chunks: readonly string[]; readonly cuts: readonly number[] };

const commands = [
  "EHLO client.example.net",
  "HELO x",
  "MAIL FROM:<bob@example.net>",
  "MAIL FROM:<> SIZE=10 BODY=8BITMIME",
  "RCPT TO:<alice@example.org>",
  "RCPT TO:<nobody@example.org>",
  "RCPT TO:<victim@foreign.example>",
  "RSET",
  "NOOP",
  "VRFY alice",
  "EXPN staff",
  "HELP",
  "ETRN example.org",
  "XCLIENT ADDR=10.0.0.1",
  "XFORWARD NAME=x",
  "STARTTLS now",
  "AUTH PLAIN AGEAYg==",
  "BDAT",
  "DATA now",
  "",
] as const;

/** One line: no line end, and no announcement of octets that are to be read. */
const nonsense = text(8)
  .map((line) => line.replaceAll(/[\r\n]/g, ""))
  .filter((line) => !/^BDAT\s/i.test(line));
const line = fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...commands) }, { weight: 1, arbitrary: nonsense });

const endings = [
  "\r\n.\n",
  "\n.\n",
  "\n.\r\n",
  "\r.\r",
  "\r.\r\n",
  "\r\n.\r",
  "\r\n\0.\r\n",
  "\r\n.\0\r\n",
  "\r\n.\r\r\n",
  "\r\n..\r\n",
  "\r\n.\r\n",
];
const behind = `MAIL FROM:<${SMUGGLER}>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n`;
const body = fc
  .array(fc.oneof(fc.constantFrom(...endings), fc.constant(behind), text(4), fc.constant("Subject: x\r\n\r\n")), {
    maxLength: 6,
  })
  .map((parts) => Buffer.from(parts.join("")).toString("latin1"));

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("lines" as const), lines: fc.array(line, { maxLength: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("data" as const), body, cuts }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("chunks" as const),
      chunks: fc.array(body, { minLength: 1, maxLength: 3 }),
      cuts,
    }),
  },
);
export const dialogues: fc.Arbitrary<readonly Step[]> = fc.array(step, { maxLength: 6 });

/** DATA ends at the first true end, wherever it stands; without one it gets one. What would stand behind it is left out. */
function ended(message: string): string {
  const whole = `${message}\r\n.\r\n`;
  return whole.slice(0, `\r\n${whole}`.indexOf("\r\n.\r\n") + 3);
}

const WAIT_MS = 10_000;

class Client {
  readonly #socket: Socket;
  #text = "";
  #over = false;
  #wake: () => void = () => undefined;
  messages = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (data: Buffer) => {
      this.#text += data.toString("latin1");
      this.#wake();
    });
    const over = (): void => {
      this.#over = true;
      this.#wake();
    };
    socket.on("close", over).on("end", over).on("error", over);
  }

  static async open(port: number): Promise<Client> {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return new Client(socket);
  }

  async write(pieces: readonly Buffer[]): Promise<void> {
    for (const piece of pieces) {
      this.#socket.write(piece);
      if (pieces.length > 1) await new Promise(setImmediate);
    }
  }

  /** A whole reply; undefined at the end of the connection. */
  async reply(): Promise<string | undefined> {
    const timeout = AbortSignal.timeout(WAIT_MS);
    timeout.addEventListener("abort", () => this.#wake());
    for (;;) {
      const found = /^(?:[2-5]\d\d-[^\r\n]*\r\n)*[2-5]\d\d [^\r\n]*\r\n/.exec(this.#text)?.[0];
      if (found !== undefined) {
        this.#text = this.#text.slice(found.length);
        return found;
      }
      // A complete line that is no reply would wait for ever otherwise.
      assert.doesNotMatch(this.#text, /^(?![2-5]\d\d[ -])[^\n]*\n/, "not a reply");
      if (this.#over) return undefined;
      assert.ok(!timeout.aborted, `no reply; so far ${JSON.stringify(this.#text)}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  get rest(): string {
    return this.#text;
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** The connection was closed with a goodbye: nothing more can be expected of it. */
class Goodbye extends Error {}

async function one(client: Client, allowed: RegExp): Promise<string> {
  const reply = await client.reply();
  assert.ok(reply !== undefined, "closed without a word");
  assert.match(reply, allowed);
  if (/^(?:221|421) /.test(reply)) throw new Goodbye();
  // RFC 3030: nobody can tell how many octets follow a BDAT that cannot be read.
  if (reply.includes("Syntax: BDAT") && (await client.reply()) === undefined) throw new Goodbye();
  return reply;
}

async function play(client: Client, steps: readonly Step[]): Promise<void> {
  await one(client, /^220 /);
  await client.write([Buffer.from("EHLO client.example.net\r\n")]);
  await one(client, /^250-/);
  for (const each of steps) {
    if (each.kind === "lines") {
      // In one packet: the server must keep them apart.
      await client.write([Buffer.from(each.lines.map((given) => `${given}\r\n`).join(""))]);
      for (const _ of each.lines) await one(client, /^[2-5]\d\d/);
      continue;
    }
    await client.write([Buffer.from("RSET\r\nMAIL FROM:<bob@example.net>\r\nRCPT TO:<alice@example.org>\r\n")]);
    for (const _ of [1, 2, 3]) await one(client, /^250 /);
    if (each.kind === "data") {
      await client.write([Buffer.from("DATA\r\n")]);
      await one(client, /^354 /);
      await client.write(cut(Buffer.from(ended(each.body), "latin1"), each.cuts));
      if ((await one(client, /^(?:250 2\.0\.0 Ok: queued|5\d\d )/)).startsWith("250")) client.messages += 1;
      continue;
    }
    const last = each.chunks.length - 1;
    for (const [place, chunk] of each.chunks.entries()) {
      const head = `BDAT ${chunk.length}${place === last ? " LAST" : ""}\r\n`;
      await client.write(cut(Buffer.from(head + chunk, "latin1"), each.cuts));
      if ((await one(client, /^(?:250 |5\d\d )/)).startsWith("250 2.0.0 Ok: queued")) client.messages += 1;
    }
  }
  // In step to the end: each of these gets its own answer.
  await client.write([Buffer.from("NOOP\r\nVRFY x\r\nQUIT\r\n")]);
  await one(client, /^250 2\.0\.0 Ok\r\n$/);
  await one(client, /^252 /);
  await one(client, /^221 /);
}

/** One dialogue; resolves to how many messages the server took. */
export async function converse(port: number, steps: readonly Step[]): Promise<number> {
  const client = await Client.open(port);
  try {
    await play(client, steps);
  } catch (error) {
    if (!(error instanceof Goodbye)) throw error;
    assert.equal(await client.reply(), undefined, "a reply after the goodbye");
    assert.equal(client.rest, "");
  } finally {
    client.close();
  }
  return client.messages;
}
