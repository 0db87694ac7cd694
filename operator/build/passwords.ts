/**
 * Passwords: what a Mailbox's Secret says → the hash the server checks AUTH against, or the sentence that says what is wrong with it.
 *
 * Stands in build/, before the secret slices. Pure: the same Secret gives the same bytes in every process (argon2id with a salt made from the
 * address), remembered so that ten thousand mailboxes are hashed once. A plaintext never leaves this module, neither in results nor in messages.
 * With SCRAM-SHA-256 among the mechanisms, a plaintext gives a verifier for it too. RFC 9106 (argon2), RFC 5802 (SCRAM), RFC 4616 §2 (no NUL in a password).
 *
 * Which value is which:
 *   key `hash`                        must be a hash of an accepted format (also taken where the key is `password` and the Secret has only `hash`);
 *   key `password`, or another named  a value that opens with `{SCHEME}` or `$id$` is a hash, everything else is a plaintext.
 * One line end at the end of a value is not part of it (`kubectl create secret --from-file`).
 */
import { argon2, argon2Sync, createHash, pbkdf2, pbkdf2Sync } from "node:crypto";
import { promisify } from "node:util";
import { SCRAM_ROUNDS, saslPrep, scramSalt, scramText } from "../../server/config/saslprep.ts";

export type PasswordResult =
  | {
      readonly ok: true;
      readonly hash: string;
      /** Present where the Secret holds a plaintext. */
      readonly plaintext?: string;
    }
  | { readonly ok: false; readonly reason: "SecretNotFound" | "SecretInvalid"; readonly message: string };

/** OWASP's second recommendation for argon2id: 19 MiB, two passes, one lane. */
const ARGON2 = { memory: 19_456, passes: 2, parallelism: 1, tagLength: 32 } as const;
/** A longer password is a mistake or an attack on the one who hashes it. */
const MAX_PLAINTEXT_BYTES = 1024;
const MAX_HASH_BYTES = 512;
/** More than the largest installation we render; the oldest goes first. */
const MAX_REMEMBERED = 200_000;

const base64 = "[A-Za-z0-9+/]";
// Costs are bounded: whoever may write a Secret must not be able to make a login take minutes of the server's CPU or gigabytes of its memory.
// Never wider than what the server verifies (server/auth/password-hash.ts): a hash it cannot read would be a login that can only fail.
const bcrypt = /^\$2[aby]\$(?:0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$/;
const shaCrypt = (id: "5" | "6", length: number) => {
  const format = new RegExp(
    `^\\$${id}\\$(?:rounds=([1-9][0-9]{0,5})\\$)?[./A-Za-z0-9]{0,16}\\$[./A-Za-z0-9]{${length}}$`,
  );
  return (body: string): boolean => {
    const match = format.exec(body);
    return match !== null && Number(match[1] ?? "5000") <= 500_000;
  };
};
const sha512Crypt = shaCrypt("6", 86);
const sha256Crypt = shaCrypt("5", 43);
const argon2idFormat = new RegExp(
  `^\\$argon2id\\$v=19\\$m=([1-9][0-9]{0,5}),t=([1-9][0-9]?),p=([1-9][0-9]?)\\$${base64}{11,86}\\$${base64}{22,86}$`,
);
const argon2id = (body: string): boolean => {
  const [, memory, passes, lanes] = (argon2idFormat.exec(body) ?? []).map(Number);
  return (
    memory !== undefined &&
    passes !== undefined &&
    lanes !== undefined &&
    memory <= 262_144 &&
    memory >= 8 * lanes &&
    passes <= 16 &&
    lanes <= 16
  );
};
const bcryptHash = (body: string): boolean => bcrypt.test(body);

/** Salted digests: base64 of digest and salt, with at least one octet of salt. */
const saltedDigest = (digestBytes: number) => (body: string) => {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(body)) return false;
  return Buffer.from(body, "base64").length > digestBytes;
};
const boundedRounds = (rounds: string | undefined): boolean => Number(rounds) >= 1 && Number(rounds) <= 2_000_000;
/** Rounds, salt and digest, as passlib and OpenLDAP write them. */
const pbkdf2Format = /^([1-9][0-9]{0,6})\$[A-Za-z0-9./+]{1,128}={0,2}\$[A-Za-z0-9./+]{22,86}={0,2}$/;
/** As doveadm writes it. */
const dovecotPbkdf2Format = /^\$1\$[A-Za-z0-9./]{1,64}\$([1-9][0-9]{0,6})\$[0-9a-f]{40}$/;
const pbkdf2Hash = (body: string): boolean => boundedRounds(pbkdf2Format.exec(body)?.[1]);
const pbkdf2Crypt = (body: string): boolean => {
  const [prefix = ""] = /^\$pbkdf2(-sha256|-sha512)?\$/.exec(body) ?? [];
  return prefix !== "" && pbkdf2Hash(body.slice(prefix.length));
};
/** RFC 7677 §4: at least 4096 rounds. */
const scramFormat = /^([1-9][0-9]{3,6}),[A-Za-z0-9+/]{8,128}={0,2},[A-Za-z0-9+/]{43}=,[A-Za-z0-9+/]{43}=$/;
const scramVerifier = (body: string): boolean => {
  const rounds = scramFormat.exec(body)?.[1];
  return boundedRounds(rounds) && Number(rounds) >= 4096;
};
const anyCrypt = (body: string) =>
  [bcryptHash, sha512Crypt, sha256Crypt, argon2id, pbkdf2Crypt].some((fits) => fits(body));

/** Accepted schemes and the shape of what follows them. */
const schemes: Readonly<Record<string, (body: string) => boolean>> = {
  ARGON2ID: argon2id,
  "BLF-CRYPT": bcryptHash,
  "SHA512-CRYPT": sha512Crypt,
  "SHA256-CRYPT": sha256Crypt,
  CRYPT: anyCrypt,
  SSHA: saltedDigest(20),
  SSHA256: saltedDigest(32),
  SSHA512: saltedDigest(64),
  PBKDF2: (body) => pbkdf2Hash(body) || boundedRounds(dovecotPbkdf2Format.exec(body)?.[1]),
  "PBKDF2-SHA1": pbkdf2Hash,
  "PBKDF2-SHA256": pbkdf2Hash,
  "PBKDF2-SHA512": pbkdf2Hash,
  "SCRAM-SHA-256": scramVerifier,
};

const acceptedFormats =
  "argon2id ($argon2id$…), bcrypt ($2b$…), sha512-crypt ($6$…), sha256-crypt ($5$…), PBKDF2 ($pbkdf2-sha256$…), or one of {ARGON2ID}, {BLF-CRYPT}, {SHA512-CRYPT}, {SHA256-CRYPT}, {CRYPT}, {SSHA}, {SSHA256}, {SSHA512}, {PBKDF2}, {PBKDF2-SHA256}, {PBKDF2-SHA512}, {SCRAM-SHA-256} followed by its hash";

type Form = "accepted" | "wrong" | "plaintext";

/** What a value is by its looks. */
export function formOf(value: string): Form {
  const scheme = /^\{([A-Za-z0-9][A-Za-z0-9.-]{0,31})\}/.exec(value);
  if (scheme !== null) {
    const check = Object.hasOwn(schemes, scheme[1]?.toUpperCase() ?? "")
      ? schemes[scheme[1]?.toUpperCase() ?? ""]
      : undefined;
    return check?.(value.slice(scheme[0].length)) === true && value.length <= MAX_HASH_BYTES ? "accepted" : "wrong";
  }
  if (/^\$[A-Za-z0-9-]{1,16}\$/.test(value)) return anyCrypt(value) ? "accepted" : "wrong";
  return "plaintext";
}

const remembered = new Map<string, string>();
const memoryKey = (address: string, plaintext: string): string =>
  `${address}\0${createHash("sha256").update(plaintext).digest("hex")}`;

function remember(key: string, hash: string): string {
  const oldest = remembered.size >= MAX_REMEMBERED ? remembered.keys().next() : undefined;
  if (oldest?.done === false) remembered.delete(oldest.value);
  remembered.set(key, hash);
  return hash;
}

/** Not a secret and need not be one: it differs for every address, and must be the same in every process. */
const saltOf = (address: string): Buffer =>
  createHash("sha256").update(`packetboat mailbox salt v1\0${address}`).digest().subarray(0, 16);

const unpadded = (bytes: Buffer): string => bytes.toString("base64").replace(/=+$/, "");
const phcString = (salt: Buffer, tag: Buffer): string =>
  `$argon2id$v=19$m=${ARGON2.memory},t=${ARGON2.passes},p=${ARGON2.parallelism}$${unpadded(salt)}$${unpadded(tag)}`;
const parametersOf = (address: string, plaintext: string) => ({
  ...ARGON2,
  message: Buffer.from(plaintext, "utf8"),
  nonce: saltOf(address),
});

/** The argon2id hash of a plaintext; about 30 ms the first time, nothing afterwards. */
export function hashPlaintext(address: string, plaintext: string): string {
  const key = memoryKey(address, plaintext);
  const known = remembered.get(key);
  if (known !== undefined) return known;
  return remember(key, phcString(saltOf(address), argon2Sync("argon2id", parametersOf(address, plaintext))));
}

const argon2InPool = promisify(argon2);

/**
 * The same hashes, made on the thread pool before a build: a first reconcile of thousands of plaintext passwords would otherwise hold the
 * operator's event loop, and with it the lease, for minutes.
 */
export async function rememberPlaintexts(
  entries: Iterable<{ readonly address: string; readonly plaintext: string }>,
  parallel = 4,
): Promise<number> {
  const waiting = [...entries].filter(({ address, plaintext }) => !remembered.has(memoryKey(address, plaintext)));
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let entry = waiting[next++]; entry !== undefined; entry = waiting[next++]) {
      const tag = await argon2InPool("argon2id", parametersOf(entry.address, entry.plaintext));
      remember(memoryKey(entry.address, entry.plaintext), phcString(saltOf(entry.address), tag));
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return waiting.length;
}

const pbkdf2InPool = promisify(pbkdf2);
const scramMemoryKey = (address: string, plaintext: string, saltKey: string): string =>
  `scram\0${saltKey}\0${memoryKey(address, plaintext)}`;

/** The SCRAM-SHA-256 verifier of a plaintext, with a salt that only this server's key makes of the address. */
export function scramOfPlaintext(address: string, plaintext: string, saltKey: string): string {
  const key = scramMemoryKey(address, plaintext, saltKey);
  const known = remembered.get(key);
  if (known !== undefined) return known;
  const salt = scramSalt(saltKey, address);
  return remember(
    key,
    scramText(SCRAM_ROUNDS, salt, pbkdf2Sync(saslPrep(plaintext), salt, SCRAM_ROUNDS, 32, "sha256")),
  );
}

/** The same on the thread pool, before a build. */
export async function rememberScram(
  entries: Iterable<{ readonly address: string; readonly plaintext: string }>,
  saltKey: string,
  parallel = 4,
): Promise<void> {
  const waiting = [...entries].filter(
    ({ address, plaintext }) => !remembered.has(scramMemoryKey(address, plaintext, saltKey)),
  );
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let entry = waiting[next++]; entry !== undefined; entry = waiting[next++]) {
      const salt = scramSalt(saltKey, entry.address);
      const salted = await pbkdf2InPool(saslPrep(entry.plaintext), salt, SCRAM_ROUNDS, 32, "sha256");
      remember(scramMemoryKey(entry.address, entry.plaintext, saltKey), scramText(SCRAM_ROUNDS, salt, salted));
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}

export type PasswordSource =
  | { readonly kind: "hash"; readonly hash: string }
  | { readonly kind: "plaintext"; readonly plaintext: string };

/** Read a password Secret without hashing: the cheap half, shared by the build and by `rememberPlaintexts`. */
export function readPassword(
  secretName: string,
  data: ReadonlyMap<string, string> | undefined,
  key: string,
): { readonly ok: true; readonly source: PasswordSource } | Extract<PasswordResult, { ok: false }> {
  const invalid = (message: string) => ({ ok: false, reason: "SecretInvalid", message }) as const;
  if (data === undefined)
    return {
      ok: false,
      reason: "SecretNotFound",
      message: `Secret ${secretName} does not exist; create it with the key "password" or "hash".`,
    };
  const name = key === "password" && !data.has("password") ? "hash" : key;
  const raw = data.get(name);
  if (raw === undefined) {
    return invalid(
      key === "password"
        ? `Secret ${secretName} has neither a key "password" nor a key "hash"; add one of them.`
        : `Secret ${secretName} has no key "${key}"; add it or change passwordSecretRef.key.`,
    );
  }
  const value = raw.replace(/\r?\n$/, "");
  if (value === "") return invalid(`Key "${name}" of Secret ${secretName} is empty; put a password or a hash there.`);
  const form = formOf(value);
  if (form === "accepted") return { ok: true, source: { kind: "hash", hash: value } };
  if (form === "wrong" || name === "hash") {
    return invalid(
      `Key "${name}" of Secret ${secretName} is not a hash in an accepted format; use ${acceptedFormats}${name === "hash" ? ', or put a plaintext under the key "password"' : ""}.`,
    );
  }
  if (Buffer.byteLength(value, "utf8") > MAX_PLAINTEXT_BYTES)
    return invalid(
      `The password in Secret ${secretName} is longer than ${MAX_PLAINTEXT_BYTES} bytes; use a shorter one.`,
    );
  if (value.includes("\0") || value.includes("\uFFFD"))
    return invalid(`The password in Secret ${secretName} is not UTF-8 text without NUL; no client could send it.`);
  return { ok: true, source: { kind: "plaintext", plaintext: value } };
}

/** Secret → hash for `passwords[address]`. */
export function passwordHash(
  address: string,
  secretName: string,
  data: ReadonlyMap<string, string> | undefined,
  key = "password",
): PasswordResult {
  const read = readPassword(secretName, data, key);
  if (!read.ok) return read;
  const { source } = read;
  return source.kind === "hash"
    ? { ok: true, hash: source.hash }
    : { ok: true, hash: hashPlaintext(address, source.plaintext), plaintext: source.plaintext };
}
