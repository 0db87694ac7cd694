/**
 * A rendered set on disk: what the kubelet does with a projected volume, done with files.
 *
 * Stands in local/, after the build. Each file is written beside and renamed, the manifest last, files that no longer belong are removed after it; so a
 * server that looks at any moment sees the old set, an incomplete one (and keeps its own), or the new one. Secrets are readable by their owner only.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

export const MANIFEST = "manifest.json";

async function sameContent(path: string, content: string): Promise<boolean> {
  try {
    return (await readFile(path, "utf8")) === content;
  } catch {
    return false;
  }
}

/** Writes what differs; returns the names of the files written, empty when the set was there already. */
export async function writeConfigFolder(folder: string, files: ReadonlyMap<string, string>): Promise<string[]> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const written: string[] = [];
  const inOrder = [...files].sort(([a], [b]) => Number(a === MANIFEST) - Number(b === MANIFEST));
  for (const [name, content] of inOrder) {
    const path = join(folder, name);
    if (await sameContent(path, content)) continue;
    await writeFile(`${path}.new`, content, { mode: 0o600 });
    await rename(`${path}.new`, path);
    written.push(name);
  }
  for (const name of await readdir(folder)) {
    if (!files.has(name) && /^(?:server|table-\d{2}|secret-\d{2}|manifest)\.json(?:\.new)?$/.test(name))
      await rm(join(folder, name), { force: true });
  }
  return written;
}
