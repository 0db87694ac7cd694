/** The lives of the newest messages: what is told, and that it stays bounded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { QueuedMessage } from "../queue/queue.ts";
import { History } from "./history.ts";

const reply = { code: 250, enhanced: "2.0.0", text: "ok" };

function aMessage(
  id: string,
  addresses: readonly string[] = ["a@x.test"],
  numbers = addresses.map((_, at) => at),
): QueuedMessage {
  return {
    id,
    receivedMs: 1000,
    size: 10,
    envelope: { sender: "s@y.test", smtpUtf8: false, body: "7BIT", requireTls: false },
    origin: { listener: "mx", clientAddress: "192.0.2.1", clientName: "c", helo: "c", protocol: "ESMTP" },
    recipients: addresses.map((address, at) => ({
      address,
      number: numbers[at] ?? at,
      expanded: false,
      state: "active",
      attempts: 1,
      dueMs: 1000,
      delayWarned: false,
    })),
  };
}

test("accepted, expanded, deferred, delivered, reported: in order, with the addresses that were meant", () => {
  const history = new History({}, () => 2000);
  history.accepted(aMessage("one", ["list@x.test", "b@x.test"]));
  history.settled(
    "one",
    [{ recipient: 0, kind: "expanded", into: [{ address: "c@x.test" }] }],
    [aMessage("one", ["c@x.test"], [2])],
  );
  history.settled("one", [{ recipient: 1, kind: "deferred", reply: { ...reply, code: 451 }, dueMs: 9000 }], []);
  history.settled("one", [{ recipient: 2, kind: "delivered", reply, remoteHost: "mx.test" }], []);
  history.settled(
    "one",
    [{ recipient: 1, kind: "failed", reply: { ...reply, text: "x".repeat(9999) } }],
    [aMessage("report", ["s@y.test"])],
  );
  history.operator("one", "hold");
  const life = history.life("one");
  assert.deepEqual(
    life?.events.map((event) => [event.kind, "recipient" in event ? event.recipient : ""]),
    [
      ["expanded", "list@x.test"],
      ["deferred", "b@x.test"],
      ["delivered", "c@x.test"],
      ["failed", "b@x.test"],
      ["reported", ""],
      ["operator", ""],
    ],
  );
  const failed = life?.events[3];
  assert.equal(failed !== undefined && "reply" in failed ? failed.reply.text.length : 0, 500);
  assert.equal(life?.recipientCount, 2);
  assert.equal(history.life("report")?.sender, "s@y.test");
  assert.equal(history.life("never"), undefined);
  history.settled("never", [{ recipient: 0, kind: "held" }], []);
});

test("bounded in messages, in all it keeps, and in one message's events", () => {
  const history = new History({ messages: 3, weight: 1000, events: 8 });
  for (const id of ["a", "b", "c", "d"]) history.accepted(aMessage(id));
  assert.equal(history.life("a"), undefined);
  assert.ok(history.life("b"));
  for (let at = 0; at < 100; at++) history.operator("d", `verb ${at}`);
  const life = history.life("d");
  assert.equal(life?.events.length, 8);
  assert.equal(life?.dropped, 92);
  assert.deepEqual(
    life?.events.map((event) => ("verb" in event ? event.verb : "")),
    [0, 1, 2, 3, 96, 97, 98, 99].map((at) => `verb ${at}`),
  );
  history.accepted(
    aMessage(
      "wide",
      Array.from({ length: 995 }, (_, at) => `u${at}@x.test`),
    ),
  );
  assert.equal(history.life("b"), undefined);
  assert.equal(history.life("c"), undefined);
  assert.ok(history.life("wide"));
  assert.equal(history.life("wide")?.recipients.length, 20);
});
