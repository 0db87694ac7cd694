import assert from "node:assert/strict";
import { test } from "node:test";
import { aDnsServer, aResolver } from "./dns-fixture.ts";
import { createResolver } from "./resolver.ts";
import { parseServer, serversOfResolvConf } from "./servers.ts";
import { decodeAnswer, encodeQuery, isQueryName } from "./wire.ts";
import fc from "fast-check";

const zone = {
  "two.test MX": [
    { preference: 20, exchange: "b.two.test" },
    { preference: 10, exchange: "A.two.test" },
  ],
  "null.test MX": [{ preference: 0, exchange: "." }],
  "plain.test A": ["192.0.2.7"],
  "plain.test AAAA": ["2001:db8::7"],
  "four.test A": ["192.0.2.8"],
  "alias.test CNAME": ["plain.test"],
};

test("MX, null MX, no MX and no name are told apart", async (t) => {
  const dns = await aDnsServer(t, { records: zone });
  const resolver = createResolver({ servers: () => [dns.server], timeoutMs: 500 });
  const two = await resolver.mx("Two.Test.");
  assert.deepEqual(two, {
    kind: "found",
    answers: [
      { preference: 20, exchange: "b.two.test" },
      { preference: 10, exchange: "a.two.test" },
    ],
    authenticated: false,
    ttlSeconds: 60,
  });
  const none = await resolver.mx("null.test");
  assert.deepEqual(none.kind === "found" && none.answers, [{ preference: 0, exchange: "" }]);
  assert.deepEqual(await resolver.mx("plain.test"), { kind: "nodata" });
  assert.deepEqual(await resolver.mx("missing.test"), { kind: "nxdomain" });
  assert.deepEqual(await resolver.mx("bad..name"), { kind: "nxdomain" });
  const through = await resolver.addresses("alias.test");
  assert.deepEqual(through.kind === "found" && through.answers, ["192.0.2.7", "2001:db8::7"]);
  const four = await resolver.addresses("four.test");
  assert.deepEqual(four.kind === "found" && four.answers, ["192.0.2.8"]);
});

test("AD counts from loopback and from declared resolvers, and only when set", async (t) => {
  const dns = await aDnsServer(t, { records: zone, authenticData: true });
  const signed = await createResolver({ servers: () => [dns.server] }).mx("two.test");
  assert.ok(signed.kind === "found" && signed.authenticated);
  dns.zone = { records: zone, authenticData: false };
  const unsigned = await createResolver({ servers: () => [dns.server] }).mx("two.test");
  assert.ok(unsigned.kind === "found" && !unsigned.authenticated);
});

test("a truncated answer is asked for again over TCP", async (t) => {
  const dns = await aDnsServer(t, { records: zone, truncate: true });
  const answer = await createResolver({ servers: () => [dns.server], timeoutMs: 1000 }).mx("two.test");
  assert.equal(answer.kind, "found");
  assert.deepEqual(dns.questions, ["udp two.test MX", "tcp two.test MX"]);
});

test("a silent server gives way to the next; when nobody answers it is temporary", async (t) => {
  const silent = await aDnsServer(t, { records: zone });
  silent.mangle = () => Buffer.alloc(0);
  const good = await aDnsServer(t, { records: zone });
  const both = createResolver({ servers: () => [silent.server, good.server], timeoutMs: 300 });
  assert.equal((await both.mx("two.test")).kind, "found");
  const alone = createResolver({ servers: () => [silent.server], timeoutMs: 30, rounds: 2 });
  assert.deepEqual(await alone.mx("two.test"), { kind: "temporary" });
  assert.equal(silent.questions.length, 3);
});

for (const [rcode, name] of [
  [2, "SERVFAIL"],
  [5, "REFUSED"],
] as const) {
  test(`${name} is temporary, never "no such domain"`, async (t) => {
    const dns = await aDnsServer(t, { records: zone, rcode });
    assert.deepEqual(await createResolver({ servers: () => [dns.server], timeoutMs: 200 }).mx("missing.test"), {
      kind: "temporary",
    });
  });
}

test("answers that do not match the question, or cannot be read, are not believed", async (t) => {
  const dns = await aDnsServer(t, { records: zone });
  const hostile: readonly [string, (answer: Buffer) => Buffer][] = [
    ["another id", (answer) => Buffer.concat([Buffer.from([answer[0]! ^ 1]), answer.subarray(1)])],
    ["another name", (answer) => Buffer.from(answer.toString("latin1").replace("\u0003two", "\u0003six"), "latin1")],
    [
      "a query",
      (answer) => Buffer.concat([answer.subarray(0, 2), Buffer.from([answer[2]! & 0x7f]), answer.subarray(3)]),
    ],
    ["cut off", (answer) => answer.subarray(0, 20)],
    ["noise", () => Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")],
  ];
  for (const [what, mangle] of hostile) {
    dns.mangle = mangle;
    const answer = await createResolver({ servers: () => [dns.server], timeoutMs: 40, rounds: 1 }).mx("two.test");
    assert.deepEqual(answer, { kind: "temporary" }, what);
  }
});

test("answers are kept for their TTL, asked once by many, and the cache has a bound", async (t) => {
  const dns = await aDnsServer(t, { records: zone, ttl: 10 });
  let nowMs = 0;
  const resolver = createResolver({ servers: () => [dns.server], now: () => nowMs, cacheSize: 2 });
  await Promise.all([resolver.mx("two.test"), resolver.mx("two.test"), resolver.mx("TWO.test")]);
  nowMs = 9_999;
  await resolver.mx("two.test");
  assert.equal(dns.questions.length, 1);
  nowMs = 10_001;
  await resolver.mx("two.test");
  assert.equal(dns.questions.length, 2);
  await resolver.mx("a.test");
  await resolver.mx("b.test");
  await resolver.mx("two.test");
  assert.equal(dns.questions.length, 5, "the oldest of three had to go");
});

test("a configured host goes through the system, literals through nobody", async () => {
  const resolver = createResolver({ servers: () => ["127.0.0.1:1"] });
  const local = await resolver.hostAddresses("localhost");
  assert.ok(local.kind === "found" && local.answers.some((address) => address === "127.0.0.1" || address === "::1"));
  assert.deepEqual((await resolver.hostAddresses("[2001:db8::1]")).kind, "found");
  assert.deepEqual(await resolver.hostAddresses("does-not-exist.invalid"), { kind: "temporary" });
});

test("resolv.conf and the configuration's spellings", () => {
  assert.deepEqual(
    serversOfResolvConf(
      "# x\nsearch a b\nnameserver 10.0.0.1\n nameserver  fe80::1%eth0\nnameserver nonsense\nnameserver ::1\nnameserver 1.1.1.1\n",
    ),
    [
      { address: "10.0.0.1", port: 53 },
      { address: "fe80::1%eth0", port: 53 },
      { address: "::1", port: 53 },
    ],
  );
  assert.deepEqual(parseServer("127.0.0.1:5353"), { address: "127.0.0.1", port: 5353 });
  assert.deepEqual(parseServer("[::1]:5353"), { address: "::1", port: 5353 });
  assert.deepEqual(parseServer("::1"), { address: "::1", port: 53 });
  for (const bad of ["", "dns.test", "1.2.3.4:0", "1.2.3.4:99999", "[::1]x", "[nope]:53"])
    assert.equal(parseServer(bad), undefined, bad);
});

test("text, names of addresses, and A records alone", async (t) => {
  const resolver = await aResolver(t, {
    "list.test TXT": [["one ", "record"], "another"],
    "2.0.0.127.bl.test A": ["127.0.0.4"],
    "2.0.0.127.bl.test AAAA": ["::1"],
    "1.2.0.192.in-addr.arpa PTR": ["Mail.Example.ORG"],
    [`1.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa PTR`]: ["six.example.org"],
  });
  const answers = async (asked: Promise<{ readonly kind: string; readonly answers?: readonly string[] }>) => {
    const { kind, answers: found } = await asked;
    return found ?? kind;
  };
  assert.deepEqual(await answers(resolver.txt("list.test")), ["one record", "another"]);
  assert.deepEqual(await answers(resolver.a("2.0.0.127.bl.test")), ["127.0.0.4"]);
  assert.deepEqual(await answers(resolver.pointer("192.0.2.1")), ["mail.example.org"]);
  assert.deepEqual(await answers(resolver.pointer("::ffff:192.0.2.1")), ["mail.example.org"]);
  assert.deepEqual(await answers(resolver.pointer("2001:db8::1")), ["six.example.org"]);
  assert.equal(await answers(resolver.pointer("192.0.2.2")), "nxdomain");
  assert.equal(await answers(resolver.pointer("not an address")), "nxdomain");
});

test("names that are no names are never asked", () => {
  for (const bad of ["", "a..b", ".a", "a b", `${"x".repeat(64)}.test`, "é.test", "a.".repeat(127) + "test"])
    assert.equal(isQueryName(bad), false, bad);
  assert.ok(isQueryName("_dmarc.xn--bcher-kva.test"));
});

test("no bytes make the decoder throw", () => {
  const query = encodeQuery(7, "two.test", "MX");
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      (bytes) => void decodeAnswer(Buffer.from(bytes), 7, "two.test", "MX"),
    ),
  );
  fc.assert(
    fc.property(fc.nat(query.length - 1), fc.nat(255), (at, byte) => {
      const changed = Buffer.from(query);
      changed[at] = byte;
      changed[2] = (changed[2] ?? 0) | 0x80;
      decodeAnswer(changed, 7, "two.test", "MX");
    }),
  );
});
