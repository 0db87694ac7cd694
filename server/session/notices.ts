/**
 * Notices: tells the postmaster of sessions that went wrong in a way that `queue.notify` names.
 *
 * One for a shard. A notice is a message like any other: stored, then handed to the scheduler. Of each kind of trouble at most one a minute, the next
 * says how many were left out: who attacks a server must not fill its postmaster's mailbox. One that finds the queue full is kept (the newest only) and
 * tried again; whatever else fails is logged, and no session ever waits for a notice. RFC 5321 §6.1.
 */
import type { LiveConfig } from "../config/schema.ts";
import { noticeOn } from "../dsn/notice.ts";
import type { Log } from "../observe/log.ts";
import { type GeneratedMessage, ownOrigin, type Queue, type QueuedMessage, QueueUnavailable } from "../queue/queue.ts";
import type { Transcript, Trouble } from "./transcript.ts";

export interface NoticesOptions {
  readonly config: () => LiveConfig;
  readonly queue: Pick<Queue, "newMessage">;
  readonly onAccepted: (message: QueuedMessage) => void;
  readonly log: Log;
  readonly now?: () => number;
  /** Between two about the same kind of trouble. @default 60000 */
  readonly pauseMs?: number;
  /** Until one that was not stored is tried again. @default 30000 */
  readonly retryMs?: number;
}

const kinds: ReadonlySet<string> = new Set<Trouble>(["Policy", "Protocol", "Resource", "Software"]);

export class Notices {
  readonly #options: NoticesOptions;
  readonly #nextMs = new Map<Trouble, number>();
  #leftOut = 0;
  #kept: GeneratedMessage | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: NoticesOptions) {
    this.#options = options;
  }

  /** Whether sessions are to be listened to at all. */
  get wanted(): boolean {
    const { queue, postmaster } = this.#options.config().server;
    return postmaster.length > 0 && queue.notify.some((what) => kinds.has(what));
  }

  /** A session is over. */
  consider(session: { readonly id: string; readonly client: string }, transcript: Transcript): void {
    const { server } = this.#options.config();
    const wanted = new Set<string>(server.queue.notify);
    const classes = [...transcript.troubles].filter((trouble) => wanted.has(trouble)).sort();
    if (classes.length === 0 || server.postmaster.length === 0) return;
    const { now = Date.now, pauseMs = 60_000 } = this.#options;
    const nowMs = now();
    if (!classes.some((trouble) => nowMs >= (this.#nextMs.get(trouble) ?? 0))) {
      this.#leftOut += 1;
      return;
    }
    for (const trouble of classes) this.#nextMs.set(trouble, nowMs + pauseMs);
    const notice = noticeOn({
      classes,
      hostname: server.hostname,
      to: server.postmaster,
      nowMs,
      session: session.id,
      client: session.client,
      lines: transcript.lines,
      linesLeftOut: transcript.leftOut,
      noticesLeftOut: this.#leftOut,
    });
    this.#leftOut = 0;
    void this.#store(notice);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#kept = undefined;
  }

  async #store(notice: GeneratedMessage): Promise<void> {
    const { queue, onAccepted, log, retryMs = 30_000 } = this.#options;
    try {
      const writer = queue.newMessage();
      try {
        await writer.write(notice.content);
        const message = await writer.commit(notice.envelope, ownOrigin, { claim: true });
        log.info({ event: "notice", id: message.id });
        onAccepted(message);
      } catch (error) {
        await writer.abort().catch(() => undefined);
        throw error;
      }
    } catch (error) {
      const full = error instanceof QueueUnavailable && error.reason === "full";
      log.warn({
        event: "notice-not-stored",
        error: error instanceof Error ? error.message : String(error),
        again: full,
      });
      if (!full) return;
      this.#kept = notice;
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        const kept = this.#kept;
        this.#kept = undefined;
        if (kept !== undefined) void this.#store(kept);
      }, retryMs).unref();
    }
  }
}
