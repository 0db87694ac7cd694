/** Every document of the corpus gets its known verdict and sentence; what is accepted reads the same when read again, as the operator reads what a server stored. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { corpus } from "./corpus.ts";
import { kinds, parseObject } from "./kinds.ts";

const cases = corpus();

test("the corpus speaks of every kind, both ways", () => {
  for (const kind of Object.keys(kinds)) {
    assert.ok(
      cases.some((entry) => entry.kind === kind && entry.refusal === undefined),
      `${kind}: nothing accepted`,
    );
    assert.ok(
      cases.some((entry) => entry.kind === kind && entry.refusal !== undefined),
      `${kind}: nothing refused`,
    );
  }
});

for (const { name, document, refusal } of cases) {
  test(`${refusal === undefined ? "accepted" : "refused"}: ${name}`, () => {
    const result = parseObject(document);
    if (refusal !== undefined) {
      assert.equal(result.ok ? "accepted" : result.problems[0], refusal);
      return;
    }
    assert.deepEqual(result.ok ? [] : result.problems, []);
    if (!result.ok) return;
    const stored: unknown = JSON.parse(JSON.stringify(result.object));
    const again = parseObject(stored);
    assert.deepEqual(again.ok ? JSON.parse(JSON.stringify(again.object)) : again.problems, stored);
  });
}
