import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseAction } from "./action.ts";

const verdictOf = (text: string): unknown => {
  const parsed = parseAction(text, "policy-service");
  return parsed.ok ? parsed.value : parsed.error;
};
const answered = (kind: string, code: number, enhanced: string, text: string): unknown => ({
  kind,
  reason: "policy-service",
  reply: { code, enhanced, text },
});

test("actions of access(5)", () => {
  const cases: readonly (readonly [string, unknown])[] = [
    ["OK", { kind: "permit", reason: "policy-service" }],
    ["ok greeting", { kind: "permit", reason: "policy-service" }],
    ["1754000000", { kind: "permit", reason: "policy-service" }],
    ["DUNNO", { kind: "pass" }],
    ["REJECT", answered("reject", 554, "5.7.1", "Access denied")],
    ["reject  We know you", answered("reject", 554, "5.7.1", "We know you")],
    ["REJECT 5.1.8 No such place", answered("reject", 554, "5.1.8", "No such place")],
    ["REJECT 4.1.8 Class follows code", answered("reject", 554, "5.1.8", "Class follows code")],
    ["DEFER", answered("defer", 450, "4.7.1", "Access denied")],
    ["DEFER Later", answered("defer", 450, "4.7.1", "Later")],
    ["DEFER_IF_PERMIT Greylisted", answered("uncertain", 450, "4.7.1", "Greylisted")],
    ["defer_if_permit", answered("uncertain", 450, "4.7.1", "Service unavailable")],
    ["DEFER_IF_REJECT 4.2.0 Wait", answered("unsettled", 450, "4.2.0", "Wait")],
    [
      "450 4.2.0 Greylisted, see http://example.org",
      answered("defer", 450, "4.2.0", "Greylisted, see http://example.org"),
    ],
    ["451", answered("defer", 451, "4.7.1", "Access denied")],
    ["550 SPF fail", answered("reject", 550, "5.7.1", "SPF fail")],
    ["550 5.7.23 über", answered("reject", 550, "5.7.23", "?ber")],
    ["DISCARD", { kind: "discard", reason: "policy-service" }],
    ["DISCARD spam", { kind: "discard", reason: "policy-service" }],
    ["HOLD", { kind: "effect", effect: { kind: "hold" } }],
    ["REDIRECT trap@example.org", { kind: "effect", effect: { kind: "redirect", address: "trap@example.org" } }],
    ["BCC <copy@example.org>", { kind: "effect", effect: { kind: "bcc", address: "copy@example.org" } }],
    [
      "PREPEND X-Greylist: delayed 302 seconds",
      { kind: "effect", effect: { kind: "prepend", field: "X-Greylist: delayed 302 seconds" } },
    ],
    ["WARN odd client", { kind: "note", level: "warn", text: "odd client" }],
    ["INFO", { kind: "note", level: "info", text: "" }],
  ];
  for (const [text, expected] of cases) assert.deepEqual(verdictOf(text), expected, text);
});

test("what is no action is a sentence", () => {
  for (const text of [
    "",
    "FILTER smtp:[127.0.0.1]:10025",
    "reject_unverified_sender",
    "42 rules",
    "250 fine",
    "REDIRECT",
    "REDIRECT nobody",
    "REDIRECT a@example.org b@example.org",
    "BCC <>",
    "PREPEND no field",
    "PREPEND X: a\u0000b",
    `REJECT ${"x".repeat(5000)}`,
  ])
    assert.equal(typeof verdictOf(text), "string", text);
});

test("whatever a daemon says, a reply is one line of printable ASCII and never a success", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: "binary" }),
        fc
          .constantFrom("REJECT ", "450 ", "DEFER ")
          .chain((word) => fc.string({ unit: "binary" }).map((rest) => word + rest)),
      ),
      (text) => {
        const parsed = parseAction(text, "policy-service");
        if (!parsed.ok || !("reply" in parsed.value)) return;
        const { reply } = parsed.value;
        assert.match(reply.text, /^[\x20-\x7e]{1,400}$/);
        assert.ok(reply.code >= 400 && reply.code < 600);
        assert.equal(reply.enhanced[0], String(reply.code)[0]);
      },
    ),
  );
});
