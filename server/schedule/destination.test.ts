import assert from "node:assert/strict";
import { test } from "node:test";
import { Destination } from "./destination.ts";
import type { Feedback } from "./trouble.ts";

const good: Feedback = { kind: "good" };
const neutral: Feedback = { kind: "neutral" };
const busy: Feedback = { kind: "bad", unreachable: false };
const unreachable: Feedback = { kind: "bad", unreachable: true };
const pauseMs = 300_000;
const reply = { code: 451, enhanced: "4.4.1", text: "refused" };

function aDestination(limit = 20): {
  readonly destination: Destination;
  readonly hear: (feedback: Feedback, times?: number, nowMs?: number) => void;
} {
  const destination = new Destination("mx:x.test", { limit }, 0);
  return {
    destination,
    hear: (feedback, times = 1, nowMs = 1000) => {
      for (let time = 0; time < times; time++) destination.learn(feedback, reply, nowMs, pauseMs);
    },
  };
}

test("the window begins at five, grows by one for each full window of successes, and ends at the limit", () => {
  const { destination, hear } = aDestination(8);
  assert.equal(destination.window, 5);
  hear(good, 6);
  assert.equal(destination.window, 6);
  hear(good, 100);
  assert.equal(destination.window, 8);
});

test("it shrinks by one for each failure", () => {
  const { destination, hear } = aDestination();
  hear(good, 500);
  hear(busy);
  assert.equal(destination.window, 19);
  hear(good);
  hear(busy);
  assert.equal(destination.window, 18);
});

test("one that never answered is given up at once; one that did, after a window of failures with nothing good between", () => {
  const fresh = aDestination();
  fresh.hear(unreachable);
  assert.ok(fresh.destination.isDead(1001));

  const known = aDestination();
  known.hear(neutral);
  known.hear(unreachable, 3);
  assert.ok(!known.destination.isDead(1001));
  known.hear(unreachable, 2);
  assert.ok(known.destination.isDead(1001));

  const mixed = aDestination();
  for (let turn = 0; turn < 50; turn++) {
    mixed.hear(good);
    mixed.hear(busy);
  }
  assert.ok(!mixed.destination.isDead(1001));
});

test("after the pause one probe; a failure begins the pause anew, any answer opens the window", () => {
  const { destination, hear } = aDestination();
  hear(unreachable, 1, 1000);
  // Those that were under way prolong nothing.
  hear(unreachable, 4, 200_000);
  assert.ok(destination.isDead(300_999) && !destination.isDead(301_001));
  assert.equal(destination.window, 1);
  destination.start("a", 301_001, false);
  assert.equal(destination.mayStart("b", 301_001, false), "destination");
  destination.end("a", 302_000);
  hear(busy, 1, 302_000);
  assert.ok(destination.isDead(601_999));
  hear(neutral, 1, 700_000);
  assert.equal(destination.window, 5);
});

test("one sender alone leaves a tenth of the limit to the others, and a newcomer may start beyond the window", () => {
  const { destination, hear } = aDestination(20);
  for (let count = 0; count < 5; count++) destination.start("bulk", 0, false);
  assert.equal(destination.mayStart("bulk", 0, false), "destination");
  assert.equal(destination.mayStart("other", 0, false), "yes");
  hear(good, 500);
  for (let count = 5; count < 18; count++) destination.start("bulk", 0, false);
  assert.equal(destination.mayStart("bulk", 0, false), "share");
  destination.start("other", 0, false);
  assert.equal(destination.mayStart("other", 0, false), "yes");
});

test("a limit is never passed, whoever comes", () => {
  const { destination, hear } = aDestination(20);
  hear(good, 500);
  for (let count = 0; count < 20; count++) {
    assert.equal(destination.mayStart(`s${count}`, 0, false), "yes");
    destination.start(`s${count}`, 0, false);
  }
  assert.equal(destination.mayStart("newcomer", 0, false), "destination");
});

test("a rate: so many in a time, whatever the window; bounces are exempt and use nothing up", () => {
  const destination = new Destination("smtp:x", { limit: 20, rate: { messages: 60, perMs: 60_000 } }, 0);
  let started = 0;
  for (let nowMs = 0; nowMs < 60_000; nowMs += 100) {
    if (destination.mayStart("a", nowMs, false) !== "yes") continue;
    destination.start("a", nowMs, false);
    destination.end("a", nowMs);
    started += 1;
  }
  assert.ok(started >= 59 && started <= 61, `${started}`);
  assert.equal(destination.mayStart("<>", 60_000, true), "yes");
  const waitMs = destination.rateWaitMs(60_000);
  destination.start("<>", 60_000, true);
  assert.equal(destination.rateWaitMs(60_000), waitMs);
  // Another rate holds at once, no rate neither waits nor remembers.
  destination.reshape({ limit: 20 }, 60_000);
  assert.equal(destination.rateWaitMs(60_000), 0);
});

test("a rate survives a clock that goes back", () => {
  const destination = new Destination("smtp:x", { limit: 20, rate: { messages: 1, perMs: 1000 } }, 1_000_000);
  destination.start("a", 1_000_000, false);
  assert.ok(destination.rateWaitMs(5000) <= 1000);
  assert.equal(destination.rateWaitMs(6000), 0);
});
