/**
 * Where the embedded server's JSON lines go: `<data>/server.log`, at most two files of 50 MiB.
 *
 * Stands in local/, behind the child's output. Writes synchronously, so that what the server said before a crash is on the file; a log that cannot be
 * written (a full disk) is dropped, because mail matters more; then the person at the terminal is told once, and hears the server's first errors instead.
 * Lines may be split over two files at the moment of rotation.
 */
import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";

/** Lines that reach the terminal while the file cannot be written: the first say what is wrong, the rest would only be many. */
const MAX_SAID = 20;

export class ServerLog {
  readonly path: string;
  readonly #complain: (text: string) => void;
  readonly #maxBytes: number;
  #descriptor: number;
  #bytes: number;
  /** undefined: the last write went well. */
  #said: number | undefined;

  constructor(path: string, complain: (text: string) => void, maxBytes: number = 50 * 1024 * 1024) {
    this.path = path;
    this.#complain = complain;
    this.#maxBytes = maxBytes;
    this.#descriptor = openSync(path, "a", 0o640);
    this.#bytes = fstatSync(this.#descriptor).size;
  }

  write(chunk: Buffer): void {
    try {
      if (this.#bytes + chunk.length > this.#maxBytes && this.#bytes > 0) this.#rotate();
      // A disk that is nearly full takes the beginning and refuses the rest at the next try.
      for (let at = 0; at < chunk.length; ) at += this.#append(chunk.subarray(at));
      this.#said = undefined;
    } catch (cause) {
      // A full disk must not end the mail server.
      this.#sayInstead(chunk, cause);
    }
  }

  #append(part: Buffer): number {
    const written = writeSync(this.#descriptor, part);
    this.#bytes += written;
    return written;
  }

  #sayInstead(chunk: Buffer, cause: unknown): void {
    if (this.#said === undefined) {
      this.#said = 0;
      const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
      this.#complain(
        `The log ${this.path} cannot be written (${why}). Mail goes on as far as it can; make room there. Errors of the server are shown here meanwhile.`,
      );
    }
    for (const line of chunk.toString("utf8").split("\n")) {
      if (this.#said >= MAX_SAID || !/^\{"level":"(?:error|fatal)"/.test(line)) continue;
      this.#said += 1;
      this.#complain(line);
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
