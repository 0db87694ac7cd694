/** Queries: what becomes of each placeholder, what is refused, and that no key can change the statement. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { expandTemplate, parseTemplate } from "./lookup-template.ts";
import { parseQuery, queryParameters } from "./sql-query.ts";

const parsed = (text: string) => {
  const result = parseQuery(text);
  if (!result.ok) throw new Error(result.error);
  return result.value;
};
const refused = (text: string): string => {
  const result = parseQuery(text);
  assert.equal(result.ok, false, text);
  return result.ok ? "" : result.error;
};

test("each query of the reference setups becomes a prepared statement", () => {
  const rows: [query: string, sql: string][] = [
    ["SELECT 1 FROM domain WHERE domain='%s' AND active = '1'", "SELECT 1 FROM domain WHERE domain=? AND active = '1'"],
    [
      "SELECT 1 FROM mailbox WHERE username = '%s' AND active = '1'",
      "SELECT 1 FROM mailbox WHERE username = ? AND active = '1'",
    ],
    [
      "SELECT goto FROM alias WHERE address = '%s' AND active = '1'",
      "SELECT goto FROM alias WHERE address = ? AND active = '1'",
    ],
    [
      "SELECT policy, params FROM tlspolicies WHERE domain = '%s'",
      "SELECT policy, params FROM tlspolicies WHERE domain = ?",
    ],
    ["SELECT action FROM access WHERE pattern = '%s'", "SELECT action FROM access WHERE pattern = ?"],
  ];
  for (const [query, sql] of rows) {
    const { sql: got, parameters } = parsed(query);
    assert.equal(got, sql);
    assert.equal(parameters.length, 1);
    assert.deepEqual(queryParameters(parsed(query), "bob@example.org"), ["bob@example.org"]);
  }
});

test("placeholders: address, bare domain, @domain, user@", () => {
  const query = parsed("SELECT a FROM t WHERE s='%s' AND u=\"%u\" AND d='%d' AND tld='%1' AND sld='%2'");
  assert.equal(query.sql, "SELECT a FROM t WHERE s=? AND u=? AND d=? AND tld=? AND sld=?");
  assert.deepEqual(queryParameters(query, "bob@mail.example.org"), [
    "bob@mail.example.org",
    "bob",
    "mail.example.org",
    "org",
    "example",
  ]);
  for (const key of ["example.org", "@example.org", "bob@", "bob@org", ""])
    assert.equal(queryParameters(query, key), undefined, key);
  assert.deepEqual(queryParameters(parsed("SELECT '%u'"), "example.org"), ["example.org"]);
  assert.deepEqual(queryParameters(parsed("SELECT '%S', '%U', '%D'"), "a@b"), ["a@b", "a", "b"]);
});

test("literals are composed by us; LIKE takes a key as it is written", () => {
  const rows: [query: string, sql: string, parameters: string[]][] = [
    ["SELECT a FROM t WHERE b LIKE '%%@%d'", "SELECT a FROM t WHERE b LIKE ?", ["%@exa\\_mple.org"]],
    ["SELECT a FROM t WHERE b LIKE'%s%%'", "SELECT a FROM t WHERE b LIKE ?", ["b\\%\\_b@exa\\_mple.org%"]],
    [
      "SELECT a FROM t WHERE '%s' LIKE CONCAT('%%', b)",
      "SELECT a FROM t WHERE ? LIKE CONCAT('%', b)",
      ["b%_b@exa_mple.org"],
    ],
    [
      "SELECT a FROM t WHERE b LIKE '%s' ESCAPE '|'",
      "SELECT a FROM t WHERE b LIKE ? ESCAPE '|'",
      ["b%_b@exa_mple.org"],
    ],
    ["SELECT CONCAT('%u', '@', '%d')", "SELECT CONCAT(?, '@', ?)", ["b%_b", "exa_mple.org"]],
    ["SELECT 'it''s %u\\n'", "SELECT ?", ["it's b%_b\n"]],
    ['SELECT "x\\\\%u"', "SELECT ?", ["x\\b%_b"]],
    [
      "SELECT DATE_FORMAT(d, '%%Y') FROM `t%%` -- 100%%\nWHERE a='%u';",
      "SELECT DATE_FORMAT(d, '%Y') FROM `t%` -- 100%\nWHERE a=?",
      ["b%_b"],
    ],
    [
      "(SELECT a FROM t WHERE b='%s') UNION SELECT 5 %% 2",
      "(SELECT a FROM t WHERE b=?) UNION SELECT 5 % 2",
      ["b%_b@exa_mple.org"],
    ],
  ];
  for (const [text, sql, parameters] of rows) {
    const query = parsed(text);
    assert.equal(query.sql, sql);
    assert.deepEqual(queryParameters(query, "b%_b@exa_mple.org"), parameters, text);
  }
});

test("outside quotes only whole numbers go in", () => {
  const query = parsed("SELECT name FROM t WHERE uid = %s LIMIT 1");
  assert.equal(query.sql, "SELECT name FROM t WHERE uid = ? LIMIT 1");
  assert.deepEqual(queryParameters(query, "12"), ["12"]);
  for (const key of ["bob", "1 OR 1=1", "-1", "1e3", "0x10"]) assert.equal(queryParameters(query, key), undefined, key);
});

test("what cannot be a prepared statement is refused with a sentence", () => {
  const rows: [query: string, error: RegExp][] = [
    ["DELETE FROM t WHERE a='%s'", /must begin with SELECT/],
    ["SELECT a FROM t_%d", /part of a name/],
    ["SELECT a FROM %d.t", /part of a name/],
    ["SELECT a FROM `%d`", /name of a table or column/],
    ["SELECT a; DROP TABLE t", /one statement/],
    ["SELECT a FROM t WHERE b='%s", /never closed/],
    ["SELECT a FROM t WHERE b=?", /question mark/],
    ["SELECT a FROM t WHERE b='%x'", /%x is not a placeholder/],
    ["SELECT a FROM t WHERE b=5 % 2", /is not a placeholder/],
    ["SELECT a -- for %s\n", /comment/],
    ["SELECT a FROM t WHERE b='\\%s'", /backslash/],
    ["SELECT 'a' '%s'", /as one/],
    ["SELECT '%s' 'a'", /as one/],
    ["SELECT a FROM t WHERE b=_utf8'%s'", /prefix _utf8/],
    ["SELECT a FROM t WHERE b=X'%s'", /prefix X/],
  ];
  for (const [query, error] of rows) assert.match(refused(query), error, query);
});

test("property: whatever the key, the statement is the same and the key arrives whole", () => {
  const query = parsed("SELECT a FROM t WHERE b = 'x-%s' AND c LIKE '%%%s'");
  fc.assert(
    fc.property(
      fc.string({ unit: fc.integer({ min: 1, max: 0xffff }).map((code) => String.fromCharCode(code)), minLength: 1 }),
      (key) => {
        assert.deepEqual(queryParameters(query, key), [`x-${key}`, `%${key.replaceAll(/[\\%_]/g, "\\$&")}`]);
        return query.sql === "SELECT a FROM t WHERE b = ? AND c LIKE ?";
      },
    ),
  );
});

test("property: any text is either refused or has as many parameters as question marks, none of them in quotes", () => {
  const words = fc.constantFrom(
    "SELECT",
    " ",
    "'",
    '"',
    "`",
    "\\",
    "%s",
    "%d",
    "%%",
    "?",
    "-- ",
    "\n",
    "#",
    "/*",
    "*/",
    "a",
    ";",
    "LIKE",
    "_utf8",
    "''",
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 24 }), (list) => {
      const result = parseQuery(`SELECT ${list.join("")}`);
      if (!result.ok) return result.error.endsWith(".");
      // The same rules, read by another hand: quoted texts and comments away, then count.
      const bare = result.value.sql.replaceAll(
        /'(?:[^'\\]|\\[^]|'')*'|"(?:[^"\\]|\\[^]|"")*"|`(?:[^`]|``)*`|\/\*[^]*?(?:\*\/|$)|#[^\n]*|--(?=\s|$)[^\n]*/g,
        " ",
      );
      return (bare.match(/\?/g) ?? []).length === result.value.parameters.length;
    }),
    { numRuns: 2000 },
  );
});

test("result formats: of the value in small letters, of the key in capitals", () => {
  const format = (text: string, key: string, value: string): string | undefined => {
    const template = parseTemplate(text, "value");
    if (!template.ok) throw new Error(template.error);
    return expandTemplate(template.value, key, value);
  };
  assert.equal(format("%s", "k@d", "v"), "v");
  assert.equal(format("smtp:[%s]:24", "k@d", "host"), "smtp:[host]:24");
  assert.equal(format("%u+%U@%d %D %1", "k@b.c", "v@w"), "v+k@w b.c c");
  assert.equal(format("%s", "k@d", ""), undefined);
  assert.equal(format("%d", "k@d", "unqualified"), undefined);
  assert.equal(format("100%% %s", "k", "v"), "100% v");
});
