/**
 * The adapter to `smtp-server`: the only file that knows that library.
 *
 * The library keeps what it is good at: sockets, half-closing, idle timers, line parsing, the STARTTLS upgrade with its retired parser, SNI and PROXY
 * plumbing. Replaced here: the 100 ms wait before the greeting, the dispatch of commands (Session does it, with our replies), the data mode (content/
 * does it, without byte loops), the built-in certificate (never used), error events (never thrown). A socket that fails ends its session and nothing else.
 */
import { randomBytes } from "node:crypto";
import type net from "node:net";
import { TLSSocket } from "node:tls";
import { SMTPServer } from "smtp-server";
import { SMTPConnection, type SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import { SMTPStream } from "smtp-server/lib/smtp-stream.js";
import type { SecureContext } from "node:tls";
import { plainAddress } from "../policy/networks.ts";
import { giveBack } from "../octets.ts";
import type { Reply } from "../reply.ts";
import { Deadline, type Terms } from "../session/deadline.ts";
import { isTlsHello } from "../session/strangers.ts";
import type { Conversation, DataSink, Wire } from "../session/wire.ts";
import { handshakeFacts } from "../tls/handshake.ts";
import { parseProxyHeader } from "./proxy-header.ts";

/** RFC 4954 §4.3: 12288 octets for AUTH lines; the session bounds the others. */
const MAX_LINE_OCTETS = 12_288;

/** Commands of one packet that are answered without looking after others. */
const MOST_IN_A_ROW = 32;

const nothing = Buffer.alloc(0);

/** Never in a reply: they would split it. */
// oxlint-disable-next-line no-control-regex
const control = /[\u0000-\u001f\u007f]/g;

function asSent({ code, enhanced, text }: Reply): string {
  const before = enhanced === "" ? "" : `${enhanced} `;
  // Most are one line with nothing to replace.
  if (text.search(control) < 0) return `${code} ${before}${text}\r\n`;
  const lines = text.split("\n");
  const last = lines.length - 1;
  return lines
    .map((line, place) => `${code}${place < last ? "-" : " "}${before}${line.replaceAll(control, " ")}\r\n`)
    .join("");
}

/** A session's name in the log: unique among all processes, cheaper than random octets for each. */
const processId = randomBytes(5).toString("hex");
let connectionsSeen = 0;

export interface ProtocolOptions {
  readonly implicitTls: boolean;
  readonly converse: (wire: Wire) => Conversation;
  readonly contextFor: (servername: string | undefined) => SecureContext | undefined;
  /** How long clients are waited for, now. */
  readonly terms: () => Terms;
  readonly onHandshakeError: (error: Error) => void;
  /** Whether this peer says in a PROXY header whom it speaks for. */
  readonly speaksForOthers: (address: string) => boolean;
  readonly onProxyError: (address: string, why: string) => void;
}

type Callback = (error?: Error | null) => void;

/** A bug of ours below the parser: never to be told to the client as a mistake of its own. */
class SinkError extends Error {}

/** Lines in, or raw data to a sink. */
class ProtocolStream extends SMTPStream {
  #sink: DataSink | undefined;
  #given: { readonly before: string; readonly chunk: Buffer } = { before: "", chunk: nothing };
  #at = 0;

  /** The sink waits for the client's bytes. */
  get isReceiving(): boolean {
    return this.#sink !== undefined;
  }

  receive(sink: DataSink): void {
    this.#sink = sink;
    this._dataMode = true;
  }

  /** Octets of the dialogue, as they arrive. */
  onoctets: (octets: Buffer) => void = () => undefined;

  /** How many octets of anything. */
  oncame: (octets: number) => void = () => undefined;

  override write(chunk: Buffer, encoding?: unknown, callback?: unknown): boolean {
    this.oncame(chunk.length);
    if (!this.isReceiving) this.onoctets(chunk);
    return super.write(chunk, encoding as BufferEncoding, callback as Callback);
  }

  /** Begins at once what would never become a line. */
  override _write(chunk: Buffer, encoding: BufferEncoding | "buffer", done: Callback): void {
    if (!this._dataMode && this._remainder === "" && !this.isClosed && isTlsHello(chunk))
      return this.oncommand(chunk, () => done());
    if (!this._dataMode) this.#begin(chunk);
    super._write(chunk, encoding, done);
  }

  /** Where the library is in what came last: it does not tell. */
  #begin(chunk: Buffer): void {
    this.#given = { before: this._remainder, chunk };
    this.#at = 0;
  }

  #octet(at: number): number {
    const { before, chunk } = this.#given;
    return at < before.length ? before.charCodeAt(at) : (chunk[at - before.length] ?? 0);
  }

  /** A command was taken, with the CRLF or LF behind it. */
  passed(line: Buffer): void {
    this.#at += line.length;
    this.#at += this.#octet(this.#at) === 0x0d ? 2 : 1;
  }

  get hasMore(): boolean {
    const { before, chunk } = this.#given;
    return this.#at < before.length + chunk.length;
  }

  override _feedDataStream(chunk: Buffer, done: Callback): void {
    const sink = this.#sink;
    if (sink === undefined || this.isClosed) return done();
    const { length } = chunk;
    let end: number;
    try {
      end = sink.feed(chunk);
    } catch (error) {
      return done(new SinkError("feed", { cause: error }));
    }
    if (end < 0 || end === length) giveBack(chunk);
    if (end < 0) {
      const { pending } = sink;
      if (pending === undefined) return done();
      void pending.then(() => done());
      return;
    }
    this.#sink = undefined;
    this._dataMode = false;
    this._remainder = "";
    const rest = end === length ? nothing : chunk.subarray(end);
    this.#begin(rest);
    const resume = (): void => this._write(rest, "buffer", done);
    sink.ended().then(resume, (error: unknown) => done(new SinkError("ended", { cause: error })));
  }
}

class Connection extends SMTPConnection implements Wire {
  readonly #conversation: Conversation;
  /** Commands that come before the greeting wait for it. */
  readonly #greeted: Promise<boolean>;
  #greet: (welcome: boolean) => void = () => undefined;
  #welcome = false;
  #wantsTls = false;
  #answering = false;
  #listener: ((octets: Buffer, unanswered: boolean) => void) | undefined;
  #corked = false;
  #inARow = 0;
  readonly #deadline: Deadline;

  constructor(server: ProtocolServer, socket: net.Socket, options: SMTPConnectionOptions | null | undefined) {
    super(server, socket, options);
    this.remoteAddress = plainAddress(this.remoteAddress);
    this.#deadline = new Deadline(server.protocol.terms, Date.now());
    this.#deadline.pause(Date.now());
    this.#greeted = new Promise((resolve) => {
      this.#greet = resolve;
    });
    this.#conversation = server.protocol.converse(this);
  }

  override init(): void {
    if (this._socket.destroyed) return this._onClose();
    this._setListeners(() => {
      if (this.remoteAddress === "") return this.close();
      this.#secured();
      this._ready = true;
      this.#conversation.greet().then(
        (welcome) => {
          this.#welcome = welcome;
          this.#deadline.begin(Date.now());
          this.#greet(welcome);
        },
        () => this.close(),
      );
    });
  }

  #secured(): void {
    if (!(this._socket instanceof TLSSocket)) return;
    // A half-closed TLS connection would stay for the library's five seconds after its end: nobody pipes a script into one.
    this._socket.allowHalfOpen = false;
    this.#conversation.secured(handshakeFacts(this._socket));
  }

  override _createParser(): ProtocolStream {
    const parser = new ProtocolStream({ maxCommandLength: MAX_LINE_OCTETS });
    parser.onoctets = (octets) => this.#listener?.(octets, this.#answering || !this.#welcome);
    parser.oncame = (octets) => this.#deadline.heard(octets, Date.now());
    parser.oncommand = (command, callback) => {
      parser.passed(command);
      this._onCommand(command, callback);
    };
    // The library's one error is a line beyond the bound; after either, nothing more can be told apart.
    parser.on("error", (error) => {
      if (this._upgrading) this.close();
      else if (error instanceof SinkError) this.#conversation.broken(error.cause);
      else this.#conversation.lineTooLong();
    });
    // A client that has said all it wants to say gets its answers first.
    parser.on("finish", () => {
      if (this._parser === parser) this.close();
    });
    return parser;
  }

  override _onCommand(line: Buffer, callback?: () => void): void {
    const next = callback ?? ((): void => undefined);
    // What arrived in the clear while the handshake runs is dropped without an answer.
    if (this._upgrading || this._closing) return next();
    if (!this.#welcome) {
      void this.#greeted.then((welcome) => (welcome ? this._onCommand(line, callback) : next()));
      return;
    }
    const done = (): void => {
      this.#answering = false;
      this.#deadline.begin(Date.now());
      if (this.#wantsTls) {
        this.#wantsTls = false;
        this.#uncork();
        this.upgrade(next, () => {
          this.#secured();
        });
        return;
      }
      this._whenWritable(this.#inTurn(next));
    };
    this.#answering = true;
    this.#deadline.pause(Date.now());
    const answered = this.#conversation.command(line);
    if (answered === undefined) return done();
    answered.then(done, (error: unknown) => this.#conversation.broken(error));
  }

  /** Others are served between the commands of one that pipelines many. */
  #inTurn(next: () => void): () => void {
    this.#inARow = this.hasMore ? this.#inARow + 1 : 0;
    if (this.#inARow < MOST_IN_A_ROW) return next;
    this.#inARow = 0;
    return () => setImmediate(next);
  }

  // What the session may ask for.

  get hasMore(): boolean {
    return this._parser instanceof ProtocolStream && this._parser.hasMore;
  }

  overdue(nowMs: number): "silent" | "slow" | undefined {
    const passed = this.#deadline.passed(nowMs);
    if (passed === undefined || !this._closing) return passed;
    // It has been told, and does not go.
    this._socket.destroy();
    return undefined;
  }

  reply(reply: Reply): void {
    if (!this._upgrading && !this._socket.destroyed && this._socket.writable) {
      if (this.hasMore) this.#cork();
      this._socket.write(asSent(reply));
    }
    if (reply.code === 421 || reply.code === 221 || reply.code === 521) this.close();
    if (reply.code === 221 && !this.hasMore) this.#leave();
  }

  /** After QUIT nothing more comes: to wait for the other side to close is a wait for nothing, and often for its reset. */
  #leave(): void {
    const socket = this._socket;
    if (socket instanceof TLSSocket || socket.writableLength > 0) socket.destroySoon();
    else socket.destroy();
  }

  /** Replies to commands that came in one packet leave in one packet; to the last of them, or to the only one, there is nothing to wait for. */
  #cork(): void {
    if (this.#corked) return;
    const socket = this._socket;
    this.#corked = true;
    socket.cork();
    process.nextTick(() => this.#uncork(socket));
  }

  #uncork(socket: net.Socket = this._socket): void {
    if (!this.#corked) return;
    this.#corked = false;
    socket.uncork();
  }

  begin(reply: Reply): void {
    const text = reply.text.replaceAll(control, " ");
    if (!this._upgrading && !this._socket.destroyed && this._socket.writable)
      this._socket.write(`${reply.code}-${text}\r\n`);
  }

  hear(listener: (octets: Buffer, unanswered: boolean) => void): void {
    this.#listener = listener;
  }

  receive(sink: DataSink): void {
    if (!(this._parser instanceof ProtocolStream)) return;
    const ourTurn = async (waiting: Promise<void>): Promise<void> => {
      this.#deadline.pause(Date.now());
      await waiting;
      this.#deadline.resume(Date.now());
    };
    this._parser.receive({
      feed: (chunk) => sink.feed(chunk),
      get pending() {
        return sink.pending === undefined ? undefined : ourTurn(sink.pending);
      },
      ended: async () => {
        this.#answering = true;
        this.#deadline.pause(Date.now());
        try {
          await sink.ended();
        } finally {
          this.#answering = false;
          this.#deadline.begin(Date.now());
        }
      },
    });
  }

  startTls(): void {
    this.#wantsTls = true;
  }

  // What the library tells.

  override _onTimeout(): void {
    if (this._closing || this._upgrading) {
      this._socket.destroy();
      return;
    }
    // RFC 5321 §4.5.3.2: the client waits for us; its silence is no fault.
    if (this.#answering || !this.#welcome) return this._armTimeout();
    this.#conversation.idle();
  }

  override _onError(error: Error): void {
    if (this._upgrading) this.#conversation.handshakeFailed(error);
    this.close();
    if (!this._socket.destroyed) this._socket.destroy();
  }

  override _onClose(): void {
    super._onClose();
    this.#greet(false);
    this.#conversation.closed();
  }
}

export class ProtocolServer extends SMTPServer {
  readonly protocol: ProtocolOptions;

  constructor(protocol: ProtocolOptions) {
    super({
      secure: protocol.implicitTls,
      logger: false,
      // Ours stands in the replies; without one the library asks the system for each connection.
      name: "packetboat",
      disableReverseLookup: true,
      // `printf … | nc` closes its side at once; what it asked is answered all the same.
      allowHalfOpen: true,
      rejectUnauthorized: false,
    });
    this.protocol = protocol;
    // A socket that is reset before its session exists must not bring the shard down.
    this.server.on("connection", (socket) => socket.on("error", () => undefined));
  }

  /** What may change while running: idle time, how many handshakes of implicit TLS may be under way, whether a certificate is asked for. */
  configure(settings: {
    readonly idleTimeoutMs: number;
    readonly connections: number;
    readonly asksCertificate: boolean;
  }): void {
    this.options.socketTimeout = settings.idleTimeoutMs;
    this.options.maxClients = settings.connections;
    this.options.requestCert = settings.asksCertificate;
  }

  /** The library's reader knows version 1 only, and looks for it octet by octet. */
  override _expectsProxyHeader(socket: net.Socket): boolean {
    return this.protocol.speaksForOthers(plainAddress(socket.remoteAddress ?? ""));
  }

  override _handleProxy(socket: net.Socket, callback: Parameters<SMTPServer["_handleProxy"]>[1]): void {
    connectionsSeen += 1;
    const options: NonNullable<Parameters<typeof callback>[1]> = {
      id: `${processId}${connectionsSeen.toString(36).padStart(6, "0")}`,
    };
    if (!this._expectsProxyHeader(socket)) {
      setImmediate(() => callback(null, options));
      return;
    }
    const peer = plainAddress(socket.remoteAddress ?? "");
    let octets = Buffer.alloc(0);
    const end = (why: string | undefined): void => {
      for (const event of ["readable", "end", "close"])
        socket.removeListener(event, event === "readable" ? read : gone);
      if (why === undefined) return callback(null, options);
      this.protocol.onProxyError(peer, why);
      socket.destroy();
      callback(new Error(why));
    };
    const gone = (): void => end("ended before its PROXY header");
    const read = (): void => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        octets = Buffer.concat([octets, chunk]);
        const header = parseProxyHeader(octets);
        if (header.kind === "more") continue;
        if (header.kind === "bad") return end(header.why);
        if (octets.length > header.length) socket.unshift(octets.subarray(header.length));
        if (header.source !== undefined) {
          options.remoteAddress = header.source.address;
          options.remotePort = header.source.port;
        }
        return end(undefined);
      }
    };
    socket.on("readable", read);
    socket.on("end", gone);
    socket.on("close", gone);
  }

  override connect(socket: net.Socket, options?: SMTPConnectionOptions | null): void {
    // A handshake just before ours looks up the context itself; see _resolveSNI and refreshDefault.
    const connection = new Connection(this, socket, options);
    this.connections.add(connection);
    connection.init();
  }

  /** The library would make a context from a key that everybody knows; ours come from the configuration. */
  override updateSecureContext(): void {
    this.secureContext = new Map();
  }

  /** To call when certificates change. */
  refreshDefault(): void {
    const context = this.protocol.contextFor(undefined);
    if (context === undefined) this.secureContext.delete("*");
    else this.secureContext.set("*", context);
  }

  override _resolveSNI(servername: string, callback: (error: Error | null, context?: SecureContext) => void): void {
    callback(null, this.protocol.contextFor(servername));
  }

  override _onError(error: Error): void {
    this.protocol.onHandshakeError(error);
  }
}
