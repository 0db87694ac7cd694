import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodedXtext, parseXclient, parseXforward } from "./client-attributes.ts";

const read = (argument: string, parse: typeof parseXclient | typeof parseXforward = parseXclient): unknown => {
  const parsed = parse(argument);
  if (parsed.kind === "problem") return `bad ${parsed.name}`;
  return parsed.kind === "ok"
    ? { ...Object.fromEntries(parsed.values), ...(parsed.temporary ? { temporary: true } : {}) }
    : parsed.kind;
};

const xclients: readonly (readonly [argument: string, expected: unknown])[] = [
  ["", "empty"],
  ["   ", "empty"],
  ["NAME=spike.example.net ADDR=192.0.2.7", { NAME: "spike.example.net", ADDR: "192.0.2.7" }],
  ["name=Spike.Example.NET addr=192.0.2.7", { NAME: "spike.example.net", ADDR: "192.0.2.7" }],
  ["ADDR=IPV6:2001:DB8::7", { ADDR: "2001:db8::7" }],
  ["ADDR=ipv6:2001:db8::7", { ADDR: "2001:db8::7" }],
  ["ADDR=IPV6:::FFFF:192.0.2.7", { ADDR: "192.0.2.7" }],
  ["ADDR=2001:db8::7", "bad ADDR"],
  ["ADDR=IPV6:192.0.2.7", "bad ADDR"],
  ["ADDR=IPV6:fe80::1%25eth0", "bad ADDR"],
  ["ADDR=[192.0.2.7]", "bad ADDR"],
  ["ADDR=192.0.2.256", "bad ADDR"],
  ["ADDR=192.0.2.07", "bad ADDR"],
  ["ADDR=", "bad ADDR"],
  ["ADDR", "bad ADDR"],
  ["ADDR=192.0.2.7 ADDR=192.0.2.8", "bad ADDR"],
  ["ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL]", { ADDR: null, NAME: null, temporary: true }],
  ["NAME=[unavailable]", { NAME: null }],
  ["NAME=+5BUNAVAILABLE+5D", { NAME: null }],
  ["NAME=bad..name", "bad NAME"],
  ["NAME=a+0Ab", "bad NAME"],
  ["NAME=x+", "bad NAME"],
  ["REVERSE_NAME=ptr.example.net", { REVERSE_NAME: "ptr.example.net" }],
  ["PORT=0 DESTPORT=65535", { PORT: "0", DESTPORT: "65535" }],
  ["PORT=65536", "bad PORT"],
  ["PORT=-1", "bad PORT"],
  ["PROTO=esmtp", { PROTO: "ESMTP" }],
  ["PROTO=LMTP", "bad PROTO"],
  ["PROTO=[UNAVAILABLE]", "bad PROTO"],
  ["HELO=[192.0.2.7]", { HELO: "[192.0.2.7]" }],
  ["HELO=a+20b", "bad HELO"],
  ["HELO=a+0D+0AMAIL", "bad HELO"],
  ["HELO=a+00b", "bad HELO"],
  ["LOGIN=alice+40example.org", { LOGIN: "alice@example.org" }],
  ["LOGIN=alice+2Blists@example.org", { LOGIN: "alice+lists@example.org" }],
  ["LOGIN=[UNAVAILABLE]", { LOGIN: null }],
  ["DESTADDR=198.51.100.25", { DESTADDR: "198.51.100.25" }],
  ["COLOUR=green", "bad COLOUR"],
  ["<script>=1", "bad attribute"],
  ["IDENT=x", "bad IDENT"],
];
test("XCLIENT", () => {
  for (const [argument, expected] of xclients) assert.deepEqual(read(argument), expected, argument);
});

const xforwards: readonly (readonly [argument: string, expected: unknown])[] = [
  [
    "NAME=spike.example.net ADDR=192.0.2.7 PORT=2525 PROTO=ESMTP HELO=spike IDENT=4Zx SOURCE=REMOTE",
    {
      NAME: "spike.example.net",
      ADDR: "192.0.2.7",
      PORT: "2525",
      PROTO: "ESMTP",
      HELO: "spike",
      IDENT: "4Zx",
      SOURCE: "REMOTE",
    },
  ],
  ["SOURCE=local", { SOURCE: "LOCAL" }],
  ["SOURCE=MARS", "bad SOURCE"],
  ["IDENT=[UNAVAILABLE]", { IDENT: null }],
  ["LOGIN=alice", "bad LOGIN"],
];
test("XFORWARD", () => {
  for (const [argument, expected] of xforwards) assert.deepEqual(read(argument, parseXforward), expected, argument);
});

test("xtext is decoded once", () => {
  assert.equal(decodedXtext("a+2B40b"), "a+40b");
  assert.equal(decodedXtext("a+zz"), undefined);
  assert.equal(decodedXtext("a b"), undefined);
  assert.equal(decodedXtext(""), undefined);
});

test("whatever is said: one word of printable ASCII, or nothing", () => {
  const name = fc.constantFrom(
    "NAME",
    "REVERSE_NAME",
    "ADDR",
    "PORT",
    "PROTO",
    "HELO",
    "LOGIN",
    "DESTADDR",
    "IDENT",
    "X",
  );
  const value = fc.oneof(
    fc.string({ unit: "binary-ascii" }),
    fc.constantFrom("+0A", "+0d+0a", "+00", "[UNAVAILABLE]", "::1"),
  );
  const words = fc.array(fc.tuple(name, fc.constantFrom("=", "", " "), value).map((parts) => parts.join("")));
  fc.assert(
    fc.property(words, (all) => {
      for (const parse of [parseXclient, parseXforward]) {
        const parsed = parse(all.join(" "));
        if (parsed.kind !== "ok") continue;
        for (const given of parsed.values.values()) assert.match(given ?? "null", /^[!-~]{1,255}$/);
      }
    }),
  );
});
