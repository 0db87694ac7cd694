/**
 * Failures: what guessing passwords leads to, counted where all shards see it.
 *
 * A client with too many failures in a window gets 454 before anything is computed. A user with too many is closed to clients it has never logged in from; those it
 * has, get in, so that nobody is locked out by strangers. Names are counted whether they exist or not. A shared state that does not answer lets everybody try.
 */
import { createHash } from "node:crypto";
import type { AuthenticationSettings } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import type { SharedState } from "../session/shared-state.ts";

type Limits = AuthenticationSettings["failures"];

/** How long a client is remembered that a user has logged in from. */
const KNOWN_MS = 7 * 86_400_000;
/** Answers to a client that fails again and again wait this many times as long, at most. */
const MOST_DELAYS = 5;

/** Names are of any length and any letters; keys are not. */
const nameKey = (name: string): string =>
  createHash("sha256").update(name.toLowerCase()).digest("base64url").slice(0, 22);

export class FailureCounts {
  readonly #shared: SharedState;
  readonly #log: Log;

  constructor(shared: SharedState, log: Log) {
    this.#shared = shared;
    this.#log = log;
  }

  /** Whether a client may try at all; `client` is its group of addresses. */
  async clientMayTry({ perClient, windowMs }: Limits, client: string): Promise<boolean> {
    return perClient === 0 || (await this.#add(`auth-client:${client}`, 0, windowMs)) < perClient;
  }

  async userMayTry({ perUser, windowMs }: Limits, client: string, name: string): Promise<boolean> {
    if (perUser === 0 || (await this.#add(`auth-user:${nameKey(name)}`, 0, windowMs)) < perUser) return true;
    return (await this.#add(`auth-known:${nameKey(name)}:${client}`, 0, KNOWN_MS)) > 0;
  }

  /** Count one; how many pauses the answer should wait. `name` undefined: nobody in particular. */
  async failed({ perClient, windowMs }: Limits, client: string, name: string | undefined): Promise<number> {
    const [ofClient] = await Promise.all([
      this.#add(`auth-client:${client}`, 1, windowMs),
      name === undefined ? 0 : this.#add(`auth-user:${nameKey(name)}`, 1, windowMs),
    ]);
    return perClient === 0 ? 0 : Math.min(Math.max(ofClient - 1, 0), MOST_DELAYS);
  }

  async succeeded(client: string, name: string): Promise<void> {
    await this.#add(`auth-known:${nameKey(name)}:${client}`, 1, KNOWN_MS);
  }

  async #add(key: string, amount: number, windowMs: number): Promise<number> {
    try {
      return await this.#shared.add(key, amount, windowMs);
    } catch (error) {
      this.#log.error({ error: error instanceof Error ? error.message : String(error) }, "shared-state-unavailable");
      return 0;
    }
  }
}
