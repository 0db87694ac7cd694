import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, capturedLog } from "../listen/inbound-fixture.ts";
import { Holdings } from "./holdings.ts";
import { PodState } from "./pod-state.ts";
import { LEASE_MS, type Remote } from "./remote.ts";

/** What all pods share, in a table; `trouble` makes every question fail or hang. */
class Table {
  readonly places = new Map<string, Map<string, number>>();
  readonly windows = new Map<string, number>();
  readonly kept = new Map<string, string>();
  trouble: "refused" | "hanging" | undefined;
  asked = 0;
  reconnects = 0;

  remote(pod: string): Remote {
    const at = async <T>(answer: () => T): Promise<T> => {
      this.asked += 1;
      if (this.trouble === "refused") throw new Error("connection refused");
      if (this.trouble === "hanging") return await new Promise<T>(() => undefined);
      return answer();
    };
    const held = (key: string): Map<string, number> => {
      const known = this.places.get(key) ?? new Map<string, number>();
      this.places.set(key, known);
      return known;
    };
    return {
      claim: (key, own, limit) =>
        at(() => {
          const others = [...held(key)].filter(([name]) => name !== pod).reduce((sum, [, count]) => sum + count, 0);
          if (others + own > limit) return false;
          held(key).set(pod, own);
          return true;
        }),
      hold: (key, own) => at(() => void held(key).set(pod, own)),
      add: (key, amount) =>
        at(() => {
          this.windows.set(key, (this.windows.get(key) ?? 0) + amount);
          return this.windows.get(key) ?? 0;
        }),
      remember: (key, value) => at(() => void this.kept.set(key, value)),
      recall: (key) => at(() => this.kept.get(key)),
      ping: () => at(() => undefined),
      reconnect: () => void (this.reconnects += 1),
      close: () => undefined,
    };
  }
}

const config = { ...aConfig(), sharedState: { url: "redis://:secret@redis.example" } };

async function aPod(table: Table, name: string, now: () => number = () => 0) {
  const { log, lines } = capturedLog();
  const results: string[] = [];
  const available: (boolean | undefined)[] = [];
  const metrics = {
    available: (yes: boolean | undefined) => void available.push(yes),
    asked: (result: string) => void results.push(result),
  };
  const state = new PodState({ connect: async () => table.remote(name), log, metrics, now });
  await state.apply(config);
  return { state, lines, results, available, [Symbol.dispose]: () => state.close() };
}

test("two pods count together: rates, places, texts", async () => {
  const table = new Table();
  using a = await aPod(table, "a");
  using b = await aPod(table, "b");
  assert.equal(await a.state.add("rate:x", 2, 1000), 2);
  assert.equal(await b.state.add("rate:x", 1, 1000), 3);
  assert.equal(await a.state.acquire("client:x", 2), true);
  assert.equal(await b.state.acquire("client:x", 2), true);
  assert.equal(await b.state.acquire("client:x", 2), false);
  await a.state.release("client:x");
  assert.equal(await b.state.acquire("client:x", 2), true);
  await a.state.remember("grey:x", "seen", 1000);
  assert.equal(await b.state.recall("grey:x"), "seen");
});

for (const trouble of ["refused", "hanging"] as const) {
  test(`a Remote that is ${trouble}: local counts go on, it is left alone, it comes back by itself`, async () => {
    const table = new Table();
    let now = 0;
    using a = await aPod(table, "a", () => now);
    assert.equal(await a.state.acquire("client:x", 5), true);
    await a.state.remember("grey:x", "seen", 1000);
    table.trouble = trouble;
    for (let count = 1; count <= 6; count++) assert.equal(await a.state.add("rate:x", 1, 1000), count);
    assert.equal(await a.state.recall("grey:x"), "seen");
    assert.equal(await a.state.acquire("client:x", 2), true);
    assert.equal(await a.state.acquire("client:x", 2), false);
    // Three tries, then nobody waits any more.
    assert.deepEqual(a.results.slice(2, 6), [...Array(3).fill(trouble === "refused" ? "failed" : "late"), "skipped"]);
    const { asked } = table;
    await a.state.add("rate:x", 1, 1000);
    assert.equal(table.asked, asked);
    await a.state.beat();
    assert.deepEqual(a.available, [undefined, false, true, false]);
    // Emptied meanwhile: what is held is told, and what is counted here is not forgotten.
    table.places.clear();
    table.trouble = undefined;
    now = 500;
    await a.state.beat();
    assert.equal(a.available.at(-1), true);
    assert.equal(table.places.get("client:x")?.get("a"), 2);
    assert.equal(await a.state.add("rate:x", 1, 1000), 8);
    assert.deepEqual(
      a.lines.map(({ event }) => event),
      ["shared-state-connected", "shared-state-away", "shared-state-connected"],
    );
    assert.ok(!JSON.stringify(a.lines).includes("secret"));
  });
}

test("one that is not there from the beginning is said once, and found when it comes", async () => {
  const table = new Table();
  table.trouble = "refused";
  using a = await aPod(table, "a");
  for (let beat = 0; beat < 8; beat++) await a.state.beat();
  table.trouble = undefined;
  await a.state.beat();
  assert.deepEqual(
    a.lines.map(({ event }) => event),
    ["shared-state-away", "shared-state-connected"],
  );
});

test("an outage is seen although nobody asks, and a dead connection is given up", async () => {
  const table = new Table();
  using a = await aPod(table, "a");
  table.trouble = "refused";
  for (let beat = 0; beat < 10; beat++) await a.state.beat();
  assert.equal(a.available.at(-1), false);
  assert.equal(table.reconnects, 2);
});

test("places are told again within their lease", async () => {
  const table = new Table();
  let now = 0;
  using a = await aPod(table, "a", () => now);
  await a.state.acquire("client:x", 5);
  table.places.clear();
  now = LEASE_MS / 3;
  await a.state.beat();
  assert.equal(table.places.get("client:x")?.get("a"), 1);
});

test("a URL that cannot be used: local counts, and it is not repeated in the log", async () => {
  const { log, lines } = capturedLog();
  const connect = (): Promise<Remote> => Promise.reject(new Error("bad redis://:secret@x"));
  const metrics = { available: () => undefined, asked: () => undefined };
  const state = new PodState({ connect, log, metrics });
  await state.apply(config);
  assert.equal(await state.add("rate:x", 1, 1000), 1);
  assert.deepEqual(
    lines.map(({ event }) => event),
    ["shared-state-unusable"],
  );
  assert.ok(!JSON.stringify(lines).includes("secret"));
});

test("a shard gives back what it holds when it dies, and nothing else", async () => {
  using a = await aPod(new Table(), "a");
  const [one, two] = [new Holdings(a.state), new Holdings(a.state)];
  const ask = (holdings: Holdings, method: "acquire" | "release"): unknown =>
    (holdings.handlers[method] as (request: unknown) => unknown)({ key: "client:x", limit: 2 });
  assert.equal(await ask(one, "acquire"), true);
  assert.equal(await ask(two, "acquire"), true);
  assert.equal(await ask(two, "acquire"), false);
  const late = ask(one, "acquire");
  one.giveBack();
  assert.equal(await late, false);
  await ask(one, "release");
  assert.equal(await ask(two, "acquire"), true);
  assert.equal(await ask(two, "acquire"), false);
  // Granted while it dies.
  await ask(two, "release");
  const dying = ask(two, "acquire");
  two.giveBack();
  assert.equal(await dying, false);
  assert.equal(await a.state.acquire("client:x", 2), true);
  assert.equal(await a.state.acquire("client:x", 2), true);
});
