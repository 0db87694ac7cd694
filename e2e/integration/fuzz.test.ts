/** A small share of the fuzzers (e2e/fuzz), with another seed each time; the seed is in the name of the test, so that it is in every report. */
import { test } from "node:test";
import { fuzzDialogues, fuzzParsers } from "../fuzz/fuzz.ts";

const seed = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

test(`every parser, FUZZ_SEED=${seed}`, async () => {
  await fuzzParsers({ cases: 1800, seed });
});

test(`whole connections, FUZZ_SEED=${seed}`, async () => {
  await fuzzDialogues({ cases: 200, seed });
});
