import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { registry } from "../observe/metrics.ts";
import { addressQuery, askList, domainQuery, judgeAnswers, listText } from "./dnsbl.ts";
import { aDnsServer, aResolver } from "./dns-fixture.ts";
import { createResolver } from "./resolver.ts";

test("the question for an address", () => {
  assert.equal(addressQuery("192.0.2.99"), "99.2.0.192");
  assert.equal(addressQuery("::ffff:192.0.2.99"), "99.2.0.192");
  // RFC 5782 §2.4's own example.
  assert.equal(
    addressQuery("2001:db8:1:2:3:4:567:89ab"),
    "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2",
  );
  assert.equal(addressQuery("fe80::1%eth0")?.startsWith("1.0.0."), true);
  assert.equal(addressQuery("client.example"), undefined);
});

test("the question for a domain", () => {
  assert.equal(domainQuery("Mail.Example.ORG."), "mail.example.org");
  for (const none of ["", "localhost", "[192.0.2.1]", "192.0.2.1", "a..b", "a b.example", "ä.example", "x".repeat(260)])
    assert.equal(domainQuery(none), undefined, none);
});

const answers: readonly (readonly [string, readonly string[], string | undefined, string])[] = [
  ["a listing", ["127.0.0.2"], undefined, "listed"],
  ["one of the wanted", ["127.0.0.4", "127.0.0.10"], "127.0.0.[10..11]", "listed"],
  ["none of the wanted", ["127.0.0.4"], "127.0.0.[10..11]", "clear"],
  ["a sold domain", ["203.0.113.7"], undefined, "implausible"],
  ["a sold domain, whatever the filter", ["203.0.113.7"], "203.0.113.7", "implausible"],
  ["a listing beside nonsense", ["203.0.113.7", "127.0.0.2"], undefined, "listed"],
  ["may not be asked from here", ["127.255.255.254"], undefined, "refused"],
  ["may not be asked from here, filtered", ["127.255.255.254"], "127.0.0.[2..11]", "refused"],
  ["a filter that wants just that", ["127.255.255.254"], "127.255.255.[252..255]", "listed"],
  ["a filter that cannot be read", ["127.0.0.2"], "127.0.0", "clear"],
];
for (const [name, given, filter, expected] of answers)
  test(`answers: ${name}: ${expected}`, () => assert.equal(judgeAnswers(given, filter), expected));

async function counted(list: string, result: string): Promise<number> {
  const metric = await registry.getSingleMetric("packetboat_dnsbl_queries_total")?.get();
  return metric?.values.find(({ labels }) => labels["list"] === list && labels["result"] === result)?.value ?? 0;
}

test("a zone is asked, its words are told", async (t) => {
  const dns = await aResolver(t, {
    "2.0.0.127.bl.example A": ["127.0.0.2"],
    "2.0.0.127.bl.example TXT": ["Listed,\r\n250 see https://bl.example/"],
    [`${addressQuery("2001:db8::1")}.bl.example A`]: ["127.0.0.9"],
    "spam.example.rhs.example A": ["127.0.1.2"],
  });
  const list = { zone: "bl.example" };
  assert.equal(await askList(dns, "2.0.0.127", list, 1000), "listed");
  assert.equal(await askList(dns, addressQuery("2001:db8::1") ?? "", list, 1000), "listed");
  assert.equal(await askList(dns, "3.0.0.127", list, 1000), "clear");
  assert.equal(await askList(dns, "spam.example", { zone: "rhs.example" }, 1000), "listed");
  assert.equal(await listText(dns, "2.0.0.127", list, 1000), "Listed, 250 see https://bl.example/");
  assert.equal(await listText(dns, "3.0.0.127", list, 1000), undefined);
  assert.equal(await counted("bl.example", "listed"), 2);
});

test("a key in the zone's name is never a label", async (t) => {
  const dns = await aResolver(t, { "2.0.0.127.secretkey.dq.example A": ["127.0.0.2"] });
  assert.equal(
    await askList(dns, "2.0.0.127", { zone: "secretkey.dq.example", shownAs: "dq.example" }, 1000),
    "listed",
  );
  assert.equal(await counted("dq.example", "listed"), 1);
  assert.ok(!(await registry.metrics()).includes("secretkey"));
});

test("a list that does not answer lists nobody, in time, and is counted", async (t) => {
  const server = await aDnsServer(t, { records: { "2.0.0.127.dead.example A": ["127.0.0.2"] } });
  server.mangle = () => Buffer.alloc(0);
  const dns = createResolver({ servers: () => [server.server], timeoutMs: 1000, rounds: 1 });
  const began = performance.now();
  assert.equal(await askList(dns, "2.0.0.127", { zone: "dead.example" }, 50), "unanswered");
  assert.ok(performance.now() - began < 900);
  assert.equal(await counted("dead.example", "unanswered"), 1);
  assert.equal(
    await askList({ a: () => Promise.reject(new Error("bug")) }, "x", { zone: "y.example" }, 50),
    "unanswered",
  );
});

test("an answer is asked for once while its TTL lasts", async (t) => {
  const server = await aDnsServer(t, { records: { "2.0.0.127.once.example A": ["127.0.0.2"] } });
  const dns = createResolver({ servers: () => [server.server] });
  for (let time = 0; time < 3; time++) await askList(dns, "2.0.0.127", { zone: "once.example" }, 1000);
  assert.equal(server.questions.length, 1);
});

test("no stranger's domain breaks a question", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (text) => {
      const query = domainQuery(text);
      if (query !== undefined) assert.match(query, /^[a-z0-9_.-]+$/);
      addressQuery(text);
    }),
    { verbose: 1 },
  );
});
