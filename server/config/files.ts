/**
 * The writer's side of the contract: whole tables → files, cut into a fixed number of slices, with a manifest that names their hashes.
 *
 * An entry lies in the slice its key hashes to, so one change touches one slice and the manifest. Every file is validated against the schema
 * the reader uses before it leaves: throws ZodError for a configuration the server could not read, which is a bug of the builder.
 */
import { canonicalJson, sha256 } from "./canonical.ts";
import {
  CONFIG_VERSION,
  type Manifest,
  manifestSchema,
  type RenderedConfig,
  type SecretSlice,
  secretSliceSchema,
  serverSectionSchema,
  type TableSlice,
  tableSliceSchema,
} from "./schema.ts";

export const MANIFEST_FILE = "manifest.json";

/** Which of `slices` an entry belongs to: the first 32 bits of the SHA-256 of its key. */
export const sliceOf = (key: string, slices: number): number => Number.parseInt(sha256(key).slice(0, 8), 16) % slices;

export const tableFile = (slice: number): string => `table-${String(slice).padStart(2, "0")}.json`;
export const secretFile = (slice: number): string => `secret-${String(slice).padStart(2, "0")}.json`;

const emptyTables = (): TableSlice => ({
  domains: {},
  addresses: {},
  routes: {},
  senderRoutes: {},
  tlsPolicies: {},
  relayClientCerts: {},
});
export const emptySecrets = (): SecretSlice => ({
  passwords: {},
  scramVerifiers: {},
  credentials: {},
  certificates: {},
  authorities: {},
  serverCertificates: [],
});

function cut<S extends { [K in keyof S]: unknown }>(
  whole: S,
  tables: readonly (keyof S & string)[],
  slices: readonly S[],
): void {
  for (const table of tables) {
    for (const [key, entry] of Object.entries(whole[table] as Record<string, unknown>)) {
      const slice = slices[sliceOf(key, slices.length)];
      if (slice !== undefined)
        Object.defineProperty(slice[table], key, {
          value: entry,
          enumerable: true,
          configurable: true,
          writable: true,
        });
    }
  }
}

/** File name → exact content. The same configuration gives the same bytes, in any process, at any time. */
export function renderFiles(config: RenderedConfig): Map<string, string> {
  const tables = Array.from({ length: config.slices }, emptyTables);
  const secrets = Array.from({ length: config.slices }, emptySecrets);
  cut(config.tables, ["domains", "addresses", "routes", "senderRoutes", "tlsPolicies", "relayClientCerts"], tables);
  cut(config.secrets, ["passwords", "scramVerifiers", "credentials", "certificates", "authorities"], secrets);
  secrets[0]?.serverCertificates.push(...config.secrets.serverCertificates);
  if (secrets[0] !== undefined && config.secrets.sharedState !== undefined)
    secrets[0].sharedState = config.secrets.sharedState;

  const files = new Map<string, string>([["server.json", canonicalJson(serverSectionSchema.parse(config.server))]]);
  for (const [index, slice] of tables.entries())
    files.set(tableFile(index), canonicalJson(tableSliceSchema.parse(slice)));
  for (const [index, slice] of secrets.entries())
    files.set(secretFile(index), canonicalJson(secretSliceSchema.parse(slice)));

  const hashes = Object.fromEntries([...files].map(([name, content]) => [name, sha256(content)]));
  const manifest: Manifest = { version: CONFIG_VERSION, hash: sha256(canonicalJson(hashes)), files: hashes };
  files.set(MANIFEST_FILE, canonicalJson(manifestSchema.parse(manifest)));
  return files;
}
