/** The same manifests give the same bytes: what the operator wrote into ConfigMaps and Secrets is what the embedded mode writes into its folder. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { test } from "node:test";
import { parseAllDocuments, stringify } from "yaml";
import { configFolder, renderManifests } from "../../operator/local/render.ts";
import { until } from "../peers/ports.ts";
import { root, Stage } from "./stage.ts";

interface Document {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

/** Every folder that holds manifests: quickstart, from-postfix/000 … */
const examples = [
  ...new Set(
    readdirSync(join(root, "examples"), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.ya?ml$/.test(name))
      .map((name) => dirname(name)),
  ),
].sort();

for (const example of examples) {
  test(`examples/${example}`, async () => {
    const stage = await Stage.set();
    const namespace = `same-${example.replaceAll("/", "-")}`;
    const folder = mkdtempSync(join(tmpdir(), "packetboat-same-"));
    try {
      // The namespace is part of a server's name, so both sides get the same one.
      const documents = readdirSync(resolve(root, "examples", example))
        .filter((name) => /\.ya?ml$/.test(name))
        .sort()
        .flatMap((name) =>
          parseAllDocuments(readFileSync(resolve(root, "examples", example, name), "utf8")).map(
            (document) => document.toJS() as Document | null,
          ),
        )
        .filter((document) => document !== null)
        .map((document) => ({ ...document, metadata: { ...document.metadata, namespace } }));
      const manifests = join(folder, "manifests.yaml");
      writeFileSync(manifests, documents.map((document) => stringify(document)).join("---\n"));
      await stage.kubectl("create", "namespace", namespace);
      await stage.kubectl("apply", "-f", manifests);
      const server = documents.find((document) => document.kind === "MailServer")?.metadata.name ?? "";
      // Salts of users that do not exist come from the server's uid: the same object has to be rendered, not one of the same name.
      const { metadata } = await stage.get(`mailserver/${server}`, namespace);
      const same = documents.map((document) =>
        document.kind === "MailServer"
          ? { ...document, metadata: { ...document.metadata, uid: metadata.uid } }
          : document,
      );
      writeFileSync(manifests, same.map((document) => stringify(document)).join("---\n"));
      const rendered = await renderManifests({ manifests: folder, data: join(folder, "data"), running: false });
      assert.equal(rendered.kind, "rendered", rendered.kind === "refused" ? rendered.explanation : "");
      const file = (name: string): string => readFileSync(join(configFolder(join(folder, "data")), name), "utf8");
      const wanted = (JSON.parse(file("manifest.json")) as { hash: string; files: Record<string, string> }) ?? {};
      await until(`the operator to write ${wanted.hash}`, 30_000, async () => {
        const map = await stage.get(`configmap/${server}-manifest`, namespace).catch(() => undefined);
        return map?.data?.["manifest.json"]?.includes(wanted.hash) === true;
      });
      const written = new Map<string, string>();
      for (const object of [
        ...(await stage.list("configmaps", "-n", namespace)),
        ...(await stage.list("secrets", "-n", namespace)),
      ]) {
        for (const [name, value] of Object.entries(object.data ?? {}))
          written.set(name, object.kind === "Secret" ? Buffer.from(value, "base64").toString("utf8") : value);
      }
      for (const name of [...Object.keys(wanted.files), "manifest.json"])
        assert.equal(written.get(name), file(name), name);
      console.log(
        `examples/${example}: ${Object.keys(wanted.files).length + 1} files, ${wanted.hash.slice(0, 12)}, the same bytes`,
      );
    } finally {
      rmSync(folder, { recursive: true, force: true });
      await stage.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found");
    }
  });
}
