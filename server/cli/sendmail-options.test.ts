/** Command lines as programs have them for sendmail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseSendmail, type SendmailOptions } from "./sendmail-options.ts";

const rows: readonly [line: string, expected: Partial<SendmailOptions>][] = [
  ["a@b c@d", { mode: "message", recipients: ["a@b", "c@d"], dotEnds: true, fromHeader: false }],
  ["-t", { fromHeader: true }],
  ["-ti", { fromHeader: true, dotEnds: false }],
  ["-t -oi -fme@x", { fromHeader: true, dotEnds: false, sender: "me@x" }],
  ["-oem -oi -odb -o7 a@b", { dotEnds: false, recipients: ["a@b"] }],
  ["-o i a@b", { dotEnds: false, recipients: ["a@b"] }],
  ["-f me@x a@b", { sender: "me@x", recipients: ["a@b"] }],
  ["-f <> a@b", { sender: "" }],
  ["-r <me@x> a@b", { sender: "me@x" }],
  ["a@b -f me@x", { sender: "me@x", recipients: ["a@b"] }],
  ["-F Full -i -- -odd@x -t", { fullName: "Full", recipients: ["-odd@x", "-t"], fromHeader: false }],
  ["-N failure,delay -V env -R hdrs a@b", { notify: ["FAILURE", "DELAY"], envelopeId: "env", return: "HDRS" }],
  ["-Nnever a@b", { notify: ["NEVER"] }],
  ["-B7BIT a@b", { body: "7BIT" }],
  ["-B 8BITMIME a@b", { body: "8BITMIME" }],
  ["-bs", { mode: "smtp" }],
  ["-bp", { mode: "list" }],
  ["-bv a@b", { mode: "verify", recipients: ["a@b"] }],
  ["-bi", { mode: "nothing" }],
  ["-I", { mode: "nothing" }],
  ["-bm a@b", { mode: "message" }],
  ["-q", { mode: "flush" }],
  ["-q30m", { mode: "flush" }],
  ["-O Option=x -h 3 -L tag -G -U -n -Am a@b", { recipients: ["a@b"] }],
  [
    "--server mx:25 --tls=verify --user u --password-file f a@b",
    { server: "mx:25", tls: "verify", user: "u", passwordFile: "f" },
  ],
];
for (const [line, expected] of rows) {
  test(`sendmail ${line}`, () => {
    const parsed = parseSendmail(line.split(" "));
    assert.equal(parsed.kind, "options");
    if (parsed.kind !== "options") return;
    for (const [name, value] of Object.entries(expected))
      assert.deepEqual(parsed.options[name as keyof SendmailOptions], value, name);
  });
}

for (const line of [
  "-f",
  "-bd",
  "-bz",
  "-N sometimes",
  "-N never,delay",
  "-R some",
  "-B 9BIT",
  "-Z",
  "--nonsense",
  "--tls x",
  "-V \u0001",
]) {
  test(`sendmail ${JSON.stringify(line)} is refused with a sentence`, () => {
    assert.equal(parseSendmail(line.split(" ")).kind, "problem");
  });
}

test("no command line makes it throw, and what follows -- is a recipient", () => {
  fc.assert(
    fc.property(fc.array(fc.string()), fc.array(fc.string()), (before, after) => {
      const parsed = parseSendmail([...before.filter((word) => word !== "--"), "x", "--", ...after]);
      return parsed.kind === "problem" || after.every((word) => parsed.options.recipients.includes(word));
    }),
  );
});
