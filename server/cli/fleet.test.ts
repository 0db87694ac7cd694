/** Several servers asked as one: merging, adding up, what is missing, who cannot be asked. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { type Connection, type Line, linesOf } from "./control-client.ts";
import { Fleet } from "./fleet.ts";

type Answers = Readonly<Record<string, readonly Line[]>>;

/** A server whose answers are written down; the lines go through the same reader as a real one's. */
function aServer(where: string, answers: Answers, contents: Readonly<Record<string, string>> = {}): Connection {
  return {
    where,
    ask: (name) => linesOf(Readable.from((answers[name] ?? []).map((line) => `${JSON.stringify(line)}\n`))),
    content: (id) => Promise.resolve(contents[id] === undefined ? undefined : Readable.from([contents[id]])),
  };
}
const item = (id: string): Line => ({ item: { id } });
const end = (shardsDown = 0): Line => ({ result: { shardsDown } });

async function listed(servers: readonly Connection[], limit = 100) {
  const complaints: string[] = [];
  const fleet = new Fleet(servers, (text) => complaints.push(text));
  const rows: string[] = [];
  for await (const row of fleet.list({}, limit)) rows.push(`${row.id}@${row.pod ?? ""}`);
  return { rows, complaints, incomplete: fleet.incomplete };
}

test("lists are merged by id, and cut at the limit", async () => {
  const servers = [
    aServer("mx-0", { list: [item("a"), item("d"), item("e"), end()] }),
    aServer("mx-1", { list: [end()] }),
    aServer("mx-2", { list: [item("b"), item("c"), item("f"), end()] }),
  ];
  assert.deepEqual(await listed(servers), {
    rows: ["a@mx-0", "b@mx-2", "c@mx-2", "d@mx-0", "e@mx-0", "f@mx-2"],
    complaints: [],
    incomplete: false,
  });
  assert.deepEqual((await listed(servers, 3)).rows, ["a@mx-0", "b@mx-2", "c@mx-2"]);
});

test("a server that breaks off or cannot be asked is complained about; the others are listed", async () => {
  const broken = aServer("mx-1", { list: [item("b")] });
  const { rows, complaints, incomplete } = await listed([
    aServer("mx-0", { list: [item("a"), item("c"), end()] }),
    broken,
  ]);
  assert.deepEqual(rows, ["a@mx-0", "b@mx-1", "c@mx-0"]);
  assert.match(complaints.join(), /broke off/);
  assert.equal(incomplete, true);
  const down = await listed([
    aServer("mx-0", { list: [item("a"), end(1)] }),
    aServer("mx-1", { list: [{ error: "no" }] }),
  ]);
  assert.deepEqual(down.rows, ["a@mx-0"]);
  assert.equal(down.complaints.length, 2);
  assert.match(down.complaints.join(), /mx-0: 1 shard\(s\) are down/);
  await assert.rejects(listed([aServer("", { list: [{ error: "the reason" }] })]), /^Error: the reason$/);
});

test("ids are missing when no server has them; what is changed is counted once", async () => {
  const result = (missing: readonly string[]): Line => ({
    result: { verb: "hold", changed: 0, missing, shardsDown: 0 },
  });
  const fleet = new Fleet(
    [
      aServer("mx-0", { "act-on": [{ progress: { done: 2, total: 3 } }, result(["b", "c"])] }),
      aServer("mx-1", { "act-on": [{ progress: { done: 3, total: 3 } }, result(["a", "c"])] }),
    ],
    assert.fail,
  );
  const shown: unknown[] = [];
  const answer = await fleet.actOn("hold", ["a", "b", "c"], undefined, (progress) => shown.push(progress));
  assert.deepEqual([answer.changed, answer.missing], [2, ["c"]]);
  assert.deepEqual(shown.at(-1), { done: 5, total: 6 });
});

test("tables and totals are added up; an id and a message are found wherever they are", async () => {
  const shape = (domain: string, count: number): Line => ({
    result: { by: "recipient", rows: [{ domain, ages: [count, 1] }], shardsDown: 0 },
  });
  const summary = (active: number): Line => ({
    result: { messages: { active, deferred: 0, hold: 1, corrupt: 0 }, recipients: 3, bytes: 10, oldestMs: active },
  });
  const traced = (message: unknown, life: unknown): Line => ({ result: { id: "x", shard: 0, message, life } });
  const fleet = new Fleet(
    [
      aServer("mx-0", { shape: [shape("a", 1)], summary: [summary(1)], trace: [traced(null, {})] }),
      aServer("mx-1", { shape: [shape("a", 2)], summary: [summary(5)], trace: [{ result: null }] }, { x: "octets" }),
      aServer("mx-2", { shape: [shape("b", 9)], summary: [summary(0)], trace: [traced({}, null)] }),
    ],
    assert.fail,
  );
  assert.deepEqual((await fleet.shape("recipient", undefined, () => undefined)).rows, [
    { domain: "b", ages: [9, 1] },
    { domain: "a", ages: [3, 2] },
  ]);
  assert.deepEqual(await fleet.summary(), {
    messages: { active: 6, deferred: 0, hold: 3, corrupt: 0 },
    recipients: 9,
    bytes: 30,
    oldestMs: 5,
  });
  // Where it is now counts more than where it was.
  assert.equal((await fleet.trace("x"))?.pod, "mx-2");
  assert.equal((await (await fleet.content("x"))?.toArray())?.join(""), "octets");
  assert.equal(await fleet.content("y"), undefined);
});
