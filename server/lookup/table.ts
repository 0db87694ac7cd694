/**
 * Inline tables: exact keys, networks, patterns, as Postfix's texthash, cidr, regexp and pcre.
 *
 * A Lookup that needs nobody else, so it is never unavailable; also read by name where no role fits (header rules, canonical addresses). First rule in the table's order
 * wins. Time is linear in rules and in the key, whatever the patterns (table-text.ts). regexp_table(5), pcre_table(5), cidr_table(5).
 */
import { BlockList, isIP } from "node:net";
import type { RE2JS } from "re2js";
import type { TableSource } from "../config/lookups.ts";
import { parseTable, type Replacement, type Rule } from "../config/table-text.ts";
import { plainAddress } from "../policy/networks.ts";
import type { Lookup } from "./lookup.ts";

/** Longer keys are nobody's address and no header line that we accept. */
const MAX_KEY = 131_072;

type Test = { readonly matches: (key: string) => Replaced | undefined };
type Replaced = readonly (string | null)[];
interface Step {
  readonly test: Test;
  /** Absent: an `if` that leads past `end` when it does not hold. */
  readonly value: Replacement | undefined;
  readonly end: number;
}

const nothing: Replaced = [];

function patternTest(pattern: RE2JS, negated: boolean): Test {
  return {
    matches: (key) => {
      const matcher = pattern.matcher(key);
      if (matcher.find() === negated) return undefined;
      return negated ? nothing : Array.from({ length: matcher.groupCount() + 1 }, (_, group) => matcher.group(group));
    },
  };
}

function networkTest(network: Extract<Rule, { kind: "network" }>["network"], negated: boolean): Test {
  const blocks = new BlockList();
  const family = network.version === 4 ? "ipv4" : "ipv6";
  blocks.addSubnet(network.address, network.prefix, family);
  return {
    matches: (key) => {
      const version = isIP(key);
      if (version === 0) return undefined;
      return blocks.check(key, version === 4 ? "ipv4" : "ipv6") === negated ? undefined : nothing;
    },
  };
}

export class Table implements Lookup {
  readonly name: string;
  readonly wholeKeyOnly: boolean;
  readonly #keys = new Map<string, string>();
  readonly #steps: Step[] = [];
  readonly #isNetworks: boolean;

  /** Throws for a text that the operator would have refused. */
  constructor({ name, type, text }: Pick<TableSource, "name" | "type" | "text">) {
    this.name = name;
    this.wholeKeyOnly = type !== "Hash";
    this.#isNetworks = type === "CIDR";
    const rules = parseTable(type, text);
    if (!rules.ok) throw new TypeError(`table ${name}: ${rules.error}`);
    for (const rule of rules.value) {
      if (rule.kind === "key") {
        // postmap(1) warns of duplicates and keeps the first.
        if (!this.#keys.has(rule.key)) this.#keys.set(rule.key, rule.value);
      } else if (rule.kind === "network")
        this.#steps.push({ test: networkTest(rule.network, rule.negated), value: [rule.value], end: 0 });
      else if (rule.kind === "pattern")
        this.#steps.push({ test: patternTest(rule.pattern, rule.negated), value: rule.value, end: 0 });
      else {
        const { test, negated, end } = rule;
        this.#steps.push({
          test: "address" in test ? networkTest(test, negated) : patternTest(test, negated),
          value: undefined,
          end,
        });
      }
    }
  }

  /** At once, for those who name the table. Keys of Hash are found in any case. */
  find(key: string): string | undefined {
    if (key.length > MAX_KEY) return undefined;
    if (!this.wholeKeyOnly) return this.#keys.get(key.toLowerCase());
    const text = this.#isNetworks ? plainAddress(key) : key;
    for (let at = 0; at < this.#steps.length; ) {
      const step = this.#steps[at];
      if (step === undefined) break;
      const groups = step.test.matches(text);
      if (groups !== undefined && step.value !== undefined)
        return step.value.map((part) => (typeof part === "string" ? part : (groups[part] ?? ""))).join("");
      at = groups === undefined && step.value === undefined ? Math.max(step.end, at + 1) : at + 1;
    }
    return undefined;
  }

  async get(key: string): Promise<readonly string[] | undefined> {
    const value = this.find(key);
    return await Promise.resolve(value === undefined ? undefined : [value]);
  }
}
