/**
 * A disk that refuses for as long as a test wants: failing-disk.c, compiled at its first use and preloaded into the server. Needs a C compiler.
 */
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { ensureCommands } from "../peers/packages.ts";

export const failingDiskMissing = (): string | undefined =>
  ensureCommands({ gcc: ["/usr/bin/gcc"], "libc6-dev": ["/usr/include/stdio.h"] });

export type Errno = "ENOSPC" | "EDQUOT" | "EIO" | "EMFILE" | "EROFS";
/** As in failing-disk.c. */
const kinds = { open: 1, write: 2, sync: 4, read: 8 } as const;
export type Kind = keyof typeof kinds;
const CONTROL_BYTES = 24;
const WHOLE_FILE = [0, Number.MAX_SAFE_INTEGER] as const;

export class FailingDisk implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "packetboat-failing-disk-"));
  readonly #control = join(this.#folder, "control");
  readonly #library = join(this.#folder, "failing-disk.so");

  constructor() {
    writeFileSync(this.#control, Buffer.alloc(CONTROL_BYTES));
    const source = join(import.meta.dirname, "failing-disk.c");
    execFileSync("/usr/bin/gcc", ["-shared", "-fPIC", "-O1", "-o", this.#library, source, "-ldl"]);
  }

  /** For the program whose `folder` is on this disk. */
  environment(folder: string): Readonly<Record<string, string>> {
    return { LD_PRELOAD: this.#library, FAILING_DISK_FOLDER: folder, FAILING_DISK_CONTROL: this.#control };
  }

  /** From now on, until `heal`. `within`: reads fail only there, from an offset to the one before another. */
  fail(errno: Errno, calls: readonly Kind[], within: readonly [from: number, until: number] = WHOLE_FILE): void {
    this.#write(
      constants.errno[errno],
      calls.reduce((sum, kind) => sum + kinds[kind], 0),
      within,
    );
  }

  heal(): void {
    this.#write(0, 0, WHOLE_FILE);
  }

  #write(error: number, calls: number, [from, until]: readonly [number, number]): void {
    const octets = Buffer.alloc(CONTROL_BYTES);
    octets.writeUInt32LE(error, 0);
    octets.writeUInt32LE(calls, 4);
    octets.writeBigUInt64LE(BigInt(from), 8);
    octets.writeBigUInt64LE(BigInt(until), 16);
    const descriptor = openSync(this.#control, "r+");
    writeSync(descriptor, octets, 0, CONTROL_BYTES, 0);
    closeSync(descriptor);
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
