import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addressKey, domainKey } from "./address.ts";

test("what is a domain, and its key", () => {
  for (const [domain, key] of [
    ["example.org", "example.org"],
    ["EXAMPLE.org.", "example.org"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["BÜCHER.example", "xn--bcher-kva.example"],
    ["XN--BCHER-KVA.example", "xn--bcher-kva.example"],
    ["[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"],
    ["0X7F.1", "0x7f.1"],
  ] as const)
    assert.equal(domainKey(domain), key, domain);
});

test("what only a URL would take for one", () => {
  for (const domain of [
    "example.org/foreign.example",
    "a?b",
    "a#b",
    "a%41.example",
    "a\\b",
    "user@host",
    "０x7f.1",
    "１２７.0.0.1",
    "a:25",
    "",
    ".",
  ])
    assert.equal(domainKey(domain), undefined, domain);
});

test("a key is its own key, in ASCII", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 40 }), (text) => {
      const key = domainKey(text);
      if (key === undefined) return;
      assert.equal(domainKey(key), key);
      if (!key.startsWith("[")) assert.match(key, /^[a-z0-9_.-]+$/);
      assert.equal(addressKey(`A@${text}`), `a@${key}`);
    }),
  );
});
