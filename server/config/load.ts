/**
 * The reader's side of the contract: a folder of mounted files → a configuration to run by, or the sentence that says why not.
 *
 * A set is taken only when it is complete (every file the manifest names is there with its hash) and valid; anything else leaves the caller's last
 * good configuration untouched. `incomplete` is the normal moment between two file updates; `invalid` wants a person. With `ParsedFiles` of its own a process
 * that reads set after set parses only what changed; between two files it lets others run, so that a large set does not hold up mail.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as breathe } from "node:timers/promises";
import type { z } from "zod";
import { canonicalJson, sha256 } from "./canonical.ts";
import { MANIFEST_FILE } from "./files.ts";
import {
  CONFIG_VERSION,
  type LiveConfig,
  manifestSchema,
  secretSliceSchema,
  serverSectionSchema,
  tableSliceSchema,
} from "./schema.ts";

export type LoadResult =
  | { readonly kind: "loaded"; readonly config: LiveConfig }
  | { readonly kind: "unchanged" }
  | { readonly kind: "incomplete"; readonly message: string }
  | { readonly kind: "invalid"; readonly message: string; readonly hash?: string };

/** Larger than any ConfigMap can be (1 MiB); a file beyond it is not ours. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

class NotLoadable extends Error {
  readonly kind: "incomplete" | "invalid";
  constructor(kind: "incomplete" | "invalid", message: string) {
    super(message);
    this.kind = kind;
  }
}

/** The files of the last set that was loaded, by name and hash. */
export class ParsedFiles {
  #files: ReadonlyMap<string, unknown> = new Map();

  get(key: string): unknown {
    return this.#files.get(key);
  }

  /** Those of a set that is taken; all others are forgotten. */
  keep(files: ReadonlyMap<string, unknown>): void {
    this.#files = files;
  }
}

interface NamedFile {
  readonly text: string;
  readonly hash: string;
}

async function readText(directory: string, name: string): Promise<string> {
  let content: Buffer;
  try {
    content = await readFile(join(directory, name));
  } catch (cause) {
    throw new NotLoadable(
      "incomplete",
      `${name} cannot be read: ${(cause as NodeJS.ErrnoException).code ?? String(cause)}`,
    );
  }
  if (content.length > MAX_FILE_BYTES)
    throw new NotLoadable("invalid", `${name} is larger than ${MAX_FILE_BYTES} bytes`);
  return content.toString("utf8");
}

function parse<T extends z.ZodType>(name: string, text: string, schema: T): z.infer<T> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, and the text may hold secrets.
    throw new NotLoadable("invalid", `${name} is not JSON`);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new NotLoadable(
    "invalid",
    `${name}: ${issue === undefined ? "does not fit the schema" : `${issue.path.join(".")}: ${issue.message}`}`,
  );
}

/**
 * Read the set below `directory`; `unchanged` when its manifest names `currentHash`. `whole`: unchanged only if every file is still there with its
 * hash, which costs reading all of them; a set that went bad on disk would otherwise be found out at the next start. Never throws.
 */
export async function loadConfig(
  directory: string,
  currentHash?: string,
  { whole = false, parsed }: { readonly whole?: boolean; readonly parsed?: ParsedFiles } = {},
): Promise<LoadResult> {
  let hash: string | undefined;
  try {
    const manifestText = await readText(directory, MANIFEST_FILE);
    const version: unknown = (JSON.parse(manifestText.trim() === "" ? "{}" : manifestText) as { version?: unknown })
      .version;
    if (version !== CONFIG_VERSION) {
      return {
        kind: "invalid",
        message: `${MANIFEST_FILE} has version ${JSON.stringify(version)}; this server reads version ${CONFIG_VERSION}`,
      };
    }
    const manifest = parse(MANIFEST_FILE, manifestText, manifestSchema);
    hash = manifest.hash;
    if (manifest.hash === currentHash && !whole) return { kind: "unchanged" };
    if (sha256(canonicalJson(manifest.files)) !== manifest.hash)
      throw new NotLoadable("invalid", `${MANIFEST_FILE} does not carry the hash of its own list of files`);

    const files = new Map<string, NamedFile>();
    for (const [name, expected] of Object.entries(manifest.files)) {
      const text = await readText(directory, name);
      if (sha256(text) !== expected)
        throw new NotLoadable("incomplete", `${name} is not yet the version that the manifest names`);
      files.set(name, { text, hash: expected });
    }
    if (manifest.hash === currentHash) return { kind: "unchanged" };
    return { kind: "loaded", config: await assemble(manifest.hash, files, parsed) };
  } catch (cause) {
    if (cause instanceof NotLoadable)
      return { kind: cause.kind, message: cause.message, ...(hash === undefined ? {} : { hash }) };
    if (cause instanceof SyntaxError) return { kind: "invalid", message: `${MANIFEST_FILE} is not JSON` };
    return {
      kind: "invalid",
      message: `configuration cannot be loaded: ${String(cause)}`,
      ...(hash === undefined ? {} : { hash }),
    };
  }
}

async function assemble(
  hash: string,
  files: ReadonlyMap<string, NamedFile>,
  earlier: ParsedFiles | undefined,
): Promise<LiveConfig> {
  const serverFile = files.get("server.json");
  if (serverFile === undefined) throw new NotLoadable("invalid", `${MANIFEST_FILE} names no server.json`);
  const taken = new Map<string, unknown>();
  const parsed = async <T extends z.ZodType>(name: string, file: NamedFile, schema: T): Promise<z.infer<T>> => {
    const key = `${name} ${file.hash}`;
    // The same octets under the same name were checked against this very schema.
    const value = (earlier?.get(key) as z.infer<T> | undefined) ?? parse(name, file.text, schema);
    taken.set(key, value);
    await breathe();
    return value;
  };
  const slices = async <T extends z.ZodType>(prefix: string, schema: T): Promise<z.infer<T>[]> => {
    const result: z.infer<T>[] = [];
    for (const [name, file] of files) if (name.startsWith(prefix)) result.push(await parsed(name, file, schema));
    return result;
  };
  const tables = await slices("table-", tableSliceSchema);
  const secrets = await slices("secret-", secretSliceSchema);
  const server = await parsed("server.json", serverFile, serverSectionSchema);
  earlier?.keep(taken);
  const merged = <V>(slices: readonly Record<string, V>[]): Map<string, V> =>
    new Map(slices.flatMap((slice) => Object.entries(slice)));
  const sharedState = secrets.find((slice) => slice.sharedState !== undefined)?.sharedState;
  return {
    hash,
    loadedAtMs: Date.now(),
    server,
    domains: merged(tables.map((slice) => slice.domains)),
    addresses: merged(tables.map((slice) => slice.addresses)),
    routes: merged(tables.map((slice) => slice.routes)),
    senderRoutes: merged(tables.map((slice) => slice.senderRoutes)),
    tlsPolicies: merged(tables.map((slice) => slice.tlsPolicies)),
    relayClientCerts: merged(tables.map((slice) => slice.relayClientCerts)),
    passwords: merged(secrets.map((slice) => slice.passwords)),
    scramVerifiers: merged(secrets.map((slice) => slice.scramVerifiers)),
    credentials: merged(secrets.map((slice) => slice.credentials)),
    certificates: merged(secrets.map((slice) => slice.certificates)),
    authorities: merged(secrets.map((slice) => slice.authorities)),
    serverCertificates: secrets.flatMap((slice) => slice.serverCertificates),
    ...(sharedState === undefined ? {} : { sharedState }),
  };
}
