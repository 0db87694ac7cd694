#!/usr/bin/env node
/**
 * `packetboat`: the command line of postmasters, and a sendmail for machines without a daemon.
 *
 * Talks to a server over its control socket, to the pods of a MailServer through kubectl, with `sendmail` to any server over SMTP. Text for people, `--json`
 * for programs. Exit codes: 0 done, 1 not (all) done or not there, 2 a wrong command line; sendmail has those of sysexits.h. Started under the name
 * `sendmail` or `mailq` it is that.
 */
import { basename } from "node:path";
import { Command, CommanderError } from "commander";
import { controlCommand } from "./control-command.ts";
import { queueCommand } from "./queue-command.ts";
import { UsageError } from "./target.ts";
import { complain, type Terminal } from "./terminal.ts";
import { traceCommand } from "./trace-command.ts";
import { verifyCommand } from "./verify-command.ts";

const USAGE = 2;

/** Resolves to the exit code. */
export async function run(parameters: readonly string[], terminal: Terminal, name = "packetboat"): Promise<number> {
  if (name === "mailq") return await run(["queue", "list", ...parameters], terminal);
  // Its options are older than getopt: nobody else reads them.
  if (name === "sendmail" || parameters[0] === "sendmail") {
    const { sendmail } = await import("./sendmail.ts");
    return await sendmail(name === "sendmail" ? parameters : parameters.slice(1), terminal, run);
  }

  let code = 0;
  const end = (value: number): void => {
    code = value;
  };
  const program = new Command("packetboat")
    .description("Tools for a Packetboat mail server, on this machine or in a cluster.")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void terminal.output.write(text),
      writeErr: (text) => void terminal.complaints.write(text),
    });
  queueCommand(program, terminal, end);
  traceCommand(program, terminal, end);
  verifyCommand(program, terminal, end);
  controlCommand(program, terminal, end);
  program.command("sendmail").description("take a message from standard input and send it; see sendmail(1)");
  try {
    await program.parseAsync([...parameters], { from: "user" });
    return code;
  } catch (cause) {
    // It has said what is wrong.
    if (cause instanceof CommanderError) return cause.exitCode === 0 ? 0 : USAGE;
    complain(terminal, cause instanceof Error ? cause.message : String(cause));
    return cause instanceof UsageError ? USAGE : 1;
  }
}

/** This process as the command. */
export async function start(): Promise<void> {
  // `packetboat queue list | head` is no trouble.
  process.stdout.on("error", (cause: NodeJS.ErrnoException) => process.exit(cause.code === "EPIPE" ? 0 : 74));
  process.exitCode = await run(
    process.argv.slice(2),
    { input: process.stdin, output: process.stdout, complaints: process.stderr },
    basename(process.argv[1] ?? "", ".ts"),
  );
  // A reader of standard input that was not read to its end would keep us.
  process.stdin.destroy();
}

if (import.meta.main) await start();
