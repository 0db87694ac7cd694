/**
 * YAML files of a folder → documents, each with the place it came from; or what is wrong, with file, line and what to change.
 *
 * Stands in local/, before manifests.ts. The documents come in the order of file names, then of the file, which is also the order in which `kubectl apply -f`
 * would create them. Bounded in number, size and alias expansion. A `List` is opened into its items. Never throws.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { LineCounter, parseAllDocuments } from "yaml";

export interface Place {
  readonly file: string;
  /** 1 for the first document of its file. */
  readonly document: number;
  readonly line: number;
}

export interface PlacedDocument {
  readonly place: Place;
  readonly value: Readonly<Record<string, unknown>>;
}

export interface Problem {
  readonly place: Place;
  /** A sentence that says what is wrong and what to change. */
  readonly message: string;
}

const MAX_FILES = 1000;
const MAX_FILE_BYTES = 32 * 1024 * 1024;
const MAX_DOCUMENTS = 250_000;
/** Far more than a person writes, far fewer than a "billion laughs" file needs. */
const MAX_ALIASES = 1000;

export const isManifest = (name: string): boolean => /\.ya?ml$/.test(name) && !name.startsWith(".");

export const placeText = ({ file, document, line }: Place): string => `${file}, document ${document} (line ${line})`;

type Read = { readonly documents: readonly PlacedDocument[]; readonly problems: readonly Problem[] };

/** Files as they were read the last time, by name: one that has not changed is not parsed again. */
export type RememberedFiles = Map<string, { readonly text: string; readonly read: Read }>;

export async function readYamlFolder(folder: string, remembered: RememberedFiles = new Map()): Promise<Read> {
  const documents: PlacedDocument[] = [];
  const problems: Problem[] = [];
  const at = (file: string): Place => ({ file, document: 1, line: 1 });
  let names: string[];
  try {
    names = (await readdir(folder)).filter(isManifest).sort();
  } catch (cause) {
    return {
      documents,
      problems: [
        {
          place: at(folder),
          message: `The folder cannot be read (${(cause as NodeJS.ErrnoException).code}); give an existing one with --manifests DIR.`,
        },
      ],
    };
  }
  if (names.length === 0)
    problems.push({
      place: at(folder),
      message: "The folder holds no file that ends in .yaml or .yml; put the manifests there.",
    });
  if (names.length > MAX_FILES)
    problems.push({
      place: at(folder),
      message: `The folder holds more than ${MAX_FILES} files; put several documents into one.`,
    });
  for (const name of remembered.keys()) if (!names.includes(name)) remembered.delete(name);
  for (const name of names.slice(0, MAX_FILES)) {
    const path = join(folder, name);
    try {
      const facts = await stat(path);
      if (!facts.isFile()) continue;
      if (facts.size > MAX_FILE_BYTES) {
        problems.push({
          place: at(name),
          message: `The file is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB; split it.`,
        });
        continue;
      }
      const text = await readFile(path, "utf8");
      const before = remembered.get(name);
      const read = before?.text === text ? before.read : parseYaml(name, text);
      remembered.set(name, { text, read });
      problems.push(...read.problems);
      for (const document of read.documents) {
        if (documents.length < MAX_DOCUMENTS) documents.push(document);
      }
    } catch (cause) {
      problems.push({
        place: at(name),
        message: `The file cannot be read (${(cause as NodeJS.ErrnoException).code ?? String(cause)}).`,
      });
    }
  }
  if (documents.length === MAX_DOCUMENTS)
    problems.push({ place: at(folder), message: `More than ${MAX_DOCUMENTS} objects; the embedded mode stops there.` });
  return { documents, problems };
}

export function parseYaml(file: string, text: string): Read {
  const documents: PlacedDocument[] = [];
  const problems: Problem[] = [];
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true, strict: true, prettyErrors: false });
  if (!Array.isArray(parsed)) return { documents, problems };
  for (const [index, document] of parsed.entries()) {
    const start = document.contents?.range?.[0] ?? document.range[0];
    const place = (offset: number): Place => ({
      file,
      document: index + 1,
      line: Math.max(1, lines.linePos(offset).line),
    });
    const error = document.errors[0];
    if (error !== undefined) {
      problems.push({
        place: place(error.pos[0]),
        message: `This is not YAML: ${error.message.split("\n")[0]}. Correct that line.`,
      });
      continue;
    }
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (cause) {
      problems.push({
        place: place(start),
        message: `This YAML cannot be expanded: ${cause instanceof Error ? cause.message : String(cause)}.`,
      });
      continue;
    }
    if (value === null || value === undefined) continue;
    if (!isRecord(value)) {
      problems.push({
        place: place(start),
        message: "This is not a Kubernetes object: a mapping with apiVersion, kind and metadata is needed.",
      });
      continue;
    }
    const items = value["kind"] === "List" && Array.isArray(value["items"]) ? (value["items"] as unknown[]) : [value];
    for (const item of items) {
      if (isRecord(item)) documents.push({ place: place(start), value: item });
      else problems.push({ place: place(start), message: "An item of this List is not a Kubernetes object." });
    }
  }
  return { documents, problems };
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
