import assert from "node:assert/strict";
import { test } from "node:test";
import { pino } from "pino";
import { aConfig, aMailbox } from "../listen/inbound-fixture.ts";
import { decoyFor } from "./decoy.ts";
import { addressOfLogin, loginUser, mayLogIn } from "./login-name.ts";
import { type Attempt, HashSource, lookupHashes, mailboxHashes } from "./password-source.ts";
import { PasswordVerifier } from "./verifier.ts";

const log = pino({ level: "silent" });
const argon2 = "$argon2id$v=19$m=256,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$0CUPvSealRO6hhNZEKwrvKKRV3txZJhLCQ+/ZkQFl7g";
const attemptOf = (user: string, password: string, config = aConfig()): Attempt => ({
  config,
  username: user,
  user,
  password,
  client: { address: "192.0.2.1", port: 1 },
});

test("a look-up elsewhere: its users, its outage, and what it costs to be nobody", async () => {
  const verifier = new PasswordVerifier(log);
  const lookup = lookupHashes(() => ({
    has: () => true,
    first: async (_, key) => {
      if (key === "down@example.org") throw new Error("no server answers");
      if (key === "two@example.org") return { values: [argon2, argon2] };
      return key === "mia@example.org" ? { values: [argon2] } : undefined;
    },
  }));
  const source = new HashSource(lookup, verifier, log);
  assert.deepEqual(await source.check(attemptOf("mia@example.org", "secret")), {
    kind: "match",
    user: "mia@example.org",
  });
  const before = verifier.computed;
  assert.deepEqual(await source.check(attemptOf("mia@example.org", "wrong")), { kind: "mismatch" });
  assert.deepEqual(await source.check(attemptOf("nobody@example.org", "secret")), { kind: "mismatch" });
  assert.equal(verifier.computed - before, 2);
  assert.deepEqual(await source.check(attemptOf("down@example.org", "secret")), {
    kind: "unavailable",
    why: "no server answers",
  });
  assert.equal((await source.check(attemptOf("two@example.org", "secret"))).kind, "unavailable");
  await verifier.close();
});

test("where no mailbox has a password, nobody computes anything", async () => {
  const verifier = new PasswordVerifier(log);
  const source = new HashSource(mailboxHashes, verifier, log);
  assert.deepEqual(await source.check(attemptOf("alice@example.org", "secret")), { kind: "mismatch" });
  assert.equal(verifier.computed, 0);
});

test("a decoy is the same for a name at every try, and of each kind as often as there are users of it", () => {
  const passwords = new Map(
    Array.from({ length: 40 }, (_, number) => [`u${number}@x.example`, number < 30 ? "slow" : "fast"]),
  );
  const key = "0".repeat(64);
  const counts = { slow: 0, fast: 0 };
  for (let number = 0; number < 1000; number += 1) {
    const decoy = decoyFor(passwords, `nobody${number}@x.example`, key);
    assert.equal(decoyFor(new Map(passwords), `nobody${number}@x.example`, key), decoy);
    counts[decoy as "slow" | "fast"] += 1;
  }
  // A keyed hash chooses: these counts are the same in every run.
  assert.ok(counts.slow > 700 && counts.slow < 800, `${counts.slow} of 1000`);
  assert.equal(decoyFor(new Map(), "x", key), undefined);
});

test("names: the default domain, capitals, users that are no addresses", () => {
  const plain = aConfig();
  const { server } = plain;
  const withDomain = {
    ...plain,
    server: { ...server, authentication: { ...server.authentication, defaultDomain: "example.org" } },
  };
  assert.equal(addressOfLogin(plain, "Alice@Example.ORG"), "alice@example.org");
  assert.equal(addressOfLogin(plain, "alice"), undefined);
  assert.equal(addressOfLogin(withDomain, "alice"), "alice@example.org");
  assert.equal(addressOfLogin(withDomain, "alice@other.example"), "alice@other.example");
  assert.equal(loginUser(plain, "Alice"), "alice");
  assert.equal(loginUser(plain, "al\nice"), undefined);
  assert.equal(loginUser(plain, ""), undefined);
});

test("who may log in: a Mailbox decides for its user, others need a back end that knows users", () => {
  const config = aConfig({
    addresses: new Map([
      ["alice@example.org", aMailbox()],
      ["suspended@example.org", aMailbox({ suspended: true })],
      ["disabled@example.org", aMailbox({ authentication: false })],
    ]),
  });
  const { server } = config;
  const dovecot = { target: { kind: "socket" as const, path: "/x" }, timeoutMs: 1 };
  const foreign = { ...config, server: { ...server, authentication: { ...server.authentication, dovecot } } };
  for (const [user, here, there] of [
    ["alice@example.org", true, true],
    ["suspended@example.org", false, false],
    ["disabled@example.org", false, false],
    ["dora@example.org", false, true],
  ] as const)
    assert.deepEqual([mayLogIn(config, user), mayLogIn(foreign, user)], [here, there], user);
});
