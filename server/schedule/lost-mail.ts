/**
 * Mail that is claimed on disk and that nobody works on: found, logged, given back.
 *
 * A part of the watchdog. Once a minute the number of claimed messages in the queue is compared with those the scheduler holds; where the queue has
 * more, they are named. One that is missing at two looks in a row is due again: its attempt never was. Nothing is given back that could only be on
 * its way between the two, so that no message is tried twice at once.
 */
import type { Log } from "../observe/log.ts";
import type { Queue } from "../queue/queue.ts";
import type { Watchdog } from "./watchdog.ts";

const lookMs = 60_000;
/** A claim or settlement that takes longer may bring mail that is missing here for a reason. */
const onItsWayMs = 10_000;

export interface LostMailOptions {
  readonly queue: Queue;
  readonly log: Log;
  readonly now: () => number;
  readonly elapsedMs: () => number;
  readonly watchdog: Watchdog;
  /** Ids that the scheduler holds. */
  readonly open: ReadonlyMap<string, unknown>;
}

export class LostMail {
  readonly #options: LostMailOptions;
  #lookedMs: number;
  #looking = false;
  #missing: ReadonlySet<string> = new Set();

  constructor(options: LostMailOptions) {
    this.#options = options;
    this.#lookedMs = options.elapsedMs();
  }

  look(): void {
    const { elapsedMs, watchdog, log } = this.#options;
    if (this.#looking || elapsedMs() - this.#lookedMs < lookMs) return;
    if (watchdog.oldestMs("claim") > onItsWayMs || watchdog.oldestMs("settlement") > onItsWayMs) return;
    this.#lookedMs = elapsedMs();
    this.#looking = true;
    void this.#find()
      .catch((error: unknown) => log.warn({ event: "lost-mail-unknown", error: String(error) }))
      .finally(() => {
        this.#looking = false;
      });
  }

  async #find(): Promise<void> {
    const { queue, now, open, log, watchdog } = this.#options;
    const { messages } = await queue.summary(now());
    if (messages.active <= open.size) {
      this.#missing = new Set();
      watchdog.found("lost", 0);
      return;
    }
    const missing = (await queue.active()).filter(({ id }) => !open.has(id));
    const again = missing.filter(({ id }) => this.#missing.has(id));
    this.#missing = new Set(missing.map(({ id }) => id));
    watchdog.found("lost", again.length);
    for (const { id, recipients } of again) {
      if (open.has(id)) continue;
      log.error({ event: "stalled", what: "lost", id, recipients: recipients.length, since: lookMs / 1000 });
      await queue.settle(
        id,
        recipients.map(({ number }) => ({ recipient: number, kind: "returned", dueMs: now() })),
      );
    }
  }
}
