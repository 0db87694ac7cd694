import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { type TestContext, test } from "node:test";
import type { Outbound } from "../config/schema.ts";
import { aDnsServer, aResolver, type Zone } from "../dns/dns-fixture.ts";
import { createResolver } from "../dns/resolver.ts";
import { isPublic, mayDial, nextHops } from "./next-hops.ts";
import { aLiveConfig, byMx } from "./outbound-fixture.ts";

type Records = Zone["records"];

async function hopsOf(t: TestContext, records: Records, domain: string, outbound: Partial<Outbound> = {}) {
  const resolver = await aResolver(t, records);
  const config = aLiveConfig({}, { outbound });
  return async (): Promise<readonly string[]> => {
    const found = await nextHops(config, resolver, byMx(domain));
    if (found.kind === "none") return [`${found.reply.code} ${found.reply.enhanced}`];
    return found.hops.map(({ endpoint, names }) => `${names.host} ${endpoint.kind === "tcp" ? endpoint.address : ""}`);
  };
}

test("exchanges come by preference, and equals in changing order", async (t) => {
  const ask = await hopsOf(
    t,
    {
      "d.test MX": [
        { preference: 20, exchange: "last.test" },
        { preference: 10, exchange: "a.test" },
        { preference: 10, exchange: "b.test" },
      ],
      "a.test A": ["9.9.9.1"],
      "b.test A": ["9.9.9.2"],
      "last.test A": ["9.9.9.3"],
    },
    "d.test",
  );
  const seen = new Set<string>();
  for (let count = 0; count < 60; count++) {
    const hops = await ask();
    assert.equal(hops.length, 3);
    assert.equal(hops[2], "last.test 9.9.9.3");
    seen.add(hops[0] ?? "");
  }
  // Sixty times the same of two: once in 2^59 runs.
  assert.deepEqual([...seen].sort(), ["a.test 9.9.9.1", "b.test 9.9.9.2"]);
});

test("an exchange of our own preference is none, whichever comes first in the shuffle", async (t) => {
  const ask = await hopsOf(
    t,
    {
      "d.test MX": [
        { preference: 10, exchange: "equal.test" },
        { preference: 10, exchange: "mx.example.org" },
      ],
      "equal.test A": ["9.9.9.1"],
      "mx.example.org A": ["9.9.9.2"],
    },
    "d.test",
  );
  for (let count = 0; count < 30; count++) assert.deepEqual(await ask(), ["554 5.4.6"]);
});

const both: Records = {
  "d.test A": ["9.9.9.1", "9.9.9.2", "9.9.9.3", "9.9.9.4", "9.9.9.5", "9.9.9.6"],
  "d.test AAAA": ["2600::1", "2600::2", "2600::3", "2600::4", "2600::5", "2600::6"],
};
for (const [addressPreference, expected] of [
  ["IPv4", "444" + "66"],
  ["IPv6", "666" + "44"],
] as const) {
  test(`preference ${addressPreference}: that family first, and the other still gets its chance`, async (t) => {
    const hops = await (await hopsOf(t, both, "d.test", { addressPreference }))();
    assert.equal(hops.map((hop) => (hop.includes("::") ? "6" : "4")).join(""), expected);
  });
}
test("preference Any: the families in turn", async (t) => {
  const ask = await hopsOf(t, both, "d.test", { addressPreference: "Any" });
  for (let count = 0; count < 20; count++) {
    const families = (await ask()).map((hop) => (hop.includes("::") ? "6" : "4")).join("");
    assert.match(families, /^(46464|64646)$/);
  }
});
test("one family alone takes all places", async (t) => {
  const ask = await hopsOf(t, { "d.test A": both["d.test A"] ?? [] }, "d.test", { addressPreference: "IPv6" });
  assert.equal((await ask()).length, 5);
});

const cases: readonly [what: string, records: Records, expected: string, outbound?: Partial<Outbound>][] = [
  ["no MX: the domain's own addresses", { "d.test A": ["9.9.9.1"] }, "d.test 9.9.9.1"],
  ["a domain that is an alias", { "d.test CNAME": ["real.test"], "real.test A": ["9.9.9.1"] }, "d.test 9.9.9.1"],
  [
    "an alias with MX behind it",
    {
      "d.test CNAME": ["real.test"],
      "real.test MX": [{ preference: 1, exchange: "mx.real.test" }],
      "mx.real.test A": ["9.9.9.2"],
    },
    "mx.real.test 9.9.9.2",
  ],
  [
    "an exchange that is an alias",
    {
      "d.test MX": [{ preference: 1, exchange: "mx.test" }],
      "mx.test CNAME": ["host.test"],
      "host.test A": ["9.9.9.2"],
    },
    "mx.test 9.9.9.2",
  ],
  ["an alias of itself", { "d.test CNAME": ["d.test"] }, "550 5.4.4"],
  ["null MX", { "d.test MX": [{ preference: 0, exchange: "." }], "d.test A": ["9.9.9.1"] }, "556 5.1.10"],
  [
    "a null MX beside another means nothing",
    {
      "d.test MX": [
        { preference: 0, exchange: "." },
        { preference: 5, exchange: "mx.test" },
      ],
      "mx.test A": ["9.9.9.2"],
    },
    "mx.test 9.9.9.2",
  ],
  [
    "an exchange without address gives way to the next",
    {
      "d.test MX": [
        { preference: 1, exchange: "gone.test" },
        { preference: 5, exchange: "mx.test" },
      ],
      "mx.test A": ["9.9.9.2"],
    },
    "mx.test 9.9.9.2",
  ],
  [
    "ourselves: what is worse than we is dropped",
    {
      "d.test MX": [
        { preference: 1, exchange: "mx.test" },
        { preference: 5, exchange: "mx.example.org" },
        { preference: 9, exchange: "worse.test" },
      ],
      "mx.test A": ["9.9.9.2"],
      "mx.example.org A": ["9.9.9.3"],
      "worse.test A": ["9.9.9.4"],
    },
    "mx.test 9.9.9.2",
  ],
  ["ourselves as the best", { "d.test MX": [{ preference: 5, exchange: "MX.Example.org" }] }, "554 5.4.6"],
  [
    "the name we greet with is ours too",
    { "d.test MX": [{ preference: 5, exchange: "out.test" }], "out.test A": ["9.9.9.9"] },
    "554 5.4.6",
    { heloName: "out.test" },
  ],
  ["an exchange on loopback", { "d.test A": ["127.0.0.1"] }, "451 4.4.4"],
  ["an exchange of the cluster", { "d.test A": ["10.96.0.1"], "d.test AAAA": ["fd00::1"] }, "451 4.4.4"],
  ["one good address among bad ones", { "d.test A": ["10.96.0.1", "9.9.9.1", "169.254.169.254"] }, "d.test 9.9.9.1"],
  [
    "an allowed private network",
    { "d.test A": ["10.96.0.1", "10.7.0.1"] },
    "d.test 10.7.0.1",
    { allowedNetworks: ["10.7.0.0/16"] },
  ],
  ["a denied public network", { "d.test A": ["9.9.9.1"] }, "451 4.4.4", { deniedNetworks: ["9.9.9.0/24"] }],
];
for (const [what, records, expected, outbound] of cases) {
  test(`${what}: ${expected}`, async (t) => {
    assert.deepEqual(await (await hopsOf(t, records, "d.test", outbound))(), [expected]);
  });
}

for (const [literal, expected] of [
  ["[9.9.9.1]", "9.9.9.1 9.9.9.1"],
  ["[ipv6:2600::1]", "2600::1 2600::1"],
  ["[127.0.0.1]", "451 4.4.4"],
  ["[ipv6:::1]", "451 4.4.4"],
  ["[ipv6:::ffff:10.0.0.1]", "451 4.4.4"],
] as const) {
  test(`literal ${literal}: ${expected}`, async (t) => {
    assert.deepEqual(await (await hopsOf(t, {}, literal))(), [expected]);
  });
}

for (const [address, open] of [
  ["9.9.9.9", true],
  ["2600::1", true],
  ["64:ff9b::9.9.9.9", true],
  ["0.0.0.0", false],
  ["10.0.0.1", false],
  ["100.64.0.1", false],
  ["127.0.0.1", false],
  ["127.8.8.8", false],
  ["169.254.169.254", false],
  ["172.16.0.1", false],
  ["172.31.255.255", false],
  ["192.168.1.1", false],
  ["224.0.0.1", false],
  ["240.0.0.1", false],
  ["255.255.255.255", false],
  ["::", false],
  ["::1", false],
  ["::ffff:127.0.0.1", false],
  ["::ffff:9.9.9.9", true],
  ["64:ff9b::10.0.0.1", false],
  ["64:ff9b::127.0.0.1", false],
  ["2002:7f00:1::", false],
  ["fe80::1", false],
  ["fec0::1", false],
  ["fd12:3456::1", false],
  ["ff02::1", false],
  ["not an address", false],
] as const) {
  test(`${address} may ${open ? "" : "not "}be dialled for a stranger`, () => {
    assert.equal(isPublic(address), open);
    assert.equal(mayDial(aLiveConfig(), address), open);
  });
}

test("denied wins over allowed, also through NAT64", () => {
  const config = aLiveConfig({}, { outbound: { allowedNetworks: ["10.0.0.0/8"], deniedNetworks: ["10.96.0.0/12"] } });
  assert.equal(mayDial(config, "10.1.1.1"), true);
  assert.equal(mayDial(config, "10.96.0.10"), false);
  assert.equal(mayDial(config, "64:ff9b::10.96.0.10"), false);
  assert.equal(mayDial(config, "::ffff:10.96.0.10"), false);
  const open = aLiveConfig({}, { outbound: { allowPrivateNextHops: true, deniedNetworks: ["10.96.0.0/12"] } });
  assert.equal(mayDial(open, "10.96.0.10"), false);
});

test("an address of ours with a listener on the port is ourselves; without one it is a stranger's", async (t) => {
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? [])[0]?.address ?? "127.0.0.1";
  const type = own.includes(":") ? "AAAA" : "A";
  const ask = (smtpPort: number) =>
    hopsOf(t, { [`d.test ${type}`]: [own] }, "d.test", { smtpPort, allowPrivateNextHops: true });
  const [listener] = aLiveConfig().server.listeners;
  assert.deepEqual(await (await ask(listener?.port ?? 0))(), ["554 5.4.6"]);
  assert.deepEqual(await (await ask(1))(), [`d.test ${own}`]);
});

test("a better exchange that cannot be looked up now is waited for, even where we are the next", async (t) => {
  const dns = await aDnsServer(t, {
    records: {
      "d.test MX": [
        { preference: 1, exchange: "slow.test" },
        { preference: 2, exchange: "mx.example.org" },
      ],
    },
  });
  const resolver = createResolver({ servers: () => [dns.server], timeoutMs: 200, rounds: 1 });
  await resolver.mx("d.test");
  dns.zone = { records: {}, rcode: 2 };
  const found = await nextHops(aLiveConfig(), resolver, byMx("d.test"));
  assert.equal(found.kind === "none" && found.reply.enhanced, "4.4.3");
});

test("what the configuration names may be anywhere: a Service, loopback, a bracketed address", async () => {
  const resolver = createResolver({ servers: () => ["127.0.0.1:1"], timeoutMs: 20, rounds: 1 });
  for (const host of ["127.0.0.1", "::1", "[::1]", "10.0.0.1"]) {
    const found = await nextHops(aLiveConfig(), resolver, {
      delivery: { kind: "smtp", host, port: 26, lookupMX: false, implicitTLS: true },
      destination: "x",
      tlsPolicyKey: "x",
    });
    assert.ok(found.kind === "hops");
    assert.deepEqual(found.hops[0]?.endpoint, { kind: "tcp", address: host.replaceAll(/[[\]]/g, ""), port: 26 });
    assert.equal(found.hops[0].implicitTls, true);
  }
});
