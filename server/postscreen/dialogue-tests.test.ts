import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bringsMessage, hear, isNoSmtpCommand } from "./dialogue-tests.ts";
import { cachedTests, parsePassed, writePassed } from "./passed.ts";

test("commands and what is none", () => {
  for (const line of ["EHLO a", "MAIL FROM:<a@b>", "rcpt to:<a@b>", "QUIT", "NOOP x:y", "X-COMMAND a:b", ""])
    assert.equal(isNoSmtpCommand(line), false, line);
  for (const line of [
    "GET / HTTP/1.1",
    "post /",
    "CONNECT a:25 HTTP/1.0",
    "Subject: a",
    "From:a@b",
    "\u0016\u0003",
    "<html>",
    " EHLO",
  ])
    assert.equal(isNoSmtpCommand(line), true, line);
});

const heard: readonly (readonly [string, number | undefined, boolean, boolean])[] = [
  ["EHLO a\r\n", undefined, false, false],
  ["EHLO a\n", undefined, true, false],
  ["EHL", undefined, false, false],
  ["\n", 13, false, false],
  ["\n", 65, true, false],
  ["NOOP\r\nNOOP\r\n", undefined, false, true],
  ["NOOP\r\nN", undefined, false, true],
  ["NOOP\r\nNOOP\n", undefined, true, true],
  ["", undefined, false, false],
];
for (const [octets, last, bareNewline, goesOn] of heard)
  test(`heard: ${JSON.stringify(octets)}`, () =>
    assert.deepEqual(hear(Buffer.from(octets), last), { bareNewline, goesOn }));

test("a message that comes with its command", () => {
  assert.equal(bringsMessage(Buffer.from("BDAT 5 LAST\r\nhello")), true);
  assert.equal(bringsMessage(Buffer.from("RSET\r\nbdat 1\r\nx")), true);
  assert.equal(bringsMessage(Buffer.from("MAIL FROM:<bdat 1@example>\r\n")), false);
});

test("passed tests: what is written is read, what is over or strange is not", () => {
  const times = fc.integer({ min: 1001, max: 900_000_000_000_000 });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(...cachedTests), times)), (pairs) => {
      const passed = new Map(pairs);
      assert.deepEqual(parsePassed(writePassed(passed), 1000), passed);
    }),
    { verbose: 1 },
  );
  assert.deepEqual(
    parsePassed("preGreet=1000 dnsbl=1001 pipelining=x bareNewline other=9999 =", 1000),
    new Map([["dnsbl", 1001]]),
  );
});
