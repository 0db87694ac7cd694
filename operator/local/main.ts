/**
 * `npm start`: the embedded default (embedded.ts) with the command line's options, this process's signals and terminal, and the real server.
 */
import module from "node:module";
import { resolve } from "node:path";

const projectFolder = resolve(import.meta.dirname, "../..");
// The second start is quicker and 25 MiB smaller; see server/main.ts.
module.enableCompileCache(resolve(projectFolder, "node_modules/.cache/packetboat"));
const { runEmbedded } = await import("./embedded.ts");
const { parseLocalOptions } = await import("./options.ts");

/** npm runs us in the project's folder; relative paths are meant from where the person typed. */
const startedIn =
  process.env["npm_lifecycle_event"] === "start" ? (process.env["INIT_CWD"] ?? process.cwd()) : process.cwd();

const stop = new AbortController();
// Ctrl-C reaches us from the terminal and once more from npm: the second is not impatience, and must not cut the drain short.
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => stop.abort(signal));

const code = await runEmbedded(parseLocalOptions(process.argv.slice(2), { startedIn, projectFolder }), {
  serverScript: resolve(projectFolder, "server/main.ts"),
  startedIn,
  say: (text) => void process.stdout.write(`${text.trimEnd()}\n`),
  complain: (text) => void process.stderr.write(`${text.trimEnd()}\n`),
  stop: stop.signal,
});
process.exit(code);
