/** Mail whose addresses lie in look-ups: sorted once they have answered, deferred while they cannot, given back when the shard ends first. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aLiveConfig } from "../deliver/outbound-fixture.ts";
import { LookupUnavailable } from "../lookup/lookup.ts";
import type { Answer, Lookups } from "../lookup/lookups.ts";
import { createLog } from "../observe/log.ts";
import { Asking } from "../route/asking.ts";
import { aWorld, delivered, kinds, to, until, waiting } from "./scheduler-fixture.ts";

const config = aLiveConfig({
  domains: { "a.test": { class: "Alias", recipients: "Lookups", catchAll: [] } },
  addresses: { "object@a.test": { alias: { destinations: ["x@out.test"], senders: [] } } },
});

/** Answers for aliases of a.test; each question waits for `gate`. */
class Aliases implements Lookups {
  answer: () => Promise<readonly string[] | undefined> = () => Promise.resolve(["x@out.test", "y@out.test"]);
  asked = 0;
  has(role: string): boolean {
    return role === "aliases";
  }
  names(): readonly string[] {
    return ["db"];
  }
  async first(role: string, keys: string | readonly string[]): Promise<Answer | undefined> {
    if (role !== "aliases") return undefined;
    this.asked++;
    const values = await this.answer();
    const key = typeof keys === "string" ? keys : (keys[0] ?? "");
    return values === undefined ? undefined : { lookup: "db", key, values };
  }
  table(): undefined {
    return undefined;
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}
const ask = (aliases: Aliases) => new Asking(() => aliases, createLog("test", "silent")).ask;

test("expanded by a look-up, delivered to each; objects cost no question", async (t) => {
  const aliases = new Aliases();
  const world = aWorld(t, delivered, { config, options: { ask: ask(aliases) } });
  world.scheduler.submit(world.queue.put(to("object@a.test")));
  await world.quiet();
  assert.equal(aliases.asked, 0);
  world.scheduler.submit(world.queue.put(to("team@a.test")));
  await world.quiet();
  assert.equal(aliases.asked, 1);
  assert.deepEqual(
    world.jobs.flatMap(({ recipients }) => recipients.map(({ address }) => address)),
    ["x@out.test", "x@out.test", "y@out.test"],
  );
});

test("an outage defers, never bounces; the next attempt after it delivers", async (t) => {
  const aliases = new Aliases();
  aliases.answer = () => Promise.reject(new LookupUnavailable("db", "source", "a test"));
  const world = aWorld(t, delivered, { config, options: { ask: ask(aliases) } });
  const message = world.queue.put(to("team@a.test"));
  world.scheduler.submit(message);
  await world.quiet();
  assert.deepEqual(kinds(world.queue), ["deferred"]);
  assert.equal(waiting(world.queue, message.id)[0]?.lastReply?.enhanced, "4.3.0");
  aliases.answer = () => Promise.resolve(["x@out.test"]);
  world.nowMs += 3_600_000;
  await until(() => world.queue.stored.size === 0);
  assert.equal(world.jobs.length, 1);
});

test("a shard that ends while a look-up is asked gives the message back, untried", async (t) => {
  const aliases = new Aliases();
  const gate = Promise.withResolvers<readonly string[]>();
  aliases.answer = () => gate.promise;
  const world = aWorld(t, delivered, { config, options: { ask: ask(aliases) } });
  world.scheduler.submit(world.queue.put(to("team@a.test")));
  await until(() => aliases.asked === 1);
  assert.equal(world.scheduler.stats().messages, 1);
  const drained = world.scheduler.drain(5000);
  gate.resolve(["x@out.test"]);
  await drained;
  assert.deepEqual(kinds(world.queue), ["returned"]);
  assert.equal(world.jobs.length, 0);
});
