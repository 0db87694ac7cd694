/**
 * Chain: runs the lists of checks of one stage and comes to one verdict.
 *
 * A stage is an ordered set of named lists, a list an ordered set of named checks, or a function that takes them from the configuration of the moment. The first refusal
 * or discard ends the stage; a permit ends its list; uncertain is kept and turns a final yes into its reply,
 * unsettled a final no; effects and notes are kept. A check may name others to be asked in its place (restriction classes of Postfix), bounded, because rules may name each other.
 * A check that throws is a bug of ours: the client is deferred, never refused for good.
 * Answers without a promise while no check needs one, so that a stage of pure checks costs no turn of the event loop.
 */
import { replies } from "../session/replies.ts";
import type { Effect } from "./effect.ts";
import { defer, type Refusal, type Verdict } from "./verdict.ts";

export type Check<F> = (facts: F) => Verdict | Promise<Verdict>;
/** A verdict, or other checks to ask in its place; their permit ends the list as its own would. */
export type Outcome<F> = Verdict | { readonly kind: "ask"; readonly checks: readonly NamedCheck<F>[] };
export type AskingCheck<F> = (facts: F) => Outcome<F> | Promise<Outcome<F>>;
export interface NamedCheck<F> {
  readonly name: string;
  readonly check: AskingCheck<F>;
}
export interface CheckList<F> {
  readonly name: string;
  readonly checks: readonly NamedCheck<F>[] | ((facts: F) => readonly NamedCheck<F>[]);
  /** Asked once more later, with more known: only its refusals count now. */
  readonly early?: boolean;
  /** What lists before it left unsettled is no mercy for its refusals: as between Postfix's smtpd_*_restrictions. */
  readonly apart?: boolean;
}
/** What a check wants to be read in the log, whatever is decided. */
export interface Note {
  readonly check: string;
  readonly level: "warn" | "info";
  readonly text: string;
}
/** What a stage decides: yes (pass), or why not. `check` names who decided. */
export type Decision = (Refusal | Extract<Verdict, { kind: "pass" | "discard" }>) & {
  readonly check?: string;
  readonly cause?: unknown;
  /** What is to happen to the message; absent: nothing. */
  readonly effects?: readonly Effect[];
  readonly notes?: readonly Note[];
};

/** A list of checks, named by its functions: `list("client", { clientAccess })`. */
export const list = <F>(
  name: string,
  checks: Readonly<Record<string, AskingCheck<F>>>,
): CheckList<F> & { readonly checks: readonly NamedCheck<F>[] } => ({
  name,
  checks: Object.entries(checks).map(([key, check]) => ({ name: key, check })),
});

const yes: Decision = { kind: "pass" };

/** More than this, and rules name each other in a circle; as in Postfix. */
const MAX_ASKED_INSTEAD = 100;

class Course {
  doubt: Decision | undefined;
  mercy: Decision | undefined;
  effects: Effect[] | undefined;
  notes: Note[] | undefined;
  askedInstead = 0;
  /** What is decided at the end of all lists. */
  atEnd(): Decision {
    return this.with(this.doubt ?? (this.effects === undefined ? yes : { ...yes, effects: this.effects }));
  }

  with(decision: Decision): Decision {
    return this.notes === undefined ? decision : { ...decision, notes: this.notes };
  }
}

type Step = "next" | "end-of-list" | Decision;

function take(course: Course, verdict: Verdict, name: string, early: boolean): Step {
  if (early && verdict.kind !== "reject" && verdict.kind !== "defer")
    return verdict.kind === "permit" || verdict.kind === "discard" ? "end-of-list" : "next";
  switch (verdict.kind) {
    case "pass":
      return "next";
    case "permit":
      return "end-of-list";
    case "discard":
      return course.with(course.doubt ?? { ...verdict, check: name });
    case "uncertain":
      course.doubt ??= { kind: "defer", reason: verdict.reason, reply: verdict.reply, check: name };
      return "next";
    case "unsettled":
      course.mercy ??= { kind: "defer", reason: verdict.reason, reply: verdict.reply, check: name };
      return "next";
    case "effect":
      course.effects ??= [];
      course.effects.push(verdict.effect);
      return "next";
    case "note":
      course.notes ??= [];
      course.notes.push({ check: name, level: verdict.level, text: verdict.text });
      return "next";
    case "reject":
      return course.with(course.mercy ?? { ...verdict, check: name });
    case "defer":
      return course.with({ ...verdict, check: name });
    default:
      return verdict satisfies never;
  }
}

export function decide<F>(lists: readonly CheckList<F>[], facts: F): Decision | Promise<Decision> {
  const course = new Course();
  const broken = (cause: unknown, name: string): Decision =>
    course.with({ ...defer("internal", replies.internal), check: name, cause });
  /** The list at hand, and where in it; the lists behind it. */
  let list: readonly NamedCheck<F>[] = [];
  let at = 0;
  let nextList = 0;
  let early = false;

  const act = (outcome: Outcome<F>, name: string): Decision | undefined => {
    if (outcome.kind === "ask") {
      course.askedInstead += 1;
      if (course.askedInstead > MAX_ASKED_INSTEAD) return broken(new Error("access rules name each other"), name);
      list = [...outcome.checks, ...list.slice(at)];
      at = 0;
      return undefined;
    }
    const step = take(course, outcome, name, early);
    // Whatever comes now in this list, the answer is "later".
    if (step === "end-of-list" || (course.doubt !== undefined && course.mercy !== undefined)) at = list.length;
    return typeof step === "string" ? undefined : step;
  };

  const run = (): Decision | Promise<Decision> => {
    for (;;) {
      const named = list[at];
      at += 1;
      if (named === undefined) {
        const next = lists[nextList];
        if (next === undefined) return course.atEnd();
        nextList += 1;
        early = next.early === true;
        if (next.apart === true) course.mercy = undefined;
        try {
          list = typeof next.checks === "function" ? next.checks(facts) : next.checks;
          at = 0;
        } catch (error) {
          return broken(error, next.name);
        }
        continue;
      }
      let outcome: Outcome<F> | Promise<Outcome<F>>;
      try {
        outcome = named.check(facts);
      } catch (error) {
        return broken(error, named.name);
      }
      if (outcome instanceof Promise) {
        return outcome.then(
          (answer) => act(answer, named.name) ?? run(),
          (error: unknown) => broken(error, named.name),
        );
      }
      const decision = act(outcome, named.name);
      if (decision !== undefined) return decision;
    }
  };
  return run();
}

/** Postfix's warn_if_reject: what the check would refuse is only told to the log. */
export function warned<F>({ name, check }: NamedCheck<F>): NamedCheck<F> {
  const soften = (outcome: Outcome<F>): Outcome<F> => {
    if (outcome.kind === "ask") return { kind: "ask", checks: outcome.checks.map(warned) };
    if (!("reply" in outcome)) return outcome;
    const { code, enhanced, text } = outcome.reply;
    return { kind: "note", level: "warn", text: `would be refused: ${code} ${enhanced} ${text}` };
  };
  return {
    name,
    check: (facts) => {
      const outcome = check(facts);
      return outcome instanceof Promise ? outcome.then(soften) : soften(outcome);
    },
  };
}
