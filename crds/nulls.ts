/**
 * Nulls as the API server treats them: a member that is null was not written. `storage:` with nothing behind it is the same in a folder and in a cluster.
 *
 * Part of parseObject, before validation; pure. Follows the schema, so its depth is the schema's: members of objects and maps are dropped, items of lists
 * stay (and are refused), what is passed on to Kubernetes as it is (`opaque`) stays untouched.
 */
import { z } from "zod";

/** The schema below optional, default and prefault. */
function bare(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
    return bare(schema.def.innerType);
  return schema;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function withoutNulls(value: unknown, schema: z.core.$ZodType): unknown {
  const inner = bare(schema);
  if (Array.isArray(value))
    return inner instanceof z.ZodArray ? value.map((item) => withoutNulls(item, inner.def.element)) : value;
  if (!isRecord(value)) return value;
  const written = Object.entries(value).filter(([, member]) => member !== null);
  if (inner instanceof z.ZodObject) {
    const shape: Readonly<Record<string, z.core.$ZodType>> = inner.shape;
    return Object.fromEntries(
      written.map(([name, member]) => {
        const memberSchema = Object.hasOwn(shape, name) ? shape[name] : undefined;
        return [name, memberSchema === undefined ? member : withoutNulls(member, memberSchema)];
      }),
    );
  }
  // A map of anything is opaque: a null in it means something to whoever reads it.
  if (inner instanceof z.ZodRecord && !(inner.def.valueType instanceof z.ZodUnknown))
    return Object.fromEntries(written);
  return value;
}
