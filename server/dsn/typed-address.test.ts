import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  addressField,
  decodeXtext,
  encodeXtext,
  originalAddress,
  originalRecipientField,
  originalRecipientOf,
} from "./typed-address.ts";

const originals: readonly [orcpt: string, ascii: string, utf8: string][] = [
  ["rfc822;bob@example.org", "rfc822; bob@example.org", "rfc822; bob@example.org"],
  ["rfc822;bob+2Blist@example.org", "rfc822; bob+list@example.org", "rfc822; bob+list@example.org"],
  ["bob@example.org", "rfc822; bob@example.org", "rfc822; bob@example.org"],
  ["x400;/S=3D/", "x400; /S=3D/", "x400; /S=3D/"],
  ["rfc822;j+C3+BCrgen@x.test", "utf-8; j\\x{FC}rgen@x.test", "utf-8; jürgen@x.test"],
  ["utf-8;j\\x{FC}rgen@x.test", "utf-8; j\\x{FC}rgen@x.test", "utf-8; jürgen@x.test"],
  ["UTF-8;jürgen@x.test", "utf-8; j\\x{FC}rgen@x.test", "utf-8; jürgen@x.test"],
  ["utf-8;a\\x{2B}b@x.test", "utf-8; a\\x{2B}b@x.test", "utf-8; a+b@x.test"],
  // Octets that would open a field, in both encodings; and what is not a character at all.
  ["rfc822;a+0D+0ABcc:+20x", "rfc822; a Bcc: x", "rfc822; a Bcc: x"],
  ["utf-8;a\\x{0D}\\x{0A}Bcc:\\x{20}x", "utf-8; a\\x{20}Bcc:\\x{20}x", "utf-8; a Bcc: x"],
  ["utf-8;a\\x{D800}\\x{110000}", "utf-8; a\\x{5C}x{D800}\\x{5C}x{110000}", "utf-8; a\\x{D800}\\x{110000}"],
  ["rfc822;a+FFb", "rfc822; a?b", "rfc822; a?b"],
  ["rfc822;a+EF+BF+BDb", "utf-8; a\\x{FFFD}b", "utf-8; a\ufffdb"],
];
for (const [orcpt, ascii, utf8] of originals) {
  test(`Original-Recipient of ${JSON.stringify(orcpt)}`, () => {
    assert.equal(originalRecipientField(orcpt, false), ascii);
    assert.equal(originalRecipientField(orcpt, true), utf8);
  });
}

test("an address of ours in both forms", () => {
  assert.equal(addressField("bob@x.test", false), "rfc822; bob@x.test");
  assert.equal(addressField("bob@bücher.test", true), "utf-8; bob@bücher.test");
  assert.equal(addressField("用户@x.test", false), "utf-8; \\x{7528}\\x{6237}@x.test");
});

test("xtext and ORCPT come back as they went, and pass as parameters", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const encoded = encodeXtext(text);
      assert.match(encoded, /^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/);
      assert.equal(decodeXtext(encoded), text);
      const original = originalRecipientOf(text);
      assert.match(original, /^(?:rfc822|utf-8);[!-~]*$/);
      assert.equal(originalAddress(original), text);
    }),
    // A replacement character that was meant, against the marks for octets that are none.
    { numRuns: 300, examples: [["\ufffd"], ["a\ufffd+b"]] },
  );
});
