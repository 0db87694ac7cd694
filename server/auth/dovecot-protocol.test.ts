import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { authLine, type DovecotLine, parseLine } from "./dovecot-protocol.ts";

const table: readonly (readonly [string, DovecotLine | undefined])[] = [
  ["VERSION\t1\t2", { kind: "version", major: 1 }],
  ["VERSION\tx", undefined],
  ["MECH\tSCRAM-SHA-256\tmutual-auth", { kind: "mechanism", name: "SCRAM-SHA-256" }],
  ["MECH\tplain\tplaintext", { kind: "mechanism", name: "PLAIN" }],
  ["MECH\tA B", undefined],
  ["SPID\t1", undefined],
  ["DONE", { kind: "done" }],
  ["OK\t1\tuser=alice@example.org\tsomething=else", { kind: "ok", id: 1, user: "alice@example.org" }],
  ["OK\t1", { kind: "ok", id: 1, user: undefined }],
  ["OK\t1\tuser=a\u0001tb\u00011", { kind: "ok", id: 1, user: "a\tb\u0001" }],
  ["OK\t-1\tuser=x", undefined],
  ["OK", undefined],
  ["CONT\t7\tYWJj", { kind: "continue", id: 7, data: "YWJj" }],
  ["CONT\t7\t", { kind: "continue", id: 7, data: "" }],
  ["CONT\t7\ta b", undefined],
  ["FAIL\t3\tuser=alice", { kind: "fail", id: 3, isTemporary: false }],
  ["FAIL\t3\tuser=alice\ttemp", { kind: "fail", id: 3, isTemporary: true }],
  ["FAIL\t3\tcode=temp_fail", { kind: "fail", id: 3, isTemporary: true }],
  ["FAIL\t3\tuser=temp", { kind: "fail", id: 3, isTemporary: false }],
  ["FAIL\t3\tcode=user_disabled", { kind: "fail", id: 3, isTemporary: false }],
  ["", undefined],
];
for (const [line, expected] of table) test(JSON.stringify(line), () => assert.deepEqual(parseLine(line), expected));

test("a request is one line, and its response the last field, whatever is in it", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (remoteAddress, response) => {
      const line = authLine({
        id: 1,
        mechanism: "PLAIN",
        remoteAddress,
        remotePort: 2,
        localAddress: undefined,
        response,
      });
      assert.equal(line.indexOf("\n"), line.length - 1);
      const fields = line.slice(0, -1).split("\t");
      assert.equal(fields.length, 9);
      assert.ok(fields[8]?.startsWith("resp="));
    }),
  );
});

test("any line is read or ignored", () => {
  const word = fc.oneof(
    fc.constantFrom("VERSION", "MECH", "OK", "CONT", "FAIL", "1", "user=x", "temp", ""),
    fc.string(),
  );
  fc.assert(fc.property(fc.array(word, { maxLength: 6 }), (words) => void parseLine(words.join("\t"))));
});
