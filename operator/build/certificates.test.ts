import assert from "node:assert/strict";
import { createHash, createPublicKey, X509Certificate } from "node:crypto";
import { suite, test } from "node:test";
import { normaliseFingerprint, readAuthority, readCertificate, readKeyPair } from "./certificates.ts";
import { aCertificate } from "./sample-certificate.ts";

const pair = await aCertificate("mx.example.org");
const other = await aCertificate("mx.example.org");
const secret = (entries: Record<string, string>) => new Map(Object.entries(entries));

suite("certificates from Secrets", () => {
  test("a chain and its key are taken with what a fingerprint and an expiry need", () => {
    const read = readKeyPair(
      "default/tls",
      secret({ "tls.crt": pair["tls.crt"] + other["tls.crt"], "tls.key": pair["tls.key"] }),
    );
    assert.ok(read.ok);
    const certificate = new X509Certificate(pair["tls.crt"]);
    assert.equal(read.facts.certificateSha256, certificate.fingerprint256.replaceAll(":", "").toLowerCase());
    const spki = createPublicKey(pair["tls.crt"]).export({ type: "spki", format: "der" });
    assert.equal(read.facts.publicKeySha256, createHash("sha256").update(spki).digest("hex"));
    assert.equal(read.facts.notAfterMs, certificate.validToDate.getTime());
    assert.equal(read.facts.subject, "CN=mx.example.org");
  });

  const refused: readonly [why: string, data: Map<string, string> | undefined, reason: string, said: RegExp][] = [
    ["no Secret", undefined, "SecretNotFound", /Secret default\/tls does not exist; create it/],
    ["no certificate", secret({ "tls.key": pair["tls.key"] }), "SecretInvalid", /has no tls\.crt/],
    ["no key", secret({ "tls.crt": pair["tls.crt"], "tls.key": "" }), "SecretInvalid", /has no tls\.key/],
    [
      "not PEM",
      secret({ "tls.crt": "hello", "tls.key": pair["tls.key"] }),
      "SecretInvalid",
      /is not a PEM certificate/,
    ],
    [
      "damaged key",
      secret({
        "tls.crt": pair["tls.crt"],
        "tls.key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
      }),
      "SecretInvalid",
      /not an unencrypted PEM private key/,
    ],
    [
      "another's key",
      secret({ "tls.crt": pair["tls.crt"], "tls.key": other["tls.key"] }),
      "SecretInvalid",
      /does not belong to the first certificate/,
    ],
    [
      "too large",
      secret({ "tls.crt": pair["tls.crt"].padEnd(300_000), "tls.key": pair["tls.key"] }),
      "SecretInvalid",
      /too large/,
    ],
  ];
  for (const [why, data, reason, said] of refused) {
    test(`refused: ${why}`, () => {
      const read = readKeyPair("default/tls", data);
      assert.ok(!read.ok);
      assert.equal(read.reason, reason);
      assert.match(read.message, said);
      assert.doesNotMatch(read.message, /PRIVATE KEY/);
    });
  }

  test("a client certificate needs no key; an authority bundle must be readable to its end", () => {
    assert.ok(readCertificate("default/client", secret({ "tls.crt": pair["tls.crt"] })).ok);
    assert.ok(!readCertificate("default/client", secret({ "tls.crt": "x" })).ok);
    const bundle = readAuthority(
      "default/ca",
      secret({ "ca.crt": `# two of them\n${pair["tls.crt"]}\n# and\n${other["tls.crt"]}` }),
    );
    assert.ok(bundle.ok);
    assert.equal(bundle.bundle.match(/BEGIN CERTIFICATE/g)?.length, 2);
    assert.ok(
      !readAuthority(
        "default/ca",
        secret({ "ca.crt": `${pair["tls.crt"]}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n` }),
      ).ok,
    );
    assert.ok(!readAuthority("default/ca", secret({ "ca.crt": "" })).ok);
    assert.ok(!readAuthority("default/ca", undefined).ok);
  });

  test("fingerprints in every usual spelling", () => {
    const hex = "ab".repeat(32);
    for (const spelling of [hex, hex.toUpperCase(), "AB:".repeat(31) + "AB", `SHA256:${hex}`, `sha256=${hex}`])
      assert.equal(normaliseFingerprint(spelling), hex, spelling);
    for (const wrong of ["", "ab", hex + "00", `zz${hex.slice(2)}`])
      assert.equal(normaliseFingerprint(wrong), undefined, wrong);
  });
});
