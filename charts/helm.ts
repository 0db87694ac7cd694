/**
 * The helm binary, for the tests of the chart: from the PATH, or where e2e/cluster builds it. `missingHelm` is the reason to skip without it.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const works = (path: string): boolean => spawnSync(path, ["version", "--short"]).status === 0;

function findHelm(): string | undefined {
  if (works("helm")) return "helm";
  const cache = process.env["PACKETBOAT_CACHE"] ?? join(homedir(), ".cache", "packetboat");
  return globSync(join(cache, "cluster", "*", "helm")).find(works);
}

const path = findHelm();

/** For a test's `skip`: false, or why it cannot run. */
export const missingHelm: string | false = path === undefined && "helm is neither on the PATH nor built by e2e/cluster";

export interface Answer {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs helm with `values` as its values file, and no environment but what is given. */
export function helm(args: readonly string[], values: unknown = {}, environment: Record<string, string> = {}): Answer {
  const { status, stdout, stderr } = spawnSync(path ?? "helm", [...args], {
    input: JSON.stringify(values),
    encoding: "utf8",
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"], ...environment },
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}
