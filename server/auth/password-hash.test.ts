import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parsePasswordHash } from "./password-hash.ts";

const salt = "MDEyMzQ1Njc4OWFiY2RlZg";
const digest = "0CUPvSealRO6hhNZEKwrvKKRV3txZJhLCQ+/ZkQFl7g";
const bcrypt = "abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const sha512 = "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";

const readable: readonly (readonly [string, string])[] = [
  [`$argon2id$v=19$m=65536,t=3,p=4$${salt}$${digest}`, "argon2id"],
  [`{ARGON2ID}$argon2id$v=19$m=262144,t=3,p=1$${salt}$${digest}`, "argon2id"],
  [`$2b$10$${bcrypt}`, "bcrypt"],
  [`$2y$04$${bcrypt}`, "bcrypt"],
  [`{BLF-CRYPT}$2a$12$${bcrypt}`, "bcrypt"],
  [`$6$saltstring$${sha512}`, "sha-crypt"],
  [`{SHA512-CRYPT}$6$rounds=500000$saltstring$${sha512}`, "sha-crypt"],
  [`{crypt}$6$saltstring$${sha512}`, "sha-crypt"],
  ["{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0", "salted-sha"],
];

const unusable: readonly (readonly [string, string])[] = [
  ["empty", ""],
  ["plaintext", "secret"],
  ["plaintext with a prefix", "{PLAIN}secret"],
  ["unknown scheme", "{MD5}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0"],
  ["argon2i", `$argon2i$v=19$m=65536,t=3,p=4$${salt}$${digest}`],
  ["argon2id of another version", `$argon2id$v=16$m=65536,t=3,p=4$${salt}$${digest}`],
  ["argon2id beyond 256 MiB", `$argon2id$v=19$m=262145,t=3,p=1$${salt}$${digest}`],
  ["argon2id with too little memory for its lanes", `$argon2id$v=19$m=31,t=3,p=4$${salt}$${digest}`],
  ["argon2id with no pass", `$argon2id$v=19$m=65536,t=0,p=4$${salt}$${digest}`],
  ["argon2id with a hundred passes", `$argon2id$v=19$m=65536,t=100,p=4$${salt}$${digest}`],
  ["bcrypt of cost 20", `$2b$20$${bcrypt}`],
  ["bcrypt cut short", `$2b$10$${bcrypt.slice(1)}`],
  ["sha512-crypt beyond 500000 rounds", `$6$rounds=500001$saltstring$${sha512}`],
  ["sha512-crypt cut short", `$6$saltstring$${sha512.slice(1)}`],
  ["sha256-crypt with a sha512 digest", `$5$saltstring$${sha512}`],
  ["SSHA without salt", `{SSHA}${Buffer.alloc(20, 1).toString("base64")}`],
  ["SSHA that is not base64", "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx!"],
];

for (const [stored, kind] of readable)
  test(`${stored.slice(0, 30)}… is ${kind}`, () => assert.equal(parsePasswordHash(stored)?.kind, kind));
for (const [name, stored] of unusable)
  test(`${name} is no usable hash`, () => assert.equal(parsePasswordHash(stored), undefined));

test("any text gives a value, and quickly", () => {
  const texts = fc
    .string({ maxLength: 1024 })
    .chain((tail) =>
      fc.constantFrom("", "$6$", "$5$rounds=", "$argon2id$v=19$m=", "$2b$", "{SSHA}").map((head) => head + tail),
    );
  fc.assert(fc.property(texts, (text) => void parsePasswordHash(text)));
});
