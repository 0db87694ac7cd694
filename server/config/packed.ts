/**
 * A configuration as JSON, for the channel between the primary and a shard that cannot read it from disk.
 *
 * The ordinary way is the folder (`load.ts`); this one is for a shard that is started while the folder is broken: it runs the primary's last good set.
 * Both ends are this program, so nothing is validated again.
 */
import type { LiveConfig } from "./schema.ts";

export interface PackedConfig {
  readonly plain: Readonly<Record<string, unknown>>;
  readonly maps: Readonly<Record<string, readonly (readonly [string, unknown])[]>>;
}

export function packConfig(config: LiveConfig): PackedConfig {
  const entries = Object.entries(config);
  return {
    plain: Object.fromEntries(entries.filter(([, value]) => !(value instanceof Map))),
    maps: Object.fromEntries(entries.flatMap(([name, value]) => (value instanceof Map ? [[name, [...value]]] : []))),
  };
}

export function unpackConfig({ plain, maps }: PackedConfig): LiveConfig {
  const tables = Object.entries(maps).map(([name, entries]) => [name, new Map(entries)] as const);
  return { ...plain, ...Object.fromEntries(tables) } as unknown as LiveConfig;
}
