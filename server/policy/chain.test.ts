import assert from "node:assert/strict";
import { test } from "node:test";
import { type Check, decide, list } from "./chain.ts";
import { defer, discard, effect, pass, permit, reject, uncertain, unsettled } from "./verdict.ts";

const reply = { code: 550, enhanced: "5.7.1", text: "no" };
const later = { code: 450, enhanced: "4.7.1", text: "later" };
type Word = "pass" | "permit" | "reject" | "defer" | "discard" | "uncertain" | "unsettled" | "effect" | "throw";

/** Checks that answer as told, at once or later, and note that they were asked. */
function checks(words: readonly Word[], asked: string[], async: boolean): Readonly<Record<string, Check<null>>> {
  return Object.fromEntries(
    words.map((word, place): [string, Check<null>] => [
      `${word}${place}`,
      () => {
        asked.push(`${word}${place}`);
        const verdicts = {
          pass,
          permit: permit("access-client"),
          reject: reject("access-client", reply),
          defer: defer("access-client", later),
          discard: discard("access-client"),
          uncertain: uncertain("lookup-failed", later),
          unsettled: unsettled("lookup-failed", later),
          effect: effect({ kind: "hold" }),
        } as const;
        if (word === "throw") throw new Error("bug");
        return async ? Promise.resolve(verdicts[word]) : verdicts[word];
      },
    ]),
  );
}

const table: readonly {
  readonly lists: readonly (readonly Word[])[];
  readonly kind: string;
  readonly asked: number;
  readonly name: string;
}[] = [
  { name: "no checks is yes", lists: [[]], kind: "pass", asked: 0 },
  { name: "all pass is yes", lists: [["pass", "pass"], ["pass"]], kind: "pass", asked: 3 },
  { name: "the first refusal ends it", lists: [["pass", "reject", "pass"], ["pass"]], kind: "reject", asked: 2 },
  { name: "a deferral ends it", lists: [["defer", "reject"]], kind: "defer", asked: 1 },
  {
    name: "a permit ends its list only",
    lists: [
      ["permit", "reject"],
      ["pass", "reject"],
    ],
    kind: "reject",
    asked: 3,
  },
  {
    name: "permits all along are yes",
    lists: [
      ["permit", "reject"],
      ["permit", "reject"],
    ],
    kind: "pass",
    asked: 2,
  },
  { name: "a discard ends it", lists: [["discard", "reject"]], kind: "discard", asked: 1 },
  { name: "doubt turns yes into later", lists: [["uncertain", "pass"], ["permit"]], kind: "defer", asked: 3 },
  { name: "doubt does not soften a refusal", lists: [["uncertain"], ["reject"]], kind: "reject", asked: 2 },
  { name: "unsettled softens a refusal", lists: [["unsettled"], ["reject"]], kind: "defer", asked: 2 },
  { name: "unsettled is nothing to a yes", lists: [["unsettled", "permit"]], kind: "pass", asked: 2 },
  { name: "an effect is no opinion", lists: [["effect", "pass"], ["reject"]], kind: "reject", asked: 3 },
  { name: "a bug is later, never no", lists: [["pass", "throw", "pass"]], kind: "defer", asked: 2 },
];

for (const { name, lists, kind, asked: count } of table) {
  for (const async of [false, true]) {
    test(`${name}${async ? ", with promises" : ""}`, async () => {
      const asked: string[] = [];
      const decision = decide(
        lists.map((words, place) => list(`list${place}`, checks(words, asked, async))),
        null,
      );
      if (!async) assert.ok(!(decision instanceof Promise), "pure checks must cost no promise");
      assert.equal((await decision).kind, kind);
      assert.equal(asked.length, count);
    });
  }
}

test("effects come with a yes, in order, and not with a no", async () => {
  const asked: string[] = [];
  const both = list("a", checks(["effect", "effect", "permit"], asked, false));
  assert.deepEqual((await decide([both], null)).effects, [{ kind: "hold" }, { kind: "hold" }]);
  assert.equal((await decide([both, list("b", checks(["defer"], asked, false))], null)).effects, undefined);
});
