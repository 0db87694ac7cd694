/** What a benchmark prints: a table that fits into docs/benchmarks.md, then each target of the issue with its figure and whether it was met. */

export interface Target {
  readonly what: string;
  readonly figure: number;
  readonly bound: number;
  readonly kind: "atLeast" | "atMost";
  readonly unit?: string;
}

export interface Report {
  /** Markdown; the first row is the head. */
  readonly table: readonly (readonly string[])[];
  /** How it was measured, where a reader could think otherwise. */
  readonly notes: readonly string[];
  readonly targets: readonly Target[];
}

/** A figure that could not be had is never met. */
export const isMet = ({ figure, bound, kind }: Target): boolean =>
  kind === "atLeast" ? figure >= bound : figure <= bound;

export function printReport(name: string, { table, notes, targets }: Report): void {
  const [head = [], ...rows] = table;
  console.log(`\n## ${name}\n`);
  for (const row of [head, head.map(() => "---"), ...rows]) console.log(`| ${row.join(" | ")} |`);
  console.log("");
  for (const note of notes) console.log(note);
  for (const target of targets) {
    const { what, figure, bound, kind, unit = "" } = target;
    const wanted = `${kind === "atLeast" ? "at least" : "at most"} ${shown(bound)}${unit}`;
    console.log(`${isMet(target) ? "met" : "not met"}: ${what}: ${shown(figure)}${unit} (target ${wanted})`);
  }
}

/** What is known so far, on standard error: a run that is cut off has shown something. */
export function soFar(benchmark: string, cells: readonly string[]): void {
  console.error(`${new Date().toISOString().slice(11, 19)} ${benchmark}: ${cells.join(" | ")}`);
}

/** A table of one figure a row, ours and Postfix's, told as it grows. */
export interface SideBySide {
  readonly table: readonly (readonly string[])[];
  /** Returns the ratio. */
  readonly row: (what: string, figures: readonly number[]) => number;
}

export function sideBySide(benchmark: string): SideBySide {
  const table = [["", "Packetboat", "Postfix", "ratio"]];
  return {
    table,
    row: (what, [our = Number.NaN, their = Number.NaN]) => {
      const cells = [what, shown(our), shown(their), shown(our / their)];
      table.push(cells);
      soFar(benchmark, cells);
      return our / their;
    },
  };
}

/** Three digits that mean something. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return "none";
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

export const median = (numbers: readonly number[]): number => quantile(numbers, 0.5);

/** The nearest rank: a value that was measured. */
export function quantile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

export async function eachRound<Result>(rounds: number, work: (round: number) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = [];
  for (let round = 0; round < rounds; round++) results.push(await work(round));
  return results;
}
