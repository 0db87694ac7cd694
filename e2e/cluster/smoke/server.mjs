// The smoke test's server: counts its own starts in /data, and says so on port 8080.
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

const file = "/data/starts";
let starts = 0;
try {
  starts = Number(readFileSync(file, "utf8"));
} catch {
  // the first start
}
starts += 1;
writeFileSync(file, String(starts));
console.log(`start ${starts}`);
createServer((_, response) => response.end(`start ${starts}`)).listen(8080);
process.on("SIGTERM", () => process.exit(0));
