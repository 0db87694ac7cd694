/**
 * The SMTP client of the library, with what it keeps to itself brought out: the only file that knows nodemailer.
 *
 * Below `session.ts`. Adds to SMTPConnection: every reply kept by recipient (RCPT, and LMTP's after the dot), parameters for each recipient, a
 * look at the peer's key before anything is said over TLS, a data path on whole buffers, a deadline for whole replies, and the dialogue. Behaviour that it builds on is pinned by
 * `smtp.test.ts` and `tls.test.ts`; a new version of the library is taken only when they pass.
 * RFC 5321 §4.1.1, RFC 2033 §4.2, RFC 3207 §6, RFC 2920.
 */
import type { Socket } from "node:net";
import { Writable } from "node:stream";
import type { TLSSocket } from "node:tls";
import SMTPConnection, { type SMTPConnectionOptions } from "nodemailer/lib/smtp-connection";
import type { Reply } from "../reply.ts";
import { Dialogue } from "./dialogue.ts";
import { DotStuffing } from "./dot-stuffing.ts";
import { parsePeerReply } from "./peer-reply.ts";
import type { SessionFailure } from "./session.ts";

/** Asked once TLS stands: why this peer is not the one. */
export type RefusePeer = (socket: TLSSocket) => string | undefined;

export interface Mail {
  readonly sender: string;
  /** Behind the path, e.g. `SIZE=100 BODY=8BITMIME`. */
  readonly parameters: readonly string[];
  readonly recipients: readonly { readonly address: string; readonly parameters: readonly string[] }[];
  /** In memory, in pieces, or streamed. */
  readonly content: readonly Buffer[] | AsyncIterable<Buffer>;
  /** Octets of it, for the dialogue. */
  readonly size: number;
  /** Only ask: RSET in place of DATA. */
  readonly probe?: boolean;
}

export const isWhole = (content: Mail["content"] | undefined): content is readonly Buffer[] => Array.isArray(content);

export interface MailReplies {
  mail: Reply | undefined;
  /** In the order of the recipients; shorter when the session ended before. */
  readonly rcpt: Reply[];
  data: Reply | undefined;
  /** SMTP: one. LMTP: one for each recipient accepted, in order. */
  readonly final: Reply[];
  /** A probe: the recipients were answered, and nothing was sent. */
  probed: boolean;
  /** The end of data went out: from here on the message may have been taken, whatever we hear. */
  dataEnded: boolean;
  /** The session ended or the content could not be read, before all replies were in. */
  failure: SessionFailure | undefined;
}

/** What SMTPConnection keeps to itself and we build on: version 10.6. */
interface Inherited {
  _socket: Socket;
  _responseActions: ((this: unknown, reply: string) => void)[];
  _responseQueue: string[];
  _supportedExtensions: string[];
  _maxAllowedSize: number;
  _currentDataStream: unknown;
  _envelope: { readonly accepted: readonly string[] };
  _sendCommand(line: string, logged?: string): void;
  _processResponse(): void;
  _actionEHLO(reply: string): void;
  _actionMAIL(reply: string, callback: unknown): void;
  _actionRCPT(reply: string, callback: unknown): void;
  _actionDATA(reply: string, callback: unknown): void;
  _upgradeConnection(callback: (error: Error | null, secured?: boolean) => void): void;
}
const inherited = SMTPConnection.prototype as unknown as Inherited;

export class Client extends SMTPConnection {
  replies: MailReplies = noReplies();
  sending: Mail | undefined;
  readonly refusePeer: RefusePeer | undefined;
  finalMs: number;
  /** What is said now goes here. */
  dialogue = new Dialogue();
  /** The name the peer gave itself at EHLO. */
  peerName = "";
  /** Words that must not be written down; set while logging in. */
  #secrets: string[] | undefined;
  #parametersOfNextRecipient = 0;
  #deadline: NodeJS.Timeout | undefined;
  #whenLate: (() => void) | undefined;

  constructor(options: SMTPConnectionOptions, refusePeer: RefusePeer | undefined, finalMs: number) {
    super(options);
    this.refusePeer = refusePeer;
    this.finalMs = finalMs;
  }

  get inner(): Inherited {
    return this as unknown as Inherited;
  }

  begin(mail: Mail): MailReplies {
    this.sending = mail;
    this.replies = noReplies();
    this.#parametersOfNextRecipient = 0;
    return this.replies;
  }

  /**
   * From now on a complete reply is due within this time of the one before. The socket's own timer knows silence only: a peer that sends an octet a
   * minute would hold us for ever. RFC 5321 §4.5.3.2.
   */
  expectReplies(withinMs: number, late: () => void): void {
    clearTimeout(this.#deadline);
    this.#whenLate = late;
    this.#deadline = setTimeout(late, withinMs);
  }

  expectNothing(): void {
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
    this.#whenLate = undefined;
  }

  _processResponse(): void {
    const reply = this.inner._responseQueue[0];
    // What the library will put back or skip is no reply yet.
    if (reply !== undefined && isComplete(reply)) {
      this.#deadline?.refresh();
      this.dialogue.server(this.isSecret(reply) ? `${reply.slice(0, 4)}[hidden]` : reply);
    }
    inherited._processResponse.call(this);
  }

  _actionEHLO(reply: string): void {
    this.peerName = /^250[ -]([^\s]{1,255})/.exec(reply)?.[1]?.toLowerCase() ?? "";
    inherited._actionEHLO.call(this, reply);
  }

  _upgradeConnection(callback: (error: Error | null, secured?: boolean) => void): void {
    inherited._upgradeConnection.call(this, (error: Error | null, secured?: boolean) => {
      const refusal = error === null ? this.refusePeer?.(this.inner._socket as TLSSocket) : undefined;
      callback(refusal === undefined ? error : new Error(refusal), secured);
    });
  }

  _sendCommand(line: string, logged?: string): void {
    // The path is the library's, the parameters are ours alone: it would say SMTPUTF8 a second time.
    const command = line.startsWith("MAIL FROM:")
      ? [line.slice(0, line.lastIndexOf(">") + 1), ...(this.sending?.parameters ?? [])].join(" ")
      : line === "DATA" && this.sending?.probe === true
        ? "RSET"
        : line;
    this.dialogue.client(this.#secrets === undefined ? command : this.#maskLogin(command, this.#secrets));
    inherited._sendCommand.call(this, command, logged);
  }

  /** While logging in, every line of ours is or may be a secret; only the mechanism is told. */
  #maskLogin(line: string, secrets: string[]): string {
    const auth = /^AUTH [^ ]+/.exec(line)?.[0];
    if (auth === line) return line;
    secrets.push(auth === undefined ? line : line.slice(auth.length + 1));
    return auth === undefined ? "[hidden]" : `${auth} [hidden]`;
  }

  /** From here to `endLogin` nothing that holds one of these words is written down, nor what we send. */
  beginLogin(secrets: readonly string[]): void {
    this.#secrets = [...secrets];
  }

  endLogin(): void {
    this.#secrets = undefined;
  }

  /** A server may repeat what it was sent. */
  isSecret(reply: string): boolean {
    return this.#secrets?.some((secret) => reply.includes(secret)) === true;
  }

  /** Called by the library once for each RCPT, in order. */
  _getDsnRcptToArgs(): string {
    const parameters = this.sending?.recipients[this.#parametersOfNextRecipient++]?.parameters ?? [];
    return parameters.map((parameter) => ` ${parameter}`).join("");
  }

  _actionMAIL(reply: string, callback: unknown): void {
    this.replies.mail = parsePeerReply(reply);
    inherited._actionMAIL.call(this, reply, callback);
  }

  _actionRCPT(reply: string, callback: unknown): void {
    this.replies.rcpt.push(parsePeerReply(reply));
    inherited._actionRCPT.call(this, reply, callback);
  }

  _actionDATA(reply: string, callback: unknown): void {
    if (this.sending?.probe === true) {
      // It was RSET: there is no message to go on with, and the library ends it as it ends one that was refused.
      this.replies.probed = true;
      const end = Object.assign(new Error("probed"), { code: "EENVELOPE", response: reply, responseCode: 250 });
      (callback as (error: Error) => void)(end);
      return;
    }
    this.replies.data = parsePeerReply(reply);
    inherited._actionDATA.call(this, reply, callback);
  }

  /** The library's data path walks byte by byte and joins the LMTP replies; ours does neither. */
  _createSendStream(callback: (error: Error | null, reply?: string) => void): unknown {
    const replies = this.replies;
    const expected = this.options.lmtp === true ? this.inner._envelope.accepted.length : 1;
    for (let number = 1; number <= expected; number++) {
      this.inner._responseActions.push((reply) => {
        replies.final.push(parsePeerReply(reply));
        if (number === expected) callback(null, reply);
      });
    }
    const socket = this.inner._socket;
    this.dialogue.content(this.sending?.size ?? 0);
    const ended = (): void => {
      replies.dataEnded = true;
      this.dialogue.client(".");
      socket.setTimeout(this.finalMs);
      if (this.#whenLate !== undefined) this.expectReplies(this.finalMs, this.#whenLate);
    };
    return isWhole(this.sending?.content)
      ? new WholeData(socket, ended)
      : dataStream(socket, ended, () => this.#deadline?.refresh());
  }
}

/** Its last line is no continuation ("250-"). */
const isComplete = (reply: string): boolean => reply[reply.lastIndexOf("\n") + 4] !== "-" && reply.trim() !== "";

const noReplies = (): MailReplies => ({
  mail: undefined,
  rcpt: [],
  data: undefined,
  final: [],
  probed: false,
  dataEnded: false,
  failure: undefined,
});

/** A message that is in memory: stuffed and written at once, one segment where it fits. */
class WholeData {
  outByteCount = 0;
  readonly #socket: Socket;
  readonly #ended: () => void;
  readonly #stuffing = new DotStuffing();

  constructor(socket: Socket, ended: () => void) {
    this.#socket = socket;
    this.#ended = ended;
    socket.cork();
  }

  write(content: readonly Buffer[]): void {
    for (const each of content) for (const piece of this.#stuffing.push(each)) this.#socket.write(piece);
  }

  end(): void {
    this.#socket.write(this.#stuffing.end());
    this.#socket.uncork();
    this.#ended();
  }
}

/** A message that streams: a chunk is taken when the one before has left. */
function dataStream(socket: Socket, ended: () => void, progress: () => void): Writable {
  const stuffing = new DotStuffing();
  return new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      const pieces = stuffing.push(chunk);
      socket.cork();
      for (const piece of pieces.slice(0, -1)) socket.write(piece);
      socket.write(pieces.at(-1) ?? Buffer.alloc(0), () => {
        progress();
        done();
      });
      socket.uncork();
    },
    final(done) {
      socket.write(stuffing.end());
      ended();
      done();
    },
  });
}
