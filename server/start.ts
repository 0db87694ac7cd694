/**
 * The mail server: this one program is the primary and, forked by it, every shard. Loaded by main.ts.
 *
 * See primary.ts (signals, configuration, admin HTTP) and shard.ts (a whole MTA). RFC 5321 throughout.
 */
import cluster from "node:cluster";
import module from "node:module";
import { createLog } from "./observe/log.ts";
import { parseOptions } from "./options.ts";

const options = parseOptions(process.argv.slice(2));
const log = createLog(cluster.isPrimary ? "primary" : `shard-${process.env["PACKETBOAT_SHARD"] ?? "?"}`);

// A bug must not leave half a server behind: say it and end; the primary starts a shard anew, Kubernetes or the embedded parent a primary.
for (const kind of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(kind, (cause: unknown) => {
    log.fatal({ err: cause }, kind);
    process.exit(70);
  });
}

// What an upgrade has compiled anew is kept for the next start.
setTimeout(() => module.flushCompileCache(), 10_000).unref();

try {
  // Each loads only what it needs: the primary speaks no SMTP, a shard makes no certificates.
  if (cluster.isPrimary) await (await import("./primary.ts")).runPrimary(options, log);
  else await (await import("./shard.ts")).runShard(options, Number(process.env["PACKETBOAT_SHARD"]), log);
} catch (cause) {
  log.fatal({ reason: cause instanceof Error ? cause.message : String(cause) }, "cannot start");
  process.exit(1);
}
