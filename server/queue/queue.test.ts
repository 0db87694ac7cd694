/** Every arrow of the table in `queue.ts`, through the port, on a real database. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { QueuedMessage, Settlement } from "./queue.ts";
import {
  anEnvelope,
  anOrigin,
  aQueue,
  aReport,
  assertTotals,
  closing,
  contentOf,
  delivered,
  noSuchUser,
  put,
  START_MS,
  statesOf,
  tryLater,
} from "./queue-fixture.ts";

const minutes = (count: number): number => START_MS + count * 60_000;
const defer = (recipient: number, dueMs: number): Settlement => ({
  recipient,
  kind: "deferred",
  reply: tryLater,
  dueMs,
});

test("what was committed is what comes back, from commit, get, list and read", async () => {
  await using q = await aQueue();
  const content = Buffer.from("Subject: x\r\n\r\nbody\r\n");
  const message = await put(q.queue, {
    content,
    to: [
      { address: "Alice@Example.ORG", originalRecipient: "rfc822;al@example.org", notify: ["FAILURE", "DELAY"] },
      { address: "bob@example.org", expanded: true },
    ],
    envelope: { envelopeId: "QQ314159", return: "HDRS", smtpUtf8: true, requireTls: true },
  });
  assert.deepEqual(message, {
    id: message.id,
    receivedMs: START_MS,
    size: content.length,
    envelope: {
      sender: "sender@example.com",
      smtpUtf8: true,
      body: "8BITMIME",
      requireTls: true,
      envelopeId: "QQ314159",
      return: "HDRS",
    },
    origin: anOrigin,
    recipients: [
      {
        number: 0,
        address: "Alice@Example.ORG",
        originalRecipient: "rfc822;al@example.org",
        notify: ["FAILURE", "DELAY"],
        expanded: false,
        state: "active",
        attempts: 1,
        dueMs: START_MS,
        delayWarned: false,
      },
      {
        number: 1,
        address: "bob@example.org",
        expanded: true,
        state: "active",
        attempts: 1,
        dueMs: START_MS,
        delayWarned: false,
      },
    ],
  });
  assert.deepEqual(await q.queue.get(message.id), message);
  assert.deepEqual(await q.queue.list({ limit: 10 }), [message]);
  assert.deepEqual(await contentOf(q.queue, message.id), content);
});

test("the same recipient twice is stored once", async () => {
  await using q = await aQueue();
  const message = await put(q.queue, { to: ["bob@example.org", "carol@example.org", "BOB@Example.Org"] });
  assert.deepEqual(
    message.recipients.map(({ address }) => address),
    ["bob@example.org", "carol@example.org"],
  );
  assert.deepEqual(await q.queue.get(message.id), message);
});

test("without claim a message is deferred, due now, no attempt counted; claiming counts one", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { claim: false });
  await assertTotals(q.queue, { deferred: 1, recipients: 1 });
  const [claimed] = await q.queue.claimDue(q.nowMs, 10);
  assert.equal(claimed?.id, id);
  assert.deepEqual(
    claimed.recipients.map(({ state, attempts }) => [state, attempts]),
    [["active", 1]],
  );
  assert.deepEqual(await q.queue.claimDue(q.nowMs, 10), []);
  await assertTotals(q.queue, { active: 1, recipients: 1 });
});

for (const kind of ["delivered", "failed"] as const) {
  test(`active → ${kind}: the last one takes the message with it`, async () => {
    await using q = await aQueue();
    const { id } = await put(q.queue, { to: ["a@example.org", "b@example.org"] });
    const reply = kind === "delivered" ? delivered : noSuchUser;
    assert.deepEqual(await q.queue.settle(id, [{ recipient: 0, kind, reply }]), []);
    assert.deepEqual(await statesOf(q.queue, id), ["b@example.org:active"]);
    await assertTotals(q.queue, { active: 1, recipients: 1 });
    await q.queue.settle(id, [{ recipient: 1, kind, reply }]);
    assert.equal(await q.queue.get(id), undefined);
    await assert.rejects(contentOf(q.queue, id), /no longer in the queue/);
    await assertTotals(q.queue, {});
    assert.equal((await q.queue.summary(q.nowMs)).bytes, 0);
  });
}

test("active → deferred keeps reply, time and warning, and is claimed when due, in the order of due times", async () => {
  await using q = await aQueue();
  const first = await put(q.queue, { to: ["first@example.org"] });
  const second = await put(q.queue, { to: ["second@example.org"] });
  const deferral = { recipient: 0, kind: "deferred", reply: tryLater, remoteHost: "mx.example.org" } as const;
  await q.queue.settle(first.id, [{ ...deferral, dueMs: minutes(10), delayWarned: true }]);
  await q.queue.settle(second.id, [{ ...deferral, dueMs: minutes(5) }]);
  assert.deepEqual((await q.queue.get(first.id))?.recipients, [
    {
      number: 0,
      address: "first@example.org",
      expanded: false,
      state: "deferred",
      attempts: 1,
      dueMs: minutes(10),
      delayWarned: true,
      lastReply: { ...tryLater, remoteHost: "mx.example.org" },
    },
  ]);
  await assertTotals(q.queue, { deferred: 2, recipients: 2 });
  assert.equal(await q.queue.nextDueMs(), minutes(5));
  assert.deepEqual(await q.queue.claimDue(minutes(4), 10), []);
  const ids = (messages: readonly QueuedMessage[]): string[] => messages.map(({ id }) => id);
  assert.deepEqual(ids(await q.queue.claimDue(minutes(10), 1)), [second.id]);
  const [again] = await q.queue.claimDue(minutes(10), 1);
  assert.equal(again?.id, first.id);
  assert.equal(again.recipients[0]?.attempts, 2);
  assert.equal(again.recipients[0].delayWarned, true);
  assert.equal(await q.queue.nextDueMs(), undefined);
});

test("a claim brings only the recipients that are due", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { to: ["now@example.org", "later@example.org", "active@example.org"] });
  await q.queue.settle(id, [defer(0, minutes(1)), defer(1, minutes(9))]);
  const [claimed] = await q.queue.claimDue(minutes(1), 10);
  assert.deepEqual(
    claimed?.recipients.map(({ address }) => address),
    ["now@example.org"],
  );
  assert.deepEqual(await statesOf(q.queue, id), [
    "now@example.org:active",
    "later@example.org:deferred",
    "active@example.org:active",
  ]);
});

test("active → returned: due again, the attempt is not counted", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue);
  await q.queue.settle(id, [{ recipient: 0, kind: "returned", dueMs: START_MS }]);
  const [claimed] = await q.queue.claimDue(START_MS, 1);
  assert.equal(claimed?.id, id);
  assert.equal(claimed.recipients[0]?.attempts, 1);
});

test("active → hold → deferred → active", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue);
  await q.queue.settle(id, [{ recipient: 0, kind: "held" }]);
  await assertTotals(q.queue, { hold: 1, recipients: 1 });
  assert.deepEqual(await q.queue.claimDue(minutes(1e6), 1), []);
  assert.equal(await q.queue.release(id, minutes(3)), true);
  assert.equal(await q.queue.nextDueMs(), minutes(3));
  assert.equal((await q.queue.claimDue(minutes(3), 1)).length, 1);
});

test("a message may be stored on hold", async () => {
  await using q = await aQueue();
  const message = await put(q.queue, { hold: true });
  assert.equal(message.recipients[0]?.state, "hold");
  assert.deepEqual(await q.queue.get(message.id), message);
  assert.deepEqual(await q.queue.claimDue(minutes(1), 10), []);
});

test("active → expanded: replaced in one commit, claimed, each address once, also against those that were there before", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { to: ["list@example.org", "bob@example.org", "team@example.org"] });
  await q.queue.settle(id, [{ recipient: 1, kind: "delivered", reply: delivered }]);
  const [expanded] = await q.queue.settle(id, [
    {
      recipient: 0,
      kind: "expanded",
      into: [
        { address: "Bob@example.org", expanded: true },
        { address: "carol@example.org", expanded: true, originalRecipient: "rfc822;list@example.org" },
        { address: "carol@EXAMPLE.org", expanded: true },
      ],
    },
    { recipient: 2, kind: "expanded", into: [{ address: "carol@example.org", expanded: true }] },
  ]);
  // Bob has had it already; Carol is on both lists.
  assert.equal(expanded?.id, id);
  assert.deepEqual(
    expanded.recipients.map(({ number, address, originalRecipient, state, attempts, expanded }) => ({
      number,
      address,
      originalRecipient,
      state,
      attempts,
      expanded,
    })),
    [
      {
        number: 3,
        address: "carol@example.org",
        originalRecipient: "rfc822;list@example.org",
        state: "active",
        attempts: 1,
        expanded: true,
      },
    ],
  );
  await assertTotals(q.queue, { active: 1, recipients: 1 });
  await q.queue.settle(id, closing(expanded));
  await assertTotals(q.queue, {});
});

test("an alias that names itself keeps its own address, once and final", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { to: ["alice@example.org"] });
  const into = [{ address: "alice@example.org" }, { address: "archive@example.org", expanded: true }];
  const [expanded] = await q.queue.settle(id, [{ recipient: 0, kind: "expanded", into }]);
  assert.deepEqual(
    expanded?.recipients.map(({ address, expanded }) => [address, expanded]),
    [
      ["alice@example.org", true],
      ["archive@example.org", true],
    ],
  );
});

test("an expansion into nothing but known addresses ends the message when nothing else is open", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { to: ["list@example.org", "bob@example.org"] });
  assert.deepEqual(
    await q.queue.settle(id, [
      { recipient: 1, kind: "delivered", reply: delivered },
      { recipient: 0, kind: "expanded", into: [{ address: "bob@example.org", expanded: true }] },
    ]),
    [],
  );
  assert.equal(await q.queue.get(id), undefined);
});

test("reports are stored in the commit that settles, come back claimed, before the expanded message", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { to: ["list@example.org", "nobody@example.org"] });
  const report = aReport("sender@example.com");
  const [stored, expanded] = await q.queue.settle(
    id,
    [
      { recipient: 1, kind: "failed", reply: noSuchUser },
      { recipient: 0, kind: "expanded", into: [{ address: "bob@example.org", expanded: true }] },
    ],
    [report],
  );
  assert.ok(stored !== undefined);
  assert.equal(stored.envelope.sender, "");
  assert.deepEqual(
    stored.recipients.map(({ address, state, attempts }) => [address, state, attempts]),
    [["sender@example.com", "active", 1]],
  );
  assert.deepEqual(await q.queue.get(stored.id), stored);
  assert.deepEqual(await contentOf(q.queue, stored.id), report.content);
  assert.equal(expanded?.id, id);
  await assertTotals(q.queue, { active: 2, recipients: 2 });
});

test("several reports of different sizes keep their contents apart", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue);
  const reports = [1, 65_536, 65_537, 300_000].map((size) =>
    aReport(`to${size}@example.com`, Buffer.alloc(size, size % 251)),
  );
  const stored = await q.queue.settle(id, [{ recipient: 0, kind: "failed", reply: noSuchUser }], reports);
  assert.equal(stored.length, reports.length);
  for (const [index, message] of stored.entries())
    assert.ok((await contentOf(q.queue, message.id)).equals(reports[index]?.content ?? Buffer.alloc(0)));
});

test("when a report cannot be stored, nothing is settled", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue);
  const nobody = { ...aReport("x@example.com"), envelope: { ...aReport("x@example.com").envelope, recipients: [] } };
  const settling = q.queue.settle(
    id,
    [{ recipient: 0, kind: "failed", reply: noSuchUser }],
    [aReport("sender@example.com"), nobody],
  );
  await assert.rejects(settling, /has no recipient/);
  assert.deepEqual(await statesOf(q.queue, id), ["alice@example.org:active"]);
  assert.equal((await q.queue.list({ limit: 10 })).length, 1);
  await assertTotals(q.queue, { active: 1, recipients: 1 });
});

test("a result that comes twice, or for nobody, changes nothing", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { to: ["a@example.org", "b@example.org"] });
  await q.queue.settle(id, [defer(0, minutes(5)), defer(99, minutes(1))]);
  await q.queue.settle(id, [{ recipient: 0, kind: "returned", dueMs: minutes(1) }]);
  const recipient = (await q.queue.get(id))?.recipients[0];
  assert.deepEqual([recipient?.attempts, recipient?.dueMs], [1, minutes(5)]);
  // But a final result is never forgotten: a second delivery would be the price.
  await q.queue.settle(id, [{ recipient: 0, kind: "delivered", reply: delivered }]);
  await q.queue.settle(id, [{ recipient: 0, kind: "delivered", reply: delivered }]);
  assert.deepEqual(await statesOf(q.queue, id), ["b@example.org:active"]);
  assert.deepEqual(await q.queue.settle("0000000000000000", [defer(0, 0)], [aReport("x@example.com")]), []);
  await assertTotals(q.queue, { active: 1, recipients: 1 });
});

test("hold by an operator: deferred at once; active when its attempt has ended without a final result", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { to: ["done@example.org", "slow@example.org", "later@example.org"] });
  await q.queue.settle(id, [defer(2, minutes(1))]);
  assert.equal(await q.queue.hold(id), true);
  assert.deepEqual(await statesOf(q.queue, id), [
    "done@example.org:active",
    "slow@example.org:active",
    "later@example.org:hold",
  ]);
  await q.queue.settle(id, [{ recipient: 0, kind: "delivered", reply: delivered }, defer(1, minutes(1))]);
  assert.deepEqual(await statesOf(q.queue, id), ["slow@example.org:hold", "later@example.org:hold"]);
  await assertTotals(q.queue, { hold: 1, recipients: 2 });
  await q.queue.release(id, minutes(2));
  const [claimed] = await q.queue.claimDue(minutes(2), 1);
  assert.deepEqual(
    claimed?.recipients.map(({ attempts }) => attempts),
    [2, 2],
  );
});

test("hold and release while an attempt is under way: no second attempt beside it", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue);
  await q.queue.hold(id);
  await q.queue.release(id, START_MS);
  assert.deepEqual(await q.queue.claimDue(START_MS, 10), []);
  await q.queue.settle(id, [defer(0, minutes(1))]);
  assert.deepEqual(await statesOf(q.queue, id), ["alice@example.org:deferred"]);
});

test("what a held recipient expands into is held too", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue);
  await q.queue.hold(id);
  const into = [{ address: "bob@example.org", expanded: true }];
  assert.deepEqual(await q.queue.settle(id, [{ recipient: 0, kind: "expanded", into }]), []);
  assert.deepEqual(await statesOf(q.queue, id), ["bob@example.org:hold"]);
  await assertTotals(q.queue, { hold: 1, recipients: 1 });
});

test("remove: gone in every state; results that come later are ignored", async () => {
  await using q = await aQueue();
  const { id } = await put(q.queue, { to: ["a@example.org", "b@example.org"] });
  assert.equal(await q.queue.remove(id), true);
  assert.equal(await q.queue.remove(id), false);
  assert.equal(await q.queue.hold(id), false);
  assert.equal(await q.queue.release(id, 0), false);
  assert.deepEqual(await q.queue.settle(id, [{ recipient: 0, kind: "delivered", reply: delivered }]), []);
  await assertTotals(q.queue, {});
});

test("flush makes every deferred recipient due now, and only those", async () => {
  await using q = await aQueue();
  const deferredOnes = await Promise.all(
    Array.from({ length: 30 }, () => put(q.queue, { to: ["a@example.org", "b@example.org"] })),
  );
  await Promise.all(deferredOnes.map(({ id }) => q.queue.settle(id, [defer(0, minutes(60)), defer(1, minutes(90))])));
  await put(q.queue, { hold: true });
  assert.deepEqual(await q.queue.claimDue(minutes(1), 100), []);
  assert.equal(await q.queue.flush(minutes(1)), 60);
  const claimed = await q.queue.claimDue(minutes(1), 100);
  assert.equal(claimed.length, 30);
  assert.ok(claimed.every(({ recipients }) => recipients.length === 2));
});

test("a flush of many goes in slices and reaches all of them", async () => {
  await using q = await aQueue();
  const to = Array.from({ length: 1500 }, (_, index) => `user${index}@example.org`);
  const stored = await Promise.all(Array.from({ length: 8 }, () => put(q.queue, { to })));
  for (const { id, recipients } of stored)
    await q.queue.settle(
      id,
      recipients.map(({ number }) => defer(number, minutes(60 + number))),
    );
  const [flushed, between] = await Promise.all([q.queue.flush(minutes(1)), put(q.queue)]);
  assert.equal(flushed, 12_000);
  assert.ok(between.id !== undefined);
  // A claim ends early where messages have very many recipients.
  const claims: number[] = [];
  for (let claimed = await q.queue.claimDue(minutes(1), 100); claimed.length > 0; ) {
    claims.push(claimed.reduce((sum, { recipients }) => sum + recipients.length, 0));
    claimed = await q.queue.claimDue(minutes(1), 100);
  }
  assert.deepEqual(claims, [3000, 3000, 3000, 3000]);
});

test("a time far in the future (the clock has jumped back) is due now", async () => {
  await using q = await aQueue({ maxFutureMs: 86_400_000 });
  const { id } = await put(q.queue);
  const other = await put(q.queue);
  await q.queue.settle(id, [defer(0, START_MS + 86_400_001)]);
  await q.queue.settle(other.id, [defer(0, START_MS + 86_000_000)]);
  assert.equal(await q.queue.nextDueMs(), START_MS);
  const claimed = await q.queue.claimDue(START_MS, 10);
  assert.deepEqual(
    claimed.map((message) => message.id),
    [id],
  );
  assert.equal(claimed[0]?.recipients[0]?.dueMs, START_MS);
  assert.equal(await q.queue.nextDueMs(), START_MS + 86_000_000);
});

test("list pages by id", async () => {
  await using q = await aQueue();
  const ids: string[] = [];
  for (let count = 0; count < 5; count++) ids.push((await put(q.queue)).id);
  const first = await q.queue.list({ limit: 2 });
  const second = await q.queue.list({ limit: 10, after: first[1]?.id ?? "" });
  assert.deepEqual(
    [...first, ...second].map(({ id }) => id),
    ids,
  );
  assert.deepEqual(await q.queue.list({ limit: 0 }), []);
});

test("summary: bytes, age of the oldest, each message counted once in its first state", async () => {
  await using q = await aQueue();
  const mixed = await put(q.queue, {
    to: ["a@example.org", "b@example.org", "c@example.org"],
    content: Buffer.alloc(1000),
  });
  await q.queue.settle(mixed.id, [defer(0, minutes(1)), { recipient: 1, kind: "held" }]);
  q.nowMs += 60_000;
  await put(q.queue, { hold: true, content: Buffer.alloc(24) });
  assert.deepEqual(await q.queue.summary(minutes(5)), {
    messages: { active: 1, deferred: 0, hold: 1, corrupt: 0 },
    recipients: 4,
    bytes: 1024,
    oldestMs: 300_000,
  });
  await q.queue.settle(mixed.id, [{ recipient: 2, kind: "delivered", reply: delivered }]);
  await assertTotals(q.queue, { deferred: 1, hold: 1, recipients: 3 });
});

test("a writer ends once: nothing after commit or abort", async () => {
  await using q = await aQueue();
  const committed = q.queue.newMessage();
  await committed.write(Buffer.from("x"));
  await assert.rejects(committed.commit({ ...anEnvelope(), recipients: [] }, anOrigin), /no recipient/);
  await assert.rejects(committed.commit(anEnvelope(), anOrigin), /already committed/);
  const aborted = q.queue.newMessage();
  await aborted.write(Buffer.from("x"));
  await aborted.abort();
  await aborted.abort();
  await assert.rejects(async () => await aborted.write(Buffer.from("y")), /aborted/);
  await assert.rejects(aborted.commit(anEnvelope(), anOrigin), /already aborted/);
  await assertTotals(q.queue, {});
});

test("after close every call says so", async () => {
  await using q = await aQueue();
  const writer = q.queue.newMessage();
  const stored = q.queue.newMessage();
  await stored.write(Buffer.from("x"));
  const storing = stored.commit(anEnvelope(), anOrigin);
  await q.queue.close();
  await storing;
  const isClosed = { name: "QueueUnavailable", reason: "closed" };
  await assert.rejects(writer.commit(anEnvelope(), anOrigin), isClosed);
  await assert.rejects(q.queue.summary(0), isClosed);
  assert.throws(() => q.queue.newMessage(), isClosed);
  assert.equal(q.queue.unavailable()?.reason, "closed");
  await q.reopen();
  await assertTotals(q.queue, { deferred: 1, recipients: 1 });
});
