/** Calls over a channel end: answered, refused, timed out, or cut. */
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { test } from "node:test";
import { type Channel, Peer } from "./ipc.ts";

function pair(): { readonly a: Channel; readonly b: Channel; readonly close: () => void } {
  const [left, right] = [new EventEmitter(), new EventEmitter()];
  const end = (mine: EventEmitter, other: EventEmitter): Channel => ({
    send: (message) => setImmediate(() => other.emit("message", structuredClone(message))) !== undefined,
    onMessage: (listener) => void mine.on("message", listener),
    onClose: (listener) => void mine.on("close", listener),
  });
  return { a: end(left, right), b: end(right, left), close: () => [left, right].forEach((side) => side.emit("close")) };
}

test("an answer, an error and an unknown call reach the caller", async () => {
  const { a, b } = pair();
  const caller = new Peer(a, {});
  new Peer(b, { double: (value: { n: number }) => value.n * 2, fail: () => Promise.reject(new Error("no disk")) });
  assert.deepEqual(await Promise.all([caller.call("double", { n: 2 }), caller.call("double", { n: 21 })]), [4, 42]);
  await assert.rejects(caller.call("fail"), /no disk/);
  await assert.rejects(caller.call("other"), /unknown call other/);
});

test("a call ends when nobody answers or the channel closes", async () => {
  const { a, b, close } = pair();
  const caller = new Peer(a, {});
  new Peer(b, { never: () => new Promise(() => undefined) });
  await assert.rejects(caller.call("never", null, 20), /no answer to never within 20 ms/);
  const cut = caller.call("never");
  close();
  await assert.rejects(cut, /channel to the other process is closed/);
  await assert.rejects(caller.call("never"), /closed/);
});

test("what one turn says travels in one message, and what is told is not answered", async () => {
  const { a, b } = pair();
  let sent = 0;
  const counting: Channel = { ...a, send: (message) => ((sent += 1), a.send(message)) };
  const caller = new Peer(counting, {});
  const told: unknown[] = [];
  let answered = 0;
  const answering: Channel = { ...b, send: (message) => ((answered += 1), b.send(message)) };
  new Peer(answering, { note: (value: unknown) => told.push(value), echo: (value: unknown) => value });
  caller.tell("note", 1);
  const answers = await Promise.all([caller.call("echo", 2), caller.call("echo", 3)]);
  assert.deepEqual([told, answers, sent, answered], [[1], [2, 3], 1, 1]);
});
