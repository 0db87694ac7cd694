/**
 * Verdict: what the build thinks of one object, ready to become its Accepted condition.
 *
 * Stands in build/, written by every concern, read by status.ts and by the local mode's explanations. An object that is refused in part (one entry of
 * an Alias already taken) carries a refusal although the rest of it is in force; its message says so.
 */
import type { RefusalReason } from "./reasons.ts";

export type SecretReason = Extract<RefusalReason, "SecretNotFound" | "SecretInvalid">;

export interface Refusal {
  readonly reason: RefusalReason;
  /** A sentence that says what to change. */
  readonly message: string;
}

export type Verdict = ({ readonly accepted: true } | ({ readonly accepted: false } & Refusal)) & {
  readonly warnings: readonly string[];
};

/** Collects what the concerns find out about one object; several refusals become one, the first giving the reason. */
export class Findings {
  readonly #refusals = new Map<string, Refusal[]>();
  readonly #warnings = new Map<string, string[]>();

  refuse(objectKey: string, reason: RefusalReason, message: string): void {
    const list = this.#refusals.get(objectKey) ?? [];
    list.push({ reason, message });
    this.#refusals.set(objectKey, list);
  }

  warn(objectKey: string, message: string): void {
    const list = this.#warnings.get(objectKey) ?? [];
    if (!list.includes(message)) list.push(message);
    this.#warnings.set(objectKey, list);
  }

  /** Long lists are cut: a condition's message is for reading. */
  verdictOf(objectKey: string): Verdict {
    const warnings = this.#warnings.get(objectKey) ?? [];
    const refusals = this.#refusals.get(objectKey) ?? [];
    const first = refusals[0];
    if (first === undefined) return { accepted: true, warnings };
    const sentences = [...new Set(refusals.map((refusal) => refusal.message))];
    const told = sentences.slice(0, 5).join(" ");
    const message = sentences.length > 5 ? `${told} And ${sentences.length - 5} more.` : told;
    return { accepted: false, reason: first.reason, message: message.slice(0, 4096), warnings };
  }
}
