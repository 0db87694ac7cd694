import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { beginSasl, loginMechanism, plainMechanism, type SaslStep } from "./sasl.ts";

const offered = new Map([
  ["PLAIN", plainMechanism],
  ["LOGIN", loginMechanism],
]);

const b64 = (text: string): string => Buffer.from(text).toString("base64");

/** None of these waits for anything. */
function now(step: SaslStep | Promise<SaslStep>): SaslStep {
  assert.ok(!(step instanceof Promise));
  return step;
}

/** Play the client's lines; the last step without its function. */
function exchange(...lines: readonly string[]): Record<string, unknown> {
  const [first = "", ...rest] = lines;
  let step = now(beginSasl(first, offered));
  for (const line of rest) {
    assert.ok(step.kind === "ask", `nothing was asked before ${line}`);
    step = step.next(line);
  }
  return step.kind === "ask" ? { kind: step.kind, prompt: step.prompt } : { ...step };
}

const credentials = { kind: "credentials", username: "alice@example.org", password: "pä ss" };
const table: readonly (readonly [string, readonly string[], Record<string, unknown>])[] = [
  ["PLAIN in one line", [`PLAIN ${b64("\0alice@example.org\0pä ss")}`], credentials],
  ["plain in two lines", ["plain", b64("\0alice@example.org\0pä ss")], credentials],
  ["PLAIN for itself", [`PLAIN ${b64("Alice@Example.org\0alice@example.org\0pä ss")}`], credentials],
  [
    "PLAIN for somebody else",
    [`PLAIN ${b64("bob@example.org\0alice@example.org\0pä ss")}`],
    { ...credentials, username: "" },
  ],
  ["PLAIN asks with an empty challenge", ["PLAIN"], { kind: "ask", prompt: "empty" }],
  ["PLAIN with two fields", [`PLAIN ${b64("alice\0secret")}`], { kind: "syntax" }],
  ["PLAIN with four fields", [`PLAIN ${b64("\0a\0b\0c")}`], { kind: "syntax" }],
  ["PLAIN that is not base64", ["PLAIN a-b_"], { kind: "syntax" }],
  ["PLAIN with a line break in the name", [`PLAIN ${b64("\0ali\r\nce\0x")}`], { kind: "syntax" }],
  ["PLAIN cancelled", ["PLAIN", "*"], { kind: "cancelled" }],
  ["LOGIN", ["LOGIN", b64("alice@example.org"), b64("pä ss")], credentials],
  ["LOGIN with the name at once", [`LOGIN ${b64("alice@example.org")}`, b64("pä ss")], credentials],
  ["LOGIN asks for the name", ["LOGIN"], { kind: "ask", prompt: "username" }],
  ["LOGIN asks for the password", ["LOGIN", b64("alice@example.org")], { kind: "ask", prompt: "password" }],
  ["LOGIN without a name", ["LOGIN", "="], { kind: "syntax" }],
  ["LOGIN with an empty password", ["LOGIN", b64("a"), ""], { kind: "credentials", username: "a", password: "" }],
  ["LOGIN cancelled", ["LOGIN", b64("a"), "*"], { kind: "cancelled" }],
  ["CRAM-MD5", ["CRAM-MD5"], { kind: "unknown-mechanism" }],
  ["nothing", [""], { kind: "unknown-mechanism" }],
  ["too many words", ["PLAIN a b"], { kind: "syntax" }],
];

for (const [name, lines, expected] of table) test(name, () => assert.deepEqual(exchange(...lines), expected));

test("any line gives a step", () => {
  fc.assert(
    fc.property(fc.constantFrom("PLAIN ", "LOGIN "), fc.base64String(), (mechanism, line) => {
      const step = now(beginSasl(mechanism + line, offered));
      // oxlint-disable-next-line no-control-regex
      if (step.kind === "credentials") assert.match(step.username, /^[^\u0000-\u001f\u007f-\u009f]*$/);
    }),
  );
});
