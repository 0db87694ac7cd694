import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseMailParameters, parseRcptParameters } from "./parameters.ts";

const nothing = { size: undefined, body: "7BIT", smtpUtf8: false, return: undefined, envelopeId: undefined };

test("MAIL parameters", () => {
  assert.deepEqual(parseMailParameters(""), { kind: "ok", value: nothing });
  assert.deepEqual(parseMailParameters("size=123 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=QQ+2B+3D1 AUTH=<>"), {
    kind: "ok",
    value: { size: 123, body: "8BITMIME", smtpUtf8: true, return: "HDRS", envelopeId: "QQ+2B+3D1" },
  });
});

test("RCPT parameters", () => {
  assert.deepEqual(parseRcptParameters("", { smtpUtf8: false }), {
    kind: "ok",
    value: { notify: undefined, originalRecipient: undefined },
  });
  assert.deepEqual(parseRcptParameters("NOTIFY=success,DELAY ORCPT=rfc822;a+2Bb@example.org", { smtpUtf8: false }), {
    kind: "ok",
    value: { notify: ["SUCCESS", "DELAY"], originalRecipient: "rfc822;a+2Bb@example.org" },
  });
  assert.deepEqual(parseRcptParameters("ORCPT=utf-8;ä@example.org", { smtpUtf8: true }), {
    kind: "ok",
    value: { notify: undefined, originalRecipient: "utf-8;ä@example.org" },
  });
});

const mailProblems: readonly (readonly [string, string | undefined])[] = [
  ["SIZE", "SIZE"],
  ["SIZE=", "SIZE"],
  ["SIZE=-1", "SIZE"],
  ["SIZE=1e3", "SIZE"],
  [`SIZE=${"9".repeat(21)}`, "SIZE"],
  ["SIZE=1 SIZE=1", "SIZE"],
  ["BODY=BINARYMIME", "BODY"],
  ["BODY", "BODY"],
  ["SMTPUTF8=1", "SMTPUTF8"],
  ["RET=ALL", "RET"],
  ["RET", "RET"],
  ["ENVID=", "ENVID"],
  ["ENVID=a=b", "ENVID"],
  ["ENVID=a+0d", "ENVID"],
  [`ENVID=${"a".repeat(101)}`, "ENVID"],
  ["AUTH", "AUTH"],
  ["NOTIFY=NEVER", undefined],
  ["REQUIRETLS", undefined],
  ["=1", undefined],
];
for (const [rest, name] of mailProblems) {
  test(`MAIL … ${rest.slice(0, 40)}`, () =>
    assert.deepEqual(parseMailParameters(rest), name === undefined ? { kind: "unknown" } : { kind: "problem", name }));
}

const rcptProblems: readonly (readonly [string, string | undefined])[] = [
  ["NOTIFY=", "NOTIFY"],
  ["NOTIFY", "NOTIFY"],
  ["NOTIFY=NEVER,SUCCESS", "NOTIFY"],
  ["NOTIFY=SUCCESS,SUCCESS", "NOTIFY"],
  ["NOTIFY=SOMETIMES", "NOTIFY"],
  ["NOTIFY=SUCCESS NOTIFY=DELAY", "NOTIFY"],
  ["ORCPT=a@example.org", "ORCPT"],
  ["ORCPT=rfc822;", "ORCPT"],
  ["ORCPT=rfc822;a=b@example.org", "ORCPT"],
  ["ORCPT=;a", "ORCPT"],
  ["ORCPT=utf-8;ä@example.org", "ORCPT"],
  [`ORCPT=rfc822;${"a".repeat(500)}`, "ORCPT"],
  ["SIZE=1", undefined],
];
for (const [rest, name] of rcptProblems) {
  test(`RCPT … ${rest.slice(0, 40)}`, () =>
    assert.deepEqual(
      parseRcptParameters(rest, { smtpUtf8: false }),
      name === undefined ? { kind: "unknown" } : { kind: "problem", name },
    ));
}

test("any text gives a value; what is kept is printable", () => {
  const word = fc
    .tuple(fc.constantFrom("SIZE=", "ENVID=", "RET=", "ORCPT=rfc822;", "NOTIFY=", "SMTPUTF8", ""), fc.string())
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.array(word, { maxLength: 6 }), (words) => {
      const mail = parseMailParameters(words.join(" "));
      if (mail.kind === "ok" && mail.value.envelopeId !== undefined)
        assert.match(mail.value.envelopeId, /^[!-~]{1,100}$/);
      const rcpt = parseRcptParameters(words.join(" "), { smtpUtf8: false });
      if (rcpt.kind === "ok" && rcpt.value.originalRecipient !== undefined)
        assert.match(rcpt.value.originalRecipient, /^[!-~]{1,500}$/);
    }),
  );
});
