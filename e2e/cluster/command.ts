/**
 * Command: runs another program to its end.
 * Promise: standard input is empty, so nothing can wait for a person; the output comes back as text.
 * Fails with `CommandFailed`, which carries the command line, the exit code and the end of what the program said.
 */
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

export interface CommandOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly directory?: string;
  /** Text for standard input. */
  readonly input?: string;
  /** Show the output as it comes, for commands that take minutes. */
  readonly show?: boolean;
  readonly timeoutMs?: number;
}

export class CommandFailed extends Error {
  readonly exitCode: number | null;
  readonly output: string;
  constructor(commandLine: string, exitCode: number | null, output: string) {
    super(`${commandLine} ended with ${exitCode ?? "a signal"}:\n${output.slice(-4000)}`);
    this.name = "CommandFailed";
    this.exitCode = exitCode;
    this.output = output;
  }
}

/** The environment with the folders of system programs on the PATH, which a non-login shell of root may lack. */
export const systemEnvironment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  PATH: [process.env["PATH"] ?? "", "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
    .filter(Boolean)
    .join(delimiter),
});

export function isOnPath(program: string): boolean {
  return (systemEnvironment().PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Runs a program; gives its standard output. */
export async function run(program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const child = spawn(program, args, {
    cwd: options.directory,
    env: { ...systemEnvironment(), ...options.environment },
    stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs, killSignal: "SIGKILL" }),
  });
  let stdout = "";
  let all = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    all += text;
    if (options.show) process.stderr.write(text);
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    all += text;
    if (options.show) process.stderr.write(text);
  });
  child.stdin?.on("error", () => undefined); // a program that reads no input may be gone already
  child.stdin?.end(options.input);
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (exitCode !== 0) throw new CommandFailed([program, ...args].join(" "), exitCode, all);
  return stdout;
}

/** As `run`, for steps where a failure changes nothing (cleaning up what may not be there). */
export async function attempt(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<boolean> {
  try {
    await run(program, args, options);
    return true;
  } catch {
    return false;
  }
}
