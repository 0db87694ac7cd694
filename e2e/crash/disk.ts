/**
 * A disk whose power can be cut: an ext4 volume in a loop-mounted image, on an XFS that can copy the image in an instant.
 *
 * `cut` copies the image with --reflink: what has been synced through ext4 is in the copy, what only the page cache knew is not; that is the disk as a power
 * cut leaves it. The copy is mounted (ext4 replays its journal as after any power cut), looked at, and thrown away. Needs root, loop devices and xfsprogs;
 * `powerMissing` says what is not there. Everything mounted here is unmounted when the disk is disposed of or the process ends, by a signal too.
 */
import { execFile, execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ensureCommands } from "../peers/packages.ts";

const run = promisify(execFile);
const OUTER_BYTES = 12 * 2 ** 30;
const INNER_BYTES = 2 ** 30;

export function powerMissing(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root: disk images are mounted";
  if (!existsSync("/dev/loop-control")) return "needs loop devices";
  const missing = ensureCommands({
    xfsprogs: ["/usr/sbin/mkfs.xfs"],
    e2fsprogs: ["/usr/sbin/mkfs.ext4"],
    mount: ["/usr/bin/mount", "/usr/sbin/losetup"],
  });
  if (missing !== undefined) return missing;
  // A kernel without XFS says so only when asked to mount one.
  return undefined;
}

export interface Cut extends AsyncDisposable {
  /** The volume as it was, mounted. */
  readonly folder: string;
}

export class Disk implements AsyncDisposable {
  readonly #folder: string;
  readonly #mounted: string[] = [];
  #cuts = 0;

  readonly #atExit = (): void => this.#close();
  readonly #atSignal = (): never => process.exit(130);

  private constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), "packetboat-disk-"));
    process.once("exit", this.#atExit);
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, this.#atSignal);
  }

  static create(): Disk {
    const disk = new Disk();
    try {
      disk.#make();
      return disk;
    } catch (cause) {
      disk.#close();
      throw cause;
    }
  }

  /** Where the volume is mounted. */
  get volume(): string {
    return join(this.#folder, "volume");
  }

  get #outer(): string {
    return join(this.#folder, "outer");
  }

  #make(): void {
    const host = join(this.#folder, "host.xfs");
    sparse(host, OUTER_BYTES);
    execFileSync("/usr/sbin/mkfs.xfs", ["-q", "-m", "reflink=1", host]);
    this.#mount(host, this.#outer);
    const image = join(this.#outer, "disk.img");
    sparse(image, INNER_BYTES);
    execFileSync("/usr/sbin/mkfs.ext4", ["-q", "-F", image]);
    this.#mount(image, this.volume);
  }

  #mount(image: string, folder: string): void {
    mkdirSync(folder, { recursive: true });
    execFileSync("/usr/bin/mount", ["-o", "loop", image, folder]);
    this.#mounted.push(folder);
  }

  /** Cut the power now. Blocks: whoever shares this thread neither sends nor reads meanwhile. Resolve the result by `open`. */
  cut(): string {
    this.#cuts += 1;
    const image = join(this.#outer, `cut-${this.#cuts}.img`);
    execFileSync("cp", ["--reflink=always", join(this.#outer, "disk.img"), image]);
    return image;
  }

  /** Power is back: the volume as the cut left it. Gone when disposed. */
  async open(image: string): Promise<Cut> {
    const folder = `${image}.d`;
    mkdirSync(folder, { recursive: true });
    await run("/usr/bin/mount", ["-o", "loop", image, folder]);
    this.#mounted.push(folder);
    return {
      folder,
      [Symbol.asyncDispose]: async () => {
        await run("/usr/bin/umount", [folder]);
        this.#mounted.splice(this.#mounted.indexOf(folder), 1);
        rmSync(image);
      },
    };
  }

  #close(): void {
    process.off("exit", this.#atExit);
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, this.#atSignal);
    for (const folder of this.#mounted.toReversed()) {
      // The loop device goes with the mount.
      if (spawnSync("/usr/bin/umount", [folder]).status === 0) continue;
      this.#killUsers();
      spawnSync("/usr/bin/umount", ["-l", folder]);
    }
    this.#mounted.length = 0;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Servers of ours that a test which was ended has left behind: the folder's name, which only this disk has, is in their command lines. */
  #killUsers(): void {
    for (const pid of readdirSync("/proc").map(Number)) {
      if (!Number.isInteger(pid) || pid === process.pid) continue;
      try {
        if (readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(this.#folder)) process.kill(pid, "SIGKILL");
      } catch {
        // Gone meanwhile.
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    await Promise.resolve();
  }
}

function sparse(path: string, bytes: number): void {
  writeFileSync(path, "");
  truncateSync(path, bytes);
}
