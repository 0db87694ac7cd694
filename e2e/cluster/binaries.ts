/**
 * Binaries: Kubernetes, CoreDNS, helm and kubeconform, built from Go modules.
 * Each of the three Go modules beside this file (`kubernetes/`, `dns/`, `tools/`) is built once and kept in the cache under the hash of
 * everything that it is made from; a second run builds nothing.
 * Fails when there is no `go`, or when it is older than a module asks for.
 */
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { isOnPath, run } from "./command.ts";
import { cacheDirectory, sourceDirectory } from "./layout.ts";
import { say } from "./progress.ts";

export const kubernetesVersion = "v1.34.4";

interface GoModule {
  readonly folder: string;
  /** What is built → the file it becomes. */
  readonly programs: Readonly<Record<string, string>>;
  readonly linkerFlags: string;
}

const versionOf = (name: string): string => `-X k8s.io/component-base/version.${name}`;

const modules = {
  kubernetes: {
    folder: "kubernetes",
    programs: {
      "k8s.io/kubernetes/cmd/kube-apiserver": "kube-apiserver",
      "k8s.io/kubernetes/cmd/kube-controller-manager": "kube-controller-manager",
      "k8s.io/kubernetes/cmd/kube-scheduler": "kube-scheduler",
      "k8s.io/kubernetes/cmd/kubelet": "kubelet",
      "k8s.io/kubernetes/cmd/kube-proxy": "kube-proxy",
      "k8s.io/kubernetes/cmd/kubectl": "kubectl",
      "./pause": "pause",
    },
    linkerFlags: `-s -w ${versionOf("gitVersion")}=${kubernetesVersion} ${versionOf("gitMajor")}=1 ${versionOf("gitMinor")}=34`,
  },
  dns: { folder: "dns", programs: { ".": "coredns" }, linkerFlags: "-s -w" },
  tools: {
    folder: "tools",
    programs: {
      "helm.sh/helm/v3/cmd/helm": "helm",
      "github.com/yannh/kubeconform/cmd/kubeconform": "kubeconform",
    },
    linkerFlags: "-s -w",
  },
} as const satisfies Record<string, GoModule>;

export type Program =
  | (typeof modules.kubernetes.programs)[keyof typeof modules.kubernetes.programs]
  | (typeof modules.dns.programs)[keyof typeof modules.dns.programs]
  | (typeof modules.tools.programs)[keyof typeof modules.tools.programs];

/** Every program of the cluster, built now if it has to be. */
export async function ensureBinaries(): Promise<void> {
  for (const module of Object.values(modules)) await ensureModule(module);
}

/** helm and kubeconform alone, for checks that need no cluster; takes the cluster's build time only for these two. */
export async function ensureTools(): Promise<void> {
  await ensureModule(modules.tools);
}

export function binary(program: Program): string {
  for (const module of Object.values<GoModule>(modules)) {
    if (Object.values(module.programs).includes(program)) return join(cachedFolder(module), program);
  }
  throw new Error(`no Go module here makes ${program}`);
}

/** The folders that hold the programs, for a PATH. */
export const binaryPath = (): string => Object.values(modules).map(cachedFolder).join(delimiter);

function sourcesOf(module: GoModule): string[] {
  const folder = join(sourceDirectory, module.folder);
  return globSync(["go.mod", "go.sum", "**/*.go"], { cwd: folder })
    .sort()
    .map((file) => join(folder, file));
}

function cachedFolder(module: GoModule): string {
  const hash = createHash("sha256").update(process.arch).update(module.linkerFlags);
  for (const file of sourcesOf(module)) hash.update(readFileSync(file)).update("\0");
  return join(cacheDirectory, `${module.folder}-${hash.digest("hex").slice(0, 16)}`);
}

async function ensureModule(module: GoModule): Promise<void> {
  const folder = cachedFolder(module);
  if (existsSync(folder)) return;
  if (!isOnPath("go")) {
    throw new Error(
      `building ${Object.values(module.programs).join(", ")} needs the Go toolchain (go ${goVersionAskedBy(module)} or newer) on the PATH; ` +
        "Debian's own golang package is too old",
    );
  }
  const unfinished = `${folder}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  say(`building ${Object.values(module.programs).join(", ")} (minutes the first time, then cached)`);
  const flags = ["build", "-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags", module.linkerFlags];
  const environment = { CGO_ENABLED: "0", GOTOOLCHAIN: "local", GOWORK: "off" };
  const directory = join(sourceDirectory, module.folder);
  const { local, remote } = Object.groupBy(Object.keys(module.programs), (source) =>
    source.startsWith(".") ? "local" : "remote",
  );
  if (remote) await run("go", [...flags, "-o", `${unfinished}/`, ...remote], { environment, directory });
  for (const source of local ?? []) {
    await run("go", [...flags, "-o", join(unfinished, module.programs[source] ?? ""), source], {
      environment,
      directory,
    });
  }
  for (const program of Object.values(module.programs)) statSync(join(unfinished, program));
  renameSync(unfinished, folder); // in one step: a folder in the cache is always whole
}

function goVersionAskedBy(module: GoModule): string {
  const goMod = readFileSync(join(sourceDirectory, module.folder, "go.mod"), "utf8");
  return /^go (\S+)/m.exec(goMod)?.[1] ?? "";
}
