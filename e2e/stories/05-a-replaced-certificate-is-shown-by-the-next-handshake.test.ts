/** A certificate Secret replaced: the next handshake shows it, no pod restarts. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { type KeyPair, selfSigned } from "../peers/certificates.ts";
import { until } from "../peers/ports.ts";
import { Stage } from "./stage.ts";

const tlsSecret = (pair: KeyPair): string =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Secret",
    type: "kubernetes.io/tls",
    metadata: { name: "story-tls" },
    stringData: { "tls.crt": pair.certificate, "tls.key": pair.privateKey },
  });

test("the next handshake shows the new certificate", async () => {
  const stage = await Stage.set();
  const before = await stage.pods();
  const [first, second] = [await selfSigned("mx.example.org"), await selfSigned("mx.example.org")];
  const shown = async (): Promise<string> => {
    await using client = await stage.session();
    return (await client.startTls()).getPeerX509Certificate()?.fingerprint256 ?? "";
  };
  const showsSoon = (pair: KeyPair): Promise<void> =>
    until(
      "the certificate",
      30_000,
      async () => (await shown()) === new X509Certificate(pair.certificate).fingerprint256,
    );
  await stage.apply(tlsSecret(first));
  await stage.kubectl(
    "patch",
    "mailserver/mx",
    "--type=merge",
    "-p",
    '{"spec":{"tls":{"certificates":[{"secretName":"story-tls"}]}}}',
  );
  await showsSoon(first);
  const start = performance.now();
  await stage.apply(tlsSecret(second));
  await showsSoon(second);
  console.log(`replaced certificate shown ${(performance.now() - start).toFixed(0)} ms after kubectl apply began`);
  await stage.ready("mailserver/mx");
  assert.deepEqual(
    (await stage.pods()).map((pod) => pod.metadata.uid),
    before.map((pod) => pod.metadata.uid),
  );
  await stage.kubectl("patch", "mailserver/mx", "--type=json", "-p", '[{"op":"remove","path":"/spec/tls"}]');
  await stage.kubectl("delete", "secret/story-tls");
  await stage.ready("mailserver/mx");
});
