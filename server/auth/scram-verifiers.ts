/**
 * SCRAM verifiers of a configuration: who can use SCRAM-SHA-256, and what strangers are shown for everybody else.
 *
 * Pure. {SCRAM-SHA-256} and PBKDF2-SHA256 of 32 octets can serve SCRAM (RFC 5802 §3: SaltedPassword is Hi(), which is PBKDF2); argon2id, bcrypt, SHA-crypt and
 * SSHA cannot, because the client would have to compute them. A name without a verifier gets one that nobody can match, with the salt and the rounds of the
 * verifiers there are, the same at every try: the exchange does not tell who exists.
 */
import { createHmac } from "node:crypto";
import { SCRAM_ROUNDS, scramKeys, scramSalt } from "../config/saslprep.ts";
import type { LiveConfig } from "../config/schema.ts";
import { parsePasswordHash, type ScramVerifier } from "./password-hash.ts";

/** How many entries are looked at to learn what verifiers look like. */
const SAMPLE = 256;
const mayServe = /^(?:\{SCRAM-SHA-256\}|\{PBKDF2-SHA256\}|\$pbkdf2-sha256\$)/i;

function verifierFrom(stored: string | undefined): ScramVerifier | undefined {
  if (stored === undefined || !mayServe.test(stored)) return undefined;
  const hash = parsePasswordHash(stored);
  if (hash?.kind === "scram-sha-256") return hash;
  if (hash?.kind !== "pbkdf2" || hash.digest !== "sha256" || hash.hash.length !== 32) return undefined;
  return { kind: "scram-sha-256", rounds: hash.rounds, salt: hash.salt, ...scramKeys(hash.hash) };
}

export const scramVerifierOf = (config: LiveConfig, user: string): ScramVerifier | undefined =>
  verifierFrom(config.scramVerifiers.get(user)) ?? verifierFrom(config.passwords.get(user));

interface Shape {
  readonly rounds: number;
  readonly saltBytes: number;
}
const shapes = new WeakMap<LiveConfig, readonly Shape[]>();

function shapesOf(config: LiveConfig): readonly Shape[] {
  const known = shapes.get(config);
  if (known !== undefined) return known;
  const found: Shape[] = [];
  for (const table of [config.scramVerifiers, config.passwords]) {
    for (const stored of table.values()) {
      if (found.length >= SAMPLE) break;
      const verifier = verifierFrom(stored);
      if (verifier !== undefined) found.push({ rounds: verifier.rounds, saltBytes: verifier.salt.length });
    }
  }
  shapes.set(config, found);
  return found;
}

export const hasScramVerifiers = (config: LiveConfig): boolean => shapesOf(config).length > 0;

/** A verifier for a name that has none. */
export function decoyVerifier(config: LiveConfig, name: string): ScramVerifier {
  const { saltKey } = config.server.authentication;
  const known = shapesOf(config);
  const number = createHmac("sha256", saltKey).update(`shape\0${name}`).digest().readUInt32BE();
  const { rounds, saltBytes } = known[number % Math.max(known.length, 1)] ?? { rounds: SCRAM_ROUNDS, saltBytes: 16 };
  const salt = scramSalt(saltKey, name);
  const keys = scramKeys(scramSalt(saltKey, `keys\0${name}`));
  const enough = Buffer.concat(
    Array.from({ length: Math.ceil(saltBytes / 16) }, (_, part) =>
      part === 0 ? salt : scramSalt(saltKey, `${part}\0${name}`),
    ),
  );
  return { kind: "scram-sha-256", rounds, salt: enough.subarray(0, saltBytes), ...keys };
}
