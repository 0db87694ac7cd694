/**
 * Puts node_modules in place before `npm start` and `npm test`, with whatever Node the machine has (20 or later): `npm ci` when the lock file is not
 * the one last installed, nothing otherwise. Plain JavaScript: it runs before Node 26 is there.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const lock = createHash("sha256").update(readFileSync("package-lock.json")).digest("hex");
const stamp = "node_modules/.packetboat-lock";
const node = "node_modules/.bin/node";

if (!existsSync(node) || !existsSync(stamp) || readFileSync(stamp, "utf8") !== lock) {
  console.log("Installing what Packetboat needs into node_modules (once) ...");
  const install = spawnSync("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"], { stdio: ["ignore", "ignore", "inherit"] });
  if (install.status !== 0) {
    console.error("npm ci failed; is the npm registry reachable?");
    process.exit(1);
  }
  const version = spawnSync(node, ["--version"], { encoding: "utf8" });
  if (version.status !== 0 || !version.stdout.startsWith("v26.")) {
    console.error(`Node 26 from the npm package "node" is not in place (${version.stdout?.trim() || version.error?.message}); its install script may have been switched off: npm config get ignore-scripts`);
    process.exit(1);
  }
  writeFileSync(stamp, lock);
}
