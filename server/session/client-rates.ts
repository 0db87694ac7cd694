/**
 * Rates: how many connections, messages, recipients, AUTHs and TLS sessions of one client were there in the time at hand.
 *
 * Stands between the checks (policy/checks/limits.ts) and SharedState, which sees all shards and, with Redis, all pods. Windows are fixed and begin with the first
 * event, as in Postfix's anvil. A state that does not answer lets everybody through: a broken counter must not stop mail.
 */
import type { Limits } from "../config/limits.ts";
import type { Log } from "../observe/log.ts";
import { clientGroup, isInNetworks } from "../policy/networks.ts";
import type { SharedState } from "./shared-state.ts";

export type RateName = keyof Limits["rates"];

export class ClientRates {
  readonly #shared: SharedState;
  readonly #log: Log;

  constructor(shared: SharedState, log: Log) {
    this.#shared = shared;
    this.#log = log;
  }

  /** Counts one event of this client and tells whether it is one too many. Without a limit at once, and nothing is counted. */
  exceeds(limits: Limits, address: string, name: RateName): boolean | Promise<boolean> {
    const rate = limits.rates[name];
    if (rate === undefined || isInNetworks(limits.exemptNetworks, address)) return false;
    return this.#count(`rate-${name}:${clientGroup(address, limits.clientPrefix)}`, rate.perMs).then(
      (total) => total > rate.count,
    );
  }

  async #count(key: string, windowMs: number): Promise<number> {
    try {
      return await this.#shared.add(key, 1, windowMs);
    } catch (error) {
      this.#log.error({ error: error instanceof Error ? error.message : String(error) }, "shared-state-unavailable");
      return 0;
    }
  }
}
