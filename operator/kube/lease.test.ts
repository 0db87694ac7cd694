/** Leader election against a server that loses, delays and forgets, with clocks that disagree. Nobody may write while another may. */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { KubeClient } from "./client.ts";
import type { Clock } from "./clock.ts";
import { FaultServer, type Fault, status, until } from "./fault-server.ts";
import { Lease, type LeaseObject } from "./lease.ts";
import { createLog } from "./log.ts";
import { ManualClock } from "./manual-clock.ts";
import { createMetrics } from "./metrics.ts";

const log = createLog("test", "silent");
const closers: (() => Promise<unknown>)[] = [];
after(async () => {
  for (const close of closers) await close();
});

/** Requests run on the machine's clock; the lease counts on the test's. */
async function world() {
  const server = await FaultServer.start();
  const client = new KubeClient({ connection: server.connection() });
  closers.push(async () => {
    client.close();
    await server.close();
  });
  const contender = (identity: string, clock: Clock) => {
    const told: string[] = [];
    const metrics = createMetrics();
    const lease = new Lease({
      client,
      namespace: "mail",
      name: "operator",
      identity,
      log,
      clock,
      metrics,
      onElected: () => told.push("elected"),
      onLost: (why) => told.push(`lost: ${why}`),
    });
    closers.unshift(() => lease.stop());
    return { lease, told, metrics };
  };
  const held = () => server.get("mail/operator") as unknown as LeaseObject | undefined;
  return { server, contender, held };
}

/** Moves the hands in small steps and lets the requests of each step come home. */
async function pass(clock: ManualClock, ms: number, server: FaultServer): Promise<void> {
  for (let left = ms; left > 0; left -= 500) {
    await clock.advance(Math.min(500, left));
    let seen = -1;
    // Quiet when two rounds of real turns brought no request.
    while (seen !== server.seen.length) {
      seen = server.seen.length;
      for (let turn = 0; turn < 40; turn++) await new Promise((resolve) => setImmediate(resolve));
      // Turns without work pass faster than a packet.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

const twice = (fault: Fault) => [fault, fault];

describe("one", () => {
  it("takes a lease that does not exist, renews it, and gives it back", async () => {
    const { server, contender, held } = await world();
    const clock = new ManualClock();
    const { lease, told, metrics } = contender("a", clock);
    assert.equal(lease.mayWrite(), false);
    assert.equal(lease.signal.aborted, true);
    lease.start();
    await until("a leads", () => lease.mayWrite());
    assert.equal(lease.signal.aborted, false);
    assert.deepEqual(held()?.spec, {
      holderIdentity: "a",
      leaseDurationSeconds: 15,
      leaseTransitions: 0,
      acquireTime: "2026-01-01T00:00:00.000000Z",
      renewTime: "2026-01-01T00:00:00.000000Z",
    });
    await pass(clock, 20_000, server);
    assert.equal(lease.mayWrite(), true);
    assert.equal(held()?.spec?.acquireTime, "2026-01-01T00:00:00.000000Z");
    assert.ok((held()?.spec?.renewTime ?? "") > "2026-01-01T00:00:15");
    assert.equal((await metrics.leader.get()).values[0]?.value, 1);
    await lease.stop();
    assert.deepEqual(told, ["elected", "lost: stopped"]);
    assert.equal(held()?.spec?.holderIdentity, "");
    assert.equal((await metrics.leader.get()).values[0]?.value, 0);
  });

  it("may not write ten seconds after the last renewal that was sent, however the renewals fail", async () => {
    const { server, contender } = await world();
    const clock = new ManualClock();
    const { lease, told } = contender("a", clock);
    lease.start();
    await until("a leads", () => lease.mayWrite());
    const { signal } = lease;
    for (const fault of [
      status(500, "InternalError", "etcd"),
      status(503, "ServiceUnavailable", "no"),
      (reply: { destroy(): void }) => reply.destroy(),
    ]) {
      server.script("PUT", ...twice(fault as Fault), ...twice(fault as Fault));
      server.script("GET", ...twice(fault as Fault), ...twice(fault as Fault));
    }
    await pass(clock, 9_500, server);
    assert.equal(lease.mayWrite(), true);
    await pass(clock, 1_000, server);
    assert.equal(lease.mayWrite(), false);
    assert.equal(signal.aborted, true, "what is under way is given up");
    assert.deepEqual(told, ["elected", "lost: not renewed in time"]);
  });

  it("counts from the asking, not from a late answer", async () => {
    const { server, contender } = await world();
    const clock = new ManualClock();
    const { lease } = contender("a", clock);
    lease.start();
    await until("a leads", () => lease.mayWrite());
    let answer: (() => void) | undefined;
    server.script("PUT", (reply, seen) => {
      const stored = server.put(JSON.parse(seen.body) as LeaseObject);
      answer = () => reply.writeHead(200).end(JSON.stringify(stored));
    });
    await pass(clock, 2_000, server);
    await until("it asked, at 2 s", () => answer !== undefined);
    await clock.advance(3_000);
    answer?.();
    // Every later renewal is refused: the right to write ends at 2 s + 10 s.
    server.script("PUT", ...Array.from({ length: 20 }, () => status(500, "InternalError", "etcd")));
    await pass(clock, 6_500, server);
    assert.equal(lease.mayWrite(), true, "at 11.5 s");
    await pass(clock, 1_000, server);
    assert.equal(lease.mayWrite(), false, "at 12.5 s");
  });

  it("comes back when the server does", async () => {
    const { server, contender } = await world();
    const clock = new ManualClock();
    const { lease, told } = contender("a", clock);
    lease.start();
    await until("a leads", () => lease.mayWrite());
    server.script("PUT", ...Array.from({ length: 8 }, () => status(500, "InternalError", "etcd")));
    await pass(clock, 30_000, server);
    assert.equal(lease.mayWrite(), true);
    assert.deepEqual(told, ["elected", "lost: not renewed in time", "elected"]);
  });

  it("a renewal whose answer was lost is not the end: it looks, and finds its own name", async () => {
    const { server, contender } = await world();
    const clock = new ManualClock();
    const { lease, told } = contender("a", clock);
    lease.start();
    await until("a leads", () => lease.mayWrite());
    server.script("PUT", (reply, seen) => {
      server.put(JSON.parse(seen.body) as LeaseObject);
      reply.destroy();
    });
    await pass(clock, 12_000, server);
    assert.equal(lease.mayWrite(), true);
    assert.deepEqual(told, ["elected"]);
  });

  it("a machine that slept wakes up without the right to write, though its own clock stood still", async () => {
    const { contender } = await world();
    const clock = new ManualClock();
    const { lease } = contender("a", clock);
    lease.start();
    await until("a leads", () => lease.mayWrite());
    clock.stepWall(11_000);
    assert.equal(lease.mayWrite(), false);
  });

  it("refuses settings that are not safe", async () => {
    const { server } = await world();
    const client = new KubeClient({ connection: server.connection() });
    const make = (settings: object) => () =>
      new Lease({ client, namespace: "mail", name: "x", identity: "a", log, ...settings });
    assert.throws(make({ renewDeadlineMs: 15_000 }), /safe/);
    assert.throws(make({ retryMs: 10_000 }), /safe/);
    assert.throws(make({ leaseDurationMs: 15_500 }), /whole seconds/);
  });
});

describe("two", () => {
  it("the second waits the whole duration by its own clock, and never both may write", async () => {
    const { server, contender, held } = await world();
    const clock = new ManualClock();
    // b's calendar is an hour ahead: to it every renewTime looks long past.
    const skewed: Clock = {
      now: () => clock.now(),
      wall: () => clock.wall() + 3_600_000,
      after: (ms, fire) => clock.after(ms, fire),
    };
    const a = contender("a", clock);
    const b = contender("b", skewed);
    a.lease.start();
    await until("a leads", () => a.lease.mayWrite());
    b.lease.start();
    await pass(clock, 40_000, server);
    assert.equal(a.lease.mayWrite(), true);
    assert.deepEqual(b.told, []);

    // a is cut off: its renewals are lost, b's requests pass.
    const cut: Fault = (reply, seen) => {
      const from = (JSON.parse(seen.body) as LeaseObject).spec?.holderIdentity;
      if (from === "a") {
        server.script("PUT", cut);
        reply.destroy();
        return;
      }
      server.put(JSON.parse(seen.body) as LeaseObject);
      reply.writeHead(200).end(JSON.stringify(held()));
    };
    server.script("PUT", cut);
    let lostAt = 0;
    for (let second = 0; second < 40 && !b.lease.mayWrite(); second++) {
      await pass(clock, 500, server);
      assert.equal(a.lease.mayWrite() && b.lease.mayWrite(), false, "both may write");
      if (lostAt === 0 && !a.lease.mayWrite()) lostAt = clock.now();
    }
    assert.equal(b.lease.mayWrite(), true);
    assert.ok(clock.now() - lostAt >= 3_000, `only ${clock.now() - lostAt} ms between the two`);
    assert.equal(held()?.spec?.holderIdentity, "b");
    assert.equal(held()?.spec?.leaseTransitions, 1);
  });

  it("of two who find it free one gets it", async () => {
    const { server, contender } = await world();
    const clock = new ManualClock();
    const [a, b] = [contender("a", clock), contender("b", clock)];
    a.lease.start();
    b.lease.start();
    await until("one leads", () => a.lease.mayWrite() || b.lease.mayWrite());
    await pass(clock, 20_000, server);
    assert.equal(Number(a.lease.mayWrite()) + Number(b.lease.mayWrite()), 1);
    assert.deepEqual([...a.told, ...b.told], ["elected"]);
  });

  it("yields at once when the lease names another", async () => {
    const { server, contender, held } = await world();
    const clock = new ManualClock();
    const { lease, told } = contender("a", clock);
    lease.start();
    await until("a leads", () => lease.mayWrite());
    const now = held() as LeaseObject;
    const { resourceVersion: _version, ...metadata } = now.metadata;
    server.put({ ...now, metadata, spec: { ...now.spec, holderIdentity: "b" } } as LeaseObject);
    await pass(clock, 2_500, server);
    assert.equal(lease.mayWrite(), false);
    assert.deepEqual(told, ["elected", "lost: held by b"]);
  });
});
