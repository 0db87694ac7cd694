/**
 * Where the next CR or LF of a chunk stands: what every octet of every message is looked at for, twice on its way.
 *
 * Under the decoders (DATA, BDAT) and deliver/dot-stuffing.ts. Four octets at a time, because a search with `indexOf` for each CR and each LF is a call
 * into native code for every 40 octets of text: two to four times the work (docs/benchmarks.md). Pure; copies nothing.
 */
const LF = 10;
const CR = 13;

const isLineOctet = (octet: number | undefined): boolean => octet === LF || octet === CR;
/** Whether one of four octets is below 14. Text has few of them: line ends, and a tab now and then. */
const hasLow = (four: number): boolean => ((four - 0x0e0e0e0e) & ~four & 0x80808080) !== 0;

export class LineEnds {
  readonly #chunk: Buffer;
  /** From the last border of four octets in memory at or before the chunk; whole ones only. */
  readonly #fours: Int32Array;
  /** Octets of the first four that stand before the chunk. */
  readonly #before: number;

  constructor(chunk: Buffer) {
    this.#chunk = chunk;
    this.#before = chunk.byteOffset & 3;
    this.#fours = new Int32Array(chunk.buffer, chunk.byteOffset - this.#before, (chunk.length + this.#before) >> 2);
  }

  /** The place of the first CR or LF at or after `from`, else the chunk's length. */
  next(from: number): number {
    const chunk = this.#chunk;
    const fours = this.#fours;
    const before = this.#before;
    let at = from;
    while (at < chunk.length) {
      if (((at + before) & 3) === 0) {
        let four = (at + before) >> 2;
        while (four < fours.length && !hasLow(fours[four] as number)) four++;
        at = (four << 2) - before;
      }
      // To the next border, or to the end.
      do {
        if (at >= chunk.length) return chunk.length;
        if (isLineOctet(chunk[at])) return at;
        at++;
      } while (((at + before) & 3) !== 0);
    }
    return chunk.length;
  }
}
