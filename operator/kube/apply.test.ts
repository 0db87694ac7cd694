/** What the applier refuses and forgets; what the server makes of its writes stands in `e2e/integration/operator-on-api-server.test.ts`. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import fc from "fast-check";
import { Applier, mergePatch } from "./apply.ts";
import { KubeClient } from "./client.ts";
import { configMap, FaultServer, status, until } from "./fault-server.ts";
import type { Leadership } from "./lease.ts";
import { alwaysLeader } from "./lease.ts";
import { createLog } from "./log.ts";
import { ManualClock } from "./manual-clock.ts";
import { createMetrics } from "./metrics.ts";

const closers: (() => unknown)[] = [];
after(async () => {
  for (const close of closers) await close();
});

async function world(leadership: Leadership = alwaysLeader) {
  const server = await FaultServer.start();
  const client = new KubeClient({ connection: server.connection() });
  closers.push(
    () => client.close(),
    () => server.close(),
  );
  const clock = new ManualClock();
  const metrics = createMetrics();
  const applier = new Applier({ client, leadership, log: createLog("test", "silent"), metrics, clock });
  return { server, applier, metrics, clock };
}

describe("leadership", () => {
  it("without it nothing is sent", async () => {
    const { server, applier, metrics } = await world({ mayWrite: () => false, signal: AbortSignal.abort() });
    const observed = server.put(configMap("a"));
    for (const result of [
      await applier.apply(configMap("b"), undefined),
      await applier.annotate(observed, { kick: "1" }),
      await applier.applyStatus(observed, { ready: true }),
      await applier.remove(observed),
    ])
      assert.equal(result.ok || result.failure.reason, "NotLeader");
    assert.equal(server.seen.length, 0);
    assert.equal((await metrics.apiWrites.get()).values.length, 0);
  });

  it("lost in the middle of a write, the write is given up", async () => {
    const lost = new AbortController();
    const { server, applier } = await world({ mayWrite: () => !lost.signal.aborted, signal: lost.signal });
    server.script("PATCH", () => undefined);
    const pending = applier.apply(configMap("a"), undefined);
    await until("it is sent", () => server.seen.length === 1);
    lost.abort();
    const result = await pending;
    assert.equal(result.ok || result.failure.reason, "Aborted");
  });
});

describe("apply", () => {
  it("sends who it is and forces", async () => {
    const { server, applier, metrics } = await world();
    assert.deepEqual(await applier.apply(configMap("a", { k: "v" }), undefined), { ok: true, did: "written" });
    const [seen] = server.seen;
    assert.equal(seen?.path, "/api/v1/namespaces/mail/configmaps/a");
    assert.equal(seen?.headers["content-type"], "application/apply-patch+yaml");
    assert.deepEqual(Object.fromEntries(seen?.query ?? []), { fieldManager: "packetboat-operator", force: "true" });
    assert.match(
      JSON.parse(seen?.body ?? "{}").metadata.annotations["mail.packetboat.io/applied-hash"],
      /^[0-9a-f]{64}$/,
    );
    assert.deepEqual(
      (await metrics.apiWrites.get()).values.map(({ labels, value }) => [labels.kind, labels.verb, value]),
      [["ConfigMap", "apply", 1]],
    );
  });

  it("a server that insists on another spelling is asked once, not for ever", async () => {
    const { server, applier } = await world();
    await applier.apply(configMap("a", { k: "v" }), undefined);
    // This server keeps no record of owners: compared with it, everything is always different.
    for (let i = 0; i < 3; i++)
      assert.deepEqual(await applier.apply(configMap("a", { k: "v" }), server.get("mail/a")), {
        ok: true,
        did: "unchanged",
      });
    assert.equal(server.seen.length, 1);
    assert.deepEqual(await applier.apply(configMap("a", { k: "w" }), server.get("mail/a")), {
      ok: true,
      did: "written",
    });
  });

  it("a store that has not moved for ten seconds is believed", async () => {
    const { server, applier, clock } = await world();
    await applier.apply(configMap("a"), undefined);
    server.remove("mail/a");
    assert.deepEqual(await applier.apply(configMap("a"), undefined), { ok: true, did: "unchanged" });
    await clock.advance(10_000);
    assert.deepEqual(await applier.apply(configMap("a"), undefined), { ok: true, did: "written" });
  });

  it("a refusal is a value and is not remembered as a write", async () => {
    const { server, applier } = await world();
    server.script("PATCH", status(422, "Invalid", "spec is immutable", { causes: [{ field: "spec", message: "no" }] }));
    const refused = await applier.apply(configMap("a"), undefined);
    assert.deepEqual(refused, {
      ok: false,
      failure: {
        code: 422,
        reason: "Invalid",
        message: "spec is immutable",
        causes: [{ field: "spec", message: "no" }],
      },
    });
    assert.deepEqual(await applier.apply(configMap("a"), undefined), { ok: true, did: "written" });
  });

  it("what is going away is left to go", async () => {
    const { server, applier } = await world();
    const going = server.put({
      ...configMap("a"),
      metadata: { name: "a", namespace: "mail", deletionTimestamp: "2026-01-01T00:00:00Z" },
    });
    assert.deepEqual(await applier.apply(configMap("a"), going), { ok: true, did: "terminating" });
    assert.deepEqual(await applier.remove(going), { ok: true, did: "terminating" });
    assert.equal(server.seen.length, 0);
  });

  it("a kind it does not know is a bug", async () => {
    const { applier } = await world();
    await assert.rejects(
      applier.apply({ apiVersion: "v1", kind: "Node", metadata: { name: "x" } }, undefined),
      /Node is not among/,
    );
  });
});

describe("mergePatch", () => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 3 },
      fc.integer(),
      fc.string(),
      fc.boolean(),
      fc.array(tie("any"), { maxLength: 3 }),
      tie("object"),
    ),
    object: fc.dictionary(fc.constantFrom("a", "b", "c", "d"), tie("any"), { noNullPrototype: true }),
  })).object as fc.Arbitrary<Record<string, unknown>>;

  /** RFC 7396 §2, as the server does it. */
  function patched(into: unknown, patch: unknown): unknown {
    if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
    const result: Record<string, unknown> =
      typeof into === "object" && into !== null && !Array.isArray(into) ? { ...into } : {};
    for (const [field, inner] of Object.entries(patch)) {
      if (inner === null) delete result[field];
      else result[field] = patched(result[field], inner);
    }
    return result;
  }

  it("turns anything into anything, and equal things need none", () => {
    fc.assert(
      fc.property(value, value, (from, to) => {
        const patch = mergePatch(from, to);
        assert.deepEqual({ ...(patched(from, patch ?? {}) as object) }, { ...to });
        assert.equal(mergePatch(to, structuredClone(to)), undefined);
      }),
    );
  });
});
