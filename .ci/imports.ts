/**
 * Import directions: the architecture's arrows, checked. Run by `npm test` (`npm run check:imports`).
 *
 * crds → zod only · server → server · operator → operator, crds, server/config · nobody imports e2e, bench or .ci · tests follow the folder they stand in.
 * Fails with one line for each forbidden import.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");

/** From a top folder: which paths of the project it may import, as prefixes. */
const allowed: Record<string, readonly string[]> = {
  crds: ["crds/"],
  server: ["server/"],
  operator: ["operator/", "crds/", "server/config/"],
  // server/lookup is asked directly, with real databases: through a whole server most of its answers look alike. server/queue is what the crash tests
  // open after a crash, and what they break.
  e2e: [
    "e2e/",
    "crds/",
    "server/config/",
    "server/lookup/",
    "server/observe/",
    "server/queue/",
    "operator/",
    "charts/",
    ".ci/",
  ],
  bench: ["bench/", "server/", "e2e/peers/"],
};
/** Packages a top folder must not use. */
const forbiddenPackages: Record<string, readonly RegExp[]> = {
  server: [/^@kubernetes\//],
  crds: [/^(?!zod$|yaml$|node:)/],
  operator: [/^(smtp-server|nodemailer)/],
};

function* sources(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && entry.name !== "node_modules" && !entry.name.startsWith(".")) yield* sources(path);
    else if (entry.isFile() && entry.name.endsWith(".ts")) yield path;
  }
}

const problems: string[] = [];
for (const [top, prefixes] of Object.entries(allowed)) {
  for (const file of sources(join(root, top))) {
    const name = relative(root, file);
    for (const match of readFileSync(file, "utf8").matchAll(/(?<!")\b(?:from|import)\s*\(?\s*"([^"]+)"/g)) {
      const specifier = match[1] ?? "";
      if (specifier.startsWith(".")) {
        const target = relative(root, resolve(dirname(file), specifier));
        // The fuzzers call every parser by itself.
        const isFuzzer = name.startsWith("e2e/fuzz/") && target.startsWith("server/");
        if (!isFuzzer && !prefixes.some((prefix) => target.startsWith(prefix)))
          problems.push(`${name}: ${top}/ must not import ${target}`);
      } else if (
        !specifier.startsWith("node:") &&
        !name.endsWith(".test.ts") &&
        (forbiddenPackages[top] ?? []).some((pattern) => pattern.test(specifier))
      ) {
        problems.push(`${name}: ${top}/ must not use the package ${specifier}`);
      }
    }
  }
}
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exit(1);
