/** Octets by count: what is theirs, what is a fault, however they are cut. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ChunkDecoder } from "./chunk-decoder.ts";

function decode(
  text: string,
  cuts: readonly number[],
): { readonly content: string; readonly fault: string | undefined } {
  const octets = Buffer.from(text, "latin1");
  const decoder = new ChunkDecoder();
  decoder.expect(octets.length);
  const pieces: Buffer[] = [];
  let from = 0;
  for (const cut of [...cuts, octets.length]) {
    const at = Math.min(Math.max(cut, from), octets.length);
    if (at > from) assert.equal(decoder.feed(octets.subarray(from, at), pieces), at === octets.length ? at - from : -1);
    from = at;
  }
  const last = decoder.end();
  if (last !== undefined) pieces.push(last);
  return { content: Buffer.concat(pieces).toString("latin1"), fault: decoder.fault };
}

const table: readonly (readonly [text: string, fault: string | undefined, content?: string])[] = [
  ["a\r\nb\r\n", undefined],
  ["\r\n.\r\n", undefined],
  [".\r\n..\r\n", undefined],
  ["no line end", undefined, "no line end\r\n"],
  ["a\nb\r\n", "bare-newline"],
  ["a\rb\r\n", "bare-newline"],
  ["a\r\r\n", "bare-newline"],
  ["\n", "bare-newline"],
  ["a\r\n\n", "bare-newline"],
  ["a\r", "bare-newline"],
  ["a\0b\r\n", "nul-byte"],
];

for (const [text, fault, content] of table) {
  test(`${JSON.stringify(text)} whole and cut at every place`, () => {
    for (let cut = 0; cut <= text.length; cut++) {
      const decoded = decode(text, [cut]);
      assert.equal(decoded.fault, fault, `cut at ${cut}`);
      if (fault === undefined) assert.equal(decoded.content, content ?? text);
    }
  });
}

test("what follows the count is not touched", () => {
  const decoder = new ChunkDecoder();
  decoder.expect(3);
  const pieces: Buffer[] = [];
  assert.equal(decoder.feed(Buffer.from("a\r\nMAIL FROM:<x@example.com>\r\n"), pieces), 3);
  assert.equal(Buffer.concat(pieces).toString(), "a\r\n");
});

test("the fault does not depend on the cuts", () => {
  const text = fc
    .array(fc.constantFrom("\r", "\n", "\r\n", "a", ".", "\0"), { maxLength: 12 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, fc.array(fc.nat(24), { maxLength: 4 }), (input, cuts) => {
      const sorted = [...cuts].sort((a, b) => a - b);
      const [whole, cut] = [decode(input, []), decode(input, sorted)];
      assert.equal(cut.fault === undefined, whole.fault === undefined);
      assert.equal(whole.fault === undefined, !/\0|\r(?!\n)|(?<!\r)\n/.test(input));
      if (whole.fault === undefined) assert.equal(cut.content, whole.content);
    }),
  );
});
