/** Inline tables against what Postfix's manual pages say of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseTable, type TableType } from "../config/table-text.ts";
import { Table } from "./table.ts";

const table = (type: TableType, text: string): Table => new Table({ name: "t", type, text });
const errorOf = (type: TableType, text: string): string => {
  const result = parseTable(type, text);
  assert.equal(result.ok, false, text);
  return result.ok ? "" : result.error;
};

test("hash: exact keys in any case, comments, continuation lines, the first of two", async () => {
  const virtual = table(
    "Hash",
    "# system accounts\nroot@example.net   Admin@example.org,\n   second@example.org\n\nroot@example.net other\npostmaster:  root@example.net\n@whole.example  all@example.org\n",
  );
  assert.equal(virtual.find("ROOT@example.net"), "Admin@example.org,\n   second@example.org");
  assert.deepEqual(await virtual.get("postmaster"), ["root@example.net"]);
  assert.equal(virtual.find("@whole.example"), "all@example.org");
  assert.equal(virtual.find("nobody@example.net"), undefined);
  assert.equal(virtual.find("__proto__"), undefined);
});

test("cidr: the first network wins, IPv6, mapped IPv4, negation and if", () => {
  const access = table(
    "CIDR",
    "192.0.2.1 permit\n192.0.2.0/24 reject\n[2001:db8::]/32 six\nif !10.0.0.0/8\n!172.16.0.0/12 elsewhere\nendif\n0.0.0.0/0 inside\n",
  );
  const rows: [key: string, value: string | undefined][] = [
    ["192.0.2.1", "permit"],
    ["::ffff:192.0.2.9", "reject"],
    ["2001:DB8:0:0::1", "six"],
    ["198.51.100.7", "elsewhere"],
    ["10.1.1.1", "inside"],
    ["172.16.1.1", "inside"],
    ["host.example", undefined],
  ];
  for (const [key, value] of rows) assert.equal(access.find(key), value, key);
  assert.match(errorOf("CIDR", "a.example x"), /^Line 1 "a.example" is not a network/);
  assert.match(errorOf("CIDR", "10.0.0.0/33 x"), /not a network/);
  assert.match(errorOf("CIDR", "10.0.0.0/8"), /no value/);
});

test("regexp: groups, flags, negation, if and endif", () => {
  const canonical = table("Regexp", "/^(.*@)test.example.com$/     ${1}example.com");
  assert.equal(canonical.find("Bob@TEST.example.com"), "Bob@example.com");
  assert.equal(canonical.find("bob@example.com"), undefined);
  const rules = table(
    "Regexp",
    "/^Case$/i exact\n!/^known/ unknown $$5\nif /^known/\n  # a comment\n/^known-(a|b)(c)?/ got $(1)[$2]\nendif\n/./ rest",
  );
  const rows: [key: string, value: string][] = [
    ["Case", "exact"],
    ["case", "unknown $5"],
    ["known-a", "got a[]"],
    ["known-bc", "got b[c]"],
    ["known", "rest"],
  ];
  for (const [key, value] of rows) assert.equal(rules.find(key), value, key);
  // POSIX: the longest; Perl: the first that fits.
  assert.equal(table("Regexp", "/(a|ab)/ $1").find("abcd"), "ab");
  assert.equal(table("PCRE", "/(a|ab)/ $1").find("abcd"), "a");
});

test("pcre: the extended pattern of a reference setup, over several lines", () => {
  const checks = table(
    "PCRE",
    `/^Content-(Disposition|Type).*name\\s*=\\s*"?([^;]*(\\.|=2E)(
\tade|adp|exe|
\thlp|ht[at]|
\t\\{[[:xdigit:]]{8}(?:-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12}\\}|
\tvb[esx]?|vxd|ws[cfh]))(\\?=)?"?\\s*(;|$)/x
\tREJECT ".$4" attachments, like "$2" are blocked.
`,
  );
  assert.equal(
    checks.find('Content-Type: application/x; NAME="My Virus.EXE"'),
    'REJECT ".EXE" attachments, like "My Virus.EXE" are blocked.',
  );
  assert.equal(checks.find('Content-Type: text/plain; name="notes.txt"'), undefined);
  assert.equal(table("PCRE", "/[ #]a/x v").find("x a"), "v");
  assert.equal(table("PCRE", "!/^a.b/ v").find("a\nb"), undefined);
  assert.equal(table("Regexp", "/^b/m v").find("a\nb"), "v");
});

test("what cannot be used is refused with its line", () => {
  const rows: [type: TableType, text: string, error: RegExp][] = [
    ["Regexp", "\n/(a)\\1/ x", /^Line 2 has a pattern that cannot be used/],
    ["PCRE", "/(?=a)b/ x", /cannot be used/],
    ["PCRE", "/(/ x", /cannot be used/],
    ["PCRE", "/a/q x", /flag q/],
    ["Regexp", "/a/s x", /flag s/],
    ["Regexp", "/a/ $1", /only 0 groups/],
    ["Regexp", "!/(a)/ $1", /begins with !/],
    ["Regexp", "/a/ $x", /dollar sign/],
    ["Regexp", "/a/", /no value/],
    ["Regexp", "/a x", /no \/ that ends/],
    ["Regexp", "plain x", /must begin with a pattern/],
    ["Regexp", "if /a/\n/b/ x", /without its endif/],
    ["CIDR", "endif", /without its if/],
    ["Hash", "lonely", /no value/],
  ];
  for (const [type, text, error] of rows) assert.match(errorOf(type, text), error, text);
});

test("a pattern that explodes elsewhere takes linear time", () => {
  const bad = table("PCRE", "/^(a+)+$/ x");
  const startedMs = performance.now();
  assert.equal(bad.find(`${"a".repeat(20_000)}!`), undefined);
  assert.ok(performance.now() - startedMs < 2000);
});

test("property: any text is parsed or refused with a sentence, and any key is answered", () => {
  const piece = fc.constantFrom(
    "if ",
    "endif",
    "/a/",
    "!",
    "/(.*)/",
    " $1",
    "\n",
    " ",
    "10.0.0.0/8",
    "key",
    "#",
    "x",
    "$",
    "${1}",
    "\\",
    "[",
  );
  fc.assert(
    fc.property(
      fc.constantFrom<TableType>("Hash", "CIDR", "Regexp", "PCRE"),
      fc.array(piece, { maxLength: 16 }),
      fc.string(),
      (type, pieces, key) => {
        const text = pieces.join("");
        const result = parseTable(type, text);
        if (!result.ok) return result.error.endsWith(".");
        const found = table(type, text).find(key);
        return found === undefined || typeof found === "string";
      },
    ),
    { numRuns: 500 },
  );
});
