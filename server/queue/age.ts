/**
 * Ages and domains: the table of `queue shape`, which a postmaster reads as Postfix's qshape. Pure.
 *
 * A row is a domain, a column an age in minutes. Rows of slices, shards and pods are added up; a queue full of made-up domains does not make the
 * table larger than `MOST_DOMAINS` rows: the smallest become one row.
 */

/** Upper limits of the columns, in minutes; one more column is for what is older. */
export const AGE_LIMITS = [5, 10, 20, 40, 80, 160, 320, 640, 1280] as const;
const MOST_DOMAINS = 20_000;
export const OTHER_DOMAINS = "(others)";

export interface ShapeRow {
  readonly domain: string;
  /** One count for each column, the youngest first. */
  readonly ages: readonly number[];
}

/** Which column; clocks that were set back make no age below nothing. */
export function ageBucket(ageMs: number): number {
  const minutes = ageMs / 60_000;
  const at = AGE_LIMITS.findIndex((limit) => minutes < limit);
  return at < 0 ? AGE_LIMITS.length : at;
}

export const sumOf = (ages: readonly number[]): number => ages.reduce((sum, count) => sum + count, 0);

/** Adds up what comes in pieces. */
export class Shape {
  readonly #rows = new Map<string, number[]>();

  add(domain: string, ages: readonly number[]): void {
    const name = this.#rows.has(domain) || this.#rows.size < MOST_DOMAINS ? domain : OTHER_DOMAINS;
    const known = this.#rows.get(name);
    if (known === undefined) this.#rows.set(name, [...ages]);
    else for (const [at, count] of ages.entries()) known[at] = (known[at] ?? 0) + count;
  }

  /** The largest first. */
  rows(): ShapeRow[] {
    return [...this.#rows]
      .map(([domain, ages]) => ({ domain, ages }))
      .sort((a, b) => sumOf(b.ages) - sumOf(a.ages) || (a.domain < b.domain ? -1 : 1));
  }
}
