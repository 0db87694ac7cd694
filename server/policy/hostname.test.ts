import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isFullyQualified, isHostname, isHostnameInAscii, isHostnameOrAddress, isValidLiteral } from "./hostname.ts";

const table: readonly (readonly [string, hostname: boolean, qualified: boolean])[] = [
  ["mail.example.net", true, true],
  ["MAIL.Example.NET", true, true],
  ["mail.example.net.", true, true],
  ["mail.example.net..", false, false],
  ["localhost", true, false],
  ["localhost.", true, false],
  ["a_b.example", true, true],
  ["xn--bcher-kva.example", true, true],
  ["3com.example", true, true],
  ["1.2.3", false, false],
  ["192.0.2.1", false, false],
  ["", false, false],
  [".", false, false],
  [".example", false, false],
  ["a..b", false, false],
  ["-a.example", false, false],
  ["a-.example", false, false],
  [`${"a".repeat(63)}.example`, true, true],
  [`${"a".repeat(64)}.example`, false, false],
  [`${"a.".repeat(128)}example`, false, false],
  ["a b.example", false, false],
  ["a@b.example", false, false],
  ["[192.0.2.1]", false, false],
];
for (const [name, hostname, qualified] of table)
  test(`"${name.slice(0, 40)}"`, () =>
    assert.deepEqual([isHostname(name), isFullyQualified(name)], [hostname, qualified]));

test("names beyond ASCII are domains, not host names", () => {
  assert.equal(isHostname("bücher.example"), true);
  assert.equal(isHostnameInAscii("bücher.example"), false);
  assert.equal(isHostnameOrAddress("bücher.example"), false);
});

test("literals", () => {
  for (const good of ["[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::1]"])
    assert.equal(isValidLiteral(good), true, good);
  for (const bad of ["[]", "[", "192.0.2.1", "[192.0.2.1", "[192.0.2.256]", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[x]"])
    assert.equal(isValidLiteral(bad), false, bad);
});

test("whatever a stranger says is judged, and never both a name and a literal", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.domain(), fc.string({ unit: fc.constantFrom("a", ".", "-", "1", "[", "]", "ü") })),
      (name) => {
        const judged = [isHostname(name), isFullyQualified(name), isHostnameOrAddress(name), isValidLiteral(name)];
        assert.ok(!(judged[0] === true && judged[3] === true));
        assert.ok(judged[1] === false || judged[0] === true);
      },
    ),
  );
});
