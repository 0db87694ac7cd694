/**
 * Part of `npm run oracle [-- WORD…]`: every dialogue of the battery against a private Postfix and against Packetboat, a table for each setup, and exit 1 where they differ
 * without a reason.
 *
 * WORDs choose dialogues whose id contains one of them; with a slash at its end, begins with it. `--verbose` also tells finer differences, which count for nothing.
 */
import { postfixMissing } from "../../peers/postfix.ts";
import { runPair, unseen, type Verdict } from "./battery.ts";
import { pairs } from "./pairs.ts";

const words = process.argv.slice(2).filter((argument) => !argument.startsWith("-"));
const isVerbose = process.argv.includes("--verbose");
const only = (id: string): boolean =>
  words.length === 0 || words.some((word) => (word.endsWith("/") ? id.startsWith(word) : id.includes(word)));

const missing = postfixMissing();
if (missing !== undefined) {
  console.error(`the oracle ${missing}`);
  process.exit(1);
}

interface Row {
  readonly dialogues: number;
  readonly same: number;
  readonly listed: number;
  readonly unexpected: number;
  readonly seconds: number;
}
const all: Verdict[] = [];
const table: Record<string, Row> = {};
for (const pair of pairs) {
  if (!pair.dialogues.some(({ id }) => only(`${pair.name}/${id}`))) continue;
  const lacking = pair.missing?.();
  if (lacking !== undefined) {
    console.error(`${pair.name} (${pair.title}) ${lacking}`);
    process.exitCode = 1;
    continue;
  }
  const startedMs = performance.now();
  const verdicts = await runPair(pair, { only });
  all.push(...verdicts);
  for (const { id, differs, listed, nuances } of verdicts) {
    if (differs !== undefined)
      console.log(
        `${listed === undefined ? "UNEXPECTED" : `listed (${listed.name})`} ${id}: ${differs.step}: Postfix ${differs.postfix}, Packetboat ${differs.packetboat}`,
      );
    if (isVerbose || (differs !== undefined && listed === undefined))
      for (const nuance of nuances) console.log(`  ${id}: ${nuance}`);
  }
  const listed = verdicts.filter((verdict) => verdict.listed !== undefined).length;
  const same = verdicts.filter(({ differs }) => differs === undefined).length;
  table[`${pair.name}: ${pair.title}`] = {
    dialogues: verdicts.length,
    same,
    listed,
    unexpected: verdicts.length - same - listed,
    seconds: Math.round((performance.now() - startedMs) / 1000),
  };
}
console.table(table);
const finer = all.filter(({ differs, nuances }) => differs === undefined && nuances.length > 0).length;
console.log(
  `${all.length} dialogues; of the same ones, ${finer} have another subject in an enhanced code (--verbose names them)`,
);
if (all.some(({ differs, listed }) => differs !== undefined && listed === undefined)) process.exitCode = 1;
if (words.length === 0)
  for (const { name, dialogues } of unseen(all)) {
    console.error(`listed, but no dialogue shows it: ${name} (${dialogues.join(", ")})`);
    process.exitCode = 1;
  }
