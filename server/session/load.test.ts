import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, capturedLog } from "../listen/inbound-fixture.ts";
import { Load } from "./load.ts";

const limits = {
  ...aConfig().server.limits,
  connections: 10,
  idleTimeoutMs: 300_000,
  heloTimeoutMs: 60_000,
  junkCommands: 100,
  hardErrors: 20,
};

test("stress begins at four fifths, ends at three, and is said once each time", () => {
  const { log, lines } = capturedLog();
  const load = new Load(() => limits, log);
  const take = (count: number): void => {
    for (let place = 0; place < count; place++) assert.equal(load.take(), true);
  };
  take(7);
  assert.equal(load.isStressed, false);
  assert.equal(load.patience().idleMs, 300_000);
  take(1);
  assert.equal(load.isStressed, true);
  assert.deepEqual(load.patience(), { idleMs: 10_000, heloMs: 10_000, minDataRate: 0, hardErrors: 1, junkCommands: 1 });
  load.leave();
  assert.equal(load.isStressed, true);
  load.leave();
  assert.equal(load.isStressed, false);
  assert.deepEqual(
    lines.map(({ event }) => event),
    ["stress", "stress-over"],
  );
});

test("no place beyond the limit", () => {
  const load = new Load(() => ({ ...limits, connections: 2 }), capturedLog().log);
  assert.deepEqual([load.take(), load.take(), load.take()], [true, true, false]);
  load.leave();
  assert.equal(load.take(), true);
});
