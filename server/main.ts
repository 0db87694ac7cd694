/**
 * The mail server's entry: has the code compiled before it is loaded, then starts it (start.ts), as the primary or, forked by it, as a shard.
 *
 * Sources are TypeScript. Loaded plainly, each process would carry the compiler for the rest of its life, 25 MiB; from Node's compile cache it
 * carries none and starts in half the time. The cache lies with the data, which belongs to this server alone, and is made by a short-lived process at the
 * first start. It can only make things quicker: what is missing, stale or damaged in it is compiled as without it. NODE_COMPILE_CACHE overrides the place.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import module from "node:module";
import { join } from "node:path";

const COMPILE_ONLY = "--compile-only";

/** Before the command line is parsed, because what parses it is to be cached too. */
function dataFolder(argv: readonly string[]): string | undefined {
  const at = argv.indexOf("--data");
  return at >= 0 ? argv[at + 1] : argv.find((argument) => argument.startsWith("--data="))?.slice("--data=".length);
}

async function compileAll(): Promise<void> {
  // Imported for their code only; start.ts would start.
  for (const part of ["./primary.ts", "./shard.ts", "./options.ts", "./queue/group.ts", "./tls/self-signed.ts"])
    await import(part);
}

if (process.argv.includes(COMPILE_ONLY)) await compileAll();
else {
  const data = dataFolder(process.argv);
  if (process.env["NODE_COMPILE_CACHE"] === undefined && data !== undefined && existsSync(data)) {
    const cache = join(data, "cache");
    // For the shards and the queue's threads; this process is past reading its environment.
    process.env["NODE_COMPILE_CACHE"] = cache;
    if (!existsSync(cache))
      spawnSync(process.execPath, [import.meta.filename, COMPILE_ONLY], { stdio: "ignore", timeout: 20_000 });
    module.enableCompileCache(cache);
  }
  await import("./start.ts");
}
