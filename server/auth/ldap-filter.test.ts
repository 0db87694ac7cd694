import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AndFilter, EqualityFilter, FilterParser } from "ldapts";
import { escapeFilterValue, fillFilter } from "./ldap-filter.ts";

for (const [template, login, expected] of [
  ["(mail=%s)", "alice@example.org", "(mail=alice@example.org)"],
  ["(&(uid=%u)(ou=%d))", "alice@example.org", "(&(uid=alice)(ou=example.org))"],
  ["(uid=%u)", "alice", "(uid=alice)"],
  ["(ou=%d)", "alice", "(ou=)"],
  ["(mail=%s)", "*", "(mail=\\2a)"],
  ["(mail=%s)", "a)(uid=*", "(mail=a\\29\\28uid\\3d\\2a)"],
  ["(mail=%s)", "a\\b\0", "(mail=a\\5cb\\00)"],
  ["(mail=%s)", "ü", "(mail=\\c3\\bc)"],
  // What a name holds is not looked at again.
  ["(mail=%s)", "%u%s", "(mail=\\25u\\25s)"],
  ["(cn=100%%)", "x", "(cn=100%)"],
] as const)
  test(`${template} for ${JSON.stringify(login)}`, () => assert.equal(fillFilter(template, login), expected));

test("whatever the name is, the filter is the one of the template and the name its value", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", minLength: 1 }), (login) => {
      const name = Buffer.from(login, "utf8").toString("utf8");
      const filter = FilterParser.parseString(fillFilter("(&(objectClass=person)(mail=%s))", name));
      assert.ok(filter instanceof AndFilter);
      assert.equal(filter.filters.length, 2);
      const [, value] = filter.filters;
      assert.ok(value instanceof EqualityFilter, `${value?.constructor.name} of ${escapeFilterValue(name)}`);
      assert.equal(value.attribute, "mail");
    }),
    { numRuns: 300 },
  );
});
