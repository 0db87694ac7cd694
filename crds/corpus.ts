/**
 * Documents with known verdicts, for tests: `corpus/*.yaml`, one table a kind. `parseObject` and a real API server must say the same of each.
 *
 * A row is laid over the table's base; null takes a field away, as it does for the API server. Throws on a table it cannot read.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { API_VERSION } from "./schema.ts";

export interface CorpusCase {
  readonly name: string;
  readonly kind: string;
  readonly document: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly metadata: object;
    readonly spec: object;
  };
  /** The first sentence of the refusal; absent: it is accepted. */
  readonly refusal?: string;
}

const row = z.record(z.string(), z.unknown());
const tableSchema = z.strictObject({
  kind: z.string(),
  base: row,
  accepted: z.array(row),
  refused: z.array(z.tuple([row, z.string()])),
});

export function corpus(): CorpusCase[] {
  const folder = join(import.meta.dirname, "corpus");
  return readdirSync(folder)
    .toSorted()
    .flatMap((file) => {
      const { kind, base, accepted, refused } = tableSchema.parse(parse(readFileSync(join(folder, file), "utf8")));
      const rows = [...accepted.map((spec) => [spec, undefined] as const), ...refused];
      return rows.map(([spec, refusal], index) => ({
        name: `${kind} ${JSON.stringify(spec).slice(0, 80)}`,
        kind,
        document: {
          apiVersion: API_VERSION,
          kind,
          metadata: { name: `case-${index}`, namespace: "default" },
          spec: { ...base, ...spec },
        },
        ...(refusal === undefined ? {} : { refusal }),
      }));
    });
}
