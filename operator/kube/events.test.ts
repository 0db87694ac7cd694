/** Events: said once, counted when repeated, bounded, and never in anybody's way. */
import assert from "node:assert/strict";
import { after, it } from "node:test";
import { KubeClient } from "./client.ts";
import { EventRecorder } from "./events.ts";
import { configMap, FaultServer, status, until } from "./fault-server.ts";
import { alwaysLeader, type Leadership } from "./lease.ts";
import { createLog } from "./log.ts";
import { ManualClock } from "./manual-clock.ts";
import { createMetrics } from "./metrics.ts";
import type { Condition } from "./types.ts";

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
  const recorder = new EventRecorder({
    client,
    leadership,
    instance: "operator-1",
    log: createLog("test", "silent"),
    metrics,
    clock,
  });
  const sent = (method: string) =>
    server.seen.filter((seen) => seen.method === method).map((seen) => JSON.parse(seen.body));
  const dropped = async () =>
    Object.fromEntries((await metrics.eventsDropped.get()).values.map(({ labels, value }) => [labels.reason, value]));
  return { server, recorder, clock, sent, dropped };
}

const regarding = { ...configMap("mx"), metadata: { name: "mx", namespace: "mail", uid: "u1" } };
const text = { type: "Warning", reason: "Conflict", action: "Validate", note: "taken" } as const;
const condition = (type: string, status: Condition["status"], reason: string): Condition => ({
  type,
  status,
  reason,
  message: "a sentence",
  lastTransitionTime: "2026-01-01T00:00:00Z",
});

it("has every field that events.k8s.io/v1 demands", async () => {
  const { recorder, sent } = await world();
  recorder.record(regarding, text);
  await recorder.flush();
  const [event] = sent("POST");
  assert.match(event.metadata.name, /^mx\.[0-9a-f]{16}$/);
  assert.deepEqual(
    { ...event, metadata: undefined },
    {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: undefined,
      eventTime: "2026-01-01T00:00:00.000000Z",
      reportingController: "mail.packetboat.io/operator",
      reportingInstance: "operator-1",
      ...text,
      regarding: { apiVersion: "v1", kind: "ConfigMap", namespace: "mail", name: "mx", uid: "u1" },
    },
  );
});

it("counts repetitions, writes the count at most once a minute, and begins anew after six quiet minutes", async () => {
  const { recorder, clock, sent } = await world();
  for (let second = 0; second < 130; second++) {
    recorder.record(regarding, text);
    await recorder.flush();
    await clock.advance(1000);
  }
  assert.equal(sent("POST").length, 1);
  assert.deepEqual(
    sent("PATCH").map((patch) => patch.series.count),
    [2, 62, 122],
  );
  await clock.advance(6 * 60_000);
  recorder.record(regarding, text);
  await recorder.flush();
  assert.equal(sent("POST").length, 2);
});

it("speaks of transitions only: an unchanged world is silent", async () => {
  const { recorder, sent } = await world();
  const good = [condition("Accepted", "True", "Valid"), condition("Ready", "True", "Ready")];
  recorder.transitions(regarding, good, structuredClone(good), "Reconcile");
  await recorder.flush();
  assert.deepEqual(sent("POST"), []);
  recorder.transitions(regarding, [], good, "Reconcile");
  recorder.transitions(
    regarding,
    good,
    [condition("Accepted", "False", "Conflict"), good[1] as Condition],
    "Reconcile",
  );
  await recorder.flush();
  assert.deepEqual(
    sent("POST").map((event) => [event.type, event.reason, event.note]),
    [
      ["Normal", "Ready", "Ready=True: a sentence"],
      ["Warning", "Conflict", "Accepted=False: a sentence"],
    ],
  );
});

it("lets one object say 25 things at once, then one every five minutes", async () => {
  const { recorder, clock, sent, dropped } = await world();
  for (let i = 0; i < 40; i++) recorder.record(regarding, { ...text, note: `${i}` });
  await recorder.flush();
  assert.equal(sent("POST").length, 25);
  assert.deepEqual(await dropped(), { rate: 15 });
  await clock.advance(5 * 60_000);
  for (let i = 40; i < 42; i++) recorder.record(regarding, { ...text, note: `${i}` });
  await recorder.flush();
  assert.equal(sent("POST").length, 26);
});

it("never blocks: a server that hangs or refuses costs the event only", async () => {
  const { server, recorder, dropped } = await world();
  let hanging: import("node:http").ServerResponse | undefined;
  server.script("POST", (reply) => (hanging = reply), status(403, "Forbidden", "no"));
  recorder.record(regarding, text);
  recorder.record(regarding, { ...text, note: "second" });
  await until("the first is under way", () => hanging !== undefined);
  hanging?.destroy();
  await recorder.flush();
  assert.deepEqual(await dropped(), { failed: 2 });
  recorder.record(regarding, text);
  await recorder.flush();
  assert.equal(server.count("POST"), 3, "a failed event is not held for the start of a series");
});

it("only the leader speaks", async () => {
  const { server, recorder, dropped } = await world({ mayWrite: () => false, signal: AbortSignal.abort() });
  recorder.record(regarding, text);
  await recorder.flush();
  assert.equal(server.seen.length, 0);
  assert.deepEqual(await dropped(), { standby: 1 });
});

it("cuts a note to 1024 bytes without cutting a character", async () => {
  const { recorder, sent } = await world();
  recorder.record(regarding, { ...text, note: "é".repeat(1000) });
  await recorder.flush();
  const { note } = sent("POST")[0];
  assert.ok(Buffer.byteLength(note) <= 1024);
  assert.match(note, /^é+…$/);
});
