/**
 * Netstrings (`5:hello,`), the frames of socketmap, policy and other old daemons.
 *
 * A parser that takes bytes in whatever pieces and gives whole frames; nothing is kept beyond the largest frame allowed. What is not a netstring is an error, after which the
 * connection is of no use.
 */

export const encodeNetstring = (text: string): Buffer => {
  const content = Buffer.from(text, "utf8");
  return Buffer.concat([Buffer.from(`${content.length}:`, "latin1"), content, Buffer.from(",", "latin1")]);
};

export class NetstringError extends Error {
  readonly code: string = "EPROTO";
}

export class NetstringReader {
  readonly #largest: number;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(largest: number) {
    this.#largest = largest;
  }

  /** Octets that wait for the rest of their frame. */
  get pending(): number {
    return this.#buffer.length;
  }

  /** Whole frames, in their order. Throws NetstringError. */
  push(data: Buffer): Buffer[] {
    this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data]);
    const frames: Buffer[] = [];
    for (;;) {
      const frame = this.#next();
      if (frame === undefined) return frames;
      frames.push(frame);
    }
  }

  #next(): Buffer | undefined {
    const digits = String(this.#largest).length;
    const head = this.#buffer.subarray(0, digits + 1);
    const colon = head.indexOf(":");
    const written = head.subarray(0, colon < 0 ? head.length : colon).toString("latin1");
    if (!/^(?:0|[1-9]\d*)?$/.test(written) || (colon < 0 && head.length > digits) || colon === 0)
      throw new NetstringError("not a netstring");
    if (colon < 0) return undefined;
    const length = Number(written);
    if (length > this.#largest) throw new NetstringError(`a netstring of more than ${this.#largest} octets`);
    const end = colon + 1 + length;
    if (this.#buffer.length <= end) return undefined;
    if (this.#buffer[end] !== 0x2c) throw new NetstringError("a netstring without its comma");
    const frame = this.#buffer.subarray(colon + 1, end);
    this.#buffer = this.#buffer.subarray(end + 1);
    return frame;
  }
}
