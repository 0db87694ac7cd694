import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DataDecoder, type DataFault } from "./data-decoder.ts";

interface Decoded {
  readonly content: string;
  /** What came after the end; undefined when it never ended. */
  readonly rest: string | undefined;
  readonly fault: DataFault | undefined;
}

function decode(chunks: readonly string[]): Decoded {
  const decoder = new DataDecoder();
  const pieces: Buffer[] = [];
  for (const [place, chunk] of chunks.entries()) {
    const end = decoder.feed(Buffer.from(chunk, "latin1"), pieces);
    if (end >= 0) {
      return {
        content: Buffer.concat(pieces).toString("latin1"),
        rest: chunk.slice(end) + chunks.slice(place + 1).join(""),
        fault: decoder.fault,
      };
    }
  }
  return { content: Buffer.concat(pieces).toString("latin1"), rest: undefined, fault: decoder.fault };
}

/** The same, written for reading and not for speed: RFC 5321 §4.5.2 line by line. */
function reference(text: string): Decoded {
  const end = text.startsWith(".\r\n") ? 0 : text.indexOf("\r\n.\r\n") < 0 ? -1 : text.indexOf("\r\n.\r\n") + 2;
  const data = end < 0 ? text : text.slice(0, end);
  const content = data
    .split("\r\n")
    .map((line) => (line.startsWith(".") ? line.slice(1) : line))
    .join("\r\n");
  const bare = /\r(?!\n)|(?<!\r)\n/.exec(data)?.index ?? Number.POSITIVE_INFINITY;
  const nul = data.includes("\0");
  const fault = nul ? "nul-byte" : bare < Number.POSITIVE_INFINITY ? "bare-newline" : undefined;
  return { content, rest: end < 0 ? undefined : text.slice(end + 3), fault };
}

const cuts: readonly [string, (text: string) => readonly string[]][] = [
  ["whole", (text) => [text]],
  ["byte by byte", (text) => text.split("")],
  ["two by two", (text) => text.match(/[^]{1,2}/g) ?? []],
];

const table: readonly { readonly name: string; readonly sent: string; readonly expect: Decoded }[] = [
  {
    name: "a message",
    sent: "a\r\nb\r\n.\r\nQUIT\r\n",
    expect: { content: "a\r\nb\r\n", rest: "QUIT\r\n", fault: undefined },
  },
  { name: "an empty message", sent: ".\r\nQUIT\r\n", expect: { content: "", rest: "QUIT\r\n", fault: undefined } },
  {
    name: "stuffed dots",
    sent: "..\r\n...\r\n.a\r\n.\r\n",
    expect: { content: ".\r\n..\r\na\r\n", rest: "", fault: undefined },
  },
  {
    name: "smuggling with LF . LF",
    sent: "a\n.\nMAIL\r\n.\r\n",
    expect: { content: "a\n.\nMAIL\r\n", rest: "", fault: "bare-newline" },
  },
  {
    name: "smuggling with CRLF . LF",
    sent: "a\r\n.\nMAIL\r\n.\r\n",
    expect: { content: "a\r\n\nMAIL\r\n", rest: "", fault: "bare-newline" },
  },
  {
    name: "smuggling with LF . CRLF",
    sent: "a\n.\r\nMAIL\r\n.\r\n",
    expect: { content: "a\n.\r\nMAIL\r\n", rest: "", fault: "bare-newline" },
  },
  {
    name: "smuggling with CR . CR",
    sent: "a\r.\rMAIL\r\n.\r\n",
    expect: { content: "a\r.\rMAIL\r\n", rest: "", fault: "bare-newline" },
  },
  {
    name: "smuggling with CRLF . CR",
    sent: "a\r\n.\rMAIL\r\n.\r\n",
    expect: { content: "a\r\n\rMAIL\r\n", rest: "", fault: "bare-newline" },
  },
  {
    name: "smuggling with CR LF . CR CR LF",
    sent: "a\r\n.\r\r\nMAIL\r\n.\r\n",
    expect: { content: "a\r\n\r\r\nMAIL\r\n", rest: "", fault: "bare-newline" },
  },
  { name: "LF first", sent: "\n.\r\n\r\n.\r\n", expect: { content: "\n.\r\n\r\n", rest: "", fault: "bare-newline" } },
  { name: "NUL", sent: "a\0b\r\n.\r\n", expect: { content: "a\0b\r\n", rest: "", fault: "nul-byte" } },
  { name: "no end", sent: "a\r\n.", expect: { content: "a\r\n", rest: undefined, fault: undefined } },
];

for (const { name, sent, expect } of table) {
  for (const [cut, chunksOf] of cuts) {
    test(`${name}, ${cut}`, () => assert.deepEqual(decode(chunksOf(sent)), expect));
  }
}

test("any bytes, cut anywhere: as the reference says, and only CRLF . CRLF ends", () => {
  // Letters that matter, so that runs hit the corners.
  const text = fc
    .array(fc.constantFrom("\r", "\n", ".", "a", "\r\n", "\r\n.", "\r\n.\r\n"), { maxLength: 24 })
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, fc.array(fc.nat({ max: 30 }), { maxLength: 8 }), (sent, at) => {
      const places = [...new Set([0, ...at.filter((place) => place < sent.length), sent.length])].sort((a, b) => a - b);
      const chunks = places.slice(1).map((place, index) => sent.slice(places[index], place));
      const got = decode(chunks);
      const want = reference(sent);
      assert.equal(got.rest, want.rest);
      if (want.rest === undefined) return;
      assert.equal(got.fault, want.fault);
      assert.equal(got.content, want.content);
    }),
    { numRuns: 5000 },
  );
});

test("line feeds without end cost no more than their number", () => {
  const decoder = new DataDecoder();
  const begun = performance.now();
  for (let chunk = 0; chunk < 16; chunk += 1) decoder.feed(Buffer.alloc(65_536, "\n"), []);
  assert.equal(decoder.fault, "bare-newline");
  // A scan for a CR at each LF would be 34 GB of memory read; a megabyte of look-ups takes some tens of milliseconds.
  assert.ok(performance.now() - begun < 2000);
});

test("a NUL behind the end is no matter of the message", () => {
  const decoder = new DataDecoder();
  const pieces: Buffer[] = [];
  assert.equal(decoder.feed(Buffer.from("x\r\n.\r\nNOOP \0\r\n"), pieces), 6);
  assert.equal(decoder.fault, undefined);
});
