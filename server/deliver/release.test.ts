/** A message's memory is given up when the system has all of it, and not before: what a write still refers to would be sent with whatever stands there then. */
import assert from "node:assert/strict";
import { Socket } from "node:net";
import { test } from "node:test";
import {
  aJob,
  aLiveConfig,
  aMessage,
  aPeer,
  aScript,
  contentOf,
  delivering,
  politely,
  said,
  to,
} from "./outbound-fixture.ts";

const config = aLiveConfig();
const lines = (octets: number): Buffer =>
  Buffer.from(`Subject: long\r\n\r\n${"0123456789abcdef\r\n".repeat(octets / 18)}`);

interface Writing {
  readonly _write: (chunk: Buffer, encoding: BufferEncoding, done: () => void) => void;
  readonly _writev: () => void;
}
const writing = Socket.prototype as unknown as Writing;

/** The delivery of so many octets, and how often their memory was given up. */
function aReleasedJob(port: number, octets: number) {
  const content = lines(octets);
  const pieces = [content.subarray(0, 1000), content.subarray(1000)];
  const counter = { released: 0 };
  const job = {
    ...aJob(config, to(port), aMessage(["a@x.test"], { size: content.length })),
    content: () => Object.assign(contentOf(...pieces), { release: () => void (counter.released += 1) }),
  };
  return { job, counter, text: content.toString("latin1") };
}

for (const [kind, octets] of [
  ["whole", 100_000],
  ["streamed", 3_000_000],
] as const) {
  test(`delivered, ${kind}: given up once`, async (t) => {
    const peer = await aPeer(t);
    const { job, counter, text } = aReleasedJob(peer.port, octets);
    assert.deepEqual(said(await delivering(t)(job)), ["delivered 250 2.0.0"]);
    assert.equal(peer.received[0]?.content, text);
    assert.equal(counter.released, 1);
  });

  for (const [what, answers] of [
    ["refused before it was sent", { RCPT: "550 5.1.1 no\r\n" }],
    ["the connection ends in the middle", { DATA: undefined }],
    ["the connection ends after the dot", { ".": undefined }],
  ] as const)
    test(`${what}, ${kind}: not given up`, async (t) => {
      const script = await aScript(t, "220 hi\r\n", politely(answers));
      const { job, counter } = aReleasedJob(script.port, octets);
      assert.match(said(await delivering(t)(job))[0] ?? "", /^failed/);
      assert.equal(counter.released, 0);
    });

  test(`a server that says yes before it has the message, ${kind}: not given up while writes are under way`, async (t) => {
    const script = await aScript(t, "220 hi\r\n", politely({ DATA: "354 go\r\n250 2.0.0 taken, or so\r\n" }));
    // The system takes commands, and of the message nothing.
    let isHeld = false;
    const write = writing._write;
    t.mock.method(writing, "_writev", () => void (isHeld = true));
    t.mock.method(
      writing,
      "_write",
      function (this: Writing, ...[chunk, encoding, done]: Parameters<Writing["_write"]>) {
        if (chunk.length > 500) isHeld = true;
        else write.call(this, chunk, encoding, done);
      },
    );
    const { job, counter } = aReleasedJob(script.port, octets);
    await delivering(t)(job);
    assert.ok(isHeld);
    assert.equal(counter.released, 0);
  });
}
