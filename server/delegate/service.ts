/**
 * One policy daemon and the connections to it: kept open between questions, bounded in number, age and idleness.
 *
 * Between delegation.ts (which service is asked) and connection.ts (one socket). A question waits for a free connection no longer than the timeout of the service. A daemon
 * that was restarted is noticed: a kept connection that hangs up costs no try. Fails as a sentence after all tries; never throws. SMTPD_POLICY_README.
 */
import { isDeepStrictEqual } from "node:util";
import type { PolicyService } from "../config/policy-services.ts";
import { type Asked, Connection } from "./connection.ts";

export type ServiceAnswer = Exclude<Asked, { kind: "hung-up" }>;

/** Questions that wait for a connection; beyond it the service is as good as gone. */
const MAX_WAITING = 1000;

export class Service {
  readonly settings: PolicyService;
  readonly #now: () => number;
  /** Used last at the end: the others grow old and go. */
  #idle: { readonly connection: Connection; readonly timer: NodeJS.Timeout }[] = [];
  readonly #waiting: ((isGranted: boolean) => void)[] = [];
  #used = 0;
  #closed = false;

  constructor(settings: PolicyService, now: () => number = () => performance.now()) {
    this.settings = settings;
    this.#now = now;
  }

  isFor(settings: PolicyService): boolean {
    return isDeepStrictEqual(settings, this.settings);
  }

  async ask(request: string): Promise<ServiceAnswer> {
    if (!(await this.#place())) return { kind: "failed", why: "all connections are busy" };
    try {
      const { tries, retryDelayMs } = this.settings;
      for (let attempt = 1; ; attempt += 1) {
        const answer = await this.#attempt(request);
        if (answer.kind !== "failed" || attempt >= tries || this.#closed) return answer;
        await new Promise((resolve) => setTimeout(resolve, retryDelayMs));
      }
    } finally {
      this.#leave();
    }
  }

  /** Questions under way go on; nothing is kept any more. */
  close(): void {
    this.#closed = true;
    for (const { connection, timer } of this.#idle.splice(0)) {
      clearTimeout(timer);
      connection.close();
    }
  }

  async #attempt(request: string): Promise<ServiceAnswer> {
    const { timeoutMs, endpoint } = this.settings;
    for (let kept = this.#take(); kept !== undefined; kept = this.#take()) {
      const asked = await kept.ask(request, timeoutMs);
      if (asked.kind !== "hung-up") return this.#keep(kept, asked);
    }
    const fresh = await Connection.open(endpoint, timeoutMs, this.#now());
    if (typeof fresh === "string") return { kind: "failed", why: fresh };
    const asked = await fresh.ask(request, timeoutMs);
    if (asked.kind === "hung-up") return { kind: "failed", why: "closed without an answer" };
    return this.#keep(fresh, asked);
  }

  #take(): Connection | undefined {
    for (let kept = this.#idle.pop(); kept !== undefined; kept = this.#idle.pop()) {
      clearTimeout(kept.timer);
      kept.connection.onEnded = undefined;
      if (kept.connection.isOpen && !this.#isOld(kept.connection)) return kept.connection;
      kept.connection.close();
    }
    return undefined;
  }

  #isOld({ openedMs }: Connection): boolean {
    return this.#now() - openedMs > this.settings.maxLifetimeMs;
  }

  #keep(connection: Connection, asked: ServiceAnswer): ServiceAnswer {
    const { maxIdleMs } = this.settings;
    if (asked.kind !== "answer" || this.#closed || maxIdleMs === 0 || !connection.isOpen || this.#isOld(connection)) {
      connection.close();
      return asked;
    }
    const forget = (): void => {
      clearTimeout(timer);
      this.#idle = this.#idle.filter((kept) => kept.connection !== connection);
      connection.onEnded = undefined;
      connection.close();
    };
    const timer = setTimeout(forget, maxIdleMs).unref();
    connection.onEnded = forget;
    this.#idle.push({ connection, timer });
    return asked;
  }

  #place(): Promise<boolean> {
    if (this.#used < this.settings.connections) {
      this.#used += 1;
      return Promise.resolve(true);
    }
    if (this.#waiting.length >= MAX_WAITING) return Promise.resolve(false);
    return new Promise((resolve) => {
      const granted = (isGranted: boolean): void => {
        clearTimeout(timer);
        resolve(isGranted);
      };
      const timer = setTimeout(() => {
        const at = this.#waiting.indexOf(granted);
        if (at >= 0) this.#waiting.splice(at, 1);
        resolve(false);
      }, this.settings.timeoutMs);
      this.#waiting.push(granted);
    });
  }

  /** The place goes to whoever waits longest. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#used -= 1;
    else next(true);
  }
}
