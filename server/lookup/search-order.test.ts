/** Search orders, as the manual pages of Postfix give them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  accessAddressKeys,
  accessHostKeys,
  aliasKeys,
  domainKeys,
  mailboxKeys,
  tlsPolicyKeys,
  transportKeys,
} from "./search-order.ts";

test("keys from the most special to the most general", () => {
  const rows: [got: string[], wanted: string][] = [
    [
      accessAddressKeys("Bob+x@Mail.Example.org", "+-"),
      "bob+x@mail.example.org bob@mail.example.org mail.example.org example.org org bob+x@ bob@",
    ],
    [accessAddressKeys("bob@example.org", "+"), "bob@example.org example.org org bob@"],
    [accessAddressKeys("", "+"), "<>"],
    [accessAddressKeys("postmaster", "+"), "postmaster postmaster@"],
    [accessHostKeys("Mail.Example.ORG."), "mail.example.org example.org org"],
    [accessHostKeys("192.0.2.7"), "192.0.2.7 192.0.2 192.0 192"],
    [accessHostKeys("2001:db8::7"), "2001:db8::7 2001:db8 2001"],
    [aliasKeys("bob+x@example.org", "+"), "bob+x@example.org bob@example.org @example.org"],
    [aliasKeys("+x@example.org", "+"), "+x@example.org @example.org"],
    [mailboxKeys("bob-x@example.org", "+-"), "bob-x@example.org bob@example.org"],
    [transportKeys("bob@a.example.org", "+"), "bob@a.example.org a.example.org .example.org .org *"],
    [tlsPolicyKeys("a.example.org"), "a.example.org .example.org .org"],
    [tlsPolicyKeys("[mx.example.org]:587"), "[mx.example.org]:587"],
    [domainKeys("[192.0.2.1]"), "[192.0.2.1]"],
  ];
  for (const [got, wanted] of rows) assert.equal(got.join(" "), wanted);
});

test("a name of a million dots gives few keys", () => {
  assert.ok(domainKeys("a.".repeat(1_000_000)).length <= 127);
});
