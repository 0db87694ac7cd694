/**
 * Wire: what a session and its connection ask of each other.
 *
 * The protocol library stands behind this port, in one adapter (listen/connection.ts); the session knows sockets no better than its tests do.
 */
import type { TlsFacts } from "../policy/facts.ts";
import type { Reply } from "../reply.ts";

/** The connection, as the session sees it. */
export interface Wire {
  readonly id: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  /** Octets have come behind the command at hand. */
  readonly hasMore: boolean;
  /** Whether the client has used up its time: without a word, or dripping. A connection that was closed and is not, is ended. */
  overdue(nowMs: number): "silent" | "slow" | undefined;
  /** Write a reply; 221, 421 and 521 (RFC 7504 §3; Postfix's access tables use it so) close the connection behind it. */
  reply(reply: Reply): void;
  /** The first line of a reply whose last is told later (RFC 5321 §4.2.1); the texts of the two need not be the same. */
  begin(reply: Reply): void;
  /** Who hears the octets of the dialogue as they come, before they are understood; `unanswered`: before the answer to what came before them. */
  hear(listener: (octets: Buffer, unanswered: boolean) => void): void;
  /** Hand every byte from here on to the sink, until it says the data has ended. */
  receive(sink: DataSink): void;
  /** Begin the TLS handshake once the current command is done; bytes sent before it are thrown away. */
  startTls(): void;
  close(): void;
}

export interface DataSink {
  /** How many bytes of the chunk were data, once they have ended; else -1. The chunk is the sink's for this call only: its memory is used again. */
  feed(chunk: Buffer): number;
  /** To wait for before the next feed. */
  readonly pending: Promise<void> | undefined;
  /** The data has ended; resolves when it was answered and commands may go on. */
  ended(): Promise<void>;
}

/** The session, as the connection sees it. */
export interface Conversation {
  /** A place was found and the greeting given; false: refused, and closed. */
  greet(): Promise<boolean>;
  /** One line without its end. Resolves when it was answered. */
  command(line: Buffer): void | Promise<void>;
  lineTooLong(): void;
  /** Our own bug: the conversation cannot go on. */
  broken(error: unknown): void;
  secured(tls: TlsFacts): void;
  handshakeFailed(error: Error): void;
  /** Nothing came for the idle time. */
  idle(): void;
  closed(): void;
}
