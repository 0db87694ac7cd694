/**
 * Quantities: `5m` and `50Mi` as people write them → the whole numbers that the rendered configuration holds.
 *
 * Stands in build/, pure. Durations as `1h30m`, `500ms`, `5d`; sizes as Kubernetes quantities; rates as `600/m`. The schema of the custom resources has
 * refused everything else before: what cannot be read here is a bug and throws. Beyond what a number can mean, both stop at the largest one.
 */

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const sizeUnits: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
};

/** A century: longer is a way of saying "never", and must stay a number that timers and SQLite can hold. */
const MAX_MS = 100 * 365 * 86_400_000;

export function durationMs(text: string): number {
  if (text === "0") return 0;
  if (!/^(?:[0-9]{1,9}(?:ms|[smhdw]))+$/.test(text) || text.length > 64)
    throw new TypeError("not a duration that the schema lets through");
  let total = 0;
  for (const [, number, unit] of text.matchAll(/([0-9]+)(ms|[smhdw])/g))
    total += Number(number) * (durationUnits[unit ?? ""] ?? 0);
  return Math.min(total, MAX_MS);
}

/** `600/m`: messages in a second, minute, hour or day. */
export function messageRate(text: string): { readonly messages: number; readonly perMs: number } {
  const match = /^([1-9][0-9]{0,6})\/([smhd])$/.exec(text);
  if (match === null) throw new TypeError("not a rate that the schema lets through");
  return { messages: Number(match[1]), perMs: durationUnits[match[2] ?? "s"] ?? 1000 };
}

export function sizeBytes(text: string | number): number {
  const match = /^([0-9]{1,16})(|[kMGT]|[KMGT]i)$/.exec(String(text));
  if (match === null) throw new TypeError("not a size that the schema lets through");
  return Math.min(Number(match[1]) * (sizeUnits[match[2] ?? ""] ?? 1), Number.MAX_SAFE_INTEGER);
}
