import assert from "node:assert/strict";
import { test } from "node:test";
import type { QueueSettings } from "../config/schema.ts";
import { aLiveConfig, aMessage, aRecipient, contentOf } from "../deliver/outbound-fixture.ts";
import type { Envelope, QueuedRecipient } from "../queue/queue.ts";
import type { Reply } from "../reply.ts";
import { isToWarn, type Reports, type Result, reportsFor } from "./reports.ts";

const hour = 3_600_000;
const ok: Reply = { code: 250, enhanced: "2.0.0", text: "taken" };
const gone: Reply = { code: 550, enhanced: "5.1.1", text: "no such user" };
const busy: Reply = { code: 451, enhanced: "4.3.0", text: "later" };

function aResult(verdict: Result["verdict"], more: Partial<Result> & { to?: Partial<QueuedRecipient> } = {}): Result {
  const { to, ...rest } = more;
  return {
    recipient: aRecipient("bob@remote.test", to),
    verdict,
    reply: { delivered: ok, deferred: busy, failed: gone }[verdict],
    action: "relayed",
    reportsItself: false,
    warn: false,
    ...rest,
  };
}

const postmaster = "alice@example.org";
const configOf = (queue: Partial<QueueSettings>, postmasters: readonly string[] = [postmaster]) =>
  aLiveConfig({}, { queue, postmaster: [...postmasters] });
const messageOf = (envelope: Partial<Envelope> = {}) =>
  aMessage(["bob@remote.test"], { receivedMs: Date.UTC(2026, 0, 1), envelope });

async function reportsOf(
  results: readonly Result[],
  options: {
    readonly queue?: Partial<QueueSettings>;
    readonly envelope?: Partial<Envelope>;
    readonly postmasters?: readonly string[];
    readonly expanded?: readonly QueuedRecipient[];
  } = {},
): Promise<Reports> {
  return await reportsFor(
    {
      config: configOf(options.queue ?? {}, options.postmasters),
      message: messageOf(options.envelope),
      nowMs: Date.UTC(2026, 0, 1, 5),
      content: () => contentOf("Message-ID: <m@example.org>\r\nSubject: hello\r\n\r\nBody line\r\n"),
    },
    results,
    options.expanded,
  );
}

/** kind, to whom, the Actions and the Subject of each. */
const summary = ({ messages }: Reports): string[] =>
  messages.map(({ kind, message }) => {
    const text = message.content.toString();
    const actions = [...text.matchAll(/^Action: (\w+)/gm)].map(([, action]) => action).join("+");
    const subject = /^Subject: (.*)\r$/m.exec(text)?.[1] ?? "";
    return `${kind} ${message.envelope.recipients.map(({ address }) => address).join()} ${actions} "${subject}"`;
  });

const sender = "sender@example.org";
const bounce = `failed ${sender} failed "Undelivered Mail Returned to Sender"`;
const bounceCopy = `failed ${postmaster} failed "Postmaster Copy: Undelivered Mail"`;
const warning = `delayed ${sender} delayed "Delayed Mail (still being retried)"`;
const warningCopy = `delayed ${postmaster} delayed "Postmaster Warning: Delayed Mail"`;
const success = (action: string): string => `success ${sender} ${action} "Successful Mail Delivery Report"`;
const cleared = `cleared ${sender} relayed "Delayed Mail (now delivered)"`;
const doubleBounce = `failed ${postmaster} failed "Postmaster Copy: Undeliverable Delivery Report"`;

const rows: readonly [what: string, results: readonly Result[], options: Parameters<typeof reportsOf>[1], string[]][] =
  [
    ["a failure", [aResult("failed")], {}, [bounce]],
    ["a failure, NEVER", [aResult("failed", { to: { notify: ["NEVER"] } })], {}, []],
    [
      "a failure, and postmasters want copies",
      [aResult("failed")],
      { queue: { notify: ["Bounce"] } },
      [bounce, bounceCopy],
    ],
    [
      "the copy does not depend on NOTIFY",
      [aResult("failed", { to: { notify: ["NEVER"] } })],
      { queue: { notify: ["Bounce"] } },
      [bounceCopy],
    ],
    [
      "a postmaster's own mail: no copy of the bounce",
      [aResult("failed")],
      { queue: { notify: ["Bounce"] }, envelope: { sender: "Alice@EXAMPLE.org" } },
      ['failed Alice@EXAMPLE.org failed "Undelivered Mail Returned to Sender"'],
    ],
    ["copies, but no postmaster", [aResult("failed")], { queue: { notify: ["Bounce"] }, postmasters: [] }, [bounce]],
    ["a delay not yet due", [aResult("deferred")], { queue: { notify: ["Delay"] } }, []],
    ["a delay", [aResult("deferred", { warn: true })], {}, [warning]],
    [
      "a delay with a copy",
      [aResult("deferred", { warn: true })],
      { queue: { notify: ["Delay"] } },
      [warning, warningCopy],
    ],
    [
      "a delay nobody asked for, and the copy",
      [aResult("deferred", { warn: true, to: { notify: ["FAILURE"] } })],
      { queue: { notify: ["Delay"] } },
      [warningCopy],
    ],
    ["success, relayed", [aResult("delivered", { to: { notify: ["SUCCESS"] } })], {}, [success("relayed")]],
    [
      "success, into a mailbox",
      [aResult("delivered", { action: "delivered", to: { notify: ["SUCCESS"] } })],
      {},
      [success("delivered")],
    ],
    ["success the peer reports", [aResult("delivered", { reportsItself: true, to: { notify: ["SUCCESS"] } })], {}, []],
    ["delivered after a warning, by default", [aResult("delivered", { to: { delayWarned: true } })], {}, []],
    [
      "delivered after a warning",
      [aResult("delivered", { to: { delayWarned: true } })],
      { queue: { confirmDelayCleared: true } },
      [cleared],
    ],
    [
      "delivered after a warning, success asked for: told once",
      [aResult("delivered", { to: { delayWarned: true, notify: ["SUCCESS", "DELAY"] } })],
      { queue: { confirmDelayCleared: true } },
      [cleared],
    ],
    [
      "delivered after a warning, and the peer reports success",
      [aResult("delivered", { reportsItself: true, to: { delayWarned: true, notify: ["SUCCESS", "DELAY"] } })],
      { queue: { confirmDelayCleared: true } },
      [],
    ],
    [
      "delivered after a warning that only the postmaster got",
      [aResult("delivered", { to: { delayWarned: true, notify: ["FAILURE"] } })],
      { queue: { confirmDelayCleared: true } },
      [],
    ],
    [
      "an alias of several",
      [],
      { expanded: [aRecipient("list@example.org", { notify: ["SUCCESS", "FAILURE"] })] },
      [success("expanded")],
    ],
    ["an alias of several, nobody asked", [], { expanded: [aRecipient("list@example.org")] }, []],
    ["null sender, failed", [aResult("failed")], { envelope: { sender: "" } }, [doubleBounce]],
    ["null sender, failed, not wanted", [aResult("failed")], { envelope: { sender: "" }, queue: { notify: [] } }, []],
    [
      "null sender, delayed and delivered",
      [aResult("deferred", { warn: true }), aResult("delivered", { to: { notify: ["SUCCESS"], delayWarned: true } })],
      { envelope: { sender: "" }, queue: { notify: ["Delay", "Bounce"], confirmDelayCleared: true } },
      [],
    ],
    [
      "to the postmaster itself",
      [aResult("failed", { to: { address: postmaster } })],
      { envelope: { sender: "" } },
      [],
    ],
    [
      "to somebody that the postmaster's address leads to",
      [aResult("failed", { to: { address: "x@y.test", originalRecipient: "rfc822;Alice@example.org" } })],
      { envelope: { sender: "" } },
      [],
    ],
  ];

for (const [what, results, options, expected] of rows) {
  test(`reports: ${what}`, async () => {
    const reports = await reportsOf(results, options);
    assert.deepEqual(summary(reports), expected);
    for (const { message } of reports.messages) {
      assert.equal(message.envelope.sender, "");
      assert.ok(message.envelope.recipients.every(({ notify }) => notify?.join() === "NEVER"));
    }
  });
}

test("untold: failures of the null sender that nobody hears of, and no others", async () => {
  const failed = [aResult("failed"), aResult("failed", { to: { number: 1, address: postmaster } })];
  assert.deepEqual((await reportsOf(failed, { envelope: { sender: "" } })).untold, [failed[1]]);
  assert.deepEqual((await reportsOf(failed, { envelope: { sender: "" }, postmasters: [] })).untold, failed);
  assert.deepEqual((await reportsOf(failed, { envelope: { sender: "" }, queue: { notify: [] } })).untold, failed);
  assert.deepEqual((await reportsOf(failed)).untold, []);
});

test("what goes back: all of it with a bounce and a double bounce, the header with everything else", async () => {
  const bodies = async (...of: Parameters<typeof reportsOf>): Promise<boolean[]> =>
    (await reportsOf(...of)).messages.map(({ message }) => message.content.includes("Body line"));
  assert.deepEqual(await bodies([aResult("failed")], { queue: { notify: ["Bounce"] } }), [true, false]);
  assert.deepEqual(await bodies([aResult("failed")], { envelope: { sender: "" } }), [true]);
  assert.deepEqual(await bodies([aResult("deferred", { warn: true })], { queue: { notify: ["Delay"] } }), [
    false,
    false,
  ]);
  assert.deepEqual(await bodies([aResult("delivered", { to: { notify: ["SUCCESS"] } })]), [false]);
});

test("10,000 failed recipients: several reports of bounded size, each recipient in one of them", async () => {
  const long: Reply = { code: 550, enhanced: "5.1.1", text: "x".repeat(5000) };
  const failed = Array.from({ length: 10_000 }, (_each, number) =>
    aResult("failed", { reply: long, to: { number, address: `user${number}@${"a".repeat(50)}.test` } }),
  );
  const { messages } = await reportsOf(failed);
  assert.equal(messages.length, 40);
  const named = new Set<string>();
  const ids = new Set<string>();
  for (const { message } of messages) {
    const text = message.content.toString();
    assert.ok(text.length < 1_048_576, `${text.length}`);
    ids.add(/^Message-ID: (.*)\r$/m.exec(text)?.[1] ?? "");
    for (const [, address] of text.matchAll(/^Final-Recipient: rfc822;\s+(\S+)/gm)) named.add(address ?? "");
  }
  assert.equal(named.size, 10_000);
  assert.equal(ids.size, 40);
});

test("when to warn", () => {
  const message = messageOf();
  const at = (hours: number) => message.receivedMs + hours * hour;
  const toWarn = (
    queue: Partial<QueueSettings>,
    to: Partial<QueuedRecipient>,
    nowMs: number,
    envelope: Partial<Envelope> = {},
  ): boolean => isToWarn({ config: configOf(queue), message: messageOf(envelope), nowMs }, aRecipient("b@x.test", to));
  const after2 = { delayWarningMs: 2 * hour };
  assert.equal(toWarn(after2, {}, at(1.9)), false);
  assert.equal(toWarn(after2, {}, at(2)), true);
  assert.equal(toWarn({ delayWarningMs: 0 }, {}, at(200)), false);
  assert.equal(toWarn(after2, { delayWarned: true }, at(3)), false);
  assert.equal(toWarn(after2, { notify: ["NEVER"] }, at(3)), false);
  assert.equal(toWarn({ ...after2, notify: ["Delay"] }, { notify: ["NEVER"] }, at(3)), true);
  assert.equal(toWarn({ ...after2, notify: ["Delay"] }, {}, at(3), { sender: "" }), false);
});
