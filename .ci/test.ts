/**
 * `npm test`: types, lint, format, import directions, generated files, then unit and integration tests; ends with one line of counts.
 *
 * Every check runs even when an earlier one failed, so that one run tells everything. Exit code 1 when anything failed.
 * `npm test -- unit` or `-- integration` or `-- checks` runs a part; a file name runs that file.
 */
import { spawnSync } from "node:child_process";
import { globSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { compileCache } from "./compile-cache.ts";

// Compiled once, all processes of a run start in half the time.
Object.assign(process.env, compileCache);

const counts = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];

function check(name: string, command: string, ...parameters: string[]): void {
  const started = Date.now();
  const result = spawnSync(command, parameters, { encoding: "utf8", env: { ...process.env, FORCE_COLOR: "0" } });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (result.status === 0) {
    counts.passed += 1;
    console.log(`ok    ${name} (${seconds} s)`);
  } else {
    counts.failed += 1;
    failures.push(name);
    console.log(
      `FAIL  ${name} (${seconds} s)\n${result.stdout ?? ""}${result.stderr ?? ""}${result.error?.message ?? ""}`,
    );
  }
}

export async function tests(name: string, files: string[], concurrency: number): Promise<void> {
  if (files.length === 0) return;
  const started = Date.now();
  const stream = run({ files, concurrency, timeout: 900_000 });
  stream.on("test:pass", (event) => {
    if (event.details.type === "suite" || isFile(event.name, files)) return;
    // `skip` is the reason, or true; a todo counts as what it is: not done.
    if (event.skip !== undefined && event.skip !== false) {
      counts.skipped += 1;
      console.log(
        `skipped: ${event.name}: ${event.skip === true || event.skip === "" ? "no reason given" : event.skip}`,
      );
    } else counts.passed += 1;
  });
  stream.on("test:fail", (event) => {
    // A suite fails by its tests, which are counted themselves; a file that fails on its own (cannot load) is one failure.
    if (event.details.type === "suite" && event.details.error.message.includes("subtest")) return;
    counts.failed += 1;
    failures.push(`${event.file ?? ""}: ${event.name}`);
  });
  const output = stream.compose(new spec());
  for await (const chunk of output) process.stdout.write(chunk as string);
  console.log(`${name}: ${files.length} processes in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

const isFile = (name: string, files: readonly string[]): boolean => files.includes(name);

export function finish(): void {
  for (const failure of failures) console.log(`failed: ${failure}`);
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  process.exit(counts.failed === 0 ? 0 : 1);
}

/** Starting a process and loading the server's modules costs more than most files' tests. */
const FILES_A_PROCESS = 6;

/** Unit tests of a folder share processes: for each some files, one file that imports them. */
async function unitTests(): Promise<void> {
  const folders = Map.groupBy(unitFiles(), dirname);
  const directory = mkdtempSync(join(tmpdir(), "packetboat-tests-"));
  const groups: string[] = [];
  for (const [folder, files] of folders)
    for (let at = 0; at < files.length; at += FILES_A_PROCESS) {
      const group = join(directory, `${folder.replaceAll("/", "-")}-${groups.length}.mjs`);
      const some = files.slice(at, at + FILES_A_PROCESS);
      writeFileSync(group, some.map((file) => `await import(${JSON.stringify(resolve(file))});\n`).join(""));
      groups.push(group);
    }
  await tests("unit", groups, 2);
  rmSync(directory, { recursive: true });
}

const unitFiles = (): string[] =>
  globSync(["crds/**/*.test.ts", "server/**/*.test.ts", "operator/**/*.test.ts", "charts/**/*.test.ts"]).sort();
const integrationFiles = (): string[] => globSync("e2e/integration/**/*.test.ts").sort();

if (import.meta.main) {
  const parts = process.argv.slice(2);
  const wanted = (part: string): boolean => parts.length === 0 || parts.includes(part);
  if (wanted("checks")) {
    check("types", "tsc", "--noEmit");
    check("lint", "oxlint", "--type-aware", "--deny-warnings");
    check("format", "biome", "format");
    check("import directions", "node", ".ci/imports.ts");
    check("generated CRDs and reference", "node", "crds/generate.ts", "--check");
    check("generated page of replies", "node", ".ci/replies.ts", "--check");
    check("generated chart files", "node", "charts/generate.ts", "--check");
  }
  if (wanted("unit")) await unitTests();
  if (wanted("integration")) await tests("integration", integrationFiles(), 1);
  await tests(
    "chosen files",
    parts.filter((part) => part.endsWith(".ts")),
    1,
  );
  finish();
}
