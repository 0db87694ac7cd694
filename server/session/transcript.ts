/**
 * Transcript: what was said in a session, for the postmaster, where `queue.notify` asks for it.
 *
 * Stands between session and wire and only listens. Bounded; secrets (SASL) and message content are never in it. Says nothing by itself: when the session
 * is over, `notices.ts` looks at what went wrong.
 */
import type { Reason } from "../policy/verdict.ts";
import { type Reply, replyLine } from "../reply.ts";
import { SECRET, shownLine } from "./shown-line.ts";
import type { DataSink, Wire } from "./wire.ts";

/** Kinds of trouble with a session, in the words of `queue.notify`. */
export type Trouble = "Policy" | "Protocol" | "Resource" | "Software";

/** Postfix's classes; an address that is not there is everyday and no trouble. */
const troubles: Readonly<Record<Reason, Trouble | undefined>> = {
  "access-client": "Policy",
  "access-etrn": "Policy",
  "access-helo": "Policy",
  "access-recipient": "Policy",
  "access-sender": "Policy",
  "authentication-failed": "Policy",
  "authentication-limited": "Policy",
  "authentication-required": "Policy",
  "authentication-unavailable": "Software",
  "bad-address": "Protocol",
  "bad-command": "Protocol",
  "bad-helo": "Policy",
  "bad-parameter": "Protocol",
  "bad-sequence": "Protocol",
  "bare-newline": "Protocol",
  "client-rate": "Policy",
  "client-certificate-required": "Policy",
  dnsbl: "Policy",
  greylisted: undefined,
  "header-too-large": "Policy",
  internal: "Software",
  "lookup-failed": "Software",
  "message-too-large": "Policy",
  "multi-recipient-bounce": "Policy",
  "not-a-proxy": "Policy",
  "not-an-address": "Protocol",
  "nul-byte": "Protocol",
  pipelining: "Protocol",
  "policy-service": "Policy",
  "policy-service-failed": "Software",
  postscreen: "Policy",
  "queue-failed": "Resource",
  "queue-full": "Resource",
  "relay-denied": "Policy",
  relocated: undefined,
  restricted: "Policy",
  "sender-not-owned": "Policy",
  suspended: undefined,
  "tls-required": "Policy",
  "too-many-client-connections": "Policy",
  "too-many-connections": "Resource",
  "too-many-errors": "Protocol",
  "too-many-hops": "Policy",
  "too-many-messages": undefined,
  "too-many-recipients": "Policy",
  "too-slow": "Protocol",
  "unknown-client-name": "Policy",
  "unknown-domain": "Policy",
  "unknown-helo": "Policy",
  "unknown-user": undefined,
  "unlisted-sender": "Policy",
  "unverified-recipient": undefined,
  "unverified-sender": "Policy",
};

/** Who listens to a session. */
export interface Overhearing {
  heard(line: Buffer, secret: boolean): void;
  said(reply: Reply): void;
  received(): void;
}

const mostLines = 200;
const mostOfLine = 500;

export class Transcript implements Overhearing {
  readonly lines: string[] = [];
  readonly troubles = new Set<Trouble>();
  leftOut = 0;

  /** One line from the client. `secret`: part of an authentication. */
  heard(line: Buffer, secret: boolean): void {
    this.#add(`In:  ${secret ? SECRET : shownLine(line, mostOfLine, undefined)}`);
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
  readonly #ears: () => readonly Overhearing[];

  constructor(wire: Wire, ears: () => readonly Overhearing[]) {
    this.#wire = wire;
    this.#ears = ears;
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
  get localAddress(): string {
    return this.#wire.localAddress;
  }
  get localPort(): number {
    return this.#wire.localPort;
  }
  get hasMore(): boolean {
    return this.#wire.hasMore;
  }
  overdue(nowMs: number): "silent" | "slow" | undefined {
    return this.#wire.overdue(nowMs);
  }
  reply(reply: Reply): void {
    for (const ear of this.#ears()) ear.said(reply);
    this.#wire.reply(reply);
  }
  begin(reply: Reply): void {
    for (const ear of this.#ears()) ear.said(reply);
    this.#wire.begin(reply);
  }
  hear(listener: (octets: Buffer, unanswered: boolean) => void): void {
    this.#wire.hear(listener);
  }
  receive(sink: DataSink): void {
    for (const ear of this.#ears()) ear.received();
    this.#wire.receive(sink);
  }
  startTls(): void {
    this.#wire.startTls();
  }
  close(): void {
    this.#wire.close();
  }
}
