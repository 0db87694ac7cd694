/**
 * Chain: runs the lists of checks of one stage and comes to one verdict.
 *
 * A stage is an ordered set of named lists, a list an ordered set of named checks. The first refusal or discard ends the stage; a permit ends its list;
 * uncertain is kept and turns a final yes into its reply, unsettled a final no; effects are kept for a yes. A check that throws is a bug of ours: the client is deferred, never refused for good.
 * Answers without a promise while no check needs one, so that a stage of pure checks costs no turn of the event loop.
 */
import { replies } from "../session/replies.ts";
import type { Effect } from "./effect.ts";
import { defer, type Verdict } from "./verdict.ts";

export type Check<F> = (facts: F) => Verdict | Promise<Verdict>;
export interface NamedCheck<F> {
  readonly name: string;
  readonly check: Check<F>;
}
export interface CheckList<F> {
  readonly name: string;
  readonly checks: readonly NamedCheck<F>[];
}
/** What a stage decides: yes (pass), or why not. `check` names who decided. */
export type Decision = Exclude<Verdict, { kind: "permit" | "uncertain" | "unsettled" | "effect" }> & {
  readonly check?: string;
  readonly cause?: unknown;
  /** What is to happen to the message; absent: nothing. */
  readonly effects?: readonly Effect[];
};

/** A list of checks, named by its functions: `list("client", { clientAccess })`. */
export const list = <F>(name: string, checks: Readonly<Record<string, Check<F>>>): CheckList<F> => ({
  name,
  checks: Object.entries(checks).map(([key, check]) => ({ name: key, check })),
});

const yes: Decision = { kind: "pass" };

export function decide<F>(lists: readonly CheckList<F>[], facts: F): Decision | Promise<Decision> {
  let doubt: Decision | undefined;
  let mercy: Decision | undefined;
  let effects: Effect[] | undefined;
  const take = (verdict: Verdict, name: string): "next" | "end-of-list" | Decision => {
    switch (verdict.kind) {
      case "pass":
        return "next";
      case "permit":
        return "end-of-list";
      case "uncertain":
        doubt ??= { kind: "defer", reason: verdict.reason, reply: verdict.reply, check: name };
        return "next";
      case "unsettled":
        mercy ??= { kind: "defer", reason: verdict.reason, reply: verdict.reply, check: name };
        return "next";
      case "effect":
        effects ??= [];
        effects.push(verdict.effect);
        return "next";
      case "reject":
        return mercy ?? { ...verdict, check: name };
      case "defer":
      case "discard":
        return { ...verdict, check: name };
      default:
        return verdict satisfies never;
    }
  };
  const broken = (cause: unknown, name: string): Decision => ({
    ...defer("internal", replies.internal),
    check: name,
    cause,
  });
  const run = (fromList: number, fromCheck: number): Decision | Promise<Decision> => {
    for (let l = fromList, c = fromCheck; l < lists.length; l += 1, c = 0) {
      const checks = lists[l]?.checks ?? [];
      for (; c < checks.length; c += 1) {
        const named = checks[c];
        if (named === undefined) break;
        const at = { list: l, check: c };
        const go = (verdict: Verdict): Decision | Promise<Decision> => {
          const step = take(verdict, named.name);
          if (step === "next") return run(at.list, at.check + 1);
          return step === "end-of-list" ? run(at.list + 1, 0) : step;
        };
        let verdict: Verdict | Promise<Verdict>;
        try {
          verdict = named.check(facts);
        } catch (error) {
          return broken(error, named.name);
        }
        if (verdict instanceof Promise) return verdict.then(go, (error: unknown) => broken(error, named.name));
        const step = take(verdict, named.name);
        if (step === "end-of-list") break;
        if (step !== "next") return step;
      }
    }
    return doubt ?? (effects === undefined ? yes : { ...yes, effects });
  };
  return run(0, 0);
}
