/** What the embedded default says about manifests that cannot be used, or only in part: short lines for a terminal, one a problem, the place first. */
import { objectsOf, type Desired } from "../build/build.ts";
import { describe, objectKey, type World } from "../build/world.ts";
import { type Place, placeText, type Problem } from "./yaml-folder.ts";

const MAX_LINES = 50;

function listed(lines: readonly string[]): string {
  const more = lines.length - MAX_LINES;
  return [...lines.slice(0, MAX_LINES), ...(more > 0 ? [`  … and ${more} more`] : [])].join("\n");
}

/** `nothing changed`: the last good configuration goes on. */
export function explainProblems(problems: readonly Problem[], running: boolean): string {
  const lines = problems.map(({ place, message }) => `  ${placeText(place)}: ${message}`);
  const head = running
    ? "The manifests cannot be used; the server goes on with the last good ones:"
    : "The manifests cannot be used:";
  return `${head}\n${listed(lines)}\n`;
}

/** Objects that the build refused, wholly or in part, and warnings; undefined when there is nothing to say. */
export function explainVerdicts(
  world: World,
  desired: Desired,
  places: ReadonlyMap<string, Place>,
): string | undefined {
  const lines: string[] = [];
  for (const object of objectsOf(world)) {
    const key = objectKey(object);
    const verdict = desired.verdicts.get(key);
    const place = places.get(key);
    const where = `${place === undefined ? "" : `${placeText(place)}: `}${describe(object)}`;
    if (verdict?.accepted === false) lines.push(`  ${where} is not accepted (${verdict.reason}): ${verdict.message}`);
    for (const warning of verdict?.warnings ?? []) lines.push(`  ${where}: note: ${warning}`);
  }
  return lines.length === 0 ? undefined : `Some objects want a look; everything else is in force:\n${listed(lines)}\n`;
}
