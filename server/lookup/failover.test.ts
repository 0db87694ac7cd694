/** Failover with hosts that do as they are told: who is asked, how often, and what a dead or silent one costs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failover, type FailureKind, type Host } from "./failover.ts";

type Mood = "well" | "refuses" | "silent" | "lost" | "says no";

class Told implements Host {
  readonly name: string;
  mood: Mood;
  probes = 0;
  questions = 0;
  resets = 0;

  constructor(name: string, mood: Mood = "well") {
    this.name = name;
    this.mood = mood;
  }

  async probe(): Promise<void> {
    this.probes++;
    if (this.mood === "refuses") throw new Error(`${this.name} refuses`);
    if (this.mood === "silent") await silence(60);
  }

  async run(): Promise<string> {
    this.questions++;
    if (this.mood === "refuses") throw new Error(`${this.name} refuses`);
    if (this.mood === "silent") await silence(2000);
    if (this.mood === "says no") throw new TypeError("no");
    if (this.mood === "lost") {
      this.mood = "well";
      throw new Error("connection lost");
    }
    return await Promise.resolve(this.name);
  }

  reset(): void {
    this.resets++;
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }
}

const silence = async (ms: number): Promise<never> => {
  const { promise, reject } = Promise.withResolvers<never>();
  setTimeout(() => reject(new Error("silent")), ms).unref();
  return await promise;
};

function over(...hosts: Told[]): { group: Failover<Told>; changes: string[]; ask: () => Promise<string> } {
  const changes: string[] = [];
  const group = new Failover(hosts, {
    hedgeMs: 30,
    retryMs: 10,
    kindOf: (cause): FailureKind => (cause instanceof TypeError ? "question" : "host"),
    onChange: (host, up) => changes.push(`${host} ${up ? "up" : "down"}`),
  });
  return { group, changes, ask: () => group.ask((host) => host.run()) };
}

test("the first host that is up is asked, and looked at only once", async () => {
  const [one, two] = [new Told("one"), new Told("two")];
  const { group, ask } = over(one, two);
  assert.deepEqual(await Promise.all([ask(), ask(), ask()]), ["one", "one", "one"]);
  assert.deepEqual([one.probes, one.questions, two.probes], [1, 3, 0]);
  await group.close();
});

test("a host that refuses is passed over by all later questions, tried in the background, and comes back", async () => {
  const [one, two] = [new Told("one", "refuses"), new Told("two")];
  const { group, changes, ask } = over(one, two);
  assert.equal(await ask(), "two");
  assert.equal(await ask(), "two");
  assert.equal(one.questions, 0);
  one.mood = "well";
  const deadline = Date.now() + 5000;
  while (changes.length < 2 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(changes, ["one down", "one up"]);
  assert.equal(await ask(), "one");
  await group.close();
});

test("a silent host costs the hedge, not its timeout, and is down after its probe", async () => {
  const [one, two] = [new Told("one"), new Told("two")];
  const { group, ask, changes } = over(one, two);
  assert.equal(await ask(), "one");
  one.mood = "silent";
  const startedMs = performance.now();
  assert.equal(await ask(), "two");
  assert.ok(performance.now() - startedMs < 1500);
  const deadline = Date.now() + 5000;
  while (changes.length === 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  const asked = one.questions;
  assert.equal(await ask(), "two");
  assert.equal(one.questions, asked);
  await group.close();
});

test("all down: one shared look for all who ask, and the first question after the return is answered", async () => {
  const [one, two] = [new Told("one", "refuses"), new Told("two", "refuses")];
  const { group, ask } = over(one, two);
  await assert.rejects(ask());
  assert.equal(group.isAvailable, false);
  const before = one.probes;
  await Promise.allSettled(Array.from({ length: 50 }, ask));
  assert.ok(one.probes - before < 10, `${one.probes - before} looks`);
  two.mood = "well";
  assert.equal(await ask(), "two");
  assert.equal(group.isAvailable, true);
  await group.close();
});

test("a lost connection is replaced and the question asked again; a refusal is no outage of the host", async () => {
  const one = new Told("one", "lost");
  const { group, changes, ask } = over(one);
  assert.equal(await ask(), "one");
  assert.equal(one.resets, 1);
  one.mood = "says no";
  await assert.rejects(ask(), TypeError);
  assert.deepEqual(changes, []);
  assert.equal(group.isAvailable, true);
  await group.close();
});
