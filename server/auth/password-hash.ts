/**
 * Password hashes: which scheme a stored string is, and its parameters within bounds.
 *
 * Pure. What cannot be read, or asks for more work or memory than the bounds allow, is undefined: the session answers 454 and the log says so.
 * `{SCHEME}` prefixes are Dovecot's, bare `$…` strings those of crypt(3) and the PHC format.
 */
export type PasswordHash =
  | {
      readonly kind: "argon2id";
      readonly memoryKiB: number;
      readonly passes: number;
      readonly lanes: number;
      readonly salt: Buffer;
      readonly hash: Buffer;
    }
  | { readonly kind: "bcrypt"; readonly text: string }
  | {
      readonly kind: "sha-crypt";
      readonly digest: "sha256" | "sha512";
      readonly rounds: number;
      readonly salt: string;
      readonly hash: string;
    }
  | {
      readonly kind: "salted-sha";
      readonly digest: "sha1" | "sha256" | "sha512";
      readonly salt: Buffer;
      readonly hash: Buffer;
    }
  | {
      readonly kind: "pbkdf2";
      readonly digest: "sha1" | "sha256" | "sha512";
      readonly rounds: number;
      readonly salt: Buffer;
      readonly hash: Buffer;
    }
  | ScramVerifier;

/** RFC 5802 §3: what a server keeps to take part in SCRAM-SHA-256; enough to check a plaintext too. */
export interface ScramVerifier {
  readonly kind: "scram-sha-256";
  readonly rounds: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** One verification may take at most this much memory, and about this many times the work of a usual one. */
const MAX_ARGON2_KIB = 256 * 1024;
const MAX_ARGON2_PASSES = 16;
const MAX_ARGON2_LANES = 16;
const MAX_BCRYPT_COST = 15;
export const MAX_SHA_CRYPT_ROUNDS = 500_000;
const MIN_SHA_CRYPT_ROUNDS = 1000;
const DEFAULT_SHA_CRYPT_ROUNDS = 5000;
const MAX_PBKDF2_ROUNDS = 2_000_000;

const argon2 =
  /^\$argon2id\$v=19\$m=(\d{1,8}),t=(\d{1,4}),p=(\d{1,4})\$([A-Za-z0-9+/]{11,128})\$([A-Za-z0-9+/]{16,128})$/;
const bcrypt = /^\$2[aby]\$(\d{2})\$[./A-Za-z0-9]{53}$/;
const shaCrypt = /^\$([56])\$(?:rounds=(\d{1,9})\$)?([^$:\n]{0,64})\$([./A-Za-z0-9]{43}|[./A-Za-z0-9]{86})$/;
const salted = { SSHA: ["sha1", 20], SSHA256: ["sha256", 32], SSHA512: ["sha512", 64] } as const;
/** passlib and OpenLDAP: rounds, salt and digest in base64 with `.` for `+`. */
const pbkdf2 = /^([1-9]\d{0,6})\$([A-Za-z0-9./+]{1,128})={0,2}\$([A-Za-z0-9./+]{22,88})={0,2}$/;
/** Dovecot's: `$1$`, the salt as it is, rounds, SHA-1 in hexadecimal. */
const dovecotPbkdf2 = /^\$1\$([A-Za-z0-9./]{1,64})\$([1-9]\d{0,6})\$([0-9a-f]{40})$/;
const pbkdf2Digests = new Map([
  ["PBKDF2", "sha1"],
  ["PBKDF2-SHA1", "sha1"],
  ["PBKDF2-SHA256", "sha256"],
  ["PBKDF2-SHA512", "sha512"],
] as const);
/** Dovecot's: iterations, salt, StoredKey, ServerKey. */
const scram = /^([1-9]\d{0,6}),([A-Za-z0-9+/]{8,128}={0,2}),([A-Za-z0-9+/]{43}=),([A-Za-z0-9+/]{43}=)$/;
/** RFC 7677 §4: at least 4096. */
const MIN_SCRAM_ROUNDS = 4096;
const cryptPrefixes: ReadonlySet<string> = new Set(["ARGON2ID", "BLF-CRYPT", "CRYPT", "SHA512-CRYPT", "SHA256-CRYPT"]);

export function parsePasswordHash(stored: string): PasswordHash | undefined {
  const prefixed = /^\{([A-Za-z0-9-]{1,20})\}/.exec(stored);
  if (prefixed?.[1] === undefined) return parseCrypt(stored);
  const scheme = prefixed[1].toUpperCase();
  const rest = stored.slice(prefixed[0].length);
  if (cryptPrefixes.has(scheme)) return parseCrypt(rest);
  if (scheme === "SCRAM-SHA-256") return parseScram(rest);
  const digest = pbkdf2Digests.get(scheme as "PBKDF2");
  if (digest !== undefined)
    return rest.startsWith("$1$") ? parseDovecotPbkdf2(rest, scheme) : parsePbkdf2(rest, digest);
  if (scheme === "SSHA" || scheme === "SSHA256" || scheme === "SSHA512") {
    const [digest, length] = salted[scheme];
    if (!/^[A-Za-z0-9+/]{28,512}={0,2}$/.test(rest)) return undefined;
    const bytes = Buffer.from(rest, "base64");
    if (bytes.length <= length) return undefined;
    return { kind: "salted-sha", digest, hash: bytes.subarray(0, length), salt: bytes.subarray(length) };
  }
  return undefined;
}

function parsePbkdf2(text: string, digest: "sha1" | "sha256" | "sha512"): PasswordHash | undefined {
  const [, rounds, salt = "", hash = ""] = pbkdf2.exec(text) ?? [];
  if (rounds === undefined || Number(rounds) > MAX_PBKDF2_ROUNDS) return undefined;
  const bytes = (base64: string): Buffer => Buffer.from(base64.replaceAll(".", "+"), "base64");
  const result = bytes(hash);
  // A cut digest would be matched by as many more passwords.
  if (result.length < 16 || result.length > 64) return undefined;
  return { kind: "pbkdf2", digest, rounds: Number(rounds), salt: bytes(salt), hash: result };
}

function parseDovecotPbkdf2(text: string, scheme: string): PasswordHash | undefined {
  const [, salt = "", rounds, hash = ""] = dovecotPbkdf2.exec(text) ?? [];
  if (scheme !== "PBKDF2" || rounds === undefined || Number(rounds) > MAX_PBKDF2_ROUNDS) return undefined;
  const parts = { rounds: Number(rounds), salt: Buffer.from(salt), hash: Buffer.from(hash, "hex") };
  return { kind: "pbkdf2", digest: "sha1", ...parts };
}

function parseScram(text: string): ScramVerifier | undefined {
  const [, rounds, salt = "", storedKey = "", serverKey = ""] = scram.exec(text) ?? [];
  if (rounds === undefined || Number(rounds) > MAX_PBKDF2_ROUNDS || Number(rounds) < MIN_SCRAM_ROUNDS) return undefined;
  return {
    kind: "scram-sha-256",
    rounds: Number(rounds),
    salt: Buffer.from(salt, "base64"),
    storedKey: Buffer.from(storedKey, "base64"),
    serverKey: Buffer.from(serverKey, "base64"),
  };
}

function parseCrypt(text: string): PasswordHash | undefined {
  if (text.startsWith("$argon2id$")) {
    const [, m = "", t = "", p = "", salt = "", hash = ""] = argon2.exec(text) ?? [];
    const [memoryKiB, passes, lanes] = [Number(m), Number(t), Number(p)];
    // RFC 9106 §3.1: at least 8 KiB for each lane, a salt of at least 8 bytes.
    const sane = passes >= 1 && passes <= MAX_ARGON2_PASSES && lanes >= 1 && lanes <= MAX_ARGON2_LANES;
    if (m === "" || !sane || memoryKiB < 8 * lanes || memoryKiB > MAX_ARGON2_KIB) return undefined;
    return {
      kind: "argon2id",
      memoryKiB,
      passes,
      lanes,
      salt: Buffer.from(salt, "base64"),
      hash: Buffer.from(hash, "base64"),
    };
  }
  if (text.startsWith("$2")) {
    const cost = Number(bcrypt.exec(text)?.[1]);
    return cost >= 4 && cost <= MAX_BCRYPT_COST ? { kind: "bcrypt", text } : undefined;
  }
  const [, digestName, numbers = ""] = /^\$pbkdf2(-sha256|-sha512)?\$(.{1,300})$/.exec(text) ?? [];
  if (numbers !== "")
    return parsePbkdf2(numbers, digestName === undefined ? "sha1" : digestName === "-sha256" ? "sha256" : "sha512");
  const [, variant, rounds, salt = "", hash = ""] = shaCrypt.exec(text) ?? [];
  if (variant === undefined || hash.length !== (variant === "5" ? 43 : 86)) return undefined;
  const wanted = rounds === undefined ? DEFAULT_SHA_CRYPT_ROUNDS : Number(rounds);
  if (wanted > MAX_SHA_CRYPT_ROUNDS) return undefined;
  const digest = variant === "5" ? "sha256" : "sha512";
  return { kind: "sha-crypt", digest, rounds: Math.max(wanted, MIN_SHA_CRYPT_ROUNDS), salt: salt.slice(0, 16), hash };
}
