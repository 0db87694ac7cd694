/**
 * Postfix as the oracle, the share of it that every run has: relaying, access tables, aliases and restrictions, each dialogue with both servers. `npm run oracle` has them all.
 * And the oracle itself: with one rule of ours changed it must say so.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, test } from "node:test";
import { compare, runPair, unseen } from "../oracle/battery/battery.ts";
import { type Difference, differences } from "../oracle/battery/differences.ts";
import type { Pair } from "../oracle/battery/pair.ts";
import { pairs } from "../oracle/battery/pairs.ts";
import { virtual } from "../oracle/battery/pairs/aliases.ts";
import { relay } from "../oracle/battery/pairs/relay.ts";
import { restrictions } from "../oracle/battery/pairs/restrictions.ts";
import { nsdMissing } from "../peers/nsd.ts";
import { postfixMissing } from "../peers/postfix.ts";

const said = (...replies: string[]) => replies.map((reply, number) => ({ step: `${number}`, reply }));
const why: Difference = { name: "x", reason: "y", dialogues: ["a/*/b"], answers: [["5 5", "4 4"]] };

describe("what counts as the same", () => {
  const table: readonly [name: string, theirs: string[], ours: string[], differs: string | undefined][] = [
    ["the same", ["220", "250 2.1.0"], ["220", "250 2.1.0"], undefined],
    ["another code of the class", ["550 5.1.1"], ["554 5.7.1"], undefined],
    ["one without an enhanced code", ["250"], ["250 2.0.0"], undefined],
    ["another class", ["450 4.7.1"], ["550 5.7.1"], "4 4, 5 5"],
    ["another class of the enhanced code", ["550 5.7.1"], ["550 4.7.1"], "5 5, 5 4"],
    ["one hangs up", ["250 2.0.0", "221 2.0.0"], ["250 2.0.0"], "2 2, closed"],
  ];
  for (const [name, theirs, ours, differs] of table)
    test(name, () => {
      const { differs: found } = compare(
        "a/b",
        { answers: said(...theirs), recipients: [] },
        { answers: said(...ours), recipients: [] },
        [],
      );
      assert.equal(found === undefined ? undefined : `${found.postfix}, ${found.packetboat}`, differs);
    });

  test("other recipients differ; a difference is listed only for its dialogues and only as it was argued; a stale one is told", () => {
    const verdict = (id: string, ours: string, to: string[] = []) =>
      compare(id, { answers: said("550 5.1.1"), recipients: [] }, { answers: said(ours), recipients: to }, [why]);
    assert.equal(verdict("a/x/b", "550 5.1.1", ["alice@example.org"]).differs?.packetboat, "to alice@example.org");
    assert.equal(verdict("a/x/b", "450 4.1.1").listed, why);
    assert.equal(verdict("a/x/c", "450 4.1.1").listed, undefined);
    assert.equal(verdict("a/x/b", "250 2.1.5").listed, undefined);
    assert.deepEqual(unseen([verdict("a/x/b", "450 4.1.1")], [why]), []);
    assert.deepEqual(unseen([verdict("a/x/b", "550 5.1.1")], [why]), [why]);
  });
});

test("there are at least 300 dialogues, no two of a name, and every difference is in the documentation", () => {
  const ids = pairs.flatMap(({ name, dialogues }) => dialogues.map(({ id }) => `${name}/${id}`));
  assert.ok(ids.length >= 300, `${ids.length}`);
  assert.equal(new Set(ids).size, ids.length);
  const text = readFileSync(resolve(import.meta.dirname, "../../docs/differences-from-postfix.md"), "utf8").replaceAll(
    /\s+/g,
    " ",
  );
  for (const { name } of differences) assert.ok(text.includes(name), `docs/differences-from-postfix.md lacks: ${name}`);
});

const missing = postfixMissing() ?? nsdMissing();

describe("as Postfix answers", { skip: missing ?? false, concurrency: 2 }, () => {
  for (const pair of [relay, virtual, restrictions])
    test(`${pair.title}: ${pair.dialogues.length} dialogues`, async () => {
      const verdicts = await runPair(pair);
      const unexpected = verdicts.filter(({ differs, listed }) => differs !== undefined && listed === undefined);
      assert.deepEqual(unexpected, []);
      assert.equal(verdicts.length, pair.dialogues.length);
    });

  const mutations: readonly { pair: Pair; only: string; from: string; to: string; shows: readonly string[] }[] = [
    {
      pair: restrictions,
      only: "r/non-fqdn-helo/",
      from: '"RejectNonFQDNHelo"',
      to: '"Permit"',
      shows: ["r/non-fqdn-helo/bare-address/client", "r/non-fqdn-helo/one-label/client"],
    },
    {
      pair: virtual,
      only: "b/to/list-staff",
      from: '"address":"staff@lists.example","destinations":["alice@example.org",',
      to: '"address":"staff@lists.example","destinations":["carol@example.org",',
      shows: ["b/to/list-staff/stranger"],
    },
  ];
  for (const { pair, only, from, to, shows } of mutations)
    test(`a changed rule is noticed: ${from}`, async () => {
      const verdicts = await runPair(pair, {
        only: (id) => id.startsWith(only),
        mutate: (manifests) => {
          assert.ok(manifests.includes(from));
          return manifests.replaceAll(from, to);
        },
      });
      const unexpected = verdicts
        .filter(({ differs, listed }) => differs !== undefined && listed === undefined)
        .map(({ id }) => id);
      for (const id of shows) assert.ok(unexpected.includes(id), `${id} is not among ${unexpected.join(", ")}`);
    });
});
