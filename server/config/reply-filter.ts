/**
 * Reply filters: which answers of a DNS list count, as Postfix writes them behind the list's name (`127.0.0.[2..11]`).
 *
 * Part of the rendered configuration: the operator reads a filter to say what is wrong with it, the server to compare answers. Pure and total; what cannot
 * be read is undefined. An address pattern has four fields, each a number or `[n;m..n;…]`. RFC 5782 §2.3 (answers lie in 127.0.0.0/8).
 */

/** For each of the four octets, the ranges that match. */
export interface ReplyFilter {
  readonly fields: readonly (readonly (readonly [first: number, last: number])[])[];
}

/** Longer than any list needs; also bounds what is read. */
export const MAX_FILTER_LENGTH = 255;

function octet(text: string): number | undefined {
  if (!/^[0-9]{1,3}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 255 ? value : undefined;
}

function range(text: string): readonly [number, number] | undefined {
  const [from = "", to = from, ...rest] = text.split("..");
  const [first, last] = [octet(from), octet(to)];
  return rest.length > 0 || first === undefined || last === undefined || first > last ? undefined : [first, last];
}

function field(text: string): readonly (readonly [number, number])[] | undefined {
  const inside = /^\[([^[\]]*)\]$/.exec(text)?.[1];
  if (inside === undefined) {
    const value = octet(text);
    return value === undefined ? undefined : [[value, value]];
  }
  const ranges = inside.split(";").map(range);
  return ranges.every((one) => one !== undefined) ? ranges : undefined;
}

export function parseReplyFilter(text: string): ReplyFilter | undefined {
  if (text.length > MAX_FILTER_LENGTH) return undefined;
  // A dot inside brackets belongs to a range.
  const parts = text.match(/\[[^[\]]*\]|\.|[^.[\]]+/g);
  if (parts === null || parts.join("") !== text || parts.length !== 7) return undefined;
  if (parts[1] !== "." || parts[3] !== "." || parts[5] !== ".") return undefined;
  const fields = [parts[0], parts[2], parts[4], parts[6]].map((part = "") => field(part));
  return fields.every((one) => one !== undefined) ? { fields } : undefined;
}

/** `address` is a dotted quad. */
export function matchesFilter({ fields }: ReplyFilter, address: string): boolean {
  const octets = address.split(".").map(octet);
  return (
    octets.length === 4 &&
    fields.every((ranges, place) => {
      const value = octets[place];
      return value !== undefined && ranges.some(([first, last]) => first <= value && value <= last);
    })
  );
}
