/**
 * Load: the connections of this shard, and whether they are so many that it is under stress.
 *
 * From four fifths of `limits.connections` on idle clients are given 10 s and the first error ends a session (Postfix's stress-dependent defaults), so that those who
 * are served fast go on being served; below three fifths all is as before. Nothing is shared: each shard has connections of its own.
 */
import type { Limits } from "../config/limits.ts";
import type { Log } from "../observe/log.ts";
import { stress } from "../observe/metrics.ts";

const STRESS_FROM = 0.8;
const STRESS_UNTIL = 0.6;
/** Postfix: smtpd_timeout, smtpd_hard_error_limit and smtpd_junk_command_limit under stress. */
const STRESSED = { idleMs: 10_000, hardErrors: 1, junkCommands: 1 } as const;

/** What a client may use of us now. */
export interface Patience {
  readonly idleMs: number;
  readonly heloMs: number;
  readonly minDataRate: number;
  readonly hardErrors: number;
  readonly junkCommands: number;
}

export class Load {
  readonly #limits: () => Limits;
  readonly #log: Log;
  #open = 0;
  #stressed = false;

  constructor(limits: () => Limits, log: Log) {
    this.#limits = limits;
    this.#log = log;
  }

  /** A place, or none; each true is owed one `leave`. */
  take(): boolean {
    if (this.#open >= this.#limits().connections) return false;
    this.#open += 1;
    this.#judge();
    return true;
  }

  leave(): void {
    this.#open -= 1;
    this.#judge();
  }

  get isStressed(): boolean {
    return this.#stressed;
  }

  patience(): Patience {
    const { idleTimeoutMs, heloTimeoutMs, minDataRate, hardErrors, junkCommands } = this.#limits();
    if (!this.#stressed) return { idleMs: idleTimeoutMs, heloMs: heloTimeoutMs, minDataRate, hardErrors, junkCommands };
    return {
      idleMs: Math.min(idleTimeoutMs, STRESSED.idleMs),
      heloMs: Math.min(heloTimeoutMs, STRESSED.idleMs),
      minDataRate,
      hardErrors: STRESSED.hardErrors,
      junkCommands: Math.min(junkCommands, STRESSED.junkCommands),
    };
  }

  #judge(): void {
    const { connections } = this.#limits();
    // The last place of a very small limit is not stress yet.
    const isStressed = this.#stressed
      ? this.#open > connections * STRESS_UNTIL
      : this.#open > 1 && this.#open >= connections * STRESS_FROM;
    if (isStressed === this.#stressed) return;
    this.#stressed = isStressed;
    stress.set(isStressed ? 1 : 0);
    this.#log.warn({ open: this.#open, connections }, isStressed ? "stress" : "stress-over");
  }
}
