/** The reflector against a server that fails on purpose: each row of its state diagram once, then all of them at random. */
import assert from "node:assert/strict";
import { after, beforeEach, describe, it } from "node:test";
import fc from "fast-check";
import { KubeClient } from "./client.ts";
import { configMap, FaultServer, type Fault, json, status, until } from "./fault-server.ts";
import type { Log } from "./log.ts";
import { createMetrics } from "./metrics.ts";
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import { resources } from "./types.ts";

const closers: (() => Promise<unknown>)[] = [];
after(async () => {
  for (const close of closers) await close();
});

function memoryLog(): Log & { readonly lines: { readonly level: string; readonly text: string }[] } {
  const lines: { level: string; text: string }[] = [];
  const at = (level: string) => (fields: unknown, message?: string) => {
    lines.push({ level, text: `${message ?? ""} ${JSON.stringify(fields)}` });
  };
  return { lines, debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

async function world(options: Partial<ReflectorOptions> = {}) {
  const server = await FaultServer.start();
  const client = new KubeClient({ connection: server.connection() });
  const log = memoryLog();
  const metrics = createMetrics();
  const reflector = new Reflector({
    client,
    resource: resources.ConfigMap,
    log,
    metrics,
    baseBackoffMs: 1,
    maxBackoffMs: 4,
    silenceMs: 60_000,
    ...options,
  });
  const keys: string[] = [];
  reflector.onChange((key) => keys.push(key));
  closers.push(async () => {
    await reflector.stop();
    client.close();
    await server.close();
  });
  return { server, client, log, metrics, reflector, keys };
}

/** Synced and watching. */
async function running(options: Partial<ReflectorOptions> = {}) {
  const all = await world(options);
  all.server.put(configMap("a"));
  all.server.put(configMap("b"));
  all.reflector.start();
  await all.reflector.synced();
  await until("it watches", () => all.server.openWatches === 1);
  all.keys.length = 0;
  return all;
}

/** As at the time limit: the watch has worked (a bookmark came), then the server ends it. */
function orderlyEnd(server: FaultServer): void {
  server.bookmark();
  server.endWatches();
}

describe("list", () => {
  it("reads 1201 objects in three pages and watches from the version of the list", async () => {
    const { server, reflector, keys } = await world();
    for (let i = 0; i < 1201; i++) server.put(configMap(`c${i}`));
    assert.equal(reflector.hasSynced(), false);
    reflector.start();
    await reflector.synced();
    await until("it watches", () => server.openWatches === 1);
    assert.equal(reflector.size, 1201);
    assert.equal(new Set(keys).size, 1201);
    const lists = server.seen.filter((seen) => seen.what === "list");
    assert.deepEqual(
      lists.map((seen) => seen.query.get("limit")),
      ["500", "500", "500"],
    );
    assert.equal(lists[0]?.query.has("resourceVersion"), false);
    const watch = server.last("watch");
    assert.equal(watch?.query.get("resourceVersion"), String(100 + 1201));
    assert.equal(watch?.query.get("allowWatchBookmarks"), "true");
    const seconds = Number(watch?.query.get("timeoutSeconds"));
    assert.ok(seconds >= 300 && seconds <= 600, `timeoutSeconds ${seconds}`);
    assert.equal(reflector.get("mail/c7")?.kind, "ConfigMap");
    assert.equal(reflector.get("mail/c7")?.apiVersion, "v1");
  });

  it("begins again when the list expires between two pages", async () => {
    const { server, reflector } = await world({ pageLimit: 2 });
    for (const name of ["a", "b", "c"]) server.put(configMap(name));
    server.script("list", (reply) =>
      json(reply, 200, { apiVersion: "v1", metadata: { resourceVersion: "90", continue: "long-gone" }, items: [] }),
    );
    reflector.start();
    await reflector.synced();
    assert.deepEqual(
      reflector.list().map((object) => object.metadata.name),
      ["a", "b", "c"],
    );
    assert.equal(server.count("list"), 4);
  });

  it("asks for smaller pages when one is too large to read", async () => {
    const { server, log } = await world();
    const client = new KubeClient({ connection: server.connection(), maxReplyBytes: 20_000 });
    for (let i = 0; i < 40; i++) server.put(configMap(`c${i}`, { text: "x".repeat(1500) }));
    const reflector = new Reflector({ client, resource: resources.ConfigMap, log, baseBackoffMs: 1 });
    closers.unshift(() => reflector.stop());
    reflector.start();
    await reflector.synced();
    assert.equal(reflector.size, 40);
    assert.ok(Number(server.last("list")?.query.get("limit")) <= 12);
  });

  it("removes nothing when a list fails, and notices at the next what vanished meanwhile", async () => {
    const { server, reflector, keys } = await running();
    server.script("list", status(500, "InternalError", "etcd"), status(403, "Forbidden", "no"), (reply) =>
      reply.destroy(),
    );
    server.cutWatches();
    await until("the cut was seen", () => server.openWatches === 0);
    server.remove("mail/a");
    server.put(configMap("c"));
    server.compact();
    let smallest = 2;
    reflector.onChange(() => (smallest = Math.min(smallest, reflector.size)));
    await until("it watches again", () => server.openWatches === 1);
    assert.deepEqual([...keys].sort(), ["mail/a", "mail/c"], "b did not change and is not told");
    assert.equal(smallest, 2);
    assert.equal(reflector.get("mail/a"), undefined);
    assert.equal(server.scripted, 0);
  });

  it("drops the record of owners where it is not wanted", async () => {
    const { server, reflector } = await world({ withoutManagedFields: true });
    const object = configMap("a");
    const withRecord = { ...object, metadata: { ...object.metadata, managedFields: [{ manager: "kubectl" }] } };
    server.put(withRecord);
    reflector.start();
    await reflector.synced();
    await until("it watches", () => server.openWatches === 1);
    assert.equal("managedFields" in (reflector.get("mail/a")?.metadata ?? {}), false);
    const { resourceVersion } = server.put(withRecord).metadata;
    await until("the change came", () => reflector.get("mail/a")?.metadata.resourceVersion === resourceVersion);
    assert.equal("managedFields" in (reflector.get("mail/a")?.metadata ?? {}), false);
  });

  it("passes namespace and selectors on, in lists and watches", async () => {
    const { server, reflector } = await world({
      namespace: "mail",
      labelSelector: "app=packetboat",
      fieldSelector: "metadata.name=x",
    });
    reflector.start();
    await until("it watches", () => server.openWatches === 1);
    for (const seen of [server.last("list"), server.last("watch")]) {
      assert.equal(seen?.path, "/api/v1/namespaces/mail/configmaps");
      assert.equal(seen?.query.get("labelSelector"), "app=packetboat");
      assert.equal(seen?.query.get("fieldSelector"), "metadata.name=x");
    }
  });
});

describe("watch", () => {
  it("tells the key of what appears, changes and vanishes", async () => {
    const { server, reflector, keys } = await running();
    server.put(configMap("c"));
    server.put(configMap("a", { x: "1" }));
    server.remove("mail/b");
    await until("three keys came", () => keys.length === 3);
    assert.deepEqual(keys, ["mail/c", "mail/a", "mail/b"]);
    assert.deepEqual(
      reflector.list().map((object) => object.metadata.name),
      ["a", "c"],
    );
    assert.deepEqual(reflector.list("elsewhere"), []);
  });

  it("resumes at the last version after the server's time limit, without a list", async () => {
    const { server, keys, metrics } = await running();
    const last = server.put(configMap("c")).metadata.resourceVersion;
    await until("c came", () => keys.length === 1);
    server.endWatches();
    await until("it watches again", () => server.count("watch") === 2 && server.openWatches === 1);
    assert.equal(server.last("watch")?.query.get("resourceVersion"), last);
    assert.equal(server.count("list"), 1);
    assert.equal((await metrics.watchRestarts.get()).values.length, 0, "a time limit is no restart");
  });

  it("resumes at a bookmark's version", async () => {
    const { server, keys } = await running();
    const marked = server.bookmark();
    server.put(configMap("c"));
    await until("c came", () => keys.length === 1);
    assert.deepEqual(keys, ["mail/c"]);
    server.remove("mail/c");
    const second = server.bookmark();
    assert.ok(Number(second) > Number(marked));
    server.endWatches();
    await until("it watches again", () => server.count("watch") === 2);
    assert.equal(server.last("watch")?.query.get("resourceVersion"), second);
  });

  const goneEvent = JSON.stringify({
    type: "ERROR",
    object: { kind: "Status", code: 410, reason: "Expired", message: "too old" },
  });
  const brokenEvent = JSON.stringify({
    type: "ERROR",
    object: { kind: "Status", code: 500, reason: "InternalError", message: "etcd went away" },
  });
  /** What happens to an open watch; whether the place is kept (resume) or not (a list follows). */
  const mishaps: readonly {
    readonly name: string;
    readonly happen: (server: FaultServer) => void;
    readonly lists: number;
    readonly reason: string;
  }[] = [
    { name: "connection reset", happen: (server) => server.cutWatches(), lists: 1, reason: "ConnectionFailed" },
    {
      name: "line cut off in the middle",
      happen: (server) => (server.sendRaw('{"type":"ADDED","obj'), server.endWatches()),
      lists: 1,
      reason: "TruncatedLine",
    },
    {
      name: "connection reset inside a line",
      happen: (server) => (server.sendRaw('{"type":"ADD'), server.cutWatches()),
      lists: 1,
      reason: "ConnectionFailed",
    },
    {
      name: "line that is no JSON",
      happen: (server) => server.sendLine("<html>proxy says no</html>"),
      lists: 1,
      reason: "TruncatedLine",
    },
    { name: "ERROR event 500", happen: (server) => server.sendLine(brokenEvent), lists: 1, reason: "InternalError" },
    { name: "ERROR event 410", happen: (server) => server.sendLine(goneEvent), lists: 2, reason: "Expired" },
    {
      name: "event without a version",
      happen: (server) => server.sendLine('{"type":"ADDED","object":{"metadata":{"name":"x"}}}'),
      lists: 2,
      reason: "MalformedReply",
    },
    { name: "line without end", happen: (server) => server.sendRaw("x".repeat(5000)), lists: 1, reason: "LineTooLong" },
  ];
  for (const { name, happen, lists, reason } of mishaps) {
    it(`survives a ${name}`, async () => {
      const { server, reflector, keys, metrics } = await running({ maxLineBytes: 4096 });
      const last = server.put(configMap("c")).metadata.resourceVersion;
      await until("c came", () => keys.length === 1);
      happen(server);
      await until("it watches again", () => server.count("watch") >= 2 && server.openWatches === 1);
      server.put(configMap("d"));
      await until("d came", () => reflector.get("mail/d") !== undefined);
      assert.deepEqual(keys, ["mail/c", "mail/d"]);
      assert.equal(server.count("list"), lists);
      if (lists === 1) assert.equal(server.last("watch")?.query.get("resourceVersion"), last);
      const restarts = (await metrics.watchRestarts.get()).values;
      assert.deepEqual(
        restarts.map(({ labels, value }) => [labels.reason, value]),
        [[reason, 1]],
      );
    });
  }

  const refusals: readonly { readonly name: string; readonly fault: Fault; readonly lists: number }[] = [
    { name: "500", fault: status(500, "InternalError", "etcd"), lists: 1 },
    { name: "503", fault: status(503, "ServiceUnavailable", "starting"), lists: 1 },
    { name: "a closed connection", fault: (reply) => reply.destroy(), lists: 1 },
    { name: "an end at once", fault: (reply) => reply.writeHead(200).end(), lists: 1 },
    { name: "410", fault: status(410, "Expired", "too old"), lists: 3 },
    { name: "404", fault: status(404, "NotFound", "no such kind"), lists: 3 },
    {
      name: "a version from the future",
      fault: status(504, "Timeout", "Too large resource version", { causes: [{ reason: "ResourceVersionTooLarge" }] }),
      lists: 3,
    },
  ];
  for (const { name, fault, lists } of refusals) {
    it(`survives ${name} in answer to a watch, twice`, async () => {
      const { server, reflector, keys } = await running();
      server.script("watch", fault, fault);
      orderlyEnd(server);
      await until("it watches again", () => server.scripted === 0 && server.openWatches === 1);
      assert.equal(server.count("list"), lists);
      server.put(configMap("d"));
      await until("d came", () => reflector.get("mail/d") !== undefined);
      assert.deepEqual(keys, ["mail/d"]);
    });
  }

  it("lists again after five refusals in a row, for the place may be what is wrong", async () => {
    const { server } = await running();
    server.script("watch", ...Array.from({ length: 5 }, () => status(500, "InternalError", "etcd")));
    orderlyEnd(server);
    await until("it watches again", () => server.scripted === 0 && server.openWatches === 1);
    assert.equal(server.count("list"), 2);
  });

  it("waits longer between refusals, up to the limit", async () => {
    const { server, log } = await running({ baseBackoffMs: 1, maxBackoffMs: 4, random: () => 0.999 });
    server.script("watch", ...Array.from({ length: 5 }, () => status(500, "InternalError", "etcd")));
    orderlyEnd(server);
    await until("it watches again", () => server.scripted === 0 && server.openWatches === 1);
    const waits = log.lines.map((line) => /"waitMs":(\d+)/.exec(line.text)?.[1]).filter((wait) => wait !== undefined);
    assert.deepEqual(waits.map(Number), [1, 2, 4, 4, 4]);
  });

  it("takes silence for a dead connection and resumes", async () => {
    const { server, reflector } = await running({ silenceMs: 40 });
    await until("it gave up the silent watch", () => server.count("watch") >= 2);
    server.put(configMap("c"));
    await until("c came", () => reflector.get("mail/c") !== undefined);
    assert.equal(server.count("list") <= 2, true);
  });

  it("finds back to a server that was away", async () => {
    const { server, reflector, log } = await running();
    const { port } = server;
    await server.close();
    await until("it noticed", () => log.lines.some((line) => line.text.includes("ECONNREFUSED")));
    assert.equal(reflector.size, 2, "what was known stays known");
    await server.listen(port);
    server.put(configMap("c"));
    await until("c came", () => reflector.get("mail/c") !== undefined);
  });
});

describe("handlers and stop", () => {
  it("a handler that throws is logged and disturbs nobody", async () => {
    const { server, reflector, keys, log } = await world();
    const others: string[] = [];
    reflector.onChange(() => {
      throw new Error("handler bug");
    });
    reflector.onChange((key) => others.push(key));
    server.put(configMap("a"));
    reflector.start();
    await until("it watches", () => server.openWatches === 1);
    server.put(configMap("b"));
    await until("b came", () => others.length === 2);
    assert.deepEqual(keys, others);
    assert.equal(log.lines.filter((line) => line.level === "error" && line.text.includes("handler bug")).length, 2);
  });

  it("has the whole list in the store before the first key is told", async () => {
    const { server, reflector } = await world();
    const sizes: number[] = [];
    reflector.onChange(() => sizes.push(reflector.size));
    for (const name of ["a", "b", "c"]) server.put(configMap(name));
    reflector.start();
    await reflector.synced();
    assert.deepEqual(sizes, [3, 3, 3]);
  });

  for (const [name, prepare] of [
    ["a watch", async () => undefined],
    [
      "a back-off",
      async ({ server, log }: Awaited<ReturnType<typeof world>>) => {
        server.script("watch", status(500, "InternalError", "etcd"));
        orderlyEnd(server);
        await until("it backs off", () => log.lines.some((line) => line.text.includes("etcd")));
      },
    ],
  ] as const) {
    it(`stops during ${name} without a word and without a request left`, async () => {
      const all = await running({ baseBackoffMs: 60_000, maxBackoffMs: 60_000 });
      await prepare(all);
      const lines = all.log.lines.length;
      await all.reflector.stop();
      await until("the server sees no watch", () => all.server.openWatches === 0);
      const requests = all.server.seen.length;
      all.server.put(configMap("late"));
      assert.equal(all.reflector.get("mail/late"), undefined);
      assert.equal(all.server.seen.length, requests);
      assert.equal(all.log.lines.length, lines);
    });
  }

  it("stops before the first sync, and releases who waits for it", async () => {
    const { server, reflector } = await world({ baseBackoffMs: 60_000, maxBackoffMs: 60_000 });
    server.script("list", status(500, "InternalError", "etcd"));
    reflector.start();
    await until("the list failed", () => server.count("list") === 1);
    const waiting = reflector.synced();
    await reflector.stop();
    await waiting;
    assert.equal(reflector.hasSynced(), false);
  });
});

describe("whatever happens", () => {
  let last: Awaited<ReturnType<typeof running>> | undefined;
  beforeEach(() => (last = undefined));

  const steps = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("put" as const), name: fc.constantFrom("a", "b", "c", "d") }) },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant("remove" as const), name: fc.constantFrom("a", "b", "c", "d") }),
    },
    fc.record({ do: fc.constantFrom("cut", "end", "truncate", "error500", "error410", "compact", "bookmark", "turn") }),
    fc.record({
      do: fc.constant("refuse" as const),
      what: fc.constantFrom("list", "watch"),
      code: fc.constantFrom(500, 503, 410, 404, 0),
    }),
  );
  it("the store becomes what the server has", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(steps, { maxLength: 40 }), async (script) => {
        last = await running();
        const { server, reflector } = last;
        let serial = 0;
        for (const step of script) {
          if (step.do === "put") server.put(configMap(step.name, { serial: String(serial++) }));
          else if (step.do === "remove") server.remove(`mail/${step.name}`);
          else if (step.do === "refuse") {
            const { code, what } = step;
            server.script(what, code === 0 ? (reply) => reply.destroy() : status(code, "", "scripted"));
          } else if (step.do === "cut") server.cutWatches();
          else if (step.do === "end") server.endWatches();
          else if (step.do === "truncate") {
            server.sendRaw('{"type":');
            server.cutWatches();
          } else if (step.do === "error500" || step.do === "error410") {
            server.sendLine(
              JSON.stringify({ type: "ERROR", object: { code: Number(step.do.slice(5)), message: "scripted" } }),
            );
          } else if (step.do === "compact") server.compact();
          else if (step.do === "bookmark") server.bookmark();
          else await new Promise((resolve) => setImmediate(resolve));
        }
        server.cutWatches();
        const expected = () => JSON.stringify(server.keys().map((key) => server.get(key)?.metadata.resourceVersion));
        await until(
          "store and server agree",
          () => JSON.stringify(reflector.list().map((o) => o.metadata.resourceVersion)) === expected(),
        );
        await reflector.stop();
      }),
      { numRuns: 60 },
    );
  });
});
