import assert from "node:assert/strict";
import { test } from "node:test";
import { aDnsServer } from "./dns-fixture.ts";
import { createResolver } from "./resolver.ts";
import { type ClientName, nameOfClient } from "./reverse.ts";

const records = {
  "1.2.0.192.in-addr.arpa PTR": ["Mail.Example.NET"],
  "mail.example.net A": ["192.0.2.1"],
  "2.2.0.192.in-addr.arpa PTR": ["liar.example.net"],
  "liar.example.net A": ["198.51.100.1"],
  "3.2.0.192.in-addr.arpa PTR": ["nowhere.example.net"],
  "4.2.0.192.in-addr.arpa PTR": ["liar.example.net", "second.example.net"],
  "second.example.net A": ["192.0.2.4"],
  "5.2.0.192.in-addr.arpa PTR": ["what ever.example.net"],
  "6.2.0.192.in-addr.arpa TXT": ["no name here"],
  "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR": ["six.example.net"],
  "six.example.net AAAA": ["2001:db8:0:0::5"],
  "8.2.0.192.in-addr.arpa PTR": ["a.example.net", "b.example.net", "c.example.net", "mail8.example.net"],
  "mail8.example.net A": ["192.0.2.8"],
};

const table: readonly (readonly [string, string, ClientName])[] = [
  ["confirmed", "192.0.2.1", { kind: "named", name: "mail.example.net" }],
  ["leads elsewhere", "192.0.2.2", { kind: "unconfirmed", name: "liar.example.net" }],
  ["leads nowhere", "192.0.2.3", { kind: "unconfirmed", name: "nowhere.example.net" }],
  ["the second name leads back", "192.0.2.4", { kind: "named", name: "second.example.net" }],
  ["a name that is none", "192.0.2.5", { kind: "unconfirmed", name: "" }],
  ["no such record", "192.0.2.6", { kind: "none" }],
  ["no such name", "192.0.2.7", { kind: "none" }],
  ["IPv6", "2001:db8::5", { kind: "named", name: "six.example.net" }],
  ["not more than three names are followed", "192.0.2.8", { kind: "unconfirmed", name: "a.example.net" }],
];

test("the name of a client", async (t) => {
  const dns = await aDnsServer(t, { records });
  const resolver = createResolver({ servers: () => [dns.server], timeoutMs: 500 });
  for (const [name, address, expected] of table)
    await t.test(name, async () => assert.deepEqual(await nameOfClient(resolver, address), expected));
});

test("a resolver that cannot say is not a client without a name", async (t) => {
  const dns = await aDnsServer(t, { records, rcode: 2 });
  const resolver = createResolver({ servers: () => [dns.server], timeoutMs: 500 });
  assert.deepEqual(await nameOfClient(resolver, "192.0.2.1"), { kind: "temporary" });
  const halfWay: ClientName = await nameOfClient(
    {
      pointer: () => Promise.resolve({ kind: "found", answers: ["a.example"], authenticated: false, ttlSeconds: 1 }),
      addresses: () => Promise.resolve({ kind: "temporary" }),
    },
    "192.0.2.1",
  );
  assert.deepEqual(halfWay, { kind: "temporary", name: "a.example" });
});
