/** `npm run fuzz -- --cases N --seed S`. Without a seed it takes one and says which. */
import { parseArgs } from "node:util";
import { fuzz } from "./fuzz.ts";

function whole(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^\d{1,10}$/.test(text)) throw new Error(`--${name} needs a whole number, not ${text}`);
  return Number(text);
}

const { values } = parseArgs({ options: { cases: { type: "string" }, seed: { type: "string" } } });
const cases = whole("cases", values.cases, 100_000);
const seed = whole("seed", values.seed, Math.floor(Math.random() * 2 ** 31));

console.log(`${cases} cases, --seed ${seed}`);
const started = Date.now();
try {
  await fuzz({ cases, seed, tell: (what) => console.log(`ok    ${what}`) });
  console.log(`nothing found in ${((Date.now() - started) / 1000).toFixed(0)} s`);
} catch (cause) {
  console.error(cause instanceof Error ? (cause.stack ?? cause.message) : cause);
  console.error(`found with: npm run fuzz -- --cases ${cases} --seed ${seed}`);
  process.exitCode = 1;
}
