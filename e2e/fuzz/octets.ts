/** What to throw at parsers: octets that mean something somewhere, and any others between them. Used by the fuzzers only. */
import fc from "fast-check";

/** Ends, near ends, starts of other things. */
const pieces = [
  "\r\n",
  "\n",
  "\r",
  "\0",
  ".",
  "..",
  "\r\n.\r\n",
  "\r\n.\n",
  "\n.\r\n",
  "\n.\n",
  "\r.\r",
  "\r\n.\r",
  " ",
  "\t",
  ":",
  ",",
  "=",
  "+",
  "<",
  ">",
  "@",
  '"',
  "\\",
  "[",
  "]",
  "(",
  ")",
  "%",
  "!",
  "a",
  "Z",
  "0",
  "9",
  "é",
  "\u{1f4ee}",
  "\u202e",
  "example.org",
  "192.0.2.1",
  "IPv6:2001:db8::1",
  "::",
  "MAIL FROM:",
  "RCPT TO:",
  "BDAT 3 LAST",
  "250 2.0.0 Ok",
  "Subject:",
] as const;

export const text = (maxLength = 24): fc.Arbitrary<string> =>
  fc
    .array(
      fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...pieces) }, fc.string({ unit: "binary", maxLength: 6 })),
      {
        maxLength,
      },
    )
    .map((parts) => parts.join(""));

export const octets = (maxLength = 24): fc.Arbitrary<Buffer> =>
  fc.oneof(
    text(maxLength).map((written) => Buffer.from(written)),
    fc.uint8Array({ maxLength: 4 * maxLength }).map((array) => Buffer.from(array)),
  );

/** Where to cut it: as fractions, so that a shrunk input keeps its cuts. */
export const cuts: fc.Arbitrary<readonly number[]> = fc.oneof(
  fc.constant([]),
  fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
  // Octet by octet.
  fc.constant([-1]),
);

export function cut(data: Buffer, at: readonly number[]): Buffer[] {
  if (at[0] === -1) return [...data].map((octet) => Buffer.of(octet));
  const places = [...new Set(at.map((fraction) => Math.floor(fraction * data.length)))].sort((a, b) => a - b);
  return [...places, data.length].map((place, index) => data.subarray(index === 0 ? 0 : places[index - 1], place));
}
