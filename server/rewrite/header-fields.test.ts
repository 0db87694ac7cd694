/** Which fields are whose, what is taken out, and that a header nothing applies to stays the same buffer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { editedHeader, type HeaderEdits, MOST_ADDRESSES } from "./header-fields.ts";

const edit = (header: string, edits: HeaderEdits): string => {
  const edited = editedHeader(Buffer.from(header), edits);
  return edited.kind === "header" ? edited.header.toString() : `trouble: ${edited.reason}`;
};
const marks: HeaderEdits = {
  rewrite: (address, role) => ({ kind: "address", address: `${role === "HeaderSender" ? "s" : "r"}.${address}` }),
};

const fields: readonly (readonly [field: string, prefix: "s." | "r." | ""])[] = [
  ["From", "s."],
  ["sender", "s."],
  ["REPLY-TO", "s."],
  ["Errors-To", "s."],
  ["Mail-Followup-To", "s."],
  ["Disposition-Notification-To", "s."],
  ["Return-Receipt-To", "s."],
  ["Resent-From", "s."],
  ["Resent-Sender", "s."],
  ["To", "r."],
  ["Cc", "r."],
  ["Bcc", "r."],
  ["Apparently-To", "r."],
  ["Resent-To", "r."],
  ["Resent-Cc", "r."],
  ["Resent-Bcc", "r."],
  ["Resent-Reply-To", "r."],
  ["Subject", ""],
  ["Return-Path", ""],
  ["Delivered-To", ""],
  ["Received", ""],
  ["Message-ID", ""],
  ["X-From", ""],
  ["From-X", ""],
];
for (const [field, prefix] of fields)
  test(field, () => assert.equal(edit(`${field}: <a@b.example>\r\n`, marks), `${field}: <${prefix}a@b.example>\r\n`));

test("the obsolete space before the colon, folds, and what follows the fields", () => {
  assert.equal(
    edit("From : Alice\r\n <a@b>\r\nSubject: To: x@y\r\n To: x@y\r\nTo: c@d\r\n\r\nTo: body@example.org\r\n", marks),
    "From : Alice\r\n <s.a@b>\r\nSubject: To: x@y\r\n To: x@y\r\nTo: r.c@d\r\n\r\nTo: body@example.org\r\n",
  );
  assert.equal(edit("no field\r\nTo: a@b\r\n", marks), "no field\r\nTo: a@b\r\n");
});

test("fields are taken out with their folds", () => {
  const removed = new Set(["user-agent", "x-mailer", "x-originating-ip"]);
  const header =
    "User-Agent: a\r\n b\r\nFrom: a@b\r\nX-MAILER: c\r\nX-Mailer-Not: d\r\nx-originating-ip:\r\n\t[192.0.2.1]\r\n";
  assert.equal(edit(header, { removed }), "From: a@b\r\nX-Mailer-Not: d\r\n");
  assert.equal(edit(header, { removed, ...marks }), "From: s.a@b\r\nX-Mailer-Not: d\r\n");
});

test("addresses in UTF-8 are read as such, other octets stay", () => {
  const asked: string[] = [];
  const edits: HeaderEdits = {
    rewrite: (address) => {
      asked.push(address);
      return { kind: "address", address: address.replace("b\u00fccher", "xn--bcher-kva") };
    },
  };
  assert.equal(
    edit("To: J\u00fcrgen <j\u00fcrgen@b\u00fccher.example>\r\n", edits),
    "To: J\u00fcrgen <j\u00fcrgen@xn--bcher-kva.example>\r\n",
  );
  assert.deepEqual(asked, ["j\u00fcrgen@b\u00fccher.example"]);
  const latin1 = Buffer.from("To: J\u00fcrgen <j\u00fcrgen@x.example>, a@b\r\n", "latin1");
  const edited = editedHeader(latin1, marks);
  assert.ok(edited.kind === "header");
  assert.equal(edited.header.toString("latin1"), "To: J\u00fcrgen <j\u00fcrgen@x.example>, r.a@b\r\n");
});

test("trouble with one address is trouble with the message", () => {
  const rewrite: HeaderEdits["rewrite"] = (address) =>
    address === "c@d" ? { kind: "trouble", reason: "a circle" } : { kind: "address", address: "x@y" };
  assert.equal(edit("To: a@b, c@d\r\n", rewrite === undefined ? {} : { rewrite }), "trouble: a circle");
});

test("an address is looked up once in a role, and no more than so many are", () => {
  let asked = 0;
  const rewrite: HeaderEdits["rewrite"] = (address) => {
    asked += 1;
    return { kind: "address", address };
  };
  edit("To: a@b, a@b\r\nCc: a@b\r\nFrom: a@b\r\n", { rewrite });
  assert.equal(asked, 2);
  asked = 0;
  edit(`To: ${Array.from({ length: MOST_ADDRESSES + 100 }, (_, n) => `a${n}@b`).join(",")}\r\n`, { rewrite });
  assert.equal(asked, MOST_ADDRESSES);
});

test("whatever the header: nothing applies, the same octets", () => {
  const line = fc.constantFrom(
    "From: a@b\r\n",
    "To: x, <c@d>\r\n",
    " folded, e@f\r\n",
    "Subject: g@h\r\n",
    "\r\n",
    "text",
    ":\r\n",
    'Cc: "i@j\r\n',
    "\u00fc: k@l\r\n",
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 10 }), (lines) => {
      const header = Buffer.from(lines.join(""), "latin1");
      const edited = editedHeader(header, {
        removed: new Set(["x-nothing"]),
        rewrite: (address) => ({ kind: "address", address }),
      });
      assert.ok(edited.kind === "header");
      assert.equal(edited.header, header);
    }),
  );
});
