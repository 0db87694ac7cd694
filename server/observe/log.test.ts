/** The second fence: secrets under their known names never come into a line. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog, timestamp, withoutSecrets } from "./log.ts";

test("known names are struck out, everything else is left alone", () => {
  const plain = { event: "x", id: "1", delays: [1, 2], tls: { protocol: "TLSv1.3" }, user: null };
  assert.equal(withoutSecrets(plain), plain);
  const gone = "[redacted]";
  const given = { event: "x", password: "p", authorization: "a", login: { user: "u", password: "p", privateKey: "k" } };
  const kept = structuredClone(given);
  assert.deepEqual(withoutSecrets(given), {
    event: "x",
    password: gone,
    authorization: gone,
    login: { user: "u", password: gone, privateKey: gone },
  });
  assert.deepEqual(given, kept, "who logs keeps its object");
});

test("in a line and in what a child puts into each of its lines", () => {
  const lines: string[] = [];
  const log = createLog("test", "info", { write: (line) => void lines.push(line) });
  log
    .child({ password: "hush" })
    .child({ peer: { privateKey: "hush" } })
    .info({ login: { password: "hush" } }, "x");
  log.error({ err: new Error("boom") }, "y");
  assert.doesNotMatch(lines.join(""), /hush/);
  assert.match(lines[0] ?? "", /"event":"x"/);
  assert.match(lines[1] ?? "", /"err":\{"type":"Error","message":"boom"/);
});

test("a line's time is the clock's, whichever way that goes", () => {
  const times = [0, 1, 999, 1000, 1_800_000_000_123, 1_800_000_000_999, 1_800_000_001_000, 1_799_999_999_007, 999];
  assert.deepEqual(
    times.map((ms) => timestamp(ms)),
    times.map((ms) => `,"time":"${new Date(ms).toISOString()}"`),
  );
});
