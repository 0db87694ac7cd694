/**
 * Canonical bytes: one value has one text, so that the same world gives the same bytes and a hash means something.
 *
 * Object keys sorted by code unit, no white space, arrays in their order, `undefined` members left out; the shape of RFC 8785 for the values
 * a configuration holds (strings, integers, booleans, arrays, objects). Throws on anything JSON cannot say: that is a bug of the caller.
 */
import { createHash } from "node:crypto";

export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
    return `{${members.join(",")}}`;
  }
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`a configuration cannot hold ${value}`);
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new TypeError(`a configuration cannot hold a ${typeof value}`);
  return text;
}

/** Lower-case hex SHA-256. */
export const sha256 = (data: string | Buffer): string => createHash("sha256").update(data).digest("hex");
