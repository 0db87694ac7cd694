/** Messages as programs hand them over, and what becomes of their header. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HeaderTooLarge, headerText, mailbox, mailDate, readMessage, recipientsIn } from "./sendmail-message.ts";

/** In pieces of the given size: a stream cuts anywhere. */
async function* pieces(text: string, size: number): AsyncGenerator<Buffer, void> {
  const bytes = Buffer.from(text, "latin1");
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function whole(text: string, options: { dotEnds?: boolean; size?: number } = {}): Promise<string> {
  const message = await readMessage(pieces(text, options.size ?? 7), { dotEnds: options.dotEnds ?? false });
  const body: Buffer[] = [];
  for await (const piece of message.body) body.push(piece);
  return `${message.fields.map(({ text: field }) => `${field}\r\n`).join("")}\r\n${Buffer.concat(body).toString("latin1")}`;
}

const rows: readonly [what: string, given: string, dotEnds: boolean, expected: string][] = [
  ["line ends become CRLF", "A: 1\nB: 2\n\nx\r\ny\n", false, "A: 1\r\nB: 2\r\n\r\nx\r\ny\r\n"],
  ["a dot ends it", "A: 1\n\nx\n.\nnot this\n", true, "A: 1\r\n\r\nx\r\n"],
  ["a dot with -i does not", "A: 1\n\nx\n.\ny\n", false, "A: 1\r\n\r\nx\r\n.\r\ny\r\n"],
  ["a dot in the header", "A: 1\n.\nnot this", true, "A: 1\r\n\r\n"],
  ["two dots are two dots", "A: 1\n\n..\nx\n", true, "A: 1\r\n\r\n..\r\nx\r\n"],
  ["an mbox line is dropped", "From bob Mon Jan 1\nA: 1\n\nx\n", false, "A: 1\r\n\r\nx\r\n"],
  ["folded fields stay folded", "A: 1\n\t2\n 3\n\nx", false, "A: 1\r\n\t2\r\n 3\r\n\r\nx"],
  ["text without a header", "hello there\nA: 1\n\nx\n", false, "\r\nhello there\r\nA: 1\r\n\r\nx\r\n"],
  ["a header without a separator", "A: 1\nnot a field\nx\n", false, "A: 1\r\n\r\nnot a field\r\nx\r\n"],
  ["an empty first line", "\nbody\n", false, "\r\nbody\r\n"],
  ["nothing", "", false, "\r\n"],
  ["no line end at the end", "A: 1", false, "A: 1\r\n\r\n"],
  ["eight bits", "A: \xe4\n\n\xf6\n", false, "A: \xe4\r\n\r\n\xf6\r\n"],
];
for (const [what, given, dotEnds, expected] of rows) {
  test(what, async () => {
    for (const size of [1, 3, 1000]) assert.equal(await whole(given, { dotEnds, size }), expected, `pieces of ${size}`);
  });
}

test("however the stream is cut, the message is the same; long lines pass through in pieces", async () => {
  const line = fc.string({ unit: fc.constantFrom("a", ".", " ", "\r", ":", "\u00e4") });
  await fc.assert(
    fc.asyncProperty(
      fc.array(line, { maxLength: 8 }),
      fc.integer({ min: 1, max: 9 }),
      fc.boolean(),
      async (lines, size, dotEnds) => {
        const text = lines.join("\n");
        assert.equal(await whole(text, { dotEnds, size }), await whole(text, { dotEnds, size: 4096 }));
      },
    ),
    { numRuns: 200 },
  );
  const long = `A: 1\n\n${"x".repeat(300_000)}\n.\nend`;
  assert.equal(await whole(long, { dotEnds: true, size: 10_000 }), `A: 1\r\n\r\n${"x".repeat(300_000)}\r\n`);
});

test("a header without end is refused", async () => {
  await assert.rejects(whole(`A: ${"x".repeat(60)}\n`.repeat(20_000), { size: 65_536 }), HeaderTooLarge);
});

async function fieldsOf(text: string) {
  return (await readMessage(pieces(text, 64), { dotEnds: false })).fields;
}

test("recipients of -t: To, Cc and Bcc with names, groups and folding; resent ones alone where there are any", async () => {
  const fields = await fieldsOf('To: "B, C" <b@x>, c@x\nCc: staff: d@x, E <e@x>;\nbcc:\n f@x\nSubject: to: g@x\n\n');
  assert.deepEqual(recipientsIn(fields), ["b@x", "c@x", "d@x", "e@x", "f@x"]);
  assert.deepEqual(recipientsIn(await fieldsOf("To: b@x\nResent-To: r@x\nResent-Bcc: s@x\n\n")), ["r@x", "s@x"]);
  assert.deepEqual(recipientsIn(await fieldsOf("Subject: none\n\n")), []);
});

test("what is missing is added, what must not leave is taken out, the rest stays as it was", async () => {
  const now = new Date(Date.UTC(2026, 0, 2, 3, 4, 5));
  const options = { sender: "me@x.test", fullName: "Me", host: "h.test", now };
  const bare = headerText(await fieldsOf("Subject: s\nBcc: secret@x\nReturn-Path: <z@x>\n\n"), options);
  assert.match(
    bare,
    /^Subject: s\r\nFrom: Me <me@x.test>\r\nDate: Fri, 02 Jan 2026 03:04:05 \+0000\r\nMessage-ID: <[0-9a-f-]{36}@h\.test>\r\n\r\n$/,
  );
  const complete = "from: a@b\r\nDATE: x\r\nMessage-Id: <1@2>\r\n";
  assert.equal(headerText(await fieldsOf(`${complete}\r\n`), options), `${complete}\r\n`);
  assert.equal(mailDate(now), "Fri, 02 Jan 2026 03:04:05 +0000");
});

test("a name is quoted or encoded as it must be, and never makes a second line", () => {
  assert.equal(mailbox(undefined, "a@b"), "a@b");
  assert.equal(mailbox("Bob Smith", "a@b"), "Bob Smith <a@b>");
  assert.equal(mailbox('Bob "x" S.', "a@b"), '"Bob \\"x\\" S." <a@b>');
  assert.equal(mailbox("Jürgen", "a@b"), "=?utf-8?B?SsO8cmdlbg==?= <a@b>");
  assert.equal(mailbox("a\r\nBcc: x@y", "a@b"), '"a Bcc: x@y" <a@b>');
});
