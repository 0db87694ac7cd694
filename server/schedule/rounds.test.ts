import assert from "node:assert/strict";
import { test } from "node:test";
import { type Answer, Rounds } from "./rounds.ts";

const all = (): Answer => "yes";
/** The jobs in the order in which they would start. */
function order(rounds: Rounds<string, string>, may: (sender: string, place: string) => Answer = all): string[] {
  const started: string[] = [];
  for (let next = rounds.next(may); next !== undefined; next = rounds.next(may)) started.push(next.job);
  return started;
}

test("senders in turn, however much each has", () => {
  const rounds = new Rounds<string, string>();
  for (const job of ["a1", "a2", "a3", "a4"]) rounds.add("a", "x", job);
  rounds.add("b", "x", "b1");
  rounds.add("c", "y", "c1");
  rounds.add("c", "y", "c2");
  assert.deepEqual(order(rounds), ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]);
  assert.equal(rounds.size, 0);
});

test("each sender's destinations in turn", () => {
  const rounds = new Rounds<string, string>();
  for (const job of ["x1", "x2", "x3"]) rounds.add("a", "x", job);
  rounds.add("a", "y", "y1");
  assert.deepEqual(order(rounds), ["x1", "y1", "x2", "x3"]);
});

test("a destination that is full is skipped, and lets its senders in one after the other", () => {
  const rounds = new Rounds<string, string>();
  for (const job of ["a1", "a2", "a3"]) rounds.add("a", "x", job);
  for (const job of ["b1", "b2"]) rounds.add("b", "x", job);
  rounds.add("c", "x", "c1");
  rounds.add("a", "y", "elsewhere");
  let free = 0;
  const may = (_sender: string, place: string): Answer => (place === "y" || free-- > 0 ? "yes" : "destination");
  assert.deepEqual(order(rounds, may), ["elsewhere"]);
  const started: string[] = [];
  for (let turn = 0; turn < 6; turn++) {
    free = 1;
    rounds.wake("x", 1);
    started.push(...order(rounds, may));
  }
  assert.deepEqual(started, ["a1", "b1", "c1", "a2", "b2", "a3"]);
});

test("what a sender may not have goes to the next who waits", () => {
  const rounds = new Rounds<string, string>();
  rounds.add("b", "x", "b1");
  let full = true;
  const may = (sender: string): Answer => (full ? "destination" : sender === "bulk" ? "share" : "yes");
  order(rounds, may);
  rounds.add("bulk", "x", "bulk1");
  full = false;
  assert.deepEqual(order(rounds, may), ["b1"]);
  assert.equal(rounds.sizeOf("bulk"), 1);
});

test("a sender with its share of everything is out of the round until it is woken", () => {
  const rounds = new Rounds<string, string>();
  rounds.add("a", "x", "a1");
  rounds.add("b", "x", "b1");
  let capped = true;
  const may = (sender: string): Answer => (capped && sender === "a" ? "sender" : "yes");
  assert.deepEqual(order(rounds, may), ["b1"]);
  capped = false;
  assert.deepEqual(order(rounds, may), []);
  rounds.wakeSender("a");
  assert.deepEqual(order(rounds, may), ["a1"]);
});

test("taken away: all of a destination, or the newest of a sender", () => {
  const rounds = new Rounds<string, string>();
  for (const job of ["x1", "x2", "x3"]) rounds.add("a", "x", job);
  rounds.add("a", "y", "y1");
  rounds.add("b", "x", "other");
  assert.deepEqual(rounds.heaviest(), { sender: "a", jobs: 4 });
  assert.deepEqual(rounds.takeNewest("a", 2), ["x2", "x3"]);
  assert.deepEqual(rounds.takeAll("x").toSorted(), ["other", "x1"]);
  assert.equal(rounds.sizeAt("x"), 0);
  assert.deepEqual(order(rounds), ["y1"]);
  assert.deepEqual(rounds.takeAll("x"), []);
});
