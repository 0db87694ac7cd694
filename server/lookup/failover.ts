/**
 * Failover: several hosts that know the same, asked so that a dead one costs nobody more than a moment.
 *
 * Stands under mysql.ts, ldap.ts and socketmap.ts. The first host in the written order that is up gets the question. One that refuses, is silent or loses its connections is
 * down: it is tried again in the background, and by questions only when no other is up, so that the moment it is back it works. A host that is up but does not answer within
 * `hedgeMs` is asked no longer alone: the next one gets the same question, and the first answer counts. Fails with the last host's error.
 */
import { setTimeout as sleep } from "node:timers/promises";

export interface Host {
  /** For the log. */
  readonly name: string;
  /** Connect and hear something; rejects when it cannot, within its own connect timeout. */
  probe(): Promise<void>;
  /** Forget connections that may be dead. */
  reset(): void;
  close(): Promise<void>;
}

/** What an answer's failure says: the host is gone, or it is well and says no. */
export type FailureKind = "host" | "question";

/** A host that was looked at and found gone; `cause` is what it said, or how it was silent. */
export class HostDown extends Error {
  constructor(host: string, cause: unknown) {
    super(`${host} is down`, { cause });
    this.name = "HostDown";
  }
}

export interface FailoverOptions {
  /** Silence of an up host after which the next one is asked as well. */
  readonly hedgeMs: number;
  /** Pause between tries of a down host in the background. */
  readonly retryMs: number;
  readonly kindOf: (cause: unknown) => FailureKind;
  /** Once for each change. */
  readonly onChange: (host: string, up: boolean, cause?: unknown) => void;
}

/** Between two looks at a host that refuses, however many ask. */
const PAUSE_MS = 100;

type State = "unknown" | "up" | "down";

class Member<H extends Host> {
  readonly host: H;
  state: State = "unknown";
  #probing: Promise<boolean> | undefined;
  #failedMs = Number.NEGATIVE_INFINITY;
  #retry: NodeJS.Timeout | undefined;
  readonly #options: FailoverOptions;
  #isClosed = false;
  #cause: unknown;

  constructor(host: H, options: FailoverOptions) {
    this.host = host;
    this.#options = options;
  }

  gone(): HostDown {
    return new HostDown(this.host.name, this.#cause);
  }

  /** One attempt, shared by all who wait for it; not sooner than a moment after one that failed. */
  probe(): Promise<boolean> {
    this.#probing ??= this.#try().finally(() => {
      this.#probing = undefined;
    });
    return this.#probing;
  }

  async #try(): Promise<boolean> {
    const waitMs = this.#failedMs + PAUSE_MS - performance.now();
    if (waitMs > 0) await sleep(waitMs, undefined, { ref: false });
    try {
      await this.host.probe();
      this.up();
      return true;
    } catch (cause) {
      this.#failedMs = performance.now();
      this.down(cause);
      return false;
    }
  }

  up(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    if (this.#isClosed) return;
    const was = this.state;
    this.state = "up";
    if (was === "down") this.#options.onChange(this.host.name, true);
  }

  down(cause: unknown): void {
    this.#cause = cause;
    if (this.#isClosed) return;
    const was = this.state;
    this.state = "down";
    this.host.reset();
    if (was !== "down") this.#options.onChange(this.host.name, false, cause);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      void this.probe();
    }, this.#options.retryMs).unref();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    await this.host.close();
  }
}

export class Failover<H extends Host> {
  readonly #members: readonly Member<H>[];
  readonly #options: FailoverOptions;

  constructor(hosts: readonly H[], options: FailoverOptions) {
    this.#options = options;
    this.#members = hosts.map((host) => new Member(host, options));
  }

  #kindOf(cause: unknown): FailureKind {
    return cause instanceof HostDown ? "host" : this.#options.kindOf(cause);
  }

  get isAvailable(): boolean {
    return this.#members.some(({ state }) => state !== "down");
  }

  /** The answer of the first host that can give one. */
  async ask<T>(question: (host: H) => Promise<T>): Promise<T> {
    const order = [...this.#members].sort((a, b) => Number(a.state === "down") - Number(b.state === "down"));
    const anyUp = order.some(({ state }) => state !== "down");
    if (!anyUp) {
      // All are down: try them at once, so that silence of the first does not add up with that of the second.
      const found = await Promise.any(
        order.map(async (member) => {
          if (!(await member.probe())) throw member.gone();
          return member;
        }),
      ).catch(() => undefined);
      if (found === undefined) throw order[0]?.gone() ?? new Error("no host");
      return await question(found.host);
    }
    const up = order.filter(({ state }) => state !== "down");
    return await this.#firstOf(up, question, 0);
  }

  /** Ask `members[index]`, and the next one when it fails or hesitates. */
  async #firstOf<T>(members: readonly Member<H>[], question: (host: H) => Promise<T>, index: number): Promise<T> {
    const member = members[index];
    if (member === undefined) throw new Error("no host is up");
    const isLast = index + 1 >= members.length;
    const mine = this.#askOne(member, question);
    if (isLast) {
      try {
        return await mine;
      } catch (cause) {
        return await this.#lastResort(members, question, cause);
      }
    }
    const hesitates = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => hesitates.resolve(undefined), this.#options.hedgeMs).unref();
    const first = await Promise.race([
      mine.then(
        (value) => ({ value }),
        (cause: unknown) => ({ cause }),
      ),
      hesitates.promise,
    ]);
    clearTimeout(timer);
    if (first !== undefined) {
      if ("value" in first) return first.value;
      // A host that is well and says no says it for all; but a replica may be ahead or behind, so the others are asked, too.
      return await this.#firstOf(members, question, index + 1);
    }
    const other = this.#firstOf(members, question, index + 1);
    return await Promise.any([mine, other]).catch((cause: unknown) => {
      throw cause instanceof AggregateError ? (cause.errors.at(-1) ?? cause) : cause;
    });
  }

  async #askOne<T>(member: Member<H>, question: (host: H) => Promise<T>): Promise<T> {
    if (member.state !== "up" && !(await member.probe())) throw member.gone();
    try {
      return await this.#watched(member, question);
    } catch (cause) {
      if (this.#kindOf(cause) === "question") throw cause;
      // Kept connections die with a restart of the other side: look once more before it counts as down.
      member.host.reset();
      if (!(await member.probe())) throw cause;
      try {
        return await this.#watched(member, question);
      } catch (again) {
        if (this.#kindOf(again) === "host") member.down(again);
        throw again;
      }
    }
  }

  /** A host that hesitates is looked at: slow may go on, gone is gone, and the next question knows. */
  async #watched<T>(member: Member<H>, question: (host: H) => Promise<T>): Promise<T> {
    const gone = Promise.withResolvers<never>();
    const look = async (): Promise<void> => {
      if (!(await member.probe())) gone.reject(member.gone());
    };
    const timer = setTimeout(() => void look(), this.#options.hedgeMs).unref();
    try {
      return await Promise.race([question(member.host), gone.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Those that were down when this began may be back. */
  async #lastResort<T>(tried: readonly Member<H>[], question: (host: H) => Promise<T>, cause: unknown): Promise<T> {
    if (this.#kindOf(cause) === "question") throw cause;
    for (const member of this.#members) {
      if (!tried.includes(member) && (await member.probe())) return await question(member.host);
    }
    throw cause;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#members.map((member) => member.close()));
  }
}
