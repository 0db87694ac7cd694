/** Netstrings: whatever way the bytes are cut, the same frames; and what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encodeNetstring, NetstringReader } from "./netstring.ts";

test("property: frames survive any cutting of the bytes", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ maxLength: 40 }), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
      (texts, cuts) => {
        const bytes = Buffer.concat(texts.map(encodeNetstring));
        const reader = new NetstringReader(1000);
        const got: string[] = [];
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const end = Math.min(bytes.length, at + (cuts[turn % cuts.length] ?? 1));
          got.push(...reader.push(bytes.subarray(at, end)).map(String));
          at = end;
        }
        assert.deepEqual(got, texts);
        return reader.pending === 0;
      },
    ),
  );
});

test("property: any bytes give frames within the bound or an error, and little is kept", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("0", "1", "9", ":", ",", "a", "12:", "3:abc,"), { maxLength: 30 }),
      (parts) => {
        const reader = new NetstringReader(50);
        try {
          for (const part of parts) for (const frame of reader.push(Buffer.from(part))) assert.ok(frame.length <= 50);
          return reader.pending <= 54;
        } catch (cause) {
          return cause instanceof Error && cause.message.includes("netstring");
        }
      },
    ),
  );
});

test("what is no netstring is refused as soon as it can be known", () => {
  for (const text of ["x", ":", "-1:", "01:a,", " 1:a,", "1 :a,", "101:", "1000", "1:ab", "1:a\n"])
    assert.throws(() => new NetstringReader(100).push(Buffer.from(text)), /netstring/, text);
  for (const text of ["", "1", "100", "100:", "3:ab", "3:abc"])
    assert.deepEqual(new NetstringReader(100).push(Buffer.from(text)), [], text);
  assert.deepEqual(new NetstringReader(100).push(Buffer.from("0:,")).map(String), [""]);
});
