import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parsePeerReply } from "./peer-reply.ts";

const table: readonly [raw: string, expected: string][] = [
  ["250 2.0.0 Ok: queued as 4ABC", "250|2.0.0|Ok: queued as 4ABC"],
  ["250", "250||"],
  ["250 ", "250||"],
  ["250 Ok", "250||Ok"],
  [
    "550-5.1.1 The email account\n550-5.1.1 does not exist.\n550 5.1.1 Try again",
    "550|5.1.1|The email account\ndoes not exist.\nTry again",
  ],
  ["550-first\r\n550 second", "550||first\nsecond"],
  // The class must agree with the code; what does not is no enhanced code, whatever it looks like.
  ["450 5.1.1 odd", "450||odd"],
  ["550 4.2.1 odd", "550||odd"],
  ["250 4.0.0 odd", "250||odd"],
  ["550 5.1 short", "550||5.1 short"],
  ["550 5.1.1.1 long", "550||5.1.1.1 long"],
  ["550 5.1234.1 wide", "550||5.1234.1 wide"],
  ["550 5.7.1", "550|5.7.1|"],
  // The first line's code counts, also where a broken peer changes its mind.
  ["550-no\n250 yes", "550||no\nyes"],
  ["2xx thanks", "451|4.5.0|Unintelligible reply: 2xx thanks"],
  ["600 what", "451|4.5.0|Unintelligible reply: 600 what"],
  ["25", "451|4.5.0|Unintelligible reply: 25"],
  ["", "451|4.5.0|Unintelligible reply: "],
  ["550 \u001b[31mred\u0007", "550|| [31mred "],
];
for (const [raw, expected] of table) {
  test(JSON.stringify(raw.slice(0, 50)), () => {
    const { code, enhanced, text } = parsePeerReply(raw);
    assert.equal(`${code}|${enhanced}|${text}`, expected);
  });
}

test("heard again, with any number of other sentences between: the same", () => {
  const first = parsePeerReply("250 2.1.5 Ok");
  for (let number = 0; number < 1000; number++) {
    assert.deepEqual(parsePeerReply("250 2.1.5 Ok"), first);
    assert.equal(parsePeerReply(`250 2.0.0 Ok: queued as ${number}`).text, `Ok: queued as ${number}`);
  }
});

test("whatever a peer says, the reply is bounded, printable, and its enhanced code fits", () => {
  const line = fc.string({ unit: "binary", maxLength: 3000 });
  const reply = fc.oneof(
    line,
    fc
      .tuple(fc.constantFrom("250", "354", "450", "550", "250-2.1.5", "550-5.7.1", "550 4.1.1"), line)
      .map((parts) => parts.join(" ")),
    fc
      .array(fc.constantFrom("550-5.1.1 a", "550 5.1.1 b", "250-", "junk"), { maxLength: 500 })
      .map((lines) => lines.join("\n")),
  );
  const seed = Date.now() % 2 ** 31;
  fc.assert(
    fc.property(reply, (raw) => {
      const { code, enhanced, text } = parsePeerReply(raw);
      assert.ok(code >= 200 && code < 600);
      assert.ok(text.length <= 1100, `${text.length}`);
      assert.doesNotMatch(text.replaceAll("\n", ""), /\p{Cc}/u);
      assert.ok(enhanced === "" || (/^[245]\.\d{1,3}\.\d{1,3}$/.test(enhanced) && enhanced[0] === String(code)[0]));
    }),
    { seed, numRuns: 300, verbose: true },
  );
});
