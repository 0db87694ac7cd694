/**
 * Packages: the Debian packages under the cluster (etcd, containerd, CNI plugins, buildah, …).
 * Promise: installs what is missing without a question asked and without a service started; does nothing when all is there.
 * Fails when the machine is not Debian-like or this process is not root, naming what is missing.
 */
import { accessSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { CommandFailed, run } from "./command.ts";
import { say } from "./progress.ts";

const packages = [
  "etcd-server",
  "etcd-client",
  "containerd",
  "runc",
  "containernetworking-plugins",
  "buildah",
  "iptables",
  "iproute2",
  "conntrack",
  "ipset",
  "socat",
  "ethtool",
  "mmdebstrap",
  "openssl",
  "mount",
] as const;

export async function installPackages(): Promise<void> {
  const missing = await missingPackages();
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new Error(`the end-to-end cluster runs as root, and needs these Debian packages: ${missing.join(" ")}`);
  }
  say(`installing Debian packages: ${missing.join(" ")}`);
  await withoutStartingServices(async () => {
    const environment = { DEBIAN_FRONTEND: "noninteractive" };
    // A broken third-party source must not matter here: the install says what it could not find.
    await run("apt-get", ["update", "-q"], { environment }).catch((error: unknown) => say(String(error)));
    await run("apt-get", ["install", "-q", "-y", "--no-install-recommends", ...missing], { environment });
  });
}

async function missingPackages(): Promise<string[]> {
  const query = ["-W", "-f", "${Package} ${db:Status-Status}\\n", ...packages];
  let listed: string;
  try {
    listed = await run("dpkg-query", query);
  } catch (error) {
    if (!(error instanceof CommandFailed))
      throw new Error("the end-to-end cluster needs Debian's dpkg", { cause: error });
    listed = error.output; // some are unknown to dpkg; the known ones are listed all the same
  }
  const installed = new Set(
    listed
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

const policyFile = "/usr/sbin/policy-rc.d";

/** Debian asks this file whether a package may start its service; 101 says no. A file that is there already stays as it is. */
async function withoutStartingServices(work: () => Promise<void>): Promise<void> {
  const ours = "#!/bin/sh\n# Made by Packetboat's e2e/cluster for the time of an install.\nexit 101\n";
  const isFree = !existsSync(policyFile);
  if (isFree) writeFileSync(policyFile, ours, { mode: 0o755 });
  else warnIfServicesMayStart();
  try {
    await work();
  } finally {
    if (isFree && readFileSync(policyFile, "utf8") === ours) rmSync(policyFile);
  }
}

function warnIfServicesMayStart(): void {
  try {
    accessSync(policyFile, constants.X_OK);
  } catch {
    say(`${policyFile} is not executable: installed packages may start their services`);
  }
}
