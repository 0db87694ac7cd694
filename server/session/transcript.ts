/**
 * Transcript: what was said in a session, for the postmaster, where `queue.notify` asks for it.
 *
 * Stands between session and wire and only listens. Bounded; secrets (SASL) and message content are never in it. Says nothing by itself: when the session
 * is over, `notices.ts` looks at what went wrong.
 */
import type { Reason } from "../policy/verdict.ts";
import { type Reply, replyLine } from "../reply.ts";
import type { DataSink, Wire } from "./wire.ts";

/** Kinds of trouble with a session, in the words of `queue.notify`. */
export type Trouble = "Policy" | "Protocol" | "Resource" | "Software";

/** Postfix's classes; an address that is not there is everyday and no trouble. */
const troubles: Readonly<Record<Reason, Trouble | undefined>> = {
  "access-client": "Policy",
  "access-helo": "Policy",
  "access-recipient": "Policy",
  "access-sender": "Policy",
  "authentication-failed": "Policy",
  "authentication-limited": "Policy",
  "authentication-required": "Policy",
  "authentication-unavailable": "Software",
  "bad-address": "Protocol",
  "bad-command": "Protocol",
  "bad-parameter": "Protocol",
  "bad-sequence": "Protocol",
  "bare-newline": "Protocol",
  "client-certificate-required": "Policy",
  "header-too-large": "Policy",
  internal: "Software",
  "lookup-failed": "Software",
  "message-too-large": "Policy",
  "not-an-address": "Protocol",
  "nul-byte": "Protocol",
  "queue-failed": "Resource",
  "queue-full": "Resource",
  "relay-denied": "Policy",
  relocated: undefined,
  "sender-not-owned": "Policy",
  suspended: undefined,
  "tls-required": "Policy",
  "too-many-client-connections": "Policy",
  "too-many-connections": "Resource",
  "too-many-errors": "Protocol",
  "too-many-hops": "Policy",
  "too-many-recipients": "Policy",
  "unknown-user": undefined,
};

const mostLines = 200;
const mostOfLine = 500;

export class Transcript {
  readonly lines: string[] = [];
  readonly troubles = new Set<Trouble>();
  leftOut = 0;

  /** One line from the client. `secret`: part of an authentication. */
  heard(line: Buffer, secret: boolean): void {
    const text = line.subarray(0, mostOfLine).toString("latin1");
    if (secret) this.#add("In:  (authentication)");
    else this.#add(`In:  ${/^auth\s/i.test(text) ? text.split(/\s+/, 2).join(" ") : text}`);
  }

  said(reply: Reply): void {
    this.#add(`Out: ${replyLine(reply).slice(0, mostOfLine)}`);
  }

  received(): void {
    this.#add("In:  (message)");
  }

  mark(reason: Reason): void {
    const trouble = troubles[reason];
    if (trouble !== undefined) this.troubles.add(trouble);
  }

  #add(line: string): void {
    if (this.lines.length < mostLines) this.lines.push(line);
    else this.leftOut += 1;
  }
}

/** The same wire, overheard. */
export class OverheardWire implements Wire {
  readonly #wire: Wire;
  readonly #transcript: Transcript;

  constructor(wire: Wire, transcript: Transcript) {
    this.#wire = wire;
    this.#transcript = transcript;
  }

  get id(): string {
    return this.#wire.id;
  }
  get remoteAddress(): string {
    return this.#wire.remoteAddress;
  }
  get remotePort(): number {
    return this.#wire.remotePort;
  }
  get localPort(): number {
    return this.#wire.localPort;
  }
  reply(reply: Reply): void {
    this.#transcript.said(reply);
    this.#wire.reply(reply);
  }
  receive(sink: DataSink): void {
    this.#transcript.received();
    this.#wire.receive(sink);
  }
  startTls(): void {
    this.#wire.startTls();
  }
  close(): void {
    this.#wire.close();
  }
}
