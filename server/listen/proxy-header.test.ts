/** What is a PROXY header, cut anywhere, and what is none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseProxyHeader } from "./proxy-header.ts";

const binary = (command: number, family: number, body: readonly number[]): Buffer =>
  Buffer.concat([
    Buffer.from("0d0a0d0a000d0a515549540a", "hex"),
    Buffer.from([0x20 | command, family, body.length >> 8, body.length & 255, ...body]),
  ]);
const six = Buffer.from("20010db8000000000000000000000001", "hex");

const good: readonly (readonly [name: string, header: Buffer, source: object | undefined])[] = [
  ["TCP4", Buffer.from("PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n"), { address: "192.0.2.1", port: 56324 }],
  ["TCP6", Buffer.from("PROXY TCP6 2001:DB8::1 2001:db8::2 1 65535\r\n"), { address: "2001:db8::1", port: 1 }],
  ["UNKNOWN", Buffer.from("PROXY UNKNOWN\r\n"), undefined],
  ["UNKNOWN with words", Buffer.from("PROXY UNKNOWN ffff:f...f:ffff x 65535 65535\r\n"), undefined],
  ["v2 TCP4", binary(1, 0x11, [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 0, 25]), { address: "192.0.2.1", port: 56324 }],
  [
    "v2 TCP6 with a TLV",
    binary(1, 0x21, [...six, ...six, 0, 1, 0, 25, 4, 0, 1, 0]),
    { address: "2001:db8::1", port: 1 },
  ],
  ["v2 LOCAL", binary(0, 0x11, [192, 0, 2, 1, 198, 51, 100, 1, 0, 1, 0, 25]), undefined],
  ["v2 UNSPEC", binary(1, 0, []), undefined],
];

for (const [name, header, source] of good) {
  test(name, () => {
    for (let cut = 0; cut < header.length; cut++) assert.equal(parseProxyHeader(header.subarray(0, cut)).kind, "more");
    const followed = Buffer.concat([header, Buffer.from("EHLO x\r\n")]);
    assert.deepEqual(parseProxyHeader(followed), { kind: "header", length: header.length, source });
  });
}

for (const [name, octets] of [
  ["a command", "EHLO client.example.net\r\n"],
  ["a command that begins like it", "PROXYING TCP4 192.0.2.1 198.51.100.1 1 2\r\n"],
  ["a family that is none", "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n"],
  ["a name for an address", "PROXY TCP4 mail.example.org 198.51.100.1 1 2\r\n"],
  ["an address of the other family", "PROXY TCP4 2001:db8::1 198.51.100.1 1 2\r\n"],
  ["an address that is not the canonical four numbers", "PROXY TCP4 192.0.2.010 198.51.100.1 1 2\r\n"],
  ["two spaces", "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n"],
  ["a port too large", "PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n"],
  ["a port with a sign", "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n"],
  ["a bare LF", `PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n${"x".repeat(80)}`],
  ["no end", `PROXY UNKNOWN ${"x".repeat(100)}\r\n`],
] as const) {
  test(`not a header: ${name}`, () => assert.equal(parseProxyHeader(Buffer.from(octets, "latin1")).kind, "bad"));
}

test("not a header: binary ones that lie about themselves", () => {
  assert.equal(parseProxyHeader(binary(2, 0x11, [])).kind, "bad");
  assert.equal(parseProxyHeader(binary(1, 0x11, [1, 2, 3, 4])).kind, "bad");
  assert.equal(parseProxyHeader(binary(1, 0x12, [192, 0, 2, 1, 198, 51, 100, 1, 0, 1, 0, 25])).kind, "bad");
  const long = binary(1, 0x11, []);
  long.writeUInt16BE(65_535, 14);
  assert.equal(parseProxyHeader(long).kind, "bad");
});

test("any octets: an answer, never an exception, and never more than the bound awaited", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4096 }), fc.boolean(), (noise, isSigned) => {
      const octets = isSigned ? Buffer.concat([binary(1, 0x21, []).subarray(0, 12), noise]) : Buffer.from(noise);
      const answer = parseProxyHeader(octets);
      if (octets.length > 16 + 2048) assert.notEqual(answer.kind, "more");
      if (answer.kind === "header") assert.ok(answer.length <= octets.length);
    }),
  );
});
