/**
 * A file that only takes space, next to the database: given up when the disk is full, so that settling can go on.
 *
 * Deleting from a full disk needs space first: the log must grow, or be merged into the database file, which then grows. Without this a disk that
 * something else has filled would leave a queue that cannot even get rid of what it has delivered. Made again when there is room. Worker thread.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, rmSync, statfsSync, statSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { dirname } from "node:path";

const PIECE = Buffer.alloc(1_048_576);
/** As much as a small message takes. */
const PROBE_BYTES = 65_536;
/** How often to look whether there is room again. */
const RETRY_MS = 10_000;

export const reservePath = (database: string): string => `${database}-reserve`;

export class Reserve {
  readonly #path: string;
  readonly #bytes: number;
  #isThere = false;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(database: string, bytes: number) {
    this.#path = reservePath(database);
    this.#bytes = bytes;
    this.#isThere = bytes === 0 || statSync(this.#path, { throwIfNoEntry: false })?.size === bytes;
  }

  get missingBytes(): number {
    return this.#isThere ? 0 : this.#bytes;
  }

  /** After a commit that went well. Leaves at least as much again to others; that it cannot be made is no error. */
  restore(): void {
    const now = performance.now();
    if (this.#isThere || now - this.#lookedAt < RETRY_MS) return;
    this.#lookedAt = now;
    try {
      const { bavail, bsize } = statfsSync(dirname(this.#path));
      if (bavail * bsize < 2 * this.#bytes) return;
      this.#write();
      this.#isThere = true;
    } catch {
      rmSync(this.#path, { force: true });
    }
  }

  #write(): void {
    const descriptor = openSync(this.#path, "w", 0o600);
    try {
      // Octets, not a hole: a hole takes no space.
      for (let at = 0; at < this.#bytes; at += PIECE.length) writeSync(descriptor, PIECE, 0, PIECE.length, at);
      ftruncateSync(descriptor, this.#bytes);
    } finally {
      closeSync(descriptor);
    }
  }

  /** Whether not even a few octets can be written beside the database for lack of space or quota. */
  isOutOfSpace(): boolean {
    const probe = `${this.#path}-probe`;
    try {
      const descriptor = openSync(probe, "w", 0o600);
      try {
        writeSync(descriptor, PIECE, 0, PROBE_BYTES);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
      return false;
    } catch (error) {
      // By number: Node has no name for a used-up quota.
      const { errno = 0 } = error as NodeJS.ErrnoException;
      return [constants.errno.ENOSPC, constants.errno.EDQUOT].includes(-errno);
    } finally {
      rmSync(probe, { force: true });
    }
  }

  giveUp(): void {
    if (this.#bytes === 0) return;
    rmSync(this.#path, { force: true });
    this.#isThere = false;
    // Not at once: somebody else wants the space now.
    this.#lookedAt = performance.now();
  }
}
