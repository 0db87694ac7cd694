import assert from "node:assert/strict";
import { test } from "node:test";
import { saslPrep } from "./saslprep.ts";

for (const [name, written, prepared] of [
  ["ASCII stays", "pencil =,", "pencil =,"],
  ["RFC 4013 §3: soft hyphen", "I\u00adX", "IX"],
  ["RFC 4013 §3: case stays", "USER", "USER"],
  ["RFC 4013 §3: NFKC of a feminine ordinal", "\u00aa", "a"],
  ["RFC 4013 §3: NFKC of a Roman numeral", "\u2168", "IX"],
  ["a no-break space", "a\u00a0b", "a b"],
  ["prohibited: as it is", "a\u0007\u00e9", "a\u0007\u00e9"],
] as const)
  test(name, () => assert.equal(saslPrep(written), prepared));
