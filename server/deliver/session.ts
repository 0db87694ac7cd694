/**
 * One SMTP or LMTP session as a client, from the connected socket to QUIT.
 *
 * Stands between `connect.ts` (an open socket) and `transaction.ts` (what the replies mean); speaks through `smtp-client.ts`. Fails as values:
 * which step, with which reply; never throws, never hangs past its timeouts. One message at a time; whoever holds it, owns it.
 * RFC 5321 §4.1.1, §4.5.3.2 (timeouts), RFC 2033 (LMTP), RFC 3207, RFC 4954.
 */
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import type { Reply } from "../reply.ts";
import { Dialogue } from "./dialogue.ts";
import { parsePeerReply } from "./peer-reply.ts";
import { Client, isWhole, type Mail, type MailReplies, type RefusePeer } from "./smtp-client.ts";

export type { Mail, MailReplies } from "./smtp-client.ts";

export interface SessionOptions {
  /** Connected; belongs to the session from now on. */
  readonly socket: Socket;
  /** For SNI and texts. */
  readonly host: string;
  readonly heloName: string;
  readonly lmtp: boolean;
  readonly implicitTls: boolean;
  /** never: plaintext. offered: STARTTLS when the server offers it. required: or no session. */
  readonly startTls: "never" | "offered" | "required";
  readonly tls: ConnectionOptions;
  /** Asked once TLS stands, before anything is sent over it: why this peer is not the one. */
  readonly refusePeer?: RefusePeer;
  readonly timeouts: SessionTimeouts;
  readonly dialogue: Dialogue;
}

export interface SessionTimeouts {
  /** From the connected socket to the end of the (second) EHLO. */
  readonly setupMs: number;
  /** Until a complete reply to a command at any later point, and until a block of data has left. */
  readonly silenceMs: number;
  /** Until a reply after the final dot: RFC 5321 §4.5.3.2.6 wants ten minutes. */
  readonly finalMs: number;
}

/** RFC 5321 §4.5.3.2. */
export const usualTimeouts: SessionTimeouts = { setupMs: 300_000, silenceMs: 300_000, finalMs: 600_000 };

export type SessionFailure = {
  readonly step: "greeting" | "tls" | "login" | "lost" | "timeout" | "protocol" | "content";
  /** The peer's reply, or in its place a 4xx of ours that says what happened. */
  readonly reply: Reply;
};

export class Session {
  /** Messages begun. */
  messages = 0;
  /** The last transaction did not end with a plain success: RSET before the next. */
  needsReset = false;
  readonly host: string;
  readonly #client: Client;
  readonly #options: SessionOptions;
  readonly #keptText: string;
  #onEnd: ((failure: SessionFailure) => void) | undefined;
  #ended = false;
  #opened = false;

  private constructor(options: SessionOptions) {
    this.#options = options;
    this.host = options.host;
    this.#keptText = `connection to ${options.host}[${options.socket.remoteAddress ?? ""}] kept from an earlier message`;
    this.#client = new Client(
      {
        connection: options.socket,
        host: options.host,
        name: options.heloName,
        lmtp: options.lmtp,
        secure: options.implicitTls,
        ignoreTLS: options.startTls === "never",
        requireTLS: options.startTls === "required" && !options.implicitTls,
        opportunisticTLS: options.startTls === "offered",
        connectionTimeout: options.timeouts.setupMs,
        greetingTimeout: options.timeouts.setupMs,
        socketTimeout: options.timeouts.silenceMs,
        socketCloseTimeout: 1000,
        maxResponseSize: 65_536,
        logger: false,
        tls: options.tls,
      },
      options.refusePeer,
      options.timeouts.finalMs,
    );
    this.#client.dialogue = options.dialogue;
    this.#client.on("error", (error: Error & { code?: string }) => this.#end(this.#failureOf(error)));
    this.#client.on("end", () => this.#end({ step: "lost", reply: this.#ours("4.4.2", "lost connection") }));
  }

  static open(options: SessionOptions): Promise<Session | SessionFailure> {
    return new Promise((resolve) => {
      const session = new Session(options);
      session.#onEnd = resolve;
      // The library's own timer ends with the greeting; a server that trickles its EHLO lines is bounded by this one.
      const timer = setTimeout(() => {
        // A handshake that hangs is a handshake that failed: where TLS was only an opportunity, plaintext has its turn.
        const reply = session.#ours("4.4.2", "timed out while setting up the session");
        session.#end({ step: session.#client.upgrading === true ? "tls" : "timeout", reply });
        session.destroy();
      }, options.timeouts.setupMs);
      session.#client.connect((error) => {
        clearTimeout(timer);
        if (error !== undefined && error !== null) return session.#end(session.#failureOf(error));
        session.#onEnd = undefined;
        session.#opened = true;
        resolve(session);
      });
      session.#client.once("end", () => clearTimeout(timer));
    });
  }

  /** Whether another message can be given to it. */
  get usable(): boolean {
    return !this.#ended && !this.#client.destroyed && this.#options.socket.writable;
  }

  get secure(): boolean {
    return this.#client.secure;
  }

  /** `TLSv1.3` with its cipher, for the log; undefined in plaintext. */
  get tls(): string | undefined {
    const socket = this.#client.secure ? (this.#client.inner._socket as TLSSocket) : undefined;
    return socket === undefined
      ? undefined
      : `${socket.getProtocol() ?? "TLS"} ${socket.getCipher()?.name ?? ""}`.trim();
  }

  get remoteAddress(): string | undefined {
    return this.#options.socket.remoteAddress;
  }

  /** The name the peer gave itself. */
  get peerName(): string {
    return this.#client.peerName;
  }

  get keptText(): string {
    return this.#keptText;
  }

  /** A kept session begins a new story for each delivery. */
  set dialogue(dialogue: Dialogue) {
    this.#client.dialogue = dialogue;
  }

  supports(extension: "SMTPUTF8" | "DSN" | "8BITMIME" | "REQUIRETLS" | "PIPELINING" | "SIZE"): boolean {
    return this.#client.inner._supportedExtensions.includes(extension);
  }

  /** 0: the server named no limit. */
  get largestMessage(): number {
    return this.#client.inner._maxAllowedSize;
  }

  get offersLogin(): boolean {
    return this.#client.allowsAuth;
  }

  login(username: string, password: string): Promise<SessionFailure | undefined> {
    return new Promise((resolve) => {
      const base64 = (text: string): string => Buffer.from(text).toString("base64");
      this.#client.beginLogin([password, base64(password)]);
      const finish = (failure: SessionFailure | undefined): void => {
        this.#onEnd = undefined;
        this.#client.endLogin();
        this.#client.expectNothing();
        resolve(failure);
      };
      this.#onEnd = finish;
      this.#client.expectReplies(this.#options.timeouts.silenceMs, () => this.#tooSlow());
      this.#client.login({ user: username, pass: password }, (error) => {
        if (error === null || error === undefined) return finish(undefined);
        const { reply } = this.#failureOf(error);
        const text = this.#client.isSecret(reply.text) ? "[hidden: it repeats what we sent]" : reply.text;
        finish({ step: "login", reply: { ...reply, text } });
      });
    });
  }

  send(mail: Mail): Promise<MailReplies> {
    return new Promise((resolve) => {
      const replies = this.#client.begin(mail);
      this.messages += 1;
      this.needsReset = true;
      const finish = (failure: SessionFailure | undefined): void => {
        this.#onEnd = undefined;
        this.#client.expectNothing();
        replies.failure ??= failure;
        this.#client.sending = undefined;
        resolve(replies);
      };
      this.#onEnd = finish;
      this.#client.expectReplies(this.#options.timeouts.silenceMs, () => this.#tooSlow());
      // To the library an array is a message like a buffer: both are handed to our own stream, as they are (Client._createSendStream).
      const content = isWhole(mail.content) ? (mail.content as unknown as Buffer) : Readable.from(mail.content);
      const envelope = { from: mail.sender, to: mail.recipients.map(({ address }) => address) };
      this.#client.send(envelope, content, (error) => {
        const unfinished = replies.data !== undefined && replies.data.code < 400 && !replies.dataEnded;
        const failure = error === null ? undefined : this.#failureOf(error);
        // A refusal that came as a reply is in `replies`; only what ended the session, or kept us from speaking, is a failure.
        const answered = failure?.step === "protocol" && replies.mail !== undefined && !unfinished;
        finish(failure === undefined || answered ? undefined : failure);
        if (unfinished) this.destroy();
        else if (this.usable) this.#client.inner._socket.setTimeout(this.#options.timeouts.silenceMs);
        this.needsReset =
          (error !== null && !replies.probed) ||
          replies.rcpt.some(({ code }) => code >= 300) ||
          replies.final.some(({ code }) => code >= 300);
      });
    });
  }

  /** The system has all that was written. */
  get isFlushed(): boolean {
    return this.#client.inner._socket.writableLength === 0;
  }

  /** RSET; false when the session is of no more use. */
  reset(): Promise<boolean> {
    return new Promise((resolve) => {
      const finish = (good: boolean): void => {
        this.#onEnd = undefined;
        this.#client.expectNothing();
        resolve(good);
      };
      this.#onEnd = () => finish(false);
      this.#client.expectReplies(this.#options.timeouts.silenceMs, () => this.#tooSlow());
      this.#client.reset((error) => {
        this.needsReset = error !== null;
        finish(error === null);
      });
    });
  }

  onceEnded(listener: () => void): void {
    this.#client.once("end", listener);
  }

  /** Polite end. */
  quit(): void {
    if (this.usable) this.#client.quit();
    // Whoever does not answer QUIT is not waited for.
    setTimeout(() => this.destroy(), 1000).unref();
  }

  /** At once; what was under way ends as lost. */
  destroy(): void {
    this.#options.socket.destroy();
    this.#client.close();
  }

  /** Octets came, a reply did not. */
  #tooSlow(): void {
    this.#end({ step: "timeout", reply: this.#ours("4.4.2", "timed out waiting for a reply") });
    this.destroy();
  }

  #end(failure: SessionFailure): void {
    this.#ended = true;
    const listener = this.#onEnd;
    this.#onEnd = undefined;
    listener?.(failure);
  }

  #failureOf(
    error: Error & {
      code?: string | undefined;
      response?: string | undefined;
      responseCode?: number | false | undefined;
    },
  ): SessionFailure {
    const response = error.response;
    const tls = error.code === "ETLS" || (this.#client.upgrading === true && !this.#opened);
    if (tls) {
      const said = response === undefined ? error.message : `server said: ${parsePeerReply(response).text}`;
      return {
        step: "tls",
        reply: this.#ours(response === undefined ? "4.7.5" : "4.7.4", `Cannot start TLS: ${said}`),
      };
    }
    if (error.code === "ESTREAM")
      return { step: "content", reply: { code: 451, enhanced: "4.3.0", text: "Queued message could not be read" } };
    if (error.code === "ETIMEDOUT") return { step: "timeout", reply: this.#ours("4.4.2", "timed out") };
    if (response !== undefined && error.responseCode !== false && error.responseCode !== undefined) {
      const reply = parsePeerReply(response);
      const step =
        error.code === "ECONNECTION" ? "lost" : error.code === "EPROTOCOL" && !this.#opened ? "greeting" : "protocol";
      return { step, reply };
    }
    if (error.code === "EPROTOCOL") return { step: "greeting", reply: this.#ours("4.5.0", "protocol error") };
    if (error.code === "EENVELOPE")
      return { step: "protocol", reply: { code: 501, enhanced: "5.1.7", text: error.message } };
    return {
      step: "lost",
      reply: this.#ours("4.4.2", `lost connection${this.#opened ? "" : " before the session was set up"}`),
    };
  }

  #ours(enhanced: string, what: string): Reply {
    return { code: 451, enhanced, text: `${this.host}: ${what}` };
  }
}
