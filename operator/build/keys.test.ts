import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { destinationAddress, tableAddress, tableDomain } from "./keys.ts";

suite("table keys", () => {
  const addresses: readonly [text: string, own: string | undefined, key: string | undefined][] = [
    ["Alice@Example.ORG", undefined, "alice@example.org"],
    ["postmaster", "example.org", "postmaster@example.org"],
    ["@Example.org", undefined, "@example.org"],
    ["info@münchen.example", undefined, "info@xn--mnchen-3ya.example"],
    ['"a b"@example.org', undefined, undefined],
    ["a\r\nb@example.org", undefined, undefined],
    ["alice", undefined, undefined],
    ["alice@", undefined, undefined],
    ["alice@[192.0.2.1]", undefined, undefined],
    ["", "example.org", undefined],
    [`${"x".repeat(600)}@example.org`, undefined, undefined],
  ];
  for (const [text, own, key] of addresses)
    test(`${JSON.stringify(text.slice(0, 40))} → ${key}`, () => assert.equal(tableAddress(text, own), key));

  test("a destination keeps the case of its local part, nothing else", () => {
    assert.equal(destinationAddress("J.Doe@Example.NET"), "J.Doe@example.net");
    assert.equal(destinationAddress("Bob", "example.org"), "Bob@example.org");
    assert.equal(destinationAddress("@example.org"), undefined);
  });

  test("a domain that grows too long as A-labels is refused, not rendered", () => {
    assert.equal(tableDomain(`${`${"ü".repeat(30)}.`.repeat(7)}example`)?.length ?? 0, 0);
    assert.equal(tableDomain("Example.ORG."), "example.org");
    assert.equal(tableDomain("exa mple.org"), undefined);
  });
});
