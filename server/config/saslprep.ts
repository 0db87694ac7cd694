/**
 * SASLprep and the SCRAM-SHA-256 verifier of a plaintext: what the operator writes and the server checks must be made alike.
 *
 * Pure. RFC 4013 over Unicode's own NFKC (newer than the Unicode 3.2 of RFC 3454; what was unassigned then is taken). A password that RFC 4013 prohibits is used
 * as it is, as clients and other servers do; a NUL never gets here. RFC 5802 §3, RFC 7677.
 */
import { createHash, createHmac } from "node:crypto";

/** RFC 3454 B.1: mapped to nothing. */
// oxlint-disable-next-line no-misleading-character-class
const nothing = /[\u00ad\u034f\u1806\u180b-\u180d\u200b-\u200d\u2060\ufe00-\ufe0f\ufeff]/gu;
/** RFC 3454 C.1.2: non-ASCII space characters. */
const spaces = /[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/gu;
/** RFC 3454 C.2 to C.9; U+0340 and U+0341 of C.8 are gone after NFKC. */
const prohibited =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u06dd\u070f\u180e\u2028\u2029\u200e\u200f\u202a-\u202e\u2061-\u2063\u206a-\u206f\u2ff0-\u2ffb\ufff9-\ufffd\ue000-\uf8ff\ufdd0-\ufdef\u{f0000}-\u{10ffff}\u{e0001}\u{e0020}-\u{e007f}]|\p{Cs}/u;

export function saslPrep(text: string): string {
  // oxlint-disable-next-line no-control-regex
  if (/^[\u0020-\u007e]*$/.test(text)) return text;
  const prepared = text.replaceAll(spaces, " ").replaceAll(nothing, "").normalize("NFKC");
  return prepared === "" || prohibited.test(prepared) ? text : prepared;
}

const hmac = (key: Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

/** RFC 5802 §3: StoredKey and ServerKey of a SaltedPassword. */
export function scramKeys(saltedPassword: Buffer): { readonly storedKey: Buffer; readonly serverKey: Buffer } {
  const storedKey = createHash("sha256").update(hmac(saltedPassword, "Client Key")).digest();
  return { storedKey, serverKey: hmac(saltedPassword, "Server Key") };
}

/** As Dovecot writes it. */
export function scramText(rounds: number, salt: Buffer, saltedPassword: Buffer): string {
  const { storedKey, serverKey } = scramKeys(saltedPassword);
  return `{SCRAM-SHA-256}${rounds},${[salt, storedKey, serverKey].map((bytes) => bytes.toString("base64")).join(",")}`;
}

/** Rounds of the verifiers that the operator makes of plaintexts. */
export const SCRAM_ROUNDS = 65_536;

/** The salt of a name: of a user whose verifier the operator makes, and of a user that does not exist. */
export const scramSalt = (saltKey: string, name: string): Buffer =>
  createHmac("sha256", saltKey).update(name).digest().subarray(0, 16);
