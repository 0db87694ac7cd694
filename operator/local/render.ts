/**
 * Render: a folder of manifests → a complete configuration on disk, or an explanation and no change.
 *
 * The reconcile of the embedded default: read, parse, build (the same build/ as in a cluster), write. A folder with a document that cannot be read is refused as a
 * whole, because half of it would look like a deletion of the rest; an object that only makes no sense among the others is left out as in a cluster.
 */
import { join } from "node:path";
import { renderFiles } from "../../server/config/files.ts";
import { manifestSchema } from "../../server/config/schema.ts";
import { buildDesired, type Desired } from "../build/build.ts";
import { warmPasswords } from "../build/warm-passwords.ts";
import type { World } from "../build/world.ts";
import { MANIFEST, writeConfigFolder } from "./config-folder.ts";
import { explainProblems, explainVerdicts } from "./explain.ts";
import { readWorld } from "./manifests.ts";
import { type RememberedFiles, readYamlFolder } from "./yaml-folder.ts";

export interface BuildOptions {
  readonly manifests: string;
  readonly server?: string | undefined;
  /** A configuration is running already; only the words differ. */
  readonly running: boolean;
  readonly lastGoodCertificates?: World["lastGoodCertificates"];
  /** Of the renderings before. */
  readonly remembered?: RememberedFiles;
}

export interface Built {
  readonly kind: "rendered";
  readonly world: World;
  readonly desired: Desired;
  readonly files: ReadonlyMap<string, string>;
  readonly hash: string;
  /** What the person should know although it works. */
  readonly remarks: string | undefined;
}

export interface Refused {
  readonly kind: "refused";
  readonly explanation: string;
}

export const configFolder = (data: string): string => join(data, "config");

/** Everything but the writing: the folder may be refused, and the ports asked for, before anything changes. */
export async function buildManifests(options: BuildOptions): Promise<Built | Refused> {
  const { documents, problems } = await readYamlFolder(options.manifests, options.remembered);
  if (problems.length > 0) return { kind: "refused", explanation: explainProblems(problems, options.running) };
  const read = readWorld(documents, { folder: options.manifests, server: options.server, nowMs: Date.now() });
  if (read.kind === "problems")
    return { kind: "refused", explanation: explainProblems(read.problems, options.running) };

  const { lastGoodCertificates } = options;
  const world = lastGoodCertificates === undefined ? read.world : { ...read.world, lastGoodCertificates };
  await warmPasswords(world);
  const desired = buildDesired(world);
  const files = renderFiles(desired.config);
  const { hash } = manifestSchema.parse(JSON.parse(files.get(MANIFEST) ?? "{}"));
  const notes = read.notes.map((note) => `Note: ${note}\n`).join("");
  const remarks = `${notes}${explainVerdicts(world, desired, read.places) ?? ""}`;
  return { kind: "rendered", world, desired, files, hash, remarks: remarks === "" ? undefined : remarks };
}

/** Names of the files that changed; empty when the set was there already. */
export const writeBuilt = (data: string, { files }: Built): Promise<string[]> =>
  writeConfigFolder(configFolder(data), files);

/** Both steps in one. */
export async function renderManifests(
  options: BuildOptions & { readonly data: string },
): Promise<(Built & { readonly written: readonly string[] }) | Refused> {
  const built = await buildManifests(options);
  return built.kind === "refused" ? built : { ...built, written: await writeBuilt(options.data, built) };
}
