/**
 * Passed tests: what a client has shown before, remembered where all shards see it.
 *
 * Asked once a connection by screening.ts. One text for each address, with the end of each test's time. A shared state that does not answer knows nobody:
 * the client is tested again, which costs it a wait and nothing else.
 */
import type { PostscreenSettings } from "../config/postscreen.ts";
import type { Log } from "../observe/log.ts";
import type { SharedState } from "../session/shared-state.ts";

export const cachedTests = ["preGreet", "dnsbl", "pipelining", "nonSmtpCommand", "bareNewline"] as const;
export type CachedTest = (typeof cachedTests)[number];
/** Until when each test counts as passed. */
export type Passed = ReadonlyMap<CachedTest, number>;

const isTest = (text: string): text is CachedTest => (cachedTests as readonly string[]).includes(text);

/** `preGreet=1700000000000 dnsbl=…`; what cannot be read was not passed. */
export function parsePassed(text: string, nowMs: number): Passed {
  return new Map(
    text.split(" ").flatMap((part) => {
      const [test = "", until = ""] = part.split("=");
      return isTest(test) && /^[0-9]{1,15}$/.test(until) && Number(until) > nowMs
        ? [[test, Number(until)] as const]
        : [];
    }),
  );
}

export const writePassed = (passed: Passed): string =>
  [...passed].map(([test, untilMs]) => `${test}=${untilMs}`).join(" ");

export class PassedClients {
  readonly #shared: SharedState;
  readonly #log: Log;
  readonly #now: () => number;

  constructor(shared: SharedState, log: Log, now: () => number = Date.now) {
    this.#shared = shared;
    this.#log = log;
    this.#now = now;
  }

  async of(address: string): Promise<Passed> {
    try {
      const text = await this.#shared.recall(`postscreen:${address}`);
      return text === undefined ? new Map() : parsePassed(text, this.#now());
    } catch (error) {
      this.#unavailable(error);
      return new Map();
    }
  }

  /** What it passed now joins what it had passed. */
  async add(
    address: string,
    before: Passed,
    tests: readonly CachedTest[],
    cacheMs: PostscreenSettings["cacheMs"],
  ): Promise<Passed> {
    const now = this.#now();
    const passed = new Map(before);
    for (const test of tests) passed.set(test, now + cacheMs[test]);
    try {
      const longest = Math.max(...passed.values()) - now;
      await this.#shared.remember(`postscreen:${address}`, writePassed(passed), longest);
    } catch (error) {
      this.#unavailable(error);
    }
    return passed;
  }

  #unavailable(error: unknown): void {
    this.#log.error({ error: error instanceof Error ? error.message : String(error) }, "shared-state-unavailable");
  }
}
