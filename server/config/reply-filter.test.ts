import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { matchesFilter, parseReplyFilter } from "./reply-filter.ts";

const table: readonly (readonly [filter: string, yes: readonly string[], no: readonly string[]])[] = [
  ["127.0.0.2", ["127.0.0.2"], ["127.0.0.3", "127.0.1.2", "128.0.0.2"]],
  ["127.0.0.[2..11]", ["127.0.0.2", "127.0.0.7", "127.0.0.11"], ["127.0.0.1", "127.0.0.12", "127.255.255.254"]],
  ["127.0.[0..255].[1..3]", ["127.0.0.1", "127.0.255.3"], ["127.0.9.0", "127.1.0.1"]],
  ["127.0.0.[4;9..11;20]", ["127.0.0.4", "127.0.0.10", "127.0.0.20"], ["127.0.0.5", "127.0.0.12"]],
  ["127.0.0.[7]", ["127.0.0.7"], ["127.0.0.8", "", "x", "127.0.0", "127.0.0.7.7", "127.0.0.-7", "::1"]],
];
for (const [filter, yes, no] of table) {
  test(`reply filter ${filter}`, () => {
    const parsed = parseReplyFilter(filter);
    assert.ok(parsed !== undefined);
    for (const address of yes) assert.equal(matchesFilter(parsed, address), true, address);
    for (const address of no) assert.equal(matchesFilter(parsed, address), false, address);
  });
}

test("what is no reply filter", () => {
  for (const text of [
    "",
    "127.0.0",
    "127.0.0.2.3",
    "127.0.0.256",
    "127.0.0.[5..2]",
    "127.0.0.[]",
    "127.0.0.[1;]",
    "127.0.0.[1..2..3]",
    "127.0.0.[1.2]",
    "127.0.0.[1",
    "127.0.0.1]",
    "127.0.0.[[1]]",
    "127.0.0.1[2]",
    "127..0.1",
    " 127.0.0.2",
    "127.0.0.2*2",
    "zen.example=127.0.0.2",
    "127.0.0.0x2",
    `127.0.0.[${"1;".repeat(200)}1]`,
  ])
    assert.equal(parseReplyFilter(text), undefined, text);
});

test("a written filter matches what it names, whatever it is", () => {
  const octet = fc.integer({ min: 0, max: 255 });
  const ranges = fc.array(
    fc.tuple(octet, octet).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
    { minLength: 1, maxLength: 4 },
  );
  const write = (field: readonly (readonly [number, number])[]): string =>
    `[${field.map(([first, last]) => (first === last ? String(first) : `${first}..${last}`)).join(";")}]`;
  fc.assert(
    fc.property(fc.tuple(ranges, ranges, ranges, ranges), fc.tuple(octet, octet, octet, octet), (fields, address) => {
      const parsed = parseReplyFilter(fields.map(write).join("."));
      assert.ok(parsed !== undefined);
      const expected = fields.every((field, place) =>
        field.some(([first, last]) => first <= (address[place] ?? -1) && (address[place] ?? -1) <= last),
      );
      assert.equal(matchesFilter(parsed, address.join(".")), expected);
    }),
    { verbose: 1 },
  );
});

test("no text makes it throw", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...Array.from("127.0[];*=")), maxLength: 40 })),
      fc.string(),
      (text, address) => {
        const parsed = parseReplyFilter(text);
        if (parsed !== undefined) assert.equal(typeof matchesFilter(parsed, address), "boolean");
      },
    ),
    { verbose: 1 },
  );
});
