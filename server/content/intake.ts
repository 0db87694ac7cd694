/**
 * Intake: one message on its way from the decoder into the queue.
 *
 * Stands between DATA and the queue's commit. Holds at most the header in memory; the body streams to the writer, slice by slice, with the writer's
 * back-pressure. A fault (bare CR or LF, NUL, size, header, hops) stops the writing at once, the rest is read and forgotten, and `finish` says which
 * it was. Whatever happens the writer is either committed or aborted, once. A client that vanishes before the end aborts; after the final dot nothing does.
 * RFC 5321 §6.3 (loops by Received count), RFC 1870 §6.3 (size while receiving).
 */
import type { Envelope, MessageWriter, Origin, QueuedMessage } from "../queue/queue.ts";
import type { Decoder } from "./data-decoder.ts";
import { joined } from "../octets.ts";
import type { EditedHeader } from "../rewrite/header-fields.ts";
import { RewritingTrouble } from "../rewrite/rewriting.ts";
import { HeaderCollector, type HeaderSummary, readHeader } from "./header.ts";

/** More hops than this is a loop: RFC 5321 §6.3 asks for at least 100, every MTA in use counts 50 (Postfix hopcount_limit). */
export const MAX_HOPS = 50;
/** Bound of a header where the configuration has none. */
const UNLIMITED_HEADER_BYTES = 1_048_576;
/** What may come in one piece: how much further than the limit a client can be before it is noticed. */
const CHUNK_BYTES = 65_536;

export type IntakeFault = "bare-newline" | "nul-byte" | "message-too-large" | "header-too-large" | "too-many-hops";
export type IntakeResult =
  | { readonly kind: "queued"; readonly message: QueuedMessage; readonly header: HeaderSummary }
  | { readonly kind: "discarded"; readonly size: number }
  /** Whoever decides when it is all there said no. */
  | { readonly kind: "refused" }
  | { readonly kind: "fault"; readonly fault: IntakeFault }
  | { readonly kind: "failed"; readonly error: unknown };

/** What to store it as. */
export interface Commit {
  readonly envelope: Envelope;
  readonly origin: Origin;
  readonly hold: boolean;
}

export interface IntakeOptions {
  /** undefined: the message is to be thrown away (access rule Discard). */
  readonly writer: MessageWriter | undefined;
  /** 0: no limit. */
  readonly messageBytes: number;
  readonly headerBytes: number;
  readonly decoder: Decoder;
  /** Changes the client's fields before they are looked at again; absent: they stay. */
  readonly edit?: ((fields: Buffer) => EditedHeader) | undefined;
  /** Fields to put above the header. */
  readonly top: (header: HeaderSummary) => string;
}

export class Intake {
  #collector: HeaderCollector | undefined = new HeaderCollector();
  #header: HeaderSummary | undefined;
  readonly #options: IntakeOptions;
  #size = 0;
  #fault: IntakeFault | undefined;
  #error: { readonly cause: unknown } | undefined;
  #pending: Promise<void> | undefined;
  #settled = false;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** Octets of the message so far, as the client sent it. */
  get size(): number {
    return this.#size;
  }

  /** Wait for this before feeding more; undefined when there is nothing to wait for. */
  get pending(): Promise<void> | undefined {
    return this.#pending;
  }

  /** Twice the limit has come: this client does not stop by itself. */
  get isHopeless(): boolean {
    return this.#options.messageBytes > 0 && this.#size > 2 * this.#options.messageBytes + CHUNK_BYTES;
  }

  /** Answers how many bytes of the chunk were data once the end has come, else -1. */
  feed(chunk: Buffer): number {
    const pieces: Buffer[] = [];
    const end = this.#options.decoder.feed(chunk, pieces);
    this.#add(pieces);
    return end;
  }

  /** What is wrong with it so far: the rest will be read and forgotten. */
  get fault(): IntakeFault | undefined {
    return this.#fault;
  }

  #add(pieces: readonly Buffer[]): void {
    this.#fault ??= this.#options.decoder.fault;
    let size = 0;
    for (const piece of pieces) size += piece.length;
    this.#size += size;
    if (this.#options.messageBytes > 0 && this.#size > this.#options.messageBytes) this.#fault ??= "message-too-large";
    if (this.#isUseless()) this.#abort();
    else if (size > 0) {
      if (this.#collector === undefined) this.#write(pieces);
      else this.#collect(this.#collector, joined(pieces));
    }
  }

  #isUseless(): boolean {
    return this.#fault !== undefined || this.#error !== undefined;
  }

  #collect(collector: HeaderCollector, piece: Buffer): void {
    const whole = collector.take(piece);
    const limit = this.#options.headerBytes > 0 ? this.#options.headerBytes : UNLIMITED_HEADER_BYTES;
    if (collector.size > limit) {
      this.#fault ??= "header-too-large";
      this.#abort();
    } else if (whole !== undefined) this.#begin(whole.header, whole.body);
  }

  /** The header is complete: judge it, put ours above it. */
  #begin(header: Buffer, body: Buffer): void {
    this.#collector = undefined;
    const asSent = readHeader(header);
    this.#header = asSent;
    if (asSent.received > MAX_HOPS) {
      this.#fault ??= "too-many-hops";
      this.#abort();
      return;
    }
    const edited = this.#edited(header.subarray(0, asSent.fieldsEnd));
    if (edited === undefined) return;
    const { fields, summary } =
      edited === "same" ? { fields: header.subarray(0, asSent.fieldsEnd), summary: asSent } : edited;
    this.#header = summary;
    const parts = [Buffer.from(this.#options.top(summary)), fields];
    // RFC 5322 §2.1: an empty line separates header and body, also where the client's text began without one.
    const rest = header.subarray(asSent.fieldsEnd);
    if (rest[0] !== 13) parts.push(Buffer.from("\r\n"));
    parts.push(rest, body);
    this.#write(parts);
  }

  /** Undefined: it cannot be edited now, and the message is not to be stored as it is. */
  #edited(fields: Buffer): "same" | { readonly fields: Buffer; readonly summary: HeaderSummary } | undefined {
    const edited = this.#options.edit?.(fields);
    if (edited?.kind === "trouble") {
      this.#error ??= { cause: new RewritingTrouble(edited.reason) };
      this.#abort();
      return undefined;
    }
    return edited === undefined || edited.header === fields
      ? "same"
      : { fields: edited.header, summary: readHeader(edited.header) };
  }

  #write(data: readonly Buffer[]): void {
    const { writer } = this.#options;
    if (writer === undefined || this.#isUseless()) return;
    const written = writer.write(data)?.catch((error: unknown) => {
      this.#error ??= { cause: error };
    });
    if (written === undefined) return;
    const before = this.#pending;
    const all = before === undefined ? written : before.then(() => written);
    this.#pending = all;
    void all.then(() => {
      if (this.#pending === all) this.#pending = undefined;
    });
  }

  /** The final dot has come. `decide` is asked only about a message that could be stored. */
  async finish(decide: () => Promise<Commit | "discard" | "refuse">): Promise<IntakeResult> {
    const last = this.#options.decoder.end();
    this.#add(last === undefined ? [] : [last]);
    if (this.#collector !== undefined && !this.#isUseless()) {
      const header = this.#collector.all();
      this.#begin(header, Buffer.alloc(0));
    }
    while (this.#pending !== undefined) await this.#pending;
    const { writer } = this.#options;
    const header = this.#header;
    if (this.#fault !== undefined) {
      this.#abort();
      return { kind: "fault", fault: this.#fault };
    }
    if (this.#error !== undefined || header === undefined) {
      this.#abort();
      return { kind: "failed", error: this.#error?.cause };
    }
    if (writer === undefined) return { kind: "discarded", size: this.#size };
    let commit: Awaited<ReturnType<typeof decide>>;
    try {
      commit = await decide();
    } catch (error) {
      this.#abort();
      return { kind: "failed", error };
    }
    if (typeof commit === "string") {
      this.#abort();
      return commit === "discard" ? { kind: "discarded", size: this.#size } : { kind: "refused" };
    }
    this.#settled = true;
    try {
      const { envelope, origin, hold } = commit;
      return { kind: "queued", message: await writer.commit(envelope, origin, { claim: true, hold }), header };
    } catch (error) {
      return { kind: "failed", error };
    }
  }

  /** The client went away before the end. */
  cancel(): void {
    this.#error ??= { cause: new Error("the client closed the connection before the end of data") };
    this.#abort();
  }

  #abort(): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#collector = undefined;
    // A failing abort leaves nothing worse behind than an uncommitted message, which the queue forgets by itself.
    this.#options.writer?.abort().catch(() => undefined);
  }
}
