/**
 * Answers: raw values of a source → what its result format makes of them, within the expansion limit.
 *
 * Shared by mysql.ts and ldap.ts. db_common of Postfix: empty values are left out, a value without what the format asks for (a domain) is left out, and too many
 * are an error: half an alias would lose mail for the other half.
 */
import { expandTemplate, type Piece, parseTemplate } from "../config/lookup-template.ts";
import { LookupUnavailable } from "./lookup.ts";

export interface Shape {
  readonly resultFormat: string;
  readonly domains: readonly string[];
  readonly expansionLimit: number;
  readonly domainsOnly?: boolean | undefined;
}

export class AnswerShape {
  readonly #lookup: string;
  readonly #format: readonly Piece[];
  readonly #domains: ReadonlySet<string>;
  readonly #limit: number;
  readonly #domainsOnly: boolean;

  constructor(lookup: string, shape: Shape) {
    const format = parseTemplate(shape.resultFormat, "value");
    if (!format.ok) throw new TypeError(`${lookup}: result format: ${format.error}`);
    this.#lookup = lookup;
    this.#format = format.value;
    this.#domains = new Set(shape.domains.map((domain) => domain.toLowerCase()));
    this.#limit = shape.expansionLimit;
    this.#domainsOnly = shape.domainsOnly === true;
  }

  /** mysql_table(5), domain: bare domains, `@domain` and others' addresses are not asked for. */
  mayAsk(key: string): boolean {
    if (this.#domainsOnly && key.includes("@")) return false;
    if (this.#domains.size === 0) return true;
    const at = key.lastIndexOf("@");
    return at > 0 && this.#domains.has(key.slice(at + 1).toLowerCase());
  }

  valuesOf(key: string, raw: Iterable<string>): readonly string[] | undefined {
    const values: string[] = [];
    for (const value of raw) {
      if (value === "") continue;
      const made = expandTemplate(this.#format, key, value);
      if (made === undefined) continue;
      if (values.push(made) > this.#limit)
        throw new LookupUnavailable(this.#lookup, "question", `more than ${this.#limit} values (expansionLimit)`);
    }
    return values.length === 0 ? undefined : values;
  }
}
