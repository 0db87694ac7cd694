/**
 * Down: ends the cluster and undoes what it did to this machine: processes, containers, mounts, network links, packet filter rules, control
 * groups, kernel settings, the state folder. Needs nothing but the state folder and works at any moment of a broken `up`.
 * Promise: the cache stays. Fails when something is left that it could not remove, and says what; calling it again is safe.
 */
import { existsSync, globSync, readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync } from "node:fs";
import { attempt, run } from "./command.ts";
import { forgetDaemons, knownDaemons, stopDaemon } from "./daemon.ts";
import { paths, stateDirectory } from "./layout.ts";
import { locked } from "./lock.ts";
import { removeNetwork, restoreKernelSettings } from "./node.ts";
import { say, until } from "./progress.ts";

export const down = (): Promise<void> => locked(tearDown);

/** As `down`, for a caller that has the lock. */
export async function tearDown(): Promise<void> {
  if (!existsSync(stateDirectory)) return;
  say("taking the cluster down");
  const podNamespaces = podNetworkNamespaces();
  const sockets = shimSockets();
  const known = knownDaemons();
  // What starts things first, so that nothing comes back.
  const first = ["kubelet", "kube-proxy"].filter((name) => known.includes(name));
  for (const name of first) await stopDaemon(name, 500);
  await killContainers();
  await Promise.all(known.filter((name) => !first.includes(name)).map((name) => stopDaemon(name, 500)));
  for (const namespace of podNamespaces) await removeNetworkNamespace(namespace);
  await removePacketFilterRules();
  await removeNetwork();
  restoreKernelSettings();
  await unmountEverything();
  removeControlGroups();
  removeStrayFiles(sockets);
  forgetDaemons();
  rmSync(stateDirectory, { recursive: true, force: true });
  say("the cluster is down");
}

/** Containers' shims carry the socket of our containerd in their arguments; the containers are their children or die with their sandbox. */
async function killContainers(): Promise<void> {
  const isGone = async (): Promise<boolean> => {
    const left = [...containerProcesses(), ...shims()];
    for (const pid of left) kill(pid);
    return left.length === 0;
  };
  await until("the containers to end", 15_000, isGone, 100);
}

function shims(): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0)
    .filter((pid) => {
      try {
        const args = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        return args[0]?.includes("containerd-shim") && args.includes(paths.containerdSocket);
      } catch {
        return false;
      }
    });
}

function containerProcesses(): number[] {
  const pids = globSync(controlGroupPattern("/**/cgroup.procs")).flatMap((file) => {
    try {
      return readFileSync(file, "utf8").split("\n").map(Number);
    } catch {
      return [];
    }
  });
  return [...new Set(pids)].filter((pid) => pid > 1 && isProcess(pid));
}

/** Zombies of a killed container may linger until init buries them. */
function isProcess(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // gone meanwhile
  }
}

/** The kubelet's control groups: one tree a controller (version 1), or one for all (version 2). */
const controlGroupPattern = (rest: string): string => `/sys/fs/cgroup/{,*/}kubepods${rest}`;

function removeControlGroups(): void {
  const groups = [...globSync(controlGroupPattern("/**/")), ...globSync(controlGroupPattern(""))]
    .map((group) => group.replace(/\/$/, ""))
    .sort((a, b) => b.split("/").length - a.split("/").length);
  for (const group of new Set(groups)) {
    try {
      rmdirSync(group);
    } catch {
      // not a group (a file), or busy: it disappears with the machine, and a new kubelet takes it over
    }
  }
}

const taskFolders = `${paths.containerdState}/io.containerd.runtime.v2.task/k8s.io/*`;

function podNetworkNamespaces(): string[] {
  const found = globSync(`${taskFolders}/config.json`).flatMap((file) => {
    try {
      const spec = JSON.parse(readFileSync(file, "utf8")) as {
        linux?: { namespaces?: { type: string; path?: string }[] };
      };
      return spec.linux?.namespaces?.find(({ type }) => type === "network")?.path ?? [];
    } catch {
      return [];
    }
  });
  return [...new Set(found)].filter((path) => path.includes("/netns/cni-"));
}

/** The link's other end on the host disappears with the namespace. */
async function removeNetworkNamespace(path: string): Promise<void> {
  await attempt("umount", ["--lazy", path]);
  rmSync(path, { force: true });
}

/** As every Kubernetes clean-up does: by the prefix of the chains that kube-proxy, the kubelet and the CNI plugins make. */
async function removePacketFilterRules(): Promise<void> {
  for (const family of ["iptables", "ip6tables"]) {
    try {
      const saved = await run(`${family}-save`, []);
      const kept = saved.split("\n").filter((line) => !/\b(KUBE|CNI)-/.test(line));
      if (kept.join("\n") !== saved) await run(`${family}-restore`, [], { input: kept.join("\n") });
    } catch (error) {
      say(`${family}: ${String(error)}`);
    }
  }
}

async function unmountEverything(): Promise<void> {
  const mounted = (): string[] =>
    readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .map((line) =>
        (line.split(" ")[4] ?? "").replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
      )
      .filter((path) => path.startsWith(`${stateDirectory}/`))
      .reverse();
  for (const path of mounted()) await attempt("umount", ["--lazy", path]);
  const left = mounted();
  // Removing the folder now would remove what lies behind the mounts.
  if (left.length > 0) throw new Error(`still mounted: ${left.join(", ")}`);
}

/** Each task's folder names the socket of its shim, which containerd makes outside its own folders. */
function shimSockets(): string[] {
  return globSync(`${taskFolders}/address`).flatMap((file) => {
    try {
      return readFileSync(file, "utf8")
        .trim()
        .replace(/^unix:\/\//, "");
    } catch {
      return [];
    }
  });
}

/** What the kubelet, containerd and CNI write to fixed places, whatever their configuration says. Folders go only when nothing else is in them. */
function removeStrayFiles(sockets: readonly string[]): void {
  for (const file of [
    ...sockets,
    ...globSync(`/var/lib/cni/results/${paths.cniNetwork}-*`),
    ...globSync("/var/log/containers/*.log").filter(pointsIntoState),
    "/var/lib/kubelet/device-plugins/kubelet.sock",
  ]) {
    rmSync(file, { force: true });
  }
  for (const folder of [
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/log/containers",
    "/run/containerd/s",
    "/run/containerd",
  ]) {
    try {
      rmdirSync(folder);
    } catch {
      // not there, or in use by someone else
    }
  }
}

function pointsIntoState(link: string): boolean {
  try {
    return readlinkSync(link).startsWith(`${stateDirectory}/`);
  } catch {
    return false;
  }
}

if (import.meta.main) {
  await down();
}
