import assert from "node:assert/strict";
import { test } from "node:test";
import { Dialogue, dialogueText, longestDialogue } from "./dialogue.ts";

test("who said what, a line each", () => {
  const dialogue = new Dialogue();
  dialogue.event("connected");
  dialogue.server("220-one\n220 two");
  dialogue.client("DATA");
  dialogue.content(1234);
  // Octets on the wire are kept as they came and read as UTF-8 when somebody wants to read them.
  dialogue.server(Buffer.from("550 Gr\u00fc\u00dfe\u0007").toString("latin1"));
  assert.equal(
    dialogueText([dialogue]),
    "* connected\nS: 220-one\nS: 220 two\nC: DATA\nC: [message content, 1234 octets]\nS: 550 Gr\u00fc\u00dfe",
  );
});

test("nothing said is no dialogue", () => {
  assert.equal(dialogueText([]), undefined);
  assert.equal(dialogueText([new Dialogue()]), undefined);
});

test("a long one keeps its beginning and its end, within 8 KiB", () => {
  const dialogue = new Dialogue();
  for (let at = 0; at < 100_000; at++) dialogue.client(`RCPT TO:<user${at}@x.test>`);
  const text = dialogueText([dialogue]) ?? "";
  assert.ok(Buffer.byteLength(text) <= longestDialogue);
  const lines = text.split("\n");
  assert.equal(lines[0], "C: RCPT TO:<user0@x.test>");
  assert.equal(lines.at(-1), "C: RCPT TO:<user99999@x.test>");
  assert.ok(lines.some((line) => /^\* \d+ lines left out$/.test(line)));
});

test("one reply of 64 KiB, and lines of many octets a letter, stay within it too", () => {
  const long = new Dialogue();
  long.server(`250-${"x".repeat(65_000)}\n250 end`);
  assert.ok(Buffer.byteLength(dialogueText([long]) ?? "") <= longestDialogue);
  const wide = new Dialogue();
  for (let at = 0; at < 300; at++) wide.event("\u{1f4ee}".repeat(500));
  assert.ok(Buffer.byteLength(dialogueText([wide]) ?? "") <= longestDialogue);
});
