/**
 * Flushes that clients ask for by ETRN: one domain's waiting mail, in all shards of the pod.
 *
 * Primary process, over the postmaster's tools. One walk at a time and few in the line, however many clients ask: a walk reads the whole queue. Who asks for a domain
 * that is being walked or in the line joins that. A client waits for a second at most, the walk goes on without it. Fails by saying `unable`. RFC 1985 §4.
 */
import type { Log } from "../observe/log.ts";

export type FlushAnswer =
  /** All of it has been looked at; so many messages were made due. */
  { readonly kind: "done"; readonly messages: number } | { readonly kind: "started" } | { readonly kind: "unable" };

export interface DomainFlushOptions {
  /** Makes the domain's deferred mail due; tells how many messages. */
  readonly flush: (domain: string) => Promise<number>;
  readonly log: Log;
  /** How long a client is kept waiting for the number. @default 1000 */
  readonly patienceMs?: number;
}

const MOST_WAITING = 20;

export class DomainFlush {
  readonly #options: DomainFlushOptions;
  readonly #walks = new Map<string, Promise<FlushAnswer>>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: DomainFlushOptions) {
    this.#options = options;
  }

  async ask(domain: string): Promise<FlushAnswer> {
    let walk = this.#walks.get(domain);
    if (walk === undefined) {
      if (this.#walks.size >= MOST_WAITING) return { kind: "unable" };
      walk = this.#last.then(() => this.#walk(domain));
      this.#last = walk;
      this.#walks.set(domain, walk);
      void walk.then(() => this.#walks.delete(domain));
    }
    const patience = Promise.withResolvers<FlushAnswer>();
    const timer = setTimeout(() => patience.resolve({ kind: "started" }), this.#options.patienceMs ?? 1000);
    try {
      return await Promise.race([walk, patience.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #walk(domain: string): Promise<FlushAnswer> {
    const { flush, log } = this.#options;
    try {
      const messages = await flush(domain);
      log.info({ event: "etrn", domain, messages });
      return { kind: "done", messages };
    } catch (cause) {
      log.warn({ event: "etrn-failed", domain, error: cause instanceof Error ? cause.message : String(cause) });
      return { kind: "unable" };
    }
  }
}
