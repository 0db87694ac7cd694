import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addressKey } from "../config/address.ts";
import { parsePath } from "./path.ts";

const strict = { strict: true };
const lenient = { strict: false };

const good: readonly (readonly [string, string, string])[] = [
  ["FROM:<a@example.org>", "a@example.org", ""],
  ["from:<a@example.org>", "a@example.org", ""],
  ["FROM:<>", "", ""],
  ["FROM:<a@example.org> SIZE=1 BODY=8BITMIME", "a@example.org", "SIZE=1 BODY=8BITMIME"],
  ["FROM:<@one.example,@two.example:a@example.org>", "a@example.org", ""],
  ['FROM:<"a b>c"@example.org> X', '"a b>c"@example.org', "X"],
  ['FROM:<"a\\"b@c"@example.org>', '"a\\"b@c"@example.org', ""],
  ["FROM:<a+b=c/d!e%f@example.org>", "a+b=c/d!e%f@example.org", ""],
  ["FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]", ""],
  ["FROM:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", ""],
  ["FROM:<ä@exämple.org> SMTPUTF8", "ä@exämple.org", "SMTPUTF8"],
  ["FROM:<a@x_y.example.org>", "a@x_y.example.org", ""],
  ["FROM: <a@example.org>", "a@example.org", ""],
  ["FROM : <a@example.org>", "a@example.org", ""],
];
for (const [argument, address, rest] of good) {
  test(`${argument} is a path`, () => {
    assert.deepEqual(parsePath(argument, "FROM", strict), {
      path: { address, international: /[^ -~]/.test(address) },
      rest,
    });
  });
}

const loose: readonly (readonly [string, string])[] = [
  ["FROM:a@example.org", "a@example.org"],
  ["FROM:<a..b.@example.org>", "a..b.@example.org"],
];
for (const [argument, address] of loose) {
  test(`${argument} is a path only where that is allowed`, () => {
    assert.equal(parsePath(argument, "FROM", lenient)?.path.address, address);
    assert.equal(parsePath(argument, "FROM", strict), undefined);
  });
}

const bad = [
  "",
  "FROM",
  "FROM:",
  "TO:<a@example.org>",
  "FROM:<a@example.org",
  "FROM:a@example.org>",
  "FROM:<a@example.org>SIZE=1",
  "FROM:<a>",
  "FROM:<postmaster>",
  "FROM:<@example.org>",
  "FROM:<a@>",
  "FROM:<a b@example.org>",
  "FROM:<a,b@example.org>",
  "FROM:<a@b@example.org>",
  'FROM:<""@example.org>',
  'FROM:<"a@example.org>',
  "FROM:<a@example..org>",
  "FROM:<a@.example.org>",
  "FROM:<a@example.org.>",
  "FROM:<a@-example.org>",
  "FROM:<a@exam ple.org>",
  "FROM:<a@[192.0.2.256]>",
  "FROM:<a@[2001:db8::1]>",
  "FROM:<a@[IPv6:zz]>",
  "FROM:<a\u200bb@example.org>",
  "FROM:<a\r\nb@example.org>",
  `FROM:<${"a".repeat(250)}@example.org>`,
  `FROM:<a@${"b".repeat(64)}.org>`,
  "FROM:(comment)<a@example.org>",
  "FROM:Alice <a@example.org>",
];
for (const argument of bad) {
  test(`${JSON.stringify(argument).slice(0, 60)} is none`, () => {
    assert.equal(parsePath(argument, "FROM", lenient), undefined);
    assert.equal(parsePath(argument, "FROM", strict), undefined);
  });
}

test("postmaster needs no domain, as a recipient", () => {
  assert.equal(parsePath("TO:<PostMaster>", "TO", strict)?.path.address, "PostMaster");
  assert.equal(parsePath("TO:<postmasters>", "TO", lenient), undefined);
});

test("what is a path has a table key, holds no control character and is bounded", () => {
  const piece = fc.constantFrom(
    "<",
    ">",
    "@",
    '"',
    "\\",
    ".",
    "a",
    "B",
    "é",
    " ",
    ":",
    ",",
    "[",
    "]",
    "IPv6:",
    "::1",
    "example.org",
    "\r",
    "\n",
    "\0",
    "postmaster",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.boolean(), (parts, isStrict) => {
      const parsed = parsePath(`TO:${parts.join("")}`, "TO", { strict: isStrict });
      if (parsed === undefined || parsed.path.address === "") return;
      const { address } = parsed.path;
      // oxlint-disable-next-line no-control-regex
      assert.doesNotMatch(address, /[\u0000-\u001f\u007f]/);
      assert.ok(Buffer.byteLength(address) <= 254);
      assert.ok(address.toLowerCase() === "postmaster" || addressKey(address) !== undefined, address);
    }),
    { numRuns: 3000 },
  );
});

test("a long stranger's line costs its length", () => {
  const begun = performance.now();
  for (const part of ['"\\', "@a,", "<", "a.", "[IPv6:"]) parsePath(`FROM:<${part.repeat(100_000)}`, "FROM", lenient);
  assert.ok(performance.now() - begun < 1000);
});
