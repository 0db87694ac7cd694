import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { QueueSettings } from "../config/schema.ts";
import { aLiveConfig, aLog } from "../deliver/outbound-fixture.ts";
import { type Envelope, type MessageWriter, type Queue, type QueuedMessage, QueueUnavailable } from "../queue/queue.ts";
import { Notices } from "./notices.ts";
import { OverheardWire, Transcript } from "./transcript.ts";

/** Keeps what is committed; `full` says whether there is room. */
function aQueue() {
  const written: { readonly envelope: Envelope; readonly text: string }[] = [];
  const state = { full: false };
  const newMessage = (): MessageWriter => {
    if (state.full) throw new QueueUnavailable("full", "no room");
    const chunks: Buffer[] = [];
    return {
      id: "Q1",
      size: 0,
      write: (data) => Promise.resolve(void chunks.push(...[data].flat())),
      commit: (envelope, origin) => {
        written.push({ envelope, text: Buffer.concat(chunks).toString() });
        const message: QueuedMessage = { id: "Q1", receivedMs: 0, size: 0, envelope, origin, recipients: [] };
        return Promise.resolve(message);
      },
      abort: () => Promise.resolve(),
    };
  };
  const queue: Pick<Queue, "newMessage"> = { newMessage };
  return { queue, written, state };
}

function aWorld(t: TestContext, notify: QueueSettings["notify"], postmaster: string[] = ["pm@example.org"]) {
  const { queue, written, state } = aQueue();
  const accepted: QueuedMessage[] = [];
  const world = { nowMs: 1_000_000, written, state, accepted, log: aLog() };
  const notices = new Notices({
    config: () => aLiveConfig({}, { queue: { notify }, postmaster }),
    queue,
    onAccepted: (message) => void accepted.push(message),
    log: world.log.log,
    now: () => world.nowMs,
    retryMs: 5,
  });
  t.after(() => notices.close());
  return Object.assign(world, { notices });
}

function aTranscript(reason: Parameters<Transcript["mark"]>[0]): Transcript {
  const transcript = new Transcript();
  transcript.said({ code: 220, enhanced: "", text: "mx.example.org ESMTP" });
  transcript.heard(Buffer.from("EHLO x\r\nBcc: y"), false);
  transcript.heard(Buffer.from("AUTH PLAIN c2VjcmV0"), false);
  transcript.heard(Buffer.from("c2VjcmV0"), true);
  transcript.mark(reason);
  return transcript;
}
const session = { id: "s1", client: "client.test[192.0.2.1]" };
const settled = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
};

test("a notice: from nobody to the postmaster, with what was said and without what was secret", async (t) => {
  const world = aWorld(t, ["Policy"]);
  assert.equal(world.notices.wanted, true);
  world.notices.consider(session, aTranscript("relay-denied"));
  await settled(() => world.accepted.length === 1);
  const [{ envelope, text } = { envelope: undefined, text: "" }] = world.written;
  assert.equal(envelope?.sender, "");
  assert.deepEqual(envelope?.recipients, [{ address: "pm@example.org", notify: ["NEVER"] }]);
  assert.match(text, /^Subject: Packetboat SMTP server: errors from client\.test\[192\.0\.2\.1\]\r$/m);
  assert.match(
    text,
    /^Out: 220 mx\.example\.org ESMTP\r\nIn: {2}EHLO x Bcc: y\r\nIn: {2}AUTH PLAIN\r\nIn: {2}\(authentication\)\r$/m,
  );
  assert.ok(!text.includes("c2VjcmV0"));
  assert.match(text, /trouble \(policy\)/);
});

test("no notice of what was not asked for, of everyday refusals, and without a postmaster", async (t) => {
  const world = aWorld(t, ["Policy", "Bounce"]);
  for (const reason of ["bad-command", "internal", "queue-full", "unknown-user"] as const)
    world.notices.consider(session, aTranscript(reason));
  world.notices.consider(session, aTranscript("access-client"));
  await settled(() => world.accepted.length === 1);
  assert.equal(world.written.length, 1);
  assert.equal(aWorld(t, ["Bounce", "Delay", "DoubleBounce"]).notices.wanted, false);
  assert.equal(aWorld(t, ["Policy"], []).notices.wanted, false);
});

test("one a minute of each kind; the next one tells how many there were", async (t) => {
  const world = aWorld(t, ["Policy", "Protocol"]);
  for (let count = 0; count < 100; count++) world.notices.consider(session, aTranscript("relay-denied"));
  world.notices.consider(session, aTranscript("bad-command"));
  world.nowMs += 60_000;
  world.notices.consider(session, aTranscript("relay-denied"));
  await settled(() => world.accepted.length === 3);
  assert.equal(world.written.length, 3);
  assert.match(world.written[1]?.text ?? "", /^99 more sessions had such trouble/m);
  assert.doesNotMatch(world.written[2]?.text ?? "", /more sessions/);
});

test("a full queue: the notice comes when there is room again", async (t) => {
  const world = aWorld(t, ["Resource"]);
  world.state.full = true;
  world.notices.consider(session, aTranscript("queue-full"));
  await settled(() => world.log.lines.filter(({ event }) => event === "notice-not-stored").length >= 2);
  world.state.full = false;
  await settled(() => world.accepted.length === 1);
  assert.match(world.written[0]?.text ?? "", /trouble \(resource\)/);
});

test("a transcript is bounded", () => {
  const transcript = new Transcript();
  for (let count = 0; count < 1000; count++) transcript.heard(Buffer.alloc(5_000, "x"), false);
  assert.equal(transcript.lines.length, 200);
  assert.equal(transcript.leftOut, 800);
  assert.ok(transcript.lines.every((line) => line.length < 520));
});

test("an overheard wire passes everything on", () => {
  const calls: string[] = [];
  const transcript = new Transcript();
  const wire = new OverheardWire(
    {
      id: "1",
      remoteAddress: "192.0.2.1",
      remotePort: 2,
      localAddress: "192.0.2.25",
      hasMore: false,
      localPort: 3,
      reply: ({ code }) => void calls.push(`reply ${code}`),
      receive: () => void calls.push("receive"),
      begin: ({ code }) => void calls.push(`begin ${code}`),
      hear: () => void calls.push("hear"),
      overdue: () => void calls.push("overdue"),
      startTls: () => void calls.push("startTls"),
      close: () => void calls.push("close"),
    },
    () => [transcript],
  );
  wire.reply({ code: 250, enhanced: "2.0.0", text: "Ok" });
  wire.receive({ feed: () => -1, pending: undefined, ended: () => Promise.resolve() });
  wire.begin({ code: 220, enhanced: "", text: "mx.example.org" });
  wire.hear(() => undefined);
  wire.overdue(0);
  wire.startTls();
  wire.close();
  assert.deepEqual(calls, ["reply 250", "receive", "begin 220", "hear", "overdue", "startTls", "close"]);
  assert.deepEqual([wire.id, wire.remoteAddress, wire.remotePort, wire.localPort], ["1", "192.0.2.1", 2, 3]);
  assert.deepEqual(transcript.lines, ["Out: 250 2.0.0 Ok", "In:  (message)", "Out: 220 mx.example.org"]);
});
