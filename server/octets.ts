/**
 * Octets in memory: given back when they have served, not when the collector comes by.
 *
 * A shard moves a message's octets through a few large buffers, each needed for some milliseconds. Left to V8 they pile up until 64 MiB of them make it
 * look at the whole heap, several times a second under load with large messages. For whoever knows that nothing refers to a buffer any more. Where
 * that is wrong, a reader finds an empty buffer, which it can see by the size that is missing; it never finds another message's octets.
 */

/** The collector is good at small ones. */
const WORTH_BYTES = 16_384;

/** Only where these octets are the whole buffer: what shares its memory with others (Node's pool, a slice) stays. */
export function giveBack({ buffer, byteLength }: Uint8Array): void {
  if (byteLength < WORTH_BYTES || buffer.byteLength !== byteLength || !(buffer instanceof ArrayBuffer)) return;
  buffer.transfer(0);
}

/** One buffer: the piece itself where there is only one. */
export function joined(pieces: readonly Buffer[]): Buffer {
  const [only] = pieces;
  return pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
}

/** A copy that is nobody else's: large ones have a buffer of their own. */
export function copied(given: Buffer | readonly Buffer[]): Buffer {
  const pieces = Buffer.isBuffer(given) ? [given] : given;
  let size = 0;
  for (const piece of pieces) size += piece.length;
  const copy = size < WORTH_BYTES ? Buffer.allocUnsafe(size) : Buffer.allocUnsafeSlow(size);
  let at = 0;
  for (const piece of pieces) {
    copy.set(piece, at);
    at += piece.length;
  }
  return copy;
}
