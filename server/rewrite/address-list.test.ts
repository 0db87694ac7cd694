/** Only addresses change; everything else is octet for octet as it was, whatever it is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { rewriteAddresses } from "./address-list.ts";

const upper = (address: string): string => address.toUpperCase();

const table: readonly (readonly [name: string, from: string, to: string])[] = [
  ["bare", " a@b.example\r\n", " A@B.EXAMPLE\r\n"],
  ["in brackets", " Alice <a@b.example>\r\n", " Alice <A@B.EXAMPLE>\r\n"],
  ["no space", "Alice<a@b>", "Alice<A@B>"],
  ["a list", " a@b, Bob <c@d> ,e@f", " A@B, Bob <C@D> ,E@F"],
  ["empty elements", " ,, a@b,,", " ,, A@B,,"],
  ["a display name that looks like an address", ' "x@y.example" <a@b>', ' "x@y.example" <A@B>'],
  ["an address as display name", " x@y.example <a@b>", " x@y.example <A@B>"],
  ["a quoted comma", ' "Doe, John" <a@b>, c@d', ' "Doe, John" <A@B>, C@D'],
  ["a comma in a comment", " a@b (x, y@z), c@d", " A@B (x, y@z), C@D"],
  ["nested comments", " (one (two@x) three) a@b (four)", " (one (two@x) three) A@B (four)"],
  ["an escaped parenthesis", " (one \\) a@b) c@d", " (one \\) a@b) C@D"],
  ["an escaped quote", ' "one \\" x@y" <a@b>', ' "one \\" x@y" <A@B>'],
  ["a group", " friends: a@b, Carl <c@d>;", " friends: A@B, Carl <C@D>;"],
  ["an empty group", " undisclosed-recipients:;", " undisclosed-recipients:;"],
  ["a group, then an address", " x: a@b; , c@d", " x: A@B; , C@D"],
  ["a fold", " Alice\r\n <a@b>,\r\n\tBob <c@d>\r\n", " Alice\r\n <A@B>,\r\n\tBob <C@D>\r\n"],
  ["a quoted local part", ' "a b"@c.example, "x@y"@z', ' "A B"@C.EXAMPLE, "X@Y"@Z'],
  ["a literal", " a@[192.0.2.1]", " A@[192.0.2.1]"],
  ["an obsolete route", " <@one,@two:a@b>", " <@one,@two:A@B>"],
  ["space within (obsolete)", " a @ b . example", " A@B.EXAMPLE"],
  ["a comment within (obsolete)", " a(x)@(y)b", " A@B"],
  ["an encoded word", " =?utf-8?q?J=C3=BCrgen?= <a@b>", " =?utf-8?q?J=C3=BCrgen?= <A@B>"],
  ["no address", " <>", " <>"],
  ["words without brackets", " Alice Doe a@b", " Alice Doe a@b"],
  ["text after the brackets", " <a@b> x@y, c@d", " <A@B> x@y, C@D"],
  ["brackets in brackets", " <<a@b>>", " <<a@b>>"],
  ["two at signs", " a@b@c", " a@b@c"],
  ["no domain", " alice", " ALICE"],
  ["a dot at the end", " a@b.", " a@b."],
  ["an open bracket", " c@d, <a@b", " C@D, <a@b"],
  ["an open quote", ' c@d, "a@b', ' C@D, "a@b'],
  ["an open comment", " c@d, (a@b", " C@D, (a@b"],
  ["a backslash outside of quotes", " a\\@b@c", " a\\@b@c"],
];
for (const [name, from, to] of table) {
  test(name, () => {
    assert.equal(rewriteAddresses(from, upper), to);
    const asked: string[] = [];
    assert.equal(
      rewriteAddresses(from, (address) => void asked.push(address)),
      from,
      "nothing to change",
    );
    for (const address of asked) assert.doesNotMatch(address, /[\r\n]/);
  });
}

test("a line that became too long is folded behind a comma", () => {
  const long = `x@${"y".repeat(60)}.example`;
  const from = ` ${Array.from({ length: 60 }, () => "a@b").join(", ")}\r\n`;
  const to = rewriteAddresses(from, () => long);
  assert.ok(to.split("\r\n").every((line) => line.length <= 998));
  assert.equal(to.replaceAll("\r\n\t", " ").replaceAll("\r\n ", " "), from.replaceAll("a@b", long));
  assert.equal(
    rewriteAddresses(` ${"a@b,".repeat(300)}\r\n`, upper).replaceAll("\r\n\t", ""),
    ` ${"A@B,".repeat(300)}\r\n`,
  );
});

const piece = fc.constantFrom(
  "a",
  "Bob",
  "@",
  ".",
  ",",
  ";",
  ":",
  "<",
  ">",
  "(",
  ")",
  '"',
  "\\",
  "[",
  "]",
  " ",
  "\r\n ",
  "a@b",
  "<c@d.example>",
  '"x y"',
  "=?utf-8?q?=2C?=",
  "\u00e9",
);
const value = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(""));

test("whatever it is: nothing matches, nothing changes", () => {
  fc.assert(
    fc.property(fc.oneof(value, fc.string({ maxLength: 200, unit: "binary" })), (text) => {
      assert.equal(
        rewriteAddresses(text, () => undefined),
        text,
      );
      assert.equal(
        rewriteAddresses(text, (address) => address),
        text,
      );
    }),
    { numRuns: 300 },
  );
});

test("whatever it is: what is written is found again, and nothing else moves", () => {
  const target = "new@target.example";
  fc.assert(
    fc.property(value, (text) => {
      const rewrite = (): string => target;
      const once = rewriteAddresses(text, rewrite);
      assert.equal(rewriteAddresses(once, rewrite), once);
      let found = 0;
      rewriteAddresses(text, () => void found++);
      let again = 0;
      rewriteAddresses(once, () => void again++);
      assert.equal(again, found);
    }),
    { numRuns: 1000 },
  );
});

test("a hostile header costs no more than its length", () => {
  const begun = performance.now();
  for (const unit of ["(", '"', "<", "a,", "a@b,", ",", "a@b:", "\\", "[", "a ", "a@b\r\n ", "(a)", "<a@b>,"])
    rewriteAddresses(unit.repeat(Math.ceil(200_000 / unit.length)), upper);
  assert.ok(performance.now() - begun < 3000);
});
