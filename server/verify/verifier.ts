/**
 * Verifier: does this address exist, as far as the server behind it says?
 *
 * Between the checks (policy/checks/verification.ts) and the probes. Believes what is remembered; asks again in the background when that is old; else asks now, once for
 * all who want to know, and lets them wait a little. Whoever waits longer hears "unknown", and finds the answer when it comes again. The number of probes under way
 * is bounded: strangers who guess addresses get "unknown", not our memory. Never throws. postconf(5) address_verify_*.
 */
import { addressKey } from "../config/address.ts";
import type { Log } from "../observe/log.ts";
import { addressProbes, verifications } from "../observe/metrics.ts";
import type { SharedState } from "../session/shared-state.ts";
import { Prober, type Probing } from "./probe.ts";
import { type Result, Results, timesOf } from "./results.ts";

export interface Verified {
  /** unknown: come again. */
  readonly kind: "deliverable" | "undeliverable" | "unknown";
  /** What the other server said, or why nobody knows. For the log. */
  readonly said: string;
}
export type Verify = (address: string) => Promise<Verified>;

export interface VerifierOptions extends Omit<Probing, "now"> {
  readonly shared: SharedState;
  readonly log: Log;
  readonly now?: () => number;
}

const MAX_UNDER_WAY = 1000;

export class Verifier {
  readonly #options: VerifierOptions;
  readonly #now: () => number;
  readonly #results: Results;
  readonly #prober: Prober;
  readonly #underWay = new Map<string, Promise<Result>>();

  constructor(options: VerifierOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#results = new Results(options.shared, this.#now);
    this.#prober = new Prober({ ...options, now: this.#now });
  }

  readonly verify: Verify = async (address) => {
    const settings = this.#options.config().server.verification;
    const key = addressKey(address) ?? address.toLowerCase();
    const known = await this.#results.get(key, settings);
    if (known !== undefined) {
      if (timesOf(known, settings).refreshMs <= this.#now()) void this.#probe(key, address);
      return told(known, "memory");
    }
    const probe = this.#probe(key, address);
    if (probe === undefined) return told({ kind: "down", said: "too many probes under way" }, "probe");
    return told((await within(probe, settings.waitMs)) ?? { kind: "down", said: "verification in progress" }, "probe");
  };

  /** Probes under way end as unanswered. */
  close(): void {
    this.#prober.close();
  }

  #probe(key: string, address: string): Promise<Result> | undefined {
    const underWay = this.#underWay.get(key);
    if (underWay !== undefined) return underWay;
    if (this.#underWay.size >= MAX_UNDER_WAY) return undefined;
    const probe = this.#ask(key, address).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, probe);
    return probe;
  }

  async #ask(key: string, address: string): Promise<Result> {
    const startedMs = performance.now();
    const answer = await this.#prober.probe(address);
    const result: Result = { ...answer, atMs: this.#now() };
    addressProbes.inc({ result: answer.kind });
    const ms = Math.round(performance.now() - startedMs);
    this.#options.log.info({ address, result: answer.kind, said: answer.said, ms }, "address-probed");
    const settings = this.#options.config().server.verification;
    // What is known for sure outlives a server that does not answer.
    const isKnown = answer.kind === "down" && (await this.#results.get(key, settings)) !== undefined;
    if (!isKnown) await this.#results.set(key, result, settings);
    return result;
  }
}

function told({ kind, said }: Pick<Result, "kind" | "said">, from: "memory" | "probe"): Verified {
  const result = kind === "down" ? "unknown" : kind;
  verifications.inc({ result, from });
  return { kind: result, said };
}

/** Undefined: it takes longer. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
