/**
 * Tables in Postfix's own notation (postmap(1), cidr_table(5), regexp_table(5), pcre_table(5)) → rules in their order.
 *
 * Parsed by the operator to refuse a line with a sentence, and by the server to look things up. Patterns run in linear time (re2js), whatever they are
 * and whatever a stranger sends; what that cannot do (back references, look-around) is refused. Pure.
 */
import { isIP } from "node:net";
import { RE2JS } from "re2js";
import { type Parsed, wrong } from "./lookup-template.ts";

export type TableType = "Hash" | "CIDR" | "Regexp" | "PCRE";

/** Text as it is, or what the group of that number matched. */
export type Replacement = readonly (string | number)[];

interface Match {
  /** With `!` in front: it matches what the pattern does not. */
  readonly negated: boolean;
}
interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly version: 4 | 6;
}
export type Rule =
  | { readonly kind: "key"; readonly key: string; readonly value: string }
  | ({ readonly kind: "network"; readonly network: Network; readonly value: string } & Match)
  | ({ readonly kind: "pattern"; readonly pattern: RE2JS; readonly value: Replacement } & Match)
  /** `end`: the number of the rule after the matching endif. */
  | ({ readonly kind: "if"; readonly test: Network | RE2JS; readonly end: number } & Match);

const MAX_RULES = 20_000;
const MAX_PATTERN = 16_384;
const MAX_VALUE = 8192;
const MAX_DEPTH = 32;

interface Line {
  readonly number: number;
  readonly text: string;
}

/** Logical lines: comments and empty lines away, lines that begin with white space belong to the one before (postmap(1)). */
function logicalLines(text: string): Line[] {
  const lines: { number: number; text: string }[] = [];
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const trimmed = raw.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const last = lines.at(-1);
    if (/^\s/.test(raw) && last !== undefined) last.text += `\n${raw.trimEnd()}`;
    else lines.push({ number: index + 1, text: raw.trimEnd() });
  }
  return lines;
}

function networkOf(text: string): Network | undefined {
  const [address = "", length, more] = text.replace(/^\[(.*)\](\/\d+)?$/, "$1$2").split("/");
  const version = isIP(address);
  if ((version !== 4 && version !== 6) || more !== undefined || address.includes("%")) return undefined;
  const longest = version === 4 ? 32 : 128;
  const prefix = length === undefined ? longest : /^\d{1,3}$/.test(length) ? Number(length) : longest + 1;
  return prefix > longest ? undefined : { address, prefix, version };
}

/** `x` of PCRE: white space and comments outside classes are for the reader. */
function withoutSpace(pattern: string): string {
  let out = "";
  let inClass = false;
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? "";
    if (character === "\\") {
      out += character + (pattern[++at] ?? "");
      continue;
    }
    if (inClass) {
      const named = /^\[:\^?[a-z]+:\]/.exec(pattern.slice(at, at + 16));
      if (named !== null) {
        out += named[0];
        at += named[0].length - 1;
        continue;
      }
      if (character === "]") inClass = false;
    } else if (character === "[") {
      inClass = true;
      // A bracket that stands first is a member of the class, not its end.
      const first = /^\[\^?\]/.exec(pattern.slice(at, at + 3));
      if (first !== null) {
        out += first[0];
        at += first[0].length - 1;
        continue;
      }
    } else if (character === "#") {
      const end = pattern.indexOf("\n", at);
      at = end < 0 ? pattern.length : end;
      continue;
    } else if (/\s/.test(character)) continue;
    out += character;
  }
  return out;
}

interface Expression extends Match {
  readonly pattern: RE2JS;
  readonly rest: string;
}

/** `!/pattern/flags` and what follows it. Letters of flags switch what Postfix has on or off by default. */
function expressionOf(text: string, type: "Regexp" | "PCRE"): Parsed<Expression> {
  const negated = text.startsWith("!");
  const start = /^!?\s*/.exec(text)?.[0].length ?? 0;
  const delimiter = text[start] ?? "";
  if (delimiter === "" || /[\w\s\\]/.test(delimiter))
    return wrong("must begin with a pattern between two characters such as /…/.");
  let end = start + 1;
  while (end < text.length && text[end] !== delimiter) end += text[end] === "\\" ? 2 : 1;
  if (end >= text.length) return wrong(`has no ${delimiter} that ends its pattern.`);
  const written = text
    .slice(start + 1, end)
    .replaceAll(`\\${delimiter}`, /[/,;:@#~!%&"'=<>-]/.test(delimiter) ? delimiter : `\\${delimiter}`);
  if (written.length > MAX_PATTERN) return wrong(`has a pattern of more than ${MAX_PATTERN} characters.`);
  const flags = /^[A-Za-z]*/.exec(text.slice(end + 1))?.[0] ?? "";
  const on = { i: true, s: true, m: false, x: false, A: false, U: false };
  for (const flag of flags) {
    // D of PCRE ($ only at the very end) is how re2js reads $ anyway; x of regexp_table asks for the syntax that is the only one here.
    if ((type === "PCRE" && (flag === "E" || flag === "D" || flag === "X")) || (type === "Regexp" && flag === "x"))
      continue;
    if (type === "Regexp" && flag !== "i" && flag !== "m")
      return wrong(`has the flag ${flag}, which is none of i, m and x.`);
    if (!Object.hasOwn(on, flag)) return wrong(`has the flag ${flag}, which is none of i, m, s, x, A, E, U and X.`);
    const name = flag as keyof typeof on;
    on[name] = !on[name];
  }
  // REG_NEWLINE of regexp_table(5): . stops at a line's end, too.
  if (type === "Regexp" && on.m) on.s = false;
  let source = on.x ? withoutSpace(written) : written;
  if (on.A) source = `\\A(?:${source})`;
  if (on.U) source = `(?U)${source}`;
  try {
    const pattern = RE2JS.compile(
      source,
      (on.i ? RE2JS.CASE_INSENSITIVE : 0) |
        (on.s ? RE2JS.DOTALL : 0) |
        (on.m ? RE2JS.MULTILINE : 0) |
        // POSIX takes the longest of the leftmost matches, Perl the first.
        (type === "Regexp" ? RE2JS.LONGEST_MATCH : 0),
    );
    return { ok: true, value: { negated, pattern, rest: text.slice(end + 1 + flags.length).trim() } };
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    return wrong(
      `has a pattern that cannot be used (back references and look-around do not exist here): ${message.slice(0, 200)}.`,
    );
  }
}

/** `$1`, `${1}`, `$(1)`; `$$` is a dollar sign. */
function replacementOf(text: string, pattern: RE2JS, negated: boolean): Parsed<Replacement> {
  const parts: (string | number)[] = [];
  let at = 0;
  for (const match of text.matchAll(/\$(?:\$|(\d{1,3})|\{(\d{1,3})\}|\((\d{1,3})\)|)/g)) {
    if (match.index > at) parts.push(text.slice(at, match.index));
    at = match.index + match[0].length;
    const number = match[1] ?? match[2] ?? match[3];
    if (match[0] === "$$") parts.push("$");
    else if (number === undefined) return wrong("has a $ that is no $1 or ${1}; write $$ for a dollar sign.");
    else if (negated) return wrong("uses $n with a pattern that begins with !, which matches nothing to put there.");
    else if (Number(number) > pattern.groupCount())
      return wrong(`uses $${number}, but its pattern has only ${pattern.groupCount()} groups.`);
    else parts.push(Number(number));
  }
  if (at < text.length) parts.push(text.slice(at));
  return { ok: true, value: parts };
}

function ruleOf(type: TableType, text: string): Parsed<Rule> {
  const isPattern = type === "Regexp" || type === "PCRE";
  const condition = type === "Hash" ? null : /^if\s*(?=[\s!/]|[^\w\s])([^]*)$/i.exec(text);
  const body = condition === null ? text : (condition[1] ?? "").trim();
  if (isPattern) {
    const read = expressionOf(body, type);
    if (!read.ok) return read;
    const { pattern, negated, rest } = read.value;
    if (condition !== null) return { ok: true, value: { kind: "if", test: pattern, negated, end: 0 } };
    if (rest === "") return wrong("has a pattern but no value.");
    const value = replacementOf(rest, pattern, negated);
    return value.ok ? { ok: true, value: { kind: "pattern", pattern, negated, value: value.value } } : value;
  }
  const [, mark, key = "", value = ""] = /^(!?)\s*(\S+)\s*([^]*)$/.exec(body) ?? [];
  const negated = type === "CIDR" && mark === "!";
  if (type === "CIDR") {
    const network = networkOf(key);
    if (network === undefined) return wrong(`"${key.slice(0, 60)}" is not a network; write it such as 192.0.2.0/24.`);
    if (condition !== null) return { ok: true, value: { kind: "if", test: network, negated, end: 0 } };
    if (value === "") return wrong("has a network but no value.");
    return { ok: true, value: { kind: "network", network, negated, value } };
  }
  // texthash: key, optional colon of aliases(5), value.
  const name = `${mark ?? ""}${key}`.replace(/:$/, "");
  if (value === "") return wrong("has a key but no value.");
  return { ok: true, value: { kind: "key", key: name.toLowerCase(), value } };
}

/** The error names the line, as an editor counts them. */
export function parseTable(type: TableType, text: string): Parsed<readonly Rule[]> {
  const rules: Rule[] = [];
  const open: number[] = [];
  for (const { number, text: line } of logicalLines(text)) {
    if (rules.length >= MAX_RULES) return wrong(`Line ${number}: a table has at most ${MAX_RULES} entries.`);
    if (type !== "Hash" && /^endif\b/i.test(line)) {
      const at = open.pop();
      const rule = at === undefined ? undefined : rules[at];
      if (at === undefined || rule?.kind !== "if") return wrong(`Line ${number} has an endif without its if.`);
      rules[at] = { ...rule, end: rules.length };
      continue;
    }
    const rule = ruleOf(type, line);
    if (!rule.ok) return wrong(`Line ${number} ${rule.error}`);
    if (line.length > MAX_PATTERN + MAX_VALUE) return wrong(`Line ${number} is too long.`);
    if (rule.value.kind === "if" && open.push(rules.length) > MAX_DEPTH)
      return wrong(`Line ${number}: if stands in at most ${MAX_DEPTH} others.`);
    rules.push(rule.value);
  }
  return open.length > 0 ? wrong("The table has an if without its endif.") : { ok: true, value: rules };
}
