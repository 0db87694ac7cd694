/**
 * The product's image for tests: production dependencies staged from the lock file (cached by its hash), then the Containerfile as a user would build it.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { buildBaseImage, buildImage } from "./cluster/cluster.ts";

export const IMAGE = { repository: "packetboat.test/packetboat", tag: "e2e" };
const root = resolve(import.meta.dirname, "..");

/** node_modules as the image needs it, from the lock file alone. */
function productionModules(): string {
  const cache = process.env["PACKETBOAT_CACHE"] ?? join(homedir(), ".cache/packetboat");
  const hash = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex")
    .slice(0, 16);
  const folder = join(cache, `modules-${hash}`);
  if (!existsSync(folder)) {
    const unfinished = `${folder}.unfinished`;
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished, { recursive: true });
    for (const name of ["package.json", "package-lock.json"]) cpSync(join(root, name), join(unfinished, name));
    execFileSync("npm", ["ci", "--omit=dev", "--no-fund", "--no-audit", "--loglevel=error"], {
      cwd: unfinished,
      stdio: ["ignore", "ignore", "inherit"],
    });
    renameSync(unfinished, folder);
  }
  return join(folder, "node_modules");
}

/** Builds it and gives the path of the docker-archive. */
export async function buildProductImage(): Promise<string> {
  const context = mkdtempSync(join(tmpdir(), "packetboat-image-"));
  try {
    for (const name of [
      "package.json",
      "package-lock.json",
      "crds",
      "operator",
      "server",
      "Containerfile",
      ".containerignore",
      "LICENSE",
    ]) {
      cpSync(join(root, name), join(context, name), { recursive: true });
    }
    cpSync(productionModules(), join(context, "node_modules"), { recursive: true, verbatimSymlinks: true });
    const base = await buildBaseImage();
    return await buildImage({
      containerfile: join(context, "Containerfile"),
      context,
      tag: `${IMAGE.repository}:${IMAGE.tag}`,
      buildArgs: { BASE: base },
    });
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}
