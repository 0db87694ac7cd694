import assert from "node:assert/strict";
import { test } from "node:test";
import type { Reply } from "../reply.ts";
import { replies } from "./replies.ts";

const samples: readonly (readonly [string, Reply])[] = [
  ...Object.entries(replies).filter((entry): entry is [string, Reply] => typeof entry[1] !== "function"),
  ["greeting", replies.greeting("mx.example.org")],
  ["hello", replies.hello("mx.example.org")],
  ["extensions", replies.extensions("mx.example.org", ["SIZE 1"])],
  ["noArgument", replies.noArgument("RSET")],
  ["parameterSyntax", replies.parameterSyntax("SIZE")],
  ["accessRejected", replies.accessRejected(undefined)],
  ["accessDeferred", replies.accessDeferred(undefined)],
  ["queued", replies.queued("Q1")],
  ["testFailed", replies.testFailed(521)],
  ["testFailedByCommand", replies.testFailedByCommand(521)],
  ["networkRejected", replies.networkRejected(550)],
  ["clientListed", replies.clientListed(550, "192.0.2.1", "bl.example")],
  ["listed", replies.listed("Client host", "192.0.2.1", "bl.example", undefined)],
  ["listedText", replies.listedText("No")],
  ["greylisted", replies.greylisted(300)],
];
/** RFC 2034 §3: none in the greeting and the answer to EHLO; RFC 3463 has no class for 3xx. */
const withoutEnhancedCode = new Set([
  "greeting",
  "hello",
  "extensions",
  "startData",
  "authUsername",
  "authPassword",
  "authContinue",
]);

test("every reply has an enhanced code of its own class, or a reason to have none", () => {
  for (const [name, { code, enhanced, text }] of samples) {
    if (withoutEnhancedCode.has(name)) assert.equal(enhanced, "", name);
    else assert.match(enhanced, new RegExp(`^${Math.floor(code / 100)}\\.[0-7]\\.\\d{1,2}$`), name);
    assert.match(text, /^[ -~\n]*$/, name);
  }
});

test("our own trouble is never permanent", () => {
  for (const { code } of [
    replies.internal,
    replies.broken,
    replies.queueFull,
    replies.queueFailed,
    replies.authUnavailable,
    replies.tlsUnavailable,
    replies.lookupFailed,
  ]) {
    assert.equal(Math.floor(code / 100), 4);
  }
});
