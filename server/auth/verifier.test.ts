import assert from "node:assert/strict";
import { after, test } from "node:test";
import { pino } from "pino";
import { PasswordVerifier } from "./verifier.ts";

const verifier = new PasswordVerifier(pino({ level: "silent" }));
after(() => verifier.close());

/** The password of each is `secret`, but where said otherwise. */
const hashes: readonly (readonly [string, string, string])[] = [
  [
    "argon2id",
    "$argon2id$v=19$m=256,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$0CUPvSealRO6hhNZEKwrvKKRV3txZJhLCQ+/ZkQFl7g",
    "secret",
  ],
  ["bcrypt 2b", "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "secret"],
  ["bcrypt 2y", "{BLF-CRYPT}$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "secret"],
  [
    "sha512-crypt",
    "{SHA512-CRYPT}$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1",
    "a very much longer text to encrypt.  This one even stretches over morethan one line.",
  ],
  ["sha256-crypt", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "Hello world!"],
  ["SSHA", "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0", "secret"],
  ["SSHA256", "{SSHA256}+E+iFJ27Yu1ODPH1UNKUmzOmUT06dwfghQJRHHnMsO5zYWx0", "secret"],
  [
    "SSHA512",
    "{SSHA512}E491yrR9AdCoE7rbOPYS3EZgSuZpVE65AD9xko08s6floNesY/Zpe9zMVvLix4S2FiQSJ99RIkNvhHomNO9uL3NhbHQ=",
    "secret",
  ],
  ["PBKDF2-SHA256", "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$tiKWHy4FAGCWE8gn6GtKhaxD2OeeAUUWXFT/p1aaNl8", "secret"],
  ["PBKDF2 as OpenLDAP writes it", "{PBKDF2}1000$MDEyMzQ1Njc4OWFiY2RlZg$21EupWTmSOvnK3Sp99FL7THUyuQ", "secret"],
  [
    "PBKDF2-SHA512",
    "{PBKDF2-SHA512}1000$MDEyMzQ1Njc4OWFiY2RlZg$vgFvU7zWIDgDAUi7d8ayt.cfRiPWVVWfv8iQRsGZaZviWzsSNgWYXEE5PmvI/VELMsOmEbqLz0PKuePNjOk41A",
    "secret",
  ],
  [
    "PBKDF2 as doveadm writes it",
    "{PBKDF2}$1$1afTfA.5qzfW3NKh$1000$79ede4db75a0b27cb5d25aba58adc14728882dc0",
    "secret",
  ],
  [
    "SCRAM-SHA-256 as doveadm writes it",
    "{SCRAM-SHA-256}4096,U23QrWa4Oh4zpnbNrDrkHQ==,LZKKdWNqXhq6XdUKpl3uGQVe2MNOa82G35XCrWtQUnQ=,RDcMmoQn66fxbvGRXC+zlansAIdU+cdmjJgj74fW8OI=",
    "secret",
  ],
];
const decoy = hashes[0]?.[1];

for (const [name, hash, password] of hashes) {
  test(`${name}: right, wrong, longer, empty`, async () => {
    assert.equal(await verifier.verify(hash, password, decoy), "match");
    assert.equal(await verifier.verify(hash, `${password}x`, decoy), "mismatch");
    assert.equal(await verifier.verify(hash, password.toUpperCase(), decoy), "mismatch");
    assert.equal(await verifier.verify(hash, "", decoy), "mismatch");
  });
}

test("no such user is a mismatch even with the password of the decoy", async () => {
  assert.equal(await verifier.verify(undefined, "secret", decoy), "mismatch");
  assert.equal(await verifier.verify(undefined, "", undefined), "mismatch");
});

test("a hash nobody can read", async () =>
  assert.equal(await verifier.verify("secret", "secret", decoy), "unusable-hash"));

test("a password beyond every bound is wrong, not trouble", async () => {
  const [, argon2 = ""] = hashes[0] ?? [];
  assert.equal(await verifier.verify(argon2, "x".repeat(100_000), decoy), "mismatch");
});

test("more at once than may wait: unavailable, and the others are answered", async () => {
  const [, bcrypt = ""] = hashes[1] ?? [];
  const results = await Promise.all(Array.from({ length: 100 }, () => verifier.verify(bcrypt, "secret", decoy)));
  assert.equal(results.filter((result) => result === "match").length, 66);
  assert.equal(results.filter((result) => result === "unavailable").length, 34);
  assert.equal(await verifier.verify(bcrypt, "secret", decoy), "match");
});

test("closed in the middle: unavailable, never a refusal", async () => {
  const closing = new PasswordVerifier(pino({ level: "silent" }));
  const asked = closing.verify("$2b$12$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "secret", decoy);
  await closing.close();
  assert.equal(await asked, "unavailable");
});
