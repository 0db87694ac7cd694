/** Destinations as a database gives them: what is an address is read, what is not never reaches an envelope. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readDestinations } from "./destinations.ts";

test("addresses, names of the own domain, whole domains; commands, files and broken lines are refused", () => {
  for (const [written, expected] of [
    ["bob@example.org", "bob@example.org"],
    ["<bob@example.org>", "bob@example.org"],
    ["bob", "bob@own.test"],
    ["@other.test", "@other.test"],
    ['"a b"@example.org', '"a b"@example.org'],
    ["bücher@bücher.example", "bücher@bücher.example"],
    ["o'hara/x=y@example.org", "o'hara/x=y@example.org"],
    ["|/bin/sh", undefined],
    ["/var/mail/x", undefined],
    [":include:/etc/passwd", undefined],
    ["a b@example.org", undefined],
    ["bob@", undefined],
    ["bob@exa mple.org", undefined],
    ["bob@example.org\r\nDATA", undefined],
    ['"a\r\nDATA"@example.org', undefined],
    [`${"x".repeat(600)}@example.org`, undefined],
  ] as const) {
    const read = readDestinations([written], "own.test");
    assert.deepEqual(read.ok ? read.value : undefined, expected === undefined ? undefined : [expected], written);
  }
  assert.deepEqual(readDestinations(["a@x.test", "<a@x.test>"], "own.test"), { ok: true, value: ["a@x.test"] });
});

test("whatever comes out has no line breaks, no brackets and no blanks outside quotes", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 60 }), (written) => {
      const read = readDestinations([written], "own.test");
      if (!read.ok) return;
      for (const address of read.value) assert.match(address, /^(?:[^\s<>"]*|"[^\r\n\0]*")@[^\s<>"]+$/u);
    }),
    { numRuns: 2000 },
  );
});
