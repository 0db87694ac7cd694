/** Claims in turn over senders: who has much due holds up nobody who has little. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Settlement } from "./queue.ts";
import { anEnvelope, anOrigin, aQueue, put, START_MS, tryLater } from "./queue-fixture.ts";
import { LANES, laneOf, senderKey } from "./sender-key.ts";

const defer = (recipient: number, dueMs: number): Settlement => ({
  recipient,
  kind: "deferred",
  reply: tryLater,
  dueMs,
});
const bulk = "bulk@list.test";
const others = ["alice@home.test", "bob@home.test", "carol@home.test"];

test("keys: the user, else the sender without its extension, else nobody; lanes are spread and stable", () => {
  const origin = anOrigin;
  assert.equal(senderKey({ sender: "Bounce+alice=x.test@List.test" }, origin), "bounce@list.test");
  assert.equal(senderKey({ sender: "+x@list.test" }, origin), "+x@list.test");
  assert.equal(senderKey({ sender: "" }, origin), "<>");
  assert.equal(senderKey({ sender: "a@b" }, { ...origin, authenticatedAs: "Alice@Home.test" }), "user alice@home.test");
  const lanes = new Set(Array.from({ length: 2000 }, (_, at) => laneOf(`user${at}@example.org`)));
  assert.ok(lanes.size > LANES * 0.95, `${lanes.size}`);
  assert.equal(laneOf(bulk), laneOf(bulk));
});

test("one sender's hundreds due long ago, others' single messages due now: all of the others are in the first claim", async () => {
  await using q = await aQueue();
  const store = async (sender: string, dueMs: number): Promise<string> => {
    const { id } = await put(q.queue, { envelope: { sender } });
    await q.queue.settle(id, [defer(0, dueMs)]);
    return id;
  };
  await Promise.all(Array.from({ length: 300 }, (_, at) => store(bulk, START_MS - 100_000 + at)));
  const small = await Promise.all(others.map((sender) => store(sender, START_MS - 1)));
  const first = await q.queue.claimDue(START_MS, 20);
  assert.equal(first.length, 20);
  for (const id of small) assert.ok(first.some((message) => message.id === id));
  // The rest of the room is the bulk's, the oldest first.
  const rest = first.filter(({ envelope }) => envelope.sender === bulk);
  assert.equal(rest.length, 17);
  for (const { recipients } of rest) assert.ok((recipients[0]?.dueMs ?? 0) < START_MS - 99_900);
  // A sender that has its share is left out; nobody else is touched by that.
  const late = await store(others[0] ?? "", START_MS);
  const second = await q.queue.claimDue(START_MS, 20, { fullLanes: [laneOf(bulk)] });
  assert.deepEqual(
    second.map(({ id }) => id),
    [late],
  );
  const third = await q.queue.claimDue(START_MS, 1000);
  assert.equal(third.length, 300 - 17);
});

test("new recipients of a list stay in their sender's lane", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { envelope: { sender: bulk }, to: ["list@example.org"] });
  const [expanded] = await q.queue.settle(id, [
    { recipient: 0, kind: "expanded", into: [{ address: "a@x.test" }, { address: "b@x.test" }] },
  ]);
  await q.queue.settle(
    id,
    (expanded?.recipients ?? []).map(({ number }) => defer(number, START_MS)),
  );
  assert.deepEqual(await q.queue.claimDue(START_MS, 5, { fullLanes: [laneOf(bulk)] }), []);
  assert.equal((await q.queue.claimDue(START_MS, 5, { fullLanes: [laneOf("other@home.test")] })).length, 1);
  assert.equal((await q.queue.active()).length, 1);
  assert.deepEqual(
    (await q.queue.active())[0]?.recipients.map(({ address }) => address),
    ["a@x.test", "b@x.test"],
  );
});

test("more senders than a claim holds: each has its turn", async () => {
  await using q = await aQueue();
  const senders = Array.from({ length: 30 }, (_, at) => `s${at}@home.test`);
  await Promise.all(
    senders.flatMap((sender) =>
      [0, 1, 2].map(async (at) => {
        const { id } = await put(q.queue, { envelope: anEnvelope(undefined, { sender }) });
        await q.queue.settle(id, [defer(0, START_MS - at)]);
      }),
    ),
  );
  const lanes = new Set(senders.map(laneOf));
  const served = new Set<number>();
  for (let claimed = 0; claimed < lanes.size; ) {
    const some = await q.queue.claimDue(START_MS, 5);
    for (const { envelope, origin } of some) served.add(laneOf(senderKey(envelope, origin)));
    claimed += some.length;
  }
  assert.ok(served.size >= lanes.size - 5, `${served.size} of ${lanes.size}`);
});
