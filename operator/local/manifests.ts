/**
 * Documents of a folder → the world of one MailServer, the embedded default's stand-in for what gather reads from the API server.
 *
 * Stands in local/, between yaml-folder.ts and build/; pure. What the API server would refuse is a problem with its place, and the whole folder waits; other kinds of
 * objects (Deployments, ConfigMaps) are none of ours. Age, which a folder does not have, is the order of the documents.
 */
import { API_VERSION, parseObject } from "../../crds/kinds.ts";
import { objectsOf } from "../build/build.ts";
import { strayRefusal, worldOf } from "../build/world-of.ts";
import {
  describe,
  type MailObject,
  type MailServer,
  nameKey,
  objectKey,
  type SecretData,
  type World,
} from "../build/world.ts";
import { isRecord, type Place, type PlacedDocument, placeText, type Problem } from "./yaml-folder.ts";

export interface ReadOptions {
  readonly folder: string;
  /** `name` or `namespace/name`. */
  readonly server: string | undefined;
  readonly nowMs: number;
}

export type ReadWorld =
  | {
      readonly kind: "world";
      readonly world: World;
      /** By `objectKey`. */
      readonly places: ReadonlyMap<string, Place>;
      readonly notes: readonly string[];
    }
  | { readonly kind: "problems"; readonly problems: readonly Problem[] };

const DEFAULT_NAMESPACE = "default";
const FIRST_MS = Date.UTC(2000, 0, 1);
const GROUP = API_VERSION.split("/")[0] ?? "";

/** What a folder is read into, document by document. */
class FolderReader {
  readonly objects: MailObject[] = [];
  readonly secrets = new Map<string, SecretData>();
  readonly namespaces = new Map<string, Readonly<Record<string, string>>>();
  readonly places = new Map<string, Place>();
  readonly problems: Problem[] = [];
  readonly notes: string[] = [];

  read({ place, value }: PlacedDocument, index: number): void {
    const { apiVersion, kind } = value;
    if (typeof apiVersion !== "string" || typeof kind !== "string") {
      this.#problem(place, "This is not a Kubernetes object: add apiVersion and kind.");
    } else if (apiVersion === GROUP || apiVersion.startsWith(`${GROUP}/`)) this.#mailObject(place, value, index);
    else if (apiVersion === "v1" && kind === "Secret") this.#secret(place, value);
    else if (apiVersion === "v1" && kind === "Namespace") this.#namespace(value);
    else
      this.notes.push(
        `${placeText(place)}: ${kind} (${apiVersion}) means nothing without Kubernetes and is passed over.`,
      );
  }

  #problem(place: Place, message: string): void {
    this.problems.push({ place, message });
  }

  #mailObject(place: Place, value: Readonly<Record<string, unknown>>, index: number): void {
    const parsed = parseObject(value);
    if (!parsed.ok) {
      const { metadata } = value;
      const name = isRecord(metadata) && typeof metadata["name"] === "string" ? ` ${metadata["name"]}` : "";
      for (const problem of parsed.problems) this.#problem(place, `${String(value["kind"])}${name}: ${problem}`);
      return;
    }
    const { metadata } = parsed.object;
    const object: MailObject = {
      ...parsed.object,
      metadata: {
        ...metadata,
        namespace: metadata.namespace ?? DEFAULT_NAMESPACE,
        creationTimestamp: metadata.creationTimestamp ?? new Date(FIRST_MS + index * 1000).toISOString(),
      },
    };
    const key = objectKey(object);
    const twice = this.places.get(key);
    if (twice !== undefined)
      return this.#problem(
        place,
        `${describe(object)} is already in ${placeText(twice)}; remove one of the two or give it another name.`,
      );
    this.places.set(key, place);
    this.objects.push(object);
  }

  #secret(place: Place, value: Readonly<Record<string, unknown>>): void {
    const { metadata, data, stringData } = value;
    const name = isRecord(metadata) ? metadata["name"] : undefined;
    if (!isRecord(metadata) || typeof name !== "string" || name === "")
      return this.#problem(place, "This Secret has no metadata.name; add it.");
    const namespace = typeof metadata["namespace"] === "string" ? metadata["namespace"] : DEFAULT_NAMESPACE;
    const key = `${namespace}/${name}`;
    const twice = this.places.get(`Secret/${key}`);
    if (twice !== undefined)
      return this.#problem(place, `Secret ${key} is already in ${placeText(twice)}; remove one of the two.`);
    this.places.set(`Secret/${key}`, place);

    const content = new Map<string, Buffer | string>();
    for (const [field, entries] of [
      ["data", data],
      ["stringData", stringData],
    ] as const) {
      if (entries === undefined || entries === null) continue;
      if (!isRecord(entries))
        return this.#problem(place, `Secret ${key}: ${field} must be a mapping from keys to text.`);
      for (const [entry, text] of Object.entries(entries)) {
        // Never the value itself: this is printed.
        if (typeof text !== "string")
          return this.#problem(place, `Secret ${key}: ${field}.${entry} must be text; put it in quotes.`);
        if (field === "stringData") content.set(entry, text);
        else if (/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(text)) content.set(entry, Buffer.from(text, "base64"));
        else
          return this.#problem(
            place,
            `Secret ${key}: data.${entry} must be base64; plain text belongs under stringData.`,
          );
      }
    }
    this.secrets.set(key, Object.fromEntries(content));
  }

  #namespace({ metadata }: Readonly<Record<string, unknown>>): void {
    if (!isRecord(metadata) || typeof metadata["name"] !== "string") return;
    const labels = isRecord(metadata["labels"])
      ? Object.entries(metadata["labels"]).filter((entry): entry is [string, string] => typeof entry[1] === "string")
      : [];
    this.namespaces.set(metadata["name"], Object.fromEntries(labels));
  }

  /** As the API server does: every namespace carries its name as a label. */
  namespaceLabels(): Map<string, Readonly<Record<string, string>>> {
    const names = new Set([
      ...this.namespaces.keys(),
      ...this.objects.map(({ metadata }) => metadata.namespace ?? DEFAULT_NAMESPACE),
    ]);
    return new Map(
      [...names].map((name) => [name, { ...this.namespaces.get(name), "kubernetes.io/metadata.name": name }]),
    );
  }
}

function choose(servers: readonly MailServer[], wanted: string | undefined, folder: string): MailServer | string {
  const names = servers.map(nameKey).join(", ");
  if (wanted !== undefined) {
    const found = servers.find((server) => nameKey(server) === wanted || server.metadata.name === wanted);
    return found ?? `There is no MailServer ${wanted} in the folder${names === "" ? "" : `; it has ${names}`}.`;
  }
  const [only, another] = servers;
  if (only === undefined) return `There is no MailServer in ${folder}; add one (examples/quickstart has a small one).`;
  return another === undefined ? only : `The folder has several MailServers (${names}); choose one with --server NAME.`;
}

export function readWorld(
  documents: readonly PlacedDocument[],
  { folder, server: wanted, nowMs }: ReadOptions,
): ReadWorld {
  const reader = new FolderReader();
  for (const [index, document] of documents.entries()) reader.read(document, index);
  const servers = reader.objects.filter((object): object is MailServer => object.kind === "MailServer");
  if (reader.problems.length > 0) return { kind: "problems", problems: reader.problems };
  const server = choose(servers, wanted, folder);
  if (typeof server === "string")
    return { kind: "problems", problems: [{ place: { file: folder, document: 1, line: 1 }, message: server }] };

  const world = worldOf(server, reader.objects, {
    secrets: reader.secrets,
    namespaces: reader.namespaceLabels(),
    nowMs,
  });
  const domains = new Set(reader.objects.flatMap((object) => (object.kind === "MailDomain" ? [nameKey(object)] : [])));
  const inWorld = new Set<MailObject>(objectsOf(world));
  const strays = reader.objects.flatMap((object) => {
    const refusal = inWorld.has(object) ? undefined : strayRefusal(object, servers, domains);
    const place = reader.places.get(objectKey(object));
    return refusal === undefined || place === undefined
      ? []
      : [`${placeText(place)}: ${describe(object)} is not accepted (${refusal.reason}): ${refusal.message}`];
  });
  return {
    kind: "world",
    world,
    places: reader.places,
    notes: [...reader.notes, ...strays],
  };
}
