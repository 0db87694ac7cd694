/**
 * Where the embedded server's JSON lines go: `<data>/server.log`, at most two files of 50 MiB.
 *
 * Stands in local/, behind the child's output. Writes synchronously, so that what the server said before a crash is on the file; a log that cannot be
 * written is dropped, because mail matters more. Lines may be split over two files at the moment of rotation.
 */
import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";

export class ServerLog {
  readonly path: string;
  readonly #maxBytes: number;
  #descriptor: number;
  #bytes: number;

  constructor(path: string, maxBytes: number = 50 * 1024 * 1024) {
    this.path = path;
    this.#maxBytes = maxBytes;
    this.#descriptor = openSync(path, "a", 0o640);
    this.#bytes = fstatSync(this.#descriptor).size;
  }

  write(chunk: Buffer): void {
    try {
      if (this.#bytes + chunk.length > this.#maxBytes && this.#bytes > 0) this.#rotate();
      this.#bytes += writeSync(this.#descriptor, chunk);
    } catch {
      // A full disk must not end the mail server; the server itself reports the full disk to its clients.
    }
  }

  #rotate(): void {
    closeSync(this.#descriptor);
    renameSync(this.path, `${this.path}.1`);
    this.#descriptor = openSync(this.path, "a", 0o640);
    this.#bytes = 0;
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
