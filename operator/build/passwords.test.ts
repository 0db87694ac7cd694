import assert from "node:assert/strict";
import { argon2Sync } from "node:crypto";
import { suite, test } from "node:test";
import { formOf, hashPlaintext, passwordHash, rememberPlaintexts } from "./passwords.ts";

const secret = (entries: Record<string, string>) => new Map(Object.entries(entries));
const bcrypt = "$2b$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
const sha512 = `$6$saltsalt$${"a".repeat(86)}`;
const ssha = `{SSHA}${Buffer.alloc(24, 7).toString("base64")}`;

suite("passwords", () => {
  const forms: readonly [value: string, form: ReturnType<typeof formOf>][] = [
    [bcrypt, "accepted"],
    [`{BLF-CRYPT}${bcrypt}`, "accepted"],
    [`{CRYPT}${sha512}`, "accepted"],
    [sha512, "accepted"],
    [`$5$rounds=5000$saltsalt$${"b".repeat(43)}`, "accepted"],
    [ssha, "accepted"],
    [ssha.replace("SSHA", "ssha"), "accepted"],
    [hashPlaintext("form@example.org", "x"), "accepted"],
    [`{ARGON2ID}${hashPlaintext("form@example.org", "x")}`, "accepted"],
    ["$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$tiKWHy4FAGCWE8gn6GtKhaxD2OeeAUUWXFT/p1aaNl8", "accepted"],
    ["{PBKDF2}1000$MDEyMzQ1Njc4OWFiY2RlZg$21EupWTmSOvnK3Sp99FL7THUyuQ", "accepted"],
    ["{PBKDF2}$1$1afTfA.5qzfW3NKh$1000$79ede4db75a0b27cb5d25aba58adc14728882dc0", "accepted"],
    ["{PBKDF2-SHA256}9000000$MDEyMzQ1Njc4OWFiY2RlZg$tiKWHy4FAGCWE8gn6GtKhaxD2OeeAUUWXFT/p1aaNl8", "wrong"],
    ["{PBKDF2-SHA256}1000$MDEy$tooshort", "wrong"],
    [
      "{SCRAM-SHA-256}4096,U23QrWa4Oh4zpnbNrDrkHQ==,LZKKdWNqXhq6XdUKpl3uGQVe2MNOa82G35XCrWtQUnQ=,RDcMmoQn66fxbvGRXC+zlansAIdU+cdmjJgj74fW8OI=",
      "accepted",
    ],
    [
      "{SCRAM-SHA-256}1000,U23QrWa4Oh4zpnbNrDrkHQ==,LZKKdWNqXhq6XdUKpl3uGQVe2MNOa82G35XCrWtQUnQ=,RDcMmoQn66fxbvGRXC+zlansAIdU+cdmjJgj74fW8OI=",
      "wrong",
    ],
    ["{SSHA}tooshort", "wrong"],
    ["{SSHA}***", "wrong"],
    ["{MD5}1B2M2Y8AsgTpgAmY7PhCfg==", "wrong"],
    ["{PLAIN}secret", "wrong"],
    ["{toString}x", "wrong"],
    ["$1$salt$abcdefghijklmnopqrstuv", "wrong"],
    ["$2b$31$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234", "wrong"],
    ["$argon2id$v=19$m=9999999,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA", "wrong"],
    ["$2b$10$short", "wrong"],
    ["$2b$16$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234", "wrong"],
    ["$argon2id$v=19$m=7,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA", "wrong"],
    [`$6$rounds=999999$saltsalt$${"a".repeat(86)}`, "wrong"],
    ["hunter2", "plaintext"],
    ["$ecret", "plaintext"],
    ["{not closed", "plaintext"],
    ["{two words}", "plaintext"],
  ];
  for (const [value, form] of forms)
    test(`${JSON.stringify(value.slice(0, 30))} is ${form}`, () => assert.equal(formOf(value), form));

  test("a plaintext becomes the same argon2id hash each time, another one for another address", () => {
    const first = passwordHash(
      "alice@example.org",
      "default/alice",
      secret({ password: "correct horse\n" }),
      undefined,
    );
    assert.ok(first.ok);
    const match = /^\$argon2id\$v=19\$m=19456,t=2,p=1\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/.exec(first.hash);
    assert.ok(match);
    const tag = argon2Sync("argon2id", {
      message: "correct horse",
      nonce: Buffer.from(match[1] ?? "", "base64"),
      parallelism: 1,
      tagLength: 32,
      memory: 19_456,
      passes: 2,
    });
    assert.equal(match[2], tag.toString("base64").replace(/=+$/, ""), "the line end is not part of the password");
    assert.notEqual(hashPlaintext("bob@example.org", "correct horse"), first.hash);
    // Pinned: a hash that changed between versions would rewrite every Secret of every installation.
    assert.equal(hashPlaintext("alice@example.org", "correct horse"), first.hash);
  });

  test("hashes made in the pool are those made at once, and are remembered", async () => {
    assert.equal(
      await rememberPlaintexts([
        { address: "pool@example.org", plaintext: "p" },
        { address: "pool@example.org", plaintext: "q" },
      ]),
      2,
    );
    assert.equal(await rememberPlaintexts([{ address: "pool@example.org", plaintext: "p" }]), 0);
    const salted = hashPlaintext("pool@example.org", "p");
    assert.match(salted, /^\$argon2id\$/);
    const tag = argon2Sync("argon2id", {
      message: "p",
      nonce: Buffer.from(salted.split("$")[4] ?? "", "base64"),
      parallelism: 1,
      tagLength: 32,
      memory: 19_456,
      passes: 2,
    });
    assert.equal(salted.split("$")[5], tag.toString("base64").replace(/=+$/, ""));
  });

  const refused: readonly [
    why: string,
    data: Map<string, string> | undefined,
    key: string | undefined,
    reason: string,
    said: RegExp,
  ][] = [
    ["no Secret", undefined, undefined, "SecretNotFound", /does not exist; create it/],
    ["no usable key", secret({ pass: "x" }), undefined, "SecretInvalid", /neither a key "password" nor a key "hash"/],
    ["named key missing", secret({ password: "x" }), "pw", "SecretInvalid", /no key "pw"/],
    ["empty", secret({ password: "\n" }), undefined, "SecretInvalid", /is empty/],
    [
      "plaintext under hash",
      secret({ hash: "hunter2" }),
      undefined,
      "SecretInvalid",
      /put a plaintext under the key "password"/,
    ],
    [
      "wrong scheme",
      secret({ password: "{MD5}abc" }),
      undefined,
      "SecretInvalid",
      /not a hash in an accepted format; use argon2id/,
    ],
    ["not text", secret({ password: "a\0b" }), undefined, "SecretInvalid", /not UTF-8 text/],
    ["much too long", secret({ password: "x".repeat(1025) }), undefined, "SecretInvalid", /longer than 1024 bytes/],
  ];
  for (const [why, data, key, reason, said] of refused) {
    test(`refused: ${why}`, () => {
      const result = passwordHash("alice@example.org", "default/alice", data, key);
      assert.ok(!result.ok);
      assert.equal(result.reason, reason);
      assert.match(result.message, said);
      for (const value of data?.values() ?? [])
        if (value.length > 3) assert.ok(!result.message.includes(value), "a message never quotes a secret");
    });
  }

  test("an explicit key may hold either", () => {
    const data = secret({ "alice-pw": bcrypt, "bob-pw": "plain" });
    assert.deepEqual(passwordHash("alice@example.org", "default/all", data, "alice-pw"), { ok: true, hash: bcrypt });
    assert.match(
      (passwordHash("bob@example.org", "default/all", data, "bob-pw") as { hash: string }).hash,
      /^\$argon2id\$/,
    );
  });
});
