/**
 * Debian packages that tests use as real peers: put in place where we may, otherwise the reason for skipping.
 *
 * Installing never starts a service: a policy-rc.d that says no stands while apt works. In CI a missing peer is an error, not a skip.
 */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";

const POLICY = "/usr/sbin/policy-rc.d";

/** undefined: all commands are there; else the sentence why not. Throws instead when CI is set. */
export function ensureCommands(packages: Readonly<Record<string, readonly string[]>>): string | undefined {
  const missing = Object.entries(packages).filter(([, commands]) => !commands.every((command) => existsSync(command)));
  if (missing.length === 0) return undefined;
  const reason =
    install(missing.map(([name]) => name)) ??
    missing.flatMap(([, commands]) => commands).find((command) => !existsSync(command));
  if (reason === undefined) return undefined;
  const sentence = `needs the Debian packages ${missing.map(([name]) => name).join(", ")}: ${reason}`;
  if (process.env["CI"] !== undefined) throw new Error(sentence);
  return sentence;
}

function install(names: readonly string[]): string | undefined {
  if (process.getuid?.() !== 0) return "not root, cannot install them";
  if (!existsSync("/usr/bin/apt-get")) return "no apt-get here";
  const ours = !existsSync(POLICY);
  if (ours) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const run = (...parameters: string[]): number | null =>
      spawnSync("apt-get", ["-q", "-y", "-o", "DPkg::Lock::Timeout=300", ...parameters], {
        env,
        stdio: ["ignore", "ignore", "inherit"],
      }).status;
    if (run("install", "--no-install-recommends", ...names) === 0) return undefined;
    run("update");
    return run("install", "--no-install-recommends", ...names) === 0 ? undefined : "apt-get install failed";
  } finally {
    if (ours) rmSync(POLICY, { force: true });
  }
}
