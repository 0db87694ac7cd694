/**
 * A published collection of addresses with a diagnosis each, against the path of RCPT: taken where RFC 5321 allows the address, refused where only RFC 5322 does (comments,
 * folding, obsolete forms) or nothing does. Where we differ there is a reason in the table; a difference that is gone, or new, fails.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { parsePath } from "./path.ts";

const file = resolve(import.meta.dirname, "../../../shared/conformance/address/isemail-tests.xml");
const skip = existsSync(file) ? false : "the published collection is not beside this checkout";

interface Case {
  readonly id: number;
  readonly address: string;
  readonly category: string;
  readonly diagnosis: string;
}

const entities: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function cases(): Case[] {
  const field = (text: string, name: string): string =>
    new RegExp(`<${name}>([^<]*)</${name}>`)
      .exec(text)?.[1]
      ?.replaceAll(/&(?:#x([0-9a-fA-F]+)|([a-z]+));/g, (_, hex: string | undefined, name: string | undefined) =>
        hex === undefined ? (entities[name ?? ""] ?? "") : String.fromCodePoint(Number.parseInt(hex, 16)),
      ) ?? "";
  return [...readFileSync(file, "utf8").matchAll(/<test id="(\d+)">(.*?)<\/test>/gs)].map(([, id, text = ""]) => ({
    id: Number(id),
    // The collection writes control characters as the symbols for them.
    address: field(text, "address").replaceAll(/[\u2400-\u241f]/g, (symbol) =>
      String.fromCodePoint((symbol.codePointAt(0) ?? 0) - 0x2400),
    ),
    category: field(text, "category"),
    diagnosis: field(text, "diagnosis"),
  }));
}

/** What RFC 5321 allows, however unusual: quoted strings, literals, one label; and domains that only DNS doubts. */
const allowed = new Set(["ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"]);

/** By diagnosis, or by number where only one of several differs. */
const deviations: readonly {
  readonly what: string | number;
  readonly taken: boolean;
  readonly only?: "lenient";
  readonly reason: string;
}[] = [
  {
    what: "ISEMAIL_RFC5322_LOCAL_TOOLONG",
    taken: true,
    reason:
      "RFC 5321 §4.5.3.1.1 bounds what a sender may rely on, not what a receiver may take; VERP and SRS write more than 64 octets. The path as a whole is bounded.",
  },
  {
    what: 43,
    taken: false,
    reason: 'The empty local part `""` is nobody, and the key of a whole domain in our tables.',
  },
  {
    what: "ISEMAIL_RFC5321_IPV6DEPRECATED",
    taken: true,
    reason: "`::` for a single group: RFC 5952 §4.2.2 forbids to write it, RFC 4291 §2.2 lets everybody read it.",
  },
  {
    what: 15,
    taken: true,
    only: "lenient",
    reason: "Without strictEnvelopes stray dots are let through, as Postfix does; such mailboxes exist.",
  },
  {
    what: 16,
    taken: true,
    only: "lenient",
    reason: "As above.",
  },
];

for (const mode of ["strict", "lenient"] as const)
  test(`all addresses of the collection, ${mode}`, { skip }, () => {
    const all = cases();
    assert.equal(all.length, 164);
    const used = new Set<string | number>();
    for (const { id, address, category, diagnosis } of all) {
      const parsed = parsePath(`TO:<${address}>`, "TO", { strict: mode === "strict" });
      // `<>` is the null path, which RCPT refuses (transaction.ts).
      const taken = address !== "" && parsed?.path.address === address && parsed.rest === "";
      const deviation = deviations.find(
        ({ what, only }) => (what === id || what === diagnosis) && (only === undefined || only === mode),
      );
      const expected = deviation?.taken ?? allowed.has(category);
      assert.equal(taken, expected, `#${id} ${JSON.stringify(address)} (${diagnosis})`);
      if (deviation !== undefined) {
        used.add(deviation.what);
        assert.notEqual(taken, allowed.has(category), `#${id} is no deviation any more`);
      }
    }
    assert.deepEqual(
      deviations.filter(({ only }) => only === undefined || only === mode).map(({ what }) => what),
      deviations.filter(({ what }) => used.has(what)).map(({ what }) => what),
    );
  });
