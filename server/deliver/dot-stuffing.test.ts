import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DotStuffing } from "./dot-stuffing.ts";

const wire = (...chunks: string[]): string => {
  const stuffing = new DotStuffing();
  const out = chunks.flatMap((chunk) => stuffing.push(Buffer.from(chunk)));
  return Buffer.concat([...out, stuffing.end()]).toString("latin1");
};

/** The same rule, one byte at a time: the oracle. */
function slowly(text: string): string {
  const normal = text.replaceAll(/\r\n|\r|\n/g, "\r\n");
  const stuffed = normal.replaceAll(/(^|\r\n)\./g, "$1..");
  return stuffed === "" || stuffed.endsWith("\r\n") ? `${stuffed}.\r\n` : `${stuffed}\r\n.\r\n`;
}

const cases: readonly [string, string][] = [
  ["a\r\n", "a\r\n.\r\n"],
  ["", ".\r\n"],
  [".", "..\r\n.\r\n"],
  ["a\r\n.\r\nMAIL FROM:<x>\r\n", "a\r\n..\r\nMAIL FROM:<x>\r\n.\r\n"],
  ["a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"],
  ["a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"],
  ["a\n.\r\nb", "a\r\n..\r\nb\r\n.\r\n"],
  ["a\r\n.\rb", "a\r\n..\r\nb\r\n.\r\n"],
  ["a\r", "a\r\n.\r\n"],
  ["a\r\r\n", "a\r\n\r\n.\r\n"],
];
for (const [given, expected] of cases)
  test(`sent as ${JSON.stringify(expected)}`, () => assert.equal(wire(given), expected));

test("how the bytes are cut into chunks changes nothing, and no line end is ever bare", () => {
  const text = fc
    .array(fc.constantFrom("\r", "\n", ".", "a", "\r\n", "\r\n."), { maxLength: 40 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, fc.array(fc.nat(40), { maxLength: 5 }), (whole, cuts) => {
      const chunks: string[] = [];
      let from = 0;
      for (const cut of cuts.toSorted((a, b) => a - b)) {
        chunks.push(whole.slice(from, cut));
        from = Math.max(from, Math.min(cut, whole.length));
      }
      chunks.push(whole.slice(from));
      assert.equal(wire(...chunks), slowly(whole));
    }),
    { numRuns: 2000 },
  );
});

test("a megabyte of bare line feeds is no quadratic work", () => {
  const startedMs = performance.now();
  wire("\n".repeat(1 << 20));
  assert.ok(performance.now() - startedMs < 5000);
});
