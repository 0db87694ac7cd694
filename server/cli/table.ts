/** Text for people: columns, ages, sizes, times, and nothing in it that a terminal would obey. Pure. */

// What a mail's sender wrote must not move the reader's cursor or change their colours.
const dangerous = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
export const plain = (text: string): string => text.replaceAll(dangerous, "?");

export type Alignment = "left" | "right";

/** Widths from the rows at hand; the last column is not padded. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  align: readonly Alignment[] = [],
): string {
  const all = [head, ...rows].map((row) => row.map(plain));
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          if (align[column] === "right") return cell.padStart(width);
          return column === row.length - 1 ? cell : cell.padEnd(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const units = [
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
] as const;

/** Two units at most: `3d4h`, `5m2s`; `now` for nothing and for what lies behind. */
export function duration(ms: number): string {
  let seconds = Math.round(ms / 1000);
  if (seconds <= 0) return "now";
  let text = "";
  let parts = 0;
  for (const [unit, length] of units) {
    const count = Math.floor(seconds / length);
    if (count === 0 && parts === 0) continue;
    if (parts === 2) break;
    if (count > 0) text += `${count}${unit}`;
    seconds -= count * length;
    parts += 1;
  }
  return text;
}

export function octets(count: number): string {
  if (count < 1024) return `${count}B`;
  const steps = ["K", "M", "G", "T"];
  let value = count;
  let step = -1;
  while (value >= 1024 && step < steps.length - 1) {
    value /= 1024;
    step += 1;
  }
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)}${steps[step] ?? ""}`;
}

/** In UTC, as the log writes it, without fractions. */
export function instant(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime())
    ? "?"
    : date
        .toISOString()
        .replace("T", " ")
        .replace(/\.\d+Z$/, "Z");
}

/** `30s`, `5m`, `2h`, `3d`, also `1h30m`; undefined when it is no such thing. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d{1,6}[smhd]){1,4}$/.test(text)) return undefined;
  let ms = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)([smhd])/g))
    ms += Number(count) * (units.find(([name]) => name === unit)?.[1] ?? 0) * 1000;
  return ms;
}
