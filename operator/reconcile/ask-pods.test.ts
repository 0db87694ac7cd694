/** Asking pods: a real HTTP peer that answers well, badly, too much, or not at all; every answer becomes a value. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { askPod, type Pod } from "./ask-pods.ts";

const hash = "ab".repeat(32);
const pod = (over: object = {}): Pod =>
  ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "mx-0", uid: "u" },
    status: { podIP: "127.0.0.1", conditions: [{ type: "Ready", status: "True" }] },
    ...over,
  }) as Pod;

async function asking(listener: RequestListener, over: object = {}): Promise<Awaited<ReturnType<typeof askPod>>> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    return await askPod(pod(over), new AbortController().signal, (server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const answer =
  (config: object): RequestListener =>
  (request, response) =>
    void response.end(
      JSON.stringify(
        request.url === "/config"
          ? config
          : { messages: { active: 1, deferred: 2, hold: 0, corrupt: 0 }, recipients: 4, bytes: 9, oldestMs: 61_000 },
      ),
    );

test("hash, readiness and queue totals of a pod that is well", async () => {
  assert.deepEqual(await asking(answer({ hash, shards: [{ notReady: null }], pending: null })), {
    name: "mx-0",
    ready: true,
    rejected: false,
    hash,
    queue: { messages: 3, recipients: 4, oldestSeconds: 61 },
  });
});

test("a refused set is told apart from one that has not arrived", async () => {
  const refused = await asking(
    answer({ hash, shards: [{ notReady: null }], pending: { kind: "invalid", message: "server.json: hostname" } }),
  );
  assert.equal(refused.rejected, true);
  assert.equal(refused.problem, "server.json: hostname");
  const waiting = await asking(
    answer({ hash: null, shards: [], pending: { kind: "incomplete", message: "table-01.json" } }),
  );
  assert.equal(waiting.rejected, false);
  assert.equal(waiting.hash, undefined);
});

const bad: readonly { readonly name: string; readonly listener: RequestListener; readonly says: RegExp }[] = [
  { name: "an error", listener: (_, response) => void response.writeHead(503).end("{}"), says: /HTTP 503/ },
  { name: "something else", listener: (_, response) => void response.end("<html>"), says: /does not answer/ },
  { name: "far too much", listener: (_, response) => void response.end("x".repeat(1024 * 1024)), says: /too large/ },
  {
    name: "a redirect",
    listener: (_, response) => void response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
    says: /does not answer/,
  },
];
for (const { name, listener, says } of bad) {
  test(`a pod that answers with ${name} does not run the set, and says why`, async () => {
    const result = await asking(listener);
    assert.equal(result.hash, undefined);
    assert.match(result.problem ?? "", says);
  });
}

test("a pod without an address, or on its way out, is not asked", async () => {
  const asked = asking(() => assert.fail("asked"), { status: { phase: "Pending" } });
  assert.match((await asked).problem ?? "", /no address yet \(Pending\)/);
  const leaving = await asking(() => assert.fail("asked"), {
    metadata: { name: "mx-0", uid: "u", deletionTimestamp: "2026-01-01T00:00:00Z" },
  });
  assert.match(leaving.problem ?? "", /being deleted/);
});
