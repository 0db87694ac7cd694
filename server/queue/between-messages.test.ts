import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { BetweenMessages } from "./between-messages.ts";
import { anEnvelope, anOrigin, aQueue, closing } from "./queue-fixture.ts";

/** Calls after which it looks. */
const LOOKS = 4;
setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as NonNullable<typeof globalThis.gc>;

/** How full the young generation is. */
function fullness(): number {
  const young = getHeapSpaceStatistics().find(({ space_name: name }) => name === "new_space");
  return young === undefined ? 0 : young.space_used_size / (young.space_used_size + young.space_available_size);
}

function fill(share: number): void {
  while (fullness() > share) gc({ type: "minor" });
  while (fullness() < share) Array.from({ length: 100 }, (_, place) => ({ place }));
}

/** How often it collects in so many calls. */
function collections(calls: number): number {
  const collect = mock.fn(gc);
  const between = new BetweenMessages(collect);
  for (let call = 0; call < calls; call++) between.quiet();
  return collect.mock.callCount();
}

test("a young generation that is a third full is collected, after some messages", () => {
  fill(0.7);
  assert.equal(collections(LOOKS), 1);
  assert.ok(fullness() < 0.3, `still ${fullness()} full`);
});

test("not before so many messages have gone", () => {
  fill(0.7);
  assert.equal(collections(LOOKS - 1), 0);
});

test("an empty one is left alone", () => {
  fill(0.1);
  assert.equal(collections(LOOKS), 0);
});

test("the queue calls for it when a message has gone and no other is in hand", async () => {
  await using spool = await aQueue();
  const { queue } = spool;
  const quiet = mock.method(BetweenMessages.prototype, "quiet", () => undefined);
  const deliver = async (during: () => Promise<void> = async () => undefined): Promise<number> => {
    const writer = queue.newMessage();
    await writer.write(Buffer.from("Subject: one\r\n\r\none\r\n"));
    const message = await writer.commit(anEnvelope(), anOrigin, { claim: true });
    await during();
    const before = quiet.mock.callCount();
    await queue.settle(message.id, closing(message));
    await sleep(20);
    return quiet.mock.callCount() - before;
  };
  try {
    assert.equal(await deliver(), 1);
    const other = queue.newMessage();
    assert.equal(await deliver(), 0, "while another message is being received");
    await other.abort();
    await other.abort();
    assert.equal(await deliver(), 1, "it was given up");
    assert.equal(await deliver(async () => void (await deliver())), 1);
    const refused = queue.newMessage();
    await assert.rejects(refused.commit(anEnvelope([]), anOrigin), /no recipient/);
    assert.equal(await deliver(), 1, "it was refused");
    const waiting = queue.newMessage();
    const claimed = await waiting.commit(anEnvelope(), anOrigin, { claim: true });
    assert.equal(await deliver(), 0, "while another message is being delivered");
    await queue.settle(claimed.id, closing(claimed));
  } finally {
    quiet.mock.restore();
  }
});
