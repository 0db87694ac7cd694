/**
 * Image: builds container images from Containerfiles with buildah, without a registry, and loads them into the cluster.
 * The base is a minimal Debian made from packages; both it and buildah's storage stay in the cache. An image is handed over as a
 * docker-archive file; pods use it with `imagePullPolicy: Never` or `IfNotPresent`.
 * Fails with `CommandFailed`, which holds what buildah or mmdebstrap said.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { binary, ensureBinaries } from "./binaries.ts";
import { run } from "./command.ts";
import { ctr, pauseImage } from "./containerd.ts";
import { cacheDirectory } from "./layout.ts";
import { locked } from "./lock.ts";
import { installPackages } from "./packages.ts";
import { say } from "./progress.ts";

export interface ImageBuild {
  readonly containerfile: string;
  /** The folder that COPY takes from. */
  readonly context: string;
  /** A full name with its tag, such as `packetboat.test/packetboat:e2e`. */
  readonly tag: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** Where the docker-archive goes; by default into the cache, replacing the one before of this tag. */
  readonly archive?: string;
}

/** What the Node binary from npm links to, and the roots of the public web of trust. */
const basePackages = ["libc6", "libstdc++6", "libatomic1", "libgcc-s1", "ca-certificates"] as const;

/** Builds the minimal Debian base (once, then cached); gives its name, for `--build-arg BASE=…`. */
export function buildBaseImage(): Promise<string> {
  return locked(async () => {
    await installPackages();
    const { suite, sources, hash } = await debianSources();
    const name = `packetboat.test/base:${suite}-${hash}`;
    if (await isStored(name)) return name;
    const file = join(cacheDirectory, `base-${suite}-${hash}.tar`);
    if (!existsSync(file)) await makeRootFileSystem(suite, sources, file);
    say(`making ${name}`);
    await makeImage(name, (container) => buildah("add", container, file, "/").then(() => undefined));
    return name;
  });
}

const isStored = (name: string): Promise<boolean> =>
  buildah("inspect", "--type", "image", name).then(
    () => true,
    () => false,
  );

async function makeRootFileSystem(suite: string, sources: string, file: string): Promise<void> {
  say(`making a minimal Debian ${suite} from packages`);
  const unfinished = `${file}.unfinished.tar`;
  mkdirSync(cacheDirectory, { recursive: true });
  await run(
    "mmdebstrap",
    [
      "--mode=root",
      "--variant=minbase",
      `--include=${basePackages.join(",")}`,
      "--dpkgopt=path-exclude=/usr/share/man/*",
      "--dpkgopt=path-exclude=/usr/share/doc/*",
      "--dpkgopt=path-exclude=/usr/share/locale/*",
      "--format=tar",
      suite,
      unfinished,
      "-", // the package sources are on standard input
    ],
    { input: sources },
  );
  renameSync(unfinished, file);
}

/** This machine's own Debian sources, in the one-line form, without any third party's; mmdebstrap finds Debian's keys itself. */
async function debianSources(): Promise<{ suite: string; sources: string; hash: string }> {
  const suite = /^VERSION_CODENAME=(\S+)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1];
  if (suite === undefined) throw new Error("/etc/os-release names no Debian release");
  const format = "$(ORIGIN)\t$(CODENAME)\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)";
  const listed = await run("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
  const lines = listed
    .split("\n")
    .map((line) => line.split("\t"))
    .filter(([origin, codename]) => origin === "Debian" && codename?.startsWith(suite))
    .map(([, , uri, release, component]) => `deb ${uri} ${release} ${component}`);
  if (lines.length === 0) throw new Error("apt knows no Debian source on this machine");
  const sources = `${[...new Set(lines)].sort().join("\n")}\n`;
  const hash = createHash("sha256").update(suite).update(basePackages.join()).digest("hex").slice(0, 12);
  return { suite, sources, hash };
}

/** Builds an image and gives the path of its docker-archive, ready for `loadImage`. */
export function buildImage(build: ImageBuild): Promise<string> {
  return locked(async () => {
    await installPackages();
    const buildArgs = Object.entries(build.buildArgs ?? {}).flatMap(([name, value]) => [
      "--build-arg",
      `${name}=${value}`,
    ]);
    say(`building ${build.tag}`);
    // Isolation chroot: runc inside buildah would want rights that a confined root lacks.
    await buildah(
      "build",
      "--isolation=chroot",
      "--network=host",
      "--pull=never",
      "--layers=false",
      "--format=docker",
      ...buildArgs,
      "--file",
      build.containerfile,
      "--tag",
      build.tag,
      build.context,
    );
    const archive = build.archive ?? join(cacheDirectory, `${build.tag.replace(/[^\w.-]+/g, "_")}.tar`);
    await pushToArchive(build.tag, archive);
    await buildah("rmi", "--prune").catch(() => undefined); // the image that had this tag before
    return archive;
  });
}

async function pushToArchive(tag: string, archive: string): Promise<void> {
  const unfinished = `${archive}.unfinished`;
  rmSync(unfinished, { force: true }); // an archive that is there would be added to, or refused
  await buildah("push", tag, `docker-archive:${unfinished}:${tag}`);
  renameSync(unfinished, archive);
}

/** Puts a docker-archive into the cluster's container runtime. */
export async function importImage(archive: string): Promise<void> {
  await ctr("images", "import", archive);
}

/** The sandbox image, made of one static program. */
export async function ensurePauseArchive(): Promise<string> {
  await ensureBinaries();
  const program = binary("pause");
  const hash = createHash("sha256").update(readFileSync(program)).digest("hex").slice(0, 16);
  const archive = join(cacheDirectory, `pause-${hash}.tar`);
  if (existsSync(archive)) return archive;
  await makeImage(pauseImage, async (container) => {
    await buildah("copy", container, program, "/pause");
    await buildah("config", "--entrypoint", '["/pause"]', "--user", "65535:65535", container);
  });
  await pushToArchive(pauseImage, archive);
  return archive;
}

async function makeImage(name: string, fill: (container: string) => Promise<void>): Promise<void> {
  const container = (await buildah("from", "scratch")).trim();
  try {
    await fill(container);
    await buildah("commit", "--format=docker", container, name);
  } finally {
    await buildah("rm", container);
  }
}

const storage = (): string[] => [
  "--storage-driver=vfs",
  `--root=${join(cacheDirectory, "buildah")}`,
  `--runroot=${join(cacheDirectory, "buildah-run")}`,
];

/** Buildah with storage of its own, and with no registry to ask. */
async function buildah(...args: readonly string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "packetboat-e2e-"));
  try {
    const registries = join(folder, "registries.conf");
    writeFileSync(registries, "unqualified-search-registries = []\n");
    const configuration = join(folder, "containers.conf");
    writeFileSync(configuration, `[network]\nnetwork_config_dir = "${folder}"\n`); // else buildah makes /etc/cni
    const policy = join(folder, "policy.json");
    writeFileSync(policy, JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
    const [command = "", ...rest] = args;
    const takesPolicy = ["build", "from", "commit", "push"].includes(command);
    return await run(
      "buildah",
      [
        ...storage(),
        `--registries-conf=${registries}`,
        command,
        ...(takesPolicy ? [`--signature-policy=${policy}`] : []),
        ...rest,
      ],
      { environment: { BUILDAH_ISOLATION: "chroot", CONTAINERS_CONF: configuration } },
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
