/**
 * Sessions kept for the next message to the same place.
 *
 * Between two deliveries only; a session is owned by one delivery or by this cache, never by both. Keyed by destination and TLS requirement, so
 * that no message ever travels under weaker terms than its own. A kept session ends after its idle time, after its share of messages, or when
 * the peer hangs up. RFC 5321 §4.5.4 (sending many messages over one connection).
 */
import type { Session } from "./session.ts";

export interface SessionCacheLimits {
  readonly idleMs: number;
  /** Messages over one connection: so that new MX records and load balancing take effect. */
  readonly messages: number;
  readonly sessions: number;
}

export class SessionCache {
  readonly #idle = new Map<string, { readonly session: Session; readonly sinceMs: number }[]>();
  readonly #limits: SessionCacheLimits;
  #count = 0;
  readonly #sweeper: NodeJS.Timeout;
  #closed = false;

  constructor(limits: SessionCacheLimits) {
    this.#limits = limits;
    this.#sweeper = setInterval(() => this.#sweep(), Math.max(50, Math.min(1000, limits.idleMs / 2)));
    this.#sweeper.unref();
  }

  /** The one used last: the others may then grow old and go. */
  take(key: string): { readonly session: Session; readonly idleMs: number } | undefined {
    const list = this.#idle.get(key);
    while (list !== undefined && list.length > 0) {
      const kept = list.pop();
      this.#count -= 1;
      if (list.length === 0) this.#idle.delete(key);
      if (kept?.session.usable === true) return { session: kept.session, idleMs: performance.now() - kept.sinceMs };
    }
    return undefined;
  }

  give(key: string, session: Session, messages = this.#limits.messages): void {
    if (!session.usable) return session.destroy();
    if (this.#closed || session.messages >= messages || this.#count >= this.#limits.sessions) return session.quit();
    const list = this.#idle.get(key) ?? [];
    list.push({ session, sinceMs: performance.now() });
    this.#idle.set(key, list);
    this.#count += 1;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#sweeper);
    for (const list of this.#idle.values()) for (const { session } of list) session.quit();
    this.#idle.clear();
    this.#count = 0;
  }

  #sweep(): void {
    const oldestMs = performance.now() - this.#limits.idleMs;
    for (const [key, list] of this.#idle) {
      const fresh = list.filter(({ session, sinceMs }) => {
        if (session.usable && sinceMs > oldestMs) return true;
        this.#count -= 1;
        if (session.usable) session.quit();
        else session.destroy();
        return false;
      });
      if (fresh.length > 0) this.#idle.set(key, fresh);
      else this.#idle.delete(key);
    }
  }
}
