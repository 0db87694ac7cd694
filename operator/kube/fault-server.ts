/**
 * An API server small enough to be made to fail on purpose, for tests: real HTTP on a loopback port, a store with resource versions, lists in pages,
 * watches with history, plain merge patches. A test scripts the next answers (`script`) or cuts what is open (`cutWatches`); whatever is not
 * scripted is answered properly.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Connection } from "./connection.ts";
import { type KubeObject, keyOf } from "./types.ts";

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  /** "list", "watch", or the method. */
  readonly what: string;
}

export type Fault = (reply: ServerResponse, seen: Seen) => void;

type Stored = KubeObject & { readonly metadata: { readonly resourceVersion: string } };

export class FaultServer {
  readonly seen: Seen[] = [];
  readonly #objects = new Map<string, Stored>();
  #history: { readonly version: number; readonly line: string }[] = [];
  #version = 100;
  #oldest = 0;
  #pages = new Map<string, { readonly items: readonly Stored[]; readonly version: number }>();
  readonly #watches = new Set<ServerResponse>();
  readonly #scripts: { readonly what: string; readonly fault: Fault }[] = [];
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, reply) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => this.#answer(request, reply, Buffer.concat(chunks).toString()));
      request.on("error", () => reply.destroy());
    });
  }

  static async start(port = 0): Promise<FaultServer> {
    const server = new FaultServer();
    await server.listen(port);
    return server;
  }

  listen(port: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", reject);
    this.#server.listen(port, "127.0.0.1", resolve);
    return promise;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  connection(token = "secret-token"): Connection {
    return {
      server: new URL(`http://127.0.0.1:${this.port}`),
      namespace: "default",
      credentials: async () => ({ headers: { authorization: `Bearer ${token}` }, tls: {} }),
    };
  }

  /** No more connections, none left. */
  close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    return promise;
  }

  /** The next request of this sort (`list`, `watch`, `PATCH`, …) is answered so; several stand in line. */
  script(what: string, ...faults: readonly Fault[]): void {
    for (const fault of faults) this.#scripts.push({ what, fault });
  }

  get scripted(): number {
    return this.#scripts.length;
  }

  put(object: KubeObject): Stored {
    const key = keyOf(object);
    const type = this.#objects.has(key) ? "MODIFIED" : "ADDED";
    const stored = {
      ...object,
      metadata: { uid: `uid-${key}`, ...object.metadata, resourceVersion: String(++this.#version) },
    };
    this.#objects.set(key, stored);
    this.#publish(type, stored);
    return stored;
  }

  remove(key: string): void {
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    this.#publish("DELETED", { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } });
  }

  get(key: string): Stored | undefined {
    return this.#objects.get(key);
  }

  keys(): readonly string[] {
    return [...this.#objects.keys()].sort();
  }

  /** Moves the resource version on and tells it to whoever watches. */
  bookmark(): string {
    const resourceVersion = String(++this.#version);
    this.sendLine(
      JSON.stringify({
        type: "BOOKMARK",
        object: { kind: "ConfigMap", apiVersion: "v1", metadata: { resourceVersion } },
      }),
    );
    return resourceVersion;
  }

  /** Everything before now is no longer remembered. */
  compact(): void {
    this.#oldest = this.#version;
    this.#history = [];
    this.#pages = new Map();
  }

  /** Raw bytes into every open watch. */
  sendRaw(bytes: string): void {
    for (const reply of this.#watches) if (!reply.writableEnded) reply.write(bytes);
  }

  sendLine(line: string): void {
    this.sendRaw(`${line}\n`);
  }

  endWatches(): void {
    for (const reply of this.#watches) if (!reply.writableEnded) reply.end();
  }

  cutWatches(): void {
    for (const reply of this.#watches) reply.destroy();
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  count(what: string): number {
    return this.seen.filter((seen) => seen.what === what).length;
  }

  last(what: string): Seen | undefined {
    return this.seen.findLast((seen) => seen.what === what);
  }

  #publish(type: string, object: Stored): void {
    const line = JSON.stringify({ type, object });
    this.#history.push({ version: Number(object.metadata.resourceVersion), line });
    this.sendLine(line);
  }

  #answer(request: IncomingMessage, reply: ServerResponse, body: string): void {
    const url = new URL(request.url ?? "/", "http://server");
    const query = url.searchParams;
    const named = /\/(configmaps|pods|leases|mailboxes|events)\/[^/]+/.test(url.pathname);
    const what = request.method !== "GET" || named ? (request.method ?? "") : query.has("watch") ? "watch" : "list";
    const seen: Seen = {
      method: request.method ?? "",
      path: url.pathname,
      query,
      headers: request.headers,
      body,
      what,
    };
    this.seen.push(seen);
    const index = this.#scripts.findIndex((script) => script.what === what);
    if (index >= 0) return this.#scripts.splice(index, 1)[0]?.fault(reply, seen);
    if (what === "list") this.#list(query, reply);
    else if (what === "watch") this.watch(query, reply);
    else this.#object(seen, reply);
  }

  #list(query: URLSearchParams, reply: ServerResponse): void {
    const token = query.get("continue");
    const page =
      token === null ? { items: [...this.#objects.values()], version: this.#version } : this.#pages.get(token);
    if (page === undefined) return status(410, "Expired", "the continue token is too old")(reply);
    const limit = Number(query.get("limit") ?? 0) || page.items.length;
    const rest = page.items.slice(limit);
    const next = rest.length === 0 ? "" : `page-${this.#pages.size}-${page.version}`;
    if (next !== "") this.#pages.set(next, { items: rest, version: page.version });
    // As the real one: items carry no apiVersion and kind.
    const items = page.items.slice(0, limit).map(({ apiVersion: _version, kind: _kind, ...item }) => item);
    json(reply, 200, {
      kind: "ConfigMapList",
      apiVersion: "v1",
      metadata: { resourceVersion: String(page.version), ...(next !== "" && { continue: next }) },
      items,
    });
  }

  /** A proper watch: what happened since, then what happens. */
  watch(query: URLSearchParams, reply: ServerResponse): void {
    const from = Number(query.get("resourceVersion"));
    if (from < this.#oldest) return status(410, "Expired", `too old resource version: ${from}`)(reply);
    reply.writeHead(200, { "content-type": "application/json" });
    reply.flushHeaders();
    for (const { version, line } of this.#history) if (version > from) reply.write(`${line}\n`);
    this.#watches.add(reply);
    // A client that goes away while we write is what these tests are about.
    reply.on("error", () => reply.destroy());
    reply.on("close", () => this.#watches.delete(reply));
  }

  #object(seen: Seen, reply: ServerResponse): void {
    const match = /\/namespaces\/([^/]+)\/[^/]+(?:\/([^/]+))?/.exec(seen.path);
    const sent = (seen.body === "" ? {} : JSON.parse(seen.body)) as KubeObject;
    const key = `${match?.[1]}/${match?.[2] ?? sent.metadata?.name}`;
    const before = this.#objects.get(key);
    if (seen.method === "POST") {
      if (before !== undefined) return status(409, "AlreadyExists", `${key} exists`)(reply);
      return json(reply, 201, this.put(sent));
    }
    if (before === undefined && seen.headers["content-type"] !== "application/apply-patch+yaml") {
      return status(404, "NotFound", `${key} not found`)(reply);
    }
    if (seen.method === "GET") return json(reply, 200, before);
    if (seen.method === "DELETE") {
      this.remove(key);
      return json(reply, 200, { kind: "Status", status: "Success" });
    }
    const expected = sent.metadata?.resourceVersion;
    if (expected !== undefined && expected !== before?.metadata.resourceVersion) {
      return status(409, "Conflict", "the object has been modified")(reply);
    }
    return json(reply, 200, this.put(seen.method === "PUT" ? sent : (merge(before, sent) as KubeObject)));
  }
}

function merge(into: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> = typeof into === "object" && into !== null ? { ...into } : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete result[field];
    else result[field] = merge(result[field], value);
  }
  return result;
}

export function json(reply: ServerResponse, code: number, value: unknown): void {
  reply.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(value));
}

/** A Status reply, as a fault. */
export function status(
  code: number,
  reason: string,
  message: string,
  details: object = {},
  headers: Record<string, string> = {},
): (reply: ServerResponse) => void {
  return (reply) =>
    reply
      .writeHead(code, { "content-type": "application/json", ...headers })
      .end(JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", reason, message, code, details }));
}

export function configMap(
  name: string,
  data: Record<string, string> = {},
  namespace = "mail",
): KubeObject & { data: Record<string, string> } {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, data };
}

/** Waits, turn by turn, until something is true; says what it waited for when it never is. */
export async function until(what: string, isTrue: () => boolean, withinMs = 5000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!isTrue()) {
    if (Date.now() > deadline) throw new Error(`waited ${withinMs} ms in vain until ${what}`);
    await nextTurn();
  }
}
