/**
 * The admin port: what a probe, Prometheus, the operator and a person with kubectl may ask. Read only; holds no secret and no message content.
 *
 *   GET /metrics   all shards added up          GET /healthz  the process works            GET /readyz  it takes mail (else 503 and why)
 *   GET /config    the hash that every shard runs, and why a newer set is not taken
 *   GET /queue     totals                       GET /queue/ID  one message (404: settled or never here)   GET /queue/list?limit=N&after=ID
 * Fails with 503 and a sentence where the shards do not answer. In a cluster a NetworkPolicy opens it to the operator and Prometheus only.
 */
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Log } from "../observe/log.ts";

export interface AdminSource {
  metrics(): Promise<string>;
  /** undefined: ready; else the sentence why not. */
  notReady(): string | undefined;
  config(): unknown;
  queueSummary(): Promise<unknown>;
  queueMessage(id: string): Promise<unknown>;
  queueList(limit: number, after: string | undefined): Promise<unknown>;
}

export interface AdminServer {
  readonly addresses: readonly AddressInfo[];
  close(): Promise<void>;
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(value)}\n`);
}

function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(`${text}\n`);
}

async function route(url: URL, source: AdminSource, response: ServerResponse): Promise<void> {
  const message = /^\/queue\/([0-9A-Za-z]{10,20})$/.exec(url.pathname);
  if (message?.[1] !== undefined) {
    const found = await source.queueMessage(message[1]);
    return found === undefined || found === null
      ? sendText(response, 404, "not in the queue")
      : sendJson(response, 200, found);
  }
  switch (url.pathname) {
    case "/metrics":
      response
        .writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" })
        .end(await source.metrics());
      return;
    case "/healthz":
      return sendText(response, 200, "ok");
    case "/readyz": {
      const reason = source.notReady();
      return sendText(response, reason === undefined ? 200 : 503, reason ?? "ok");
    }
    case "/config":
      return sendJson(response, 200, source.config());
    case "/queue":
      return sendJson(response, 200, await source.queueSummary());
    case "/queue/list": {
      const limit = Math.min(Math.max(Number(url.searchParams.get("limit") ?? "100") || 100, 1), 1000);
      return sendJson(response, 200, await source.queueList(limit, url.searchParams.get("after") ?? undefined));
    }
    default:
      return sendText(response, 404, "not here; see /metrics /healthz /readyz /config /queue");
  }
}

function listen(server: Server, host: string, port: number): Promise<AddressInfo | undefined> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      // A host without IPv6 (or IPv4) is no mistake of the user.
      if (error.code === "EAFNOSUPPORT" || error.code === "EADDRNOTAVAIL") resolve(undefined);
      else reject(new Error(`the admin port ${port} cannot be opened on ${host}: ${error.code}`));
    });
    server.listen(port, host, () => resolve(server.address() as AddressInfo));
  });
}

export async function startAdmin(
  addresses: readonly string[],
  port: number,
  source: AdminSource,
  log: Log,
): Promise<AdminServer> {
  const servers: Server[] = [];
  const bound: AddressInfo[] = [];
  for (const host of addresses) {
    const server = createServer(
      { requestTimeout: 5000, headersTimeout: 5000, maxHeaderSize: 8192 },
      (request, response) => {
        if (request.method !== "GET" && request.method !== "HEAD")
          return sendText(response, 405, "this port only answers GET");
        // A fixed base: only path and query of a stranger's request line are looked at.
        const url = URL.parse(request.url ?? "/", "http://admin");
        if (url === null) return sendText(response, 400, "not a path");
        route(url, source, response).catch((cause: unknown) => {
          log.warn({ path: url.pathname, reason: String(cause) }, "admin request failed");
          if (!response.headersSent) sendText(response, 503, "the shards did not answer; see the log");
        });
      },
    );
    const address = await listen(server, host, port);
    if (address === undefined) log.warn({ host }, "address family not available, admin not opened there");
    else {
      servers.push(server);
      bound.push(address);
    }
  }
  return {
    addresses: bound,
    close: async () => {
      await Promise.all(
        servers.map(
          (server) =>
            new Promise<void>((resolve) => {
              server.close(() => resolve());
              server.closeAllConnections();
            }),
        ),
      );
    },
  };
}
