/**
 * What is wrong with a document, for a person: where, and what to write instead. One sentence a problem; the API server says the same in its own words.
 *
 * Part of parseObject; pure. Never repeats what was written: it may be long, and it may be a password in the wrong place.
 */
import type { z } from "zod";

type Issue = z.core.$ZodIssue;

const words: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return words[typeof value] ?? typeof value;
}

const count = (number: number | bigint, noun: string): string => `${number} ${noun}${Number(number) === 1 ? "" : "s"}`;

function bound(origin: string, side: "least" | "most", limit: number | bigint): string {
  if (origin === "string") {
    return side === "least" && Number(limit) === 1
      ? "must not be empty"
      : `must have at ${side} ${count(limit, "character")}`;
  }
  if (origin === "array" || origin === "set") return `must have at ${side} ${count(limit, "item")}`;
  return `must be at ${side} ${limit}`;
}

function wanted(issue: Issue): string {
  if (issue.code === "invalid_type") return `must be ${words[issue.expected] ?? issue.expected}`;
  if (issue.code === "invalid_value")
    return `must be ${issue.values.length === 1 ? "" : "one of "}${issue.values.map(String).join(", ")}`;
  return issue.message;
}

function whatIsWrong(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type": {
      if (issue.expected === "int") return wanted(issue);
      const quotes = issue.expected === "string" && ["number", "boolean"].includes(typeof issue.input);
      return `${wanted(issue)}, not ${kindOf(issue.input)}${quotes ? "; put it in quotes" : ""}`;
    }
    case "too_small":
      return issue.message.startsWith("must ") ? issue.message : bound(issue.origin, "least", issue.minimum);
    case "too_big":
      return issue.message.startsWith("must ") ? issue.message : bound(issue.origin, "most", issue.maximum);
    case "invalid_value":
      return wanted(issue);
    case "invalid_format":
    case "invalid_union":
    case "invalid_key":
    case "invalid_element":
    case "not_multiple_of":
    case "unrecognized_keys":
    case "custom":
      return issue.message;
  }
}

const fieldOf = (at: string, path: readonly PropertyKey[]): string =>
  [at, ...path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`))].join("");

/** At most this many: an object can be wrong in thousands of places, and nobody reads them all. */
const MOST = 20;

export function sentences(issues: readonly Issue[], at: string): string[] {
  const found = new Set<string>();
  for (const issue of issues) {
    const field = fieldOf(at, issue.path);
    if (issue.code === "unrecognized_keys") {
      for (const key of issue.keys)
        found.add(`${field}.${key} is not a field of this kind; remove it or correct its spelling.`);
    } else if (issue.input === undefined && "input" in issue && issue.code !== "custom") {
      const given = issue.code === "invalid_type" && issue.expected === "object";
      found.add(`${field} is missing; it ${given ? "must be given" : wanted(issue)}.`);
    } else {
      // The pattern's words say all that "must not be empty" would.
      const said = issues.some((other) => other.code === "invalid_format" && fieldOf(at, other.path) === field);
      if (issue.code !== "too_small" || !said) found.add(`${field}: ${whatIsWrong(issue)}.`);
    }
  }
  const all = [...found];
  return all.length <= MOST ? all : [...all.slice(0, MOST), `And ${all.length - MOST} more problems.`];
}
