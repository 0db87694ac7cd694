import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { aMailbox, aMailServer, aRelayClientCert } from "../../crds/builders.ts";
import { buildDesired } from "./build.ts";
import { aWorld, type WorldParts } from "./sample-world.ts";
import { objectKey } from "./world.ts";

const build = (parts: WorldParts): ReturnType<typeof buildDesired> => buildDesired(aWorld(parts));
const password = { "default/alice": { password: "a-test-password" } };
const withMechanisms = (...mechanisms: ("PLAIN" | "SCRAM-SHA-256")[]) =>
  aMailServer({ spec: { authentication: { mechanisms } } });

suite("build: authentication", () => {
  test("a SCRAM verifier is made of a plaintext only where SCRAM is wanted, and is the same in every build", () => {
    const alice = aMailbox({ spec: { passwordSecretRef: { name: "alice" } } });
    const without = build({ server: withMechanisms("PLAIN"), objects: [alice], secrets: password });
    assert.deepEqual(without.config.secrets.scramVerifiers, {});
    const builds = [1, 2].map(() =>
      build({ server: withMechanisms("PLAIN", "SCRAM-SHA-256"), objects: [alice], secrets: password }),
    );
    const [first, second] = builds.map(({ config }) => config.secrets.scramVerifiers["alice@example.org"] ?? "");
    assert.match(first ?? "", /^\{SCRAM-SHA-256\}65536,[A-Za-z0-9+/]{22}==,[A-Za-z0-9+/]{43}=,[A-Za-z0-9+/]{43}=$/);
    assert.equal(first, second);
    assert.match(builds[0]?.config.secrets.passwords["alice@example.org"] ?? "", /^\$argon2id\$/);
  });

  test("the salt belongs to the server: another one has another", () => {
    const alice = aMailbox({ spec: { passwordSecretRef: { name: "alice" } } });
    const verifiers = ["1", "2"].map((uid) => {
      const server = aMailServer({
        metadata: { name: "mx", namespace: "default", uid },
        spec: { authentication: { mechanisms: ["SCRAM-SHA-256"] } },
      });
      return build({ server, objects: [alice], secrets: password }).config.secrets.scramVerifiers["alice@example.org"];
    });
    assert.notEqual(verifiers[0], verifiers[1]);
  });

  test("a mailbox without a password may log in only where something else knows its user", () => {
    const bob = aMailbox({ metadata: { name: "bob", namespace: "default" }, spec: { address: "bob@example.org" } });
    const mayLogIn = (parts: WorldParts): boolean | undefined =>
      build(parts).config.tables.addresses["bob@example.org"]?.mailbox?.authentication;
    assert.equal(mayLogIn({ objects: [bob] }), false);
    const server = aMailServer({ spec: { authentication: { dovecot: { host: "dovecot" } } } });
    assert.equal(mayLogIn({ server, objects: [bob] }), true);
    const disabled = aMailbox({
      metadata: { name: "bob", namespace: "default" },
      spec: { address: "bob@example.org", authentication: "Disabled" },
    });
    assert.equal(mayLogIn({ server, objects: [disabled] }), false);
    const certificate = aRelayClientCert({ spec: { authenticatesAs: "Bob@example.org" } });
    assert.equal(mayLogIn({ objects: [bob, certificate] }), true);
    const [entry] = Object.values(build({ objects: [bob, certificate] }).config.tables.relayClientCerts);
    assert.equal(entry?.authenticatesAs, "bob@example.org");
  });

  test("a missing Secret keeps the back end, and is said", () => {
    const server = aMailServer({
      spec: {
        authentication: { ldap: { urls: ["ldaps://ldap.example"], baseDN: "dc=example", bindSecretName: "nobody" } },
      },
    });
    const desired = build({ server });
    assert.equal(desired.config.server.authentication.ldap?.credentials, "default/nobody");
    const verdict = desired.verdicts.get(objectKey(server));
    assert.match(JSON.stringify(verdict), /default\/nobody does not exist.*told to try later/);
  });
});
