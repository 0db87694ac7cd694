/**
 * SHA-crypt: the `$5$` and `$6$` password hashes of crypt(3).
 *
 * Written from Ulrich Drepper's public specification "Unix crypt using SHA-256 and SHA-512"; step numbers are its. Pure and slow on purpose:
 * runs in the password worker, never on the event loop. The caller bounds the rounds.
 */
import { createHash } from "node:crypto";

const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Step 22: the order in which three bytes at a time become four characters; -1 where the digest has no more. */
const order: Readonly<Record<"sha256" | "sha512", readonly (readonly [number, number, number])[]>> = {
  sha256: [
    [0, 10, 20],
    [21, 1, 11],
    [12, 22, 2],
    [3, 13, 23],
    [24, 4, 14],
    [15, 25, 5],
    [6, 16, 26],
    [27, 7, 17],
    [18, 28, 8],
    [9, 19, 29],
    [-1, 31, 30],
  ],
  sha512: [
    [0, 21, 42],
    [22, 43, 1],
    [44, 2, 23],
    [3, 24, 45],
    [25, 46, 4],
    [47, 5, 26],
    [6, 27, 48],
    [28, 49, 7],
    [50, 8, 29],
    [9, 30, 51],
    [31, 52, 10],
    [53, 11, 32],
    [12, 33, 54],
    [34, 55, 13],
    [56, 14, 35],
    [15, 36, 57],
    [37, 58, 16],
    [59, 17, 38],
    [18, 39, 60],
    [40, 61, 19],
    [62, 20, 41],
    [-1, -1, 63],
  ],
};

/** `bytes` repeated and cut to a length. */
const fill = (bytes: Buffer, length: number): Buffer => Buffer.alloc(length, length === 0 ? undefined : bytes);

/** The encoded digest: what stands after the last `$`. */
export function shaCrypt(digest: "sha256" | "sha512", password: Buffer, saltText: string, rounds: number): string {
  const salt = Buffer.from(saltText);
  // Steps 4 to 8: digest B.
  const b = createHash(digest).update(password).update(salt).update(password).digest();
  // Steps 1 to 3 and 9 to 12: digest A.
  const inner = createHash(digest).update(password).update(salt).update(fill(b, password.length));
  for (let bits = password.length; bits > 0; bits >>= 1) inner.update((bits & 1) === 1 ? b : password);
  let a = inner.digest();
  // Steps 13 to 16: sequence P from digest DP.
  const dp = createHash(digest);
  for (let times = 0; times < password.length; times += 1) dp.update(password);
  const p = fill(dp.digest(), password.length);
  // Steps 17 to 20: sequence S from digest DS.
  const ds = createHash(digest);
  for (let times = 0; times < 16 + (a[0] ?? 0); times += 1) ds.update(salt);
  const s = fill(ds.digest(), salt.length);
  // Step 21: the rounds.
  for (let round = 0; round < rounds; round += 1) {
    const odd = round % 2 === 1;
    const hash = createHash(digest).update(odd ? p : a);
    if (round % 3 !== 0) hash.update(s);
    if (round % 7 !== 0) hash.update(p);
    a = hash.update(odd ? a : p).digest();
  }
  // Step 22: the encoding, six bits a character from the low end.
  let text = "";
  for (const [high, middle, low] of order[digest]) {
    const byte = (index: number): number => (index < 0 ? 0 : (a[index] ?? 0));
    let bits = (byte(high) << 16) | (byte(middle) << 8) | byte(low);
    const characters = high >= 0 ? 4 : middle >= 0 ? 3 : 2;
    for (let written = 0; written < characters; written += 1, bits >>= 6) text += alphabet[bits & 63];
  }
  return text;
}
