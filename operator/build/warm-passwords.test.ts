import assert from "node:assert/strict";
import { test } from "node:test";
import { aMailbox } from "../../crds/builders.ts";
import { buildDesired } from "./build.ts";
import { hashPlaintext } from "./passwords.ts";
import { aWorld } from "./sample-world.ts";
import { warmPasswords } from "./warm-passwords.ts";

test("what was hashed beforehand is what the build uses, and is hashed once", async () => {
  const people = Array.from({ length: 8 }, (_, index) =>
    aMailbox({
      metadata: { name: `warm${index}` },
      spec: { address: `warm${index}@example.org`, passwordSecretRef: { name: "all", key: `k${index % 4}` } },
    }),
  );
  const passwords = { k0: "one", k1: "two", k2: "{MD5}wrong", k3: "three" };
  const world = aWorld({ objects: people, secrets: { "default/all": passwords } });
  assert.equal(await warmPasswords(world), 6);
  const { config } = buildDesired(world);
  assert.equal(Object.keys(config.secrets.passwords).length, 6);
  assert.equal(config.secrets.passwords["warm0@example.org"], hashPlaintext("warm0@example.org", "one"));
  assert.equal(await warmPasswords(world), 0);
});
