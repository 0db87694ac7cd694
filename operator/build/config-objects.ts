/**
 * The rendered files as ConfigMaps and Secrets: one object a file, because one object holds at most 1 MiB.
 *
 * Stands in build/, between the server's `renderFiles` and the apply. The order of the result is the order to write in: the manifest last, so that a pod which
 * sees it finds every file that it names. A slice too large for an object is named by `oversizedFiles`; the remedy is a larger spec.configShards.
 */
import { MANIFEST_FILE } from "../../server/config/files.ts";
import type { Manifest } from "../kube/types.ts";
import { configMapOf, manifest, manifestMapOf, ownedMeta, sliceObjectOf } from "./names.ts";
import type { MailServer } from "./world.ts";

/** An object may hold 1 MiB (etcd's 1.5 MiB less what the API server adds); base64 makes a Secret's content a third larger on the way but is not counted. */
export const MAX_FILE_BYTES = 1_000_000;

const isSecret = (file: string): boolean => file.startsWith("secret-");

/** Which object carries a file. */
export function objectOf(
  server: string,
  file: string,
): { readonly kind: "ConfigMap" | "Secret"; readonly name: string } {
  if (file === MANIFEST_FILE) return { kind: "ConfigMap", name: manifestMapOf(server) };
  if (file === "server.json") return { kind: "ConfigMap", name: configMapOf(server) };
  return { kind: isSecret(file) ? "Secret" : "ConfigMap", name: sliceObjectOf(server, file) };
}

export function configObjects(server: MailServer, files: ReadonlyMap<string, string>): Manifest[] {
  const last = (file: string): number => Number(file === MANIFEST_FILE);
  return [...files]
    .sort(([a], [b]) => last(a) - last(b) || (a < b ? -1 : 1))
    .map(([file, content]) => {
      const { kind, name } = objectOf(server.metadata.name, file);
      const metadata = ownedMeta(server, name);
      return kind === "Secret"
        ? manifest({
            apiVersion: "v1",
            kind,
            metadata,
            type: "Opaque",
            data: { [file]: Buffer.from(content, "utf8").toString("base64") },
          })
        : manifest({ apiVersion: "v1", kind, metadata, data: { [file]: content } });
    });
}

/** The sources of the projected volume, in the order of the file names; all optional, so that a pod can start before its configuration. */
export function configSources(server: string, files: Iterable<string>): readonly Readonly<Record<string, unknown>>[] {
  return [...files].sort().map((file) => {
    const { kind, name } = objectOf(server, file);
    return {
      [kind === "Secret" ? "secret" : "configMap"]: { name, optional: true, items: [{ key: file, path: file }] },
    };
  });
}

export function oversizedFiles(files: ReadonlyMap<string, string>): string[] {
  return [...files].filter(([, content]) => Buffer.byteLength(content, "utf8") > MAX_FILE_BYTES).map(([file]) => file);
}
