/** What a real peer sees of generic maps: by SMTP only, small and streamed, with the right size; and what `verify` says of it beforehand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { verifyLive } from "../admin/verify.ts";
import { verificationText } from "../cli/message-text.ts";
import { noRewriting, type RewritingSettings } from "../config/rewriting.ts";
import type { LiveConfig } from "../config/schema.ts";
import { aJob, aLiveConfig, aMessage, aPeer, contentOf, delivering, said, to } from "../deliver/outbound-fixture.ts";
import { outgoing } from "./outgoing.ts";

const generic = {
  generic: [
    {
      entries: { "@int.example": "a-much-longer-name@isp.example", "bob@box.example": "robert@isp.example" },
      tables: [],
      propagateExtension: false,
    },
  ],
};
const withRewriting = (rewriting: Partial<RewritingSettings>): LiveConfig =>
  aLiveConfig(
    { domains: {}, addresses: {} },
    {
      rewriting: { ...noRewriting, ...rewriting },
      outbound: { relayHost: { host: "127.0.0.1", port: 9, lookupMX: false, implicitTLS: false } },
    },
  );
const config = withRewriting(generic);
const header =
  "From: Alice <alice@int.example>\r\nTo: bob@box.example, c@else.example\r\nX-From: alice@int.example\r\n";
const becomes =
  "From: Alice <a-much-longer-name@isp.example>\r\nTo: robert@isp.example, c@else.example\r\nX-From: alice@int.example\r\n";

for (const [name, body] of [
  ["small", "\r\nTo: bob@box.example in the body\r\n"],
  ["streamed", `\r\n${`To: bob@box.example ${"x".repeat(70)}\r\n`.repeat(4000)}`],
] as const)
  test(`by SMTP, ${name}`, async (t) => {
    const peer = await aPeer(t);
    const content = `${header}${body}`;
    const message = aMessage(["bob@box.example", "c@else.example"], {
      size: content.length,
      envelope: { sender: "alice@int.example" },
    });
    const report = await delivering(t)(aJob(config, to(peer.port), message, content));
    assert.deepEqual(said(report), ["delivered 250 2.0.0", "delivered 250 2.0.0"]);
    const [received] = peer.received;
    assert.equal(received?.sender, "a-much-longer-name@isp.example");
    assert.deepEqual(received.recipients, ["robert@isp.example", "c@else.example"]);
    assert.ok(received.content === `${becomes}${body}`, "octet for octet behind the header");
    if (name === "small") assert.deepEqual(received.parameters, { SIZE: String(received.content.length) });
  });

test("however the content is cut", async () => {
  const content = `${header}\r\nbody\r\n`;
  for (let cut = 0; cut <= content.length; cut++) {
    const job = {
      ...aJob(config, to(1), aMessage(["x@else.example"])),
      content: () => contentOf(content.slice(0, cut), content.slice(cut)),
    };
    const asSeen = outgoing(job);
    assert.ok(asSeen.kind === "job");
    const chunks: Buffer[] = [];
    for await (const chunk of asSeen.job.content()) chunks.push(chunk);
    assert.equal(Buffer.concat(chunks).toString(), `${becomes}\r\nbody\r\n`);
  }
});

test("LMTP, the null sender, and a server without generic maps see nothing of it", async (t) => {
  const job = aJob(config, to(24, "lmtp"), aMessage(["bob@box.example"]));
  assert.deepEqual(outgoing(job), { kind: "job", job });
  const plain = aJob(aLiveConfig(), to(25), aMessage(["bob@box.example"]));
  assert.deepEqual(outgoing(plain), { kind: "job", job: plain });
  const peer = await aPeer(t);
  await delivering(t)(aJob(config, to(peer.port), aMessage(["x@else.example"], { envelope: { sender: "" } })));
  assert.equal(peer.received[0]?.sender, "");
});

test("trouble in envelope or header puts the message off", async (t) => {
  const peer = await aPeer(t);
  const missing = withRewriting({ generic: [{ entries: {}, tables: ["gone"], propagateExtension: false }] });
  assert.deepEqual(said(await delivering(t)(aJob(missing, to(peer.port), aMessage(["x@else.example"])))), [
    "failed message 451 4.6.0",
  ]);
  const bad = withRewriting({
    generic: [{ entries: { "h@else.example": "not an address" }, tables: [], propagateExtension: false }],
  });
  const report = await delivering(t)(
    aJob(bad, to(peer.port), aMessage(["x@else.example"]), "To: h@else.example\r\n\r\n"),
  );
  assert.deepEqual(said(report), ["failed message 451 4.6.0"]);
  assert.equal(peer.received.length, 0);
});

test("verify says what would become of addresses", async () => {
  const all = withRewriting({
    ...generic,
    canonical: [
      {
        classes: ["EnvelopeSender", "EnvelopeRecipient", "HeaderSender", "HeaderRecipient"],
        entries: { "@old.example": "@box.example", "s@x.example": "alice@host.int.example" },
        tables: [],
        propagateExtension: true,
      },
    ],
    masquerade: { domains: [{ domain: "int.example", isHidden: true }], exceptions: [], classes: ["EnvelopeSender"] },
  });
  const verification = await verifyLive(all, { address: "bob@old.example", sender: "s@x.example" });
  assert.deepEqual(verification.rewriting, {
    recipient: "bob@box.example",
    sender: "alice@int.example",
    headerRecipient: "bob@box.example",
    headerSender: "alice@host.int.example",
  });
  assert.deepEqual(
    verification.destinations.map(({ address, leavesAs, senderLeavesAs }) => [address, leavesAs, senderLeavesAs]),
    [["bob@box.example", "robert@isp.example", "a-much-longer-name@isp.example"]],
  );
  const text = verificationText(verification);
  assert.match(text, /rewriting:\n {2}the recipient: bob@box\.example\n {2}the sender: alice@int\.example\n/);
  assert.match(text, /leaves as robert@isp\.example\n {4}its sender as a-much-longer-name@isp\.example/);
  const none = await verifyLive(aLiveConfig(), { address: "x@[127.0.0.1]", sender: "" });
  assert.equal(none.rewriting, undefined);
  assert.doesNotMatch(verificationText(none), /rewriting|leaves as/);
});
