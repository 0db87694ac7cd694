import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { clientGroup, isInNetworks } from "./networks.ts";

const table: readonly (readonly [string, readonly string[], boolean])[] = [
  ["127.0.0.1", [], false],
  ["::1", [], false],
  ["127.0.0.1", ["10.0.0.0/8"], false],
  ["10.255.255.255", ["10.0.0.0/8"], true],
  ["11.0.0.0", ["10.0.0.0/8"], false],
  ["::ffff:10.1.2.3", ["10.0.0.0/8"], true],
  ["192.0.2.7", ["192.0.2.7"], true],
  ["192.0.2.8", ["192.0.2.7/32"], false],
  ["2001:db8:1::5", ["2001:db8::/32"], true],
  ["2001:db9::5", ["2001:db8::/32"], false],
  ["10.1.2.3", ["2001:db8::/32", "10.1.2.3"], true],
  ["10.1.2.3", ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "nonsense", "", "/0"], false],
  ["10.1.2.3", ["0.0.0.0/0"], true],
  ["nonsense", ["0.0.0.0/0", "::/0"], false],
];
for (const [address, networks, expected] of table) {
  test(`${address} is ${expected ? "" : "not "}in [${networks.join(" ")}]`, () =>
    assert.equal(isInNetworks(networks, address), expected));
}

const groups: readonly (readonly [string, string])[] = [
  ["192.0.2.1", "192.0.2.1"],
  ["::ffff:192.0.2.1", "192.0.2.1"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8:1:2::6", "2001:db8:1:2::/64"],
  ["2001:db8::6", "2001:db8:0:0::/64"],
  ["2001:0DB8::6", "2001:db8:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["1::2:3:4:5:6:7", "1:0:2:3::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["64:ff9b::192.0.2.1", "64:ff9b:0:0::/64"],
];
for (const [address, group] of groups)
  test(`${address} counts as ${group}`, () => assert.equal(clientGroup(address), group));

test("two addresses of one /64 count together", () => {
  fc.assert(
    fc.property(fc.ipV6(), fc.nat({ max: 0xffff }), (address, last) => {
      const group = clientGroup(address);
      if (!group.endsWith("/64")) return;
      assert.equal(clientGroup(`${group.slice(0, -5)}:1:2:3:${last.toString(16)}`), group);
    }),
  );
});

const prefixed: readonly (readonly [string, number, string])[] = [
  ["192.0.2.77", 24, "192.0.2.0/24"],
  ["192.0.2.77", 26, "192.0.2.64/26"],
  ["::ffff:192.0.2.77", 8, "192.0.0.0/8"],
  ["192.0.2.77", 32, "192.0.2.77"],
  ["2001:db8:1:2::6", 48, "2001:db8:1::/48"],
  ["2001:db8:1:ffff::6", 52, "2001:db8:1:f000::/52"],
  ["2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6/128"],
];
for (const [address, bits, group] of prefixed)
  test(`${address} counts as ${group} where ${bits} bits make a client`, () =>
    assert.equal(clientGroup(address, { ipv4: Math.min(bits, 32), ipv6: bits }), group));

test("two addresses are one client exactly when they lie in one network", () => {
  const groups = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 });
  const text = (parts: readonly number[]): string => parts.map((part) => part.toString(16)).join(":");
  fc.assert(
    fc.property(groups, fc.integer({ min: 0, max: 127 }), fc.integer({ min: 16, max: 128 }), (one, bit, ipv6) => {
      const two = one.map((part, place) => (place === bit >> 4 ? part ^ (1 << (15 - (bit & 15))) : part));
      const prefix = { ipv4: 32, ipv6 };
      const isOne = clientGroup(text(one), prefix) === clientGroup(text(two), prefix);
      assert.equal(isOne, isInNetworks([`${text(one)}/${ipv6}`], text(two)));
    }),
  );
});
