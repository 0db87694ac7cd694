import assert from "node:assert/strict";
import { pbkdf2Sync } from "node:crypto";
import { test } from "node:test";
import { scramSalt, scramText } from "../config/saslprep.ts";
import { aConfig } from "../listen/inbound-fixture.ts";
import { decoyVerifier, hasScramVerifiers, scramVerifierOf } from "./scram-verifiers.ts";

const salt = Buffer.from("0123456789abcdef");
const salted = pbkdf2Sync("secret", salt, 4096, 32, "sha256");
const ab64 = (bytes: Buffer): string => bytes.toString("base64").replace(/=+$/, "").replaceAll("+", ".");
const argon2 = "$argon2id$v=19$m=256,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$0CUPvSealRO6hhNZEKwrvKKRV3txZJhLCQ+/ZkQFl7g";

test("a PBKDF2-SHA256 hash serves SCRAM as a verifier does; argon2id and cut digests do not", () => {
  const config = aConfig({
    passwords: new Map([
      ["scram@example.org", scramText(4096, salt, salted)],
      ["pbkdf2@example.org", `$pbkdf2-sha256$4096$${ab64(salt)}$${ab64(salted)}`],
      ["openldap@example.org", `{PBKDF2-SHA256}4096$${ab64(salt)}$${ab64(salted)}`],
      ["cut@example.org", `$pbkdf2-sha256$4096$${ab64(salt)}$${ab64(salted.subarray(0, 20))}`],
      ["argon2@example.org", argon2],
      ["both@example.org", argon2],
    ]),
    scramVerifiers: new Map([["both@example.org", scramText(4096, salt, salted)]]),
  });
  const expected = scramVerifierOf(config, "scram@example.org");
  assert.ok(expected !== undefined);
  for (const name of ["pbkdf2", "openldap", "both"])
    assert.deepEqual(scramVerifierOf(config, `${name}@example.org`), expected, name);
  for (const name of ["cut", "argon2", "nobody"])
    assert.equal(scramVerifierOf(config, `${name}@example.org`), undefined, name);
  assert.equal(hasScramVerifiers(config), true);
  assert.equal(hasScramVerifiers(aConfig({ passwords: new Map([["argon2@example.org", argon2]]) })), false);
});

test("strangers see for nobody what they would see for somebody: same shape, same at every try, also in another shard", () => {
  const verifiers = (): Map<string, string> =>
    new Map(
      Array.from({ length: 100 }, (_, number) => {
        const name = `user${number}@example.org`;
        const own = scramSalt("0".repeat(64), name);
        return [name, scramText(number < 50 ? 4096 : 65_536, own, salted)];
      }),
    );
  const [one, other] = [aConfig({ scramVerifiers: verifiers() }), aConfig({ scramVerifiers: verifiers() })];
  const rounds = new Map<number, number>();
  for (let number = 0; number < 400; number += 1) {
    const name = `nobody${number}@example.org`;
    const decoy = decoyVerifier(one, name);
    assert.deepEqual(decoyVerifier(other, name), decoy);
    assert.equal(decoy.salt.length, 16);
    rounds.set(decoy.rounds, (rounds.get(decoy.rounds) ?? 0) + 1);
  }
  // Half of the users have each; a name picks by a keyed hash, so these counts are the same in every run.
  assert.deepEqual(
    [...rounds.keys()].sort((a, b) => a - b),
    [4096, 65_536],
  );
  for (const count of rounds.values()) assert.ok(count > 140 && count < 260, `${count} of 400`);
  assert.notDeepEqual(decoyVerifier(one, "a@example.org").salt, decoyVerifier(one, "b@example.org").salt);
});
