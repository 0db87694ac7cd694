/** `packetboat verify ADDRESS`: where mail for it would go, asked of a running server or of a folder of rendered configuration. Exit code 1: nowhere. */
import type { Command } from "commander";
import { verificationText } from "./message-text.ts";
import { fleetOf, type TargetOptions, UsageError, withTarget } from "./target.ts";
import { print, type Terminal } from "./terminal.ts";

interface Options extends TargetOptions {
  readonly from?: string;
  readonly config?: string;
}

export function verifyCommand(program: Command, terminal: Terminal, end: (code: number) => void): void {
  withTarget(program.command("verify"))
    .description("what would become of mail for an address: expansion, route, next hops, TLS; nothing is sent")
    .argument("<address>", "recipient")
    .option("--from <sender>", "sender (<> for the null sender)", "<>")
    .option("--config <dir>", "folder of a rendered configuration, without a server")
    .action(async (address: string, options: Options) => {
      const question = { address, sender: options.from === "<>" ? "" : (options.from ?? "") };
      if (options.config !== undefined && (options.server ?? options.data) !== undefined)
        throw new UsageError("--config asks no server: leave --data and --server out");
      const answer =
        options.config === undefined
          ? await (await fleetOf(options, terminal)).verify(question)
          : await offline(options.config, question);
      await print(terminal, options.json === true ? JSON.stringify(answer) : verificationText(answer));
      end(answer.deliverable ? 0 : 1);
    });
}

/** Loaded only when it is needed: the other commands start the quicker. */
async function offline(folder: string, question: { readonly address: string; readonly sender: string }) {
  const [{ verifyLive }, { loadConfig }] = await Promise.all([
    import("../admin/verify.ts"),
    import("../config/load.ts"),
  ]);
  const result = await loadConfig(folder);
  if (result.kind !== "loaded") throw new Error(`${folder}: ${"message" in result ? result.message : result.kind}`);
  return await verifyLive(result.config, question);
}
