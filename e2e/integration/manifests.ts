/** Manifests that the integration tests start from: the quickstart itself, and pieces to put beside it. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");

/** The files of examples/quickstart, as a stranger gets them. */
export function quickstart(): Record<string, string> {
  const folder = join(root, "examples/quickstart");
  return Object.fromEntries(
    readdirSync(folder)
      .filter((name) => name.endsWith(".yaml"))
      .map((name) => [name, readFileSync(join(folder, name), "utf8")]),
  );
}

export const object = (kind: string, name: string, spec: unknown): string =>
  `---\napiVersion: mail.packetboat.io/v1alpha1\nkind: ${kind}\nmetadata: {name: ${name}}\nspec: ${JSON.stringify(spec)}\n`;

export const secret = (name: string, stringData: Readonly<Record<string, string>>): string =>
  `---\napiVersion: v1\nkind: Secret\nmetadata: {name: ${name}}\nstringData: ${JSON.stringify(stringData)}\n`;
