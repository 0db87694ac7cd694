/** examples/from-postfix: every setup renders as the embedded mode renders it, the server reads the result, and the build has nothing to say but what is listed here. */
import assert from "node:assert/strict";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, suite, test } from "node:test";
import { loadConfig } from "../../server/config/load.ts";
import { aCertificate } from "../build/sample-certificate.ts";
import { configFolder, renderManifests } from "./render.ts";

const setups = resolve(import.meta.dirname, "../../examples/from-postfix");

/** The Secrets that cert-manager makes for each of them; a folder of examples cannot hold a private key. */
const certificates: Readonly<Record<string, readonly string[]>> = {
  "000": ["maeve-ecdsa", "maeve-rsa"],
  "001": ["mta-ecdsa", "mta-rsa"],
  "002": ["smtp-example-com"],
  "003": ["wildcard-example-com"],
  "004": ["star-example-com"],
  "004/workstation": [],
};

suite("examples/from-postfix", () => {
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "packetboat-from-postfix-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  for (const [name, secrets] of Object.entries(certificates))
    test(name, async () => {
      const manifests = join(folder, name, "manifests");
      await cp(join(setups, name), manifests, {
        recursive: true,
        filter: (path) => !path.endsWith("workstation") || path === join(setups, name),
      });
      const documents = await Promise.all(
        secrets.map(async (secret) => {
          const stringData = JSON.stringify(await aCertificate("example.com"));
          return `---\napiVersion: v1\nkind: Secret\nmetadata: {name: ${secret}}\ntype: kubernetes.io/tls\nstringData: ${stringData}\n`;
        }),
      );
      await writeFile(join(manifests, "certificates.yaml"), documents.join(""));
      const data = join(folder, name, "data");
      const rendered = await renderManifests({ manifests, data, running: false });
      assert.ok(rendered.kind === "rendered", rendered.kind === "refused" ? rendered.explanation : "");
      assert.equal(rendered.remarks, undefined);
      const loaded = await loadConfig(configFolder(data));
      assert.ok(loaded.kind === "loaded" && loaded.config.hash === rendered.hash);
    });
});
