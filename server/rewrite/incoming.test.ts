/** Seen from outside: what a client says, and what is stored then. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { noRewriting, type RewritingSettings } from "../config/rewriting.ts";
import type { LiveConfig, ServerSection } from "../config/schema.ts";
import { aCertificate, aConfig, aDomain, aListener, aMailbox, aServer, play } from "../listen/inbound-fixture.ts";

const everywhere = ["EnvelopeSender", "EnvelopeRecipient", "HeaderSender", "HeaderRecipient"] as const;
const map = (entries: Record<string, string>, classes: readonly (typeof everywhere)[number][] = everywhere) => ({
  classes: [...classes],
  entries,
  tables: [],
  propagateExtension: true,
});
const masquerade: RewritingSettings["masquerade"] = {
  domains: [{ domain: "example.org", isHidden: true }],
  exceptions: ["root"],
  classes: ["EnvelopeSender", "HeaderSender", "HeaderRecipient"],
};

function config(
  rewriting: Partial<RewritingSettings>,
  server: Partial<Omit<ServerSection, "limits" | "rewriting">> = {},
): LiveConfig {
  return aConfig(
    {
      domains: new Map([
        ["example.org", aDomain()],
        ["old.example", aDomain()],
      ]),
      addresses: new Map([
        ["alice@example.org", aMailbox()],
        ["bob@example.org", aMailbox()],
      ]),
    },
    { trustedNetworks: ["127.0.0.0/8"], rewriting: { ...noRewriting, ...rewriting }, ...server },
  );
}

async function stored(
  settings: LiveConfig,
  envelope: { readonly from: string; readonly to: readonly string[] },
  header: string,
  finalReply = "250 2.0.0 *",
) {
  await using server = await aServer(settings);
  const client = await play(
    server.port(),
    ["S: 220 *", "C: HELO client.example.net", "S: 250 *", `C: MAIL FROM:<${envelope.from}>`, "S: 250 *"]
      .concat(envelope.to.flatMap((to) => [`C: RCPT TO:${to}`, "S: 250 *"]))
      .concat(["C: DATA", "S: 354 *", `C! ${JSON.stringify(`${header}\r\nbody\r\n.\r\n`)}`, `S: ${finalReply}`])
      .join("\n"),
  );
  client.close();
  const [message] = server.queue.stored;
  return {
    sender: message?.envelope.sender,
    recipients: message?.envelope.recipients,
    text: message?.content.toString() ?? "",
    lines: server.lines,
  };
}

const header = "From: Alice <alice@host.example.org>\r\nTo: bob@old.example\r\nDate: x\r\nMessage-ID: <1@x>\r\n";
const rewriting = { canonical: [map({ "@old.example": "@example.org" })], masquerade };

test("a client of ours: envelope and header, and where the recipient came from", async () => {
  const { sender, recipients, text } = await stored(
    config(rewriting),
    { from: "alice@host.example.org", to: ["<bob@old.example>", "<Alice@example.org>", "<alice@old.example>"] },
    header,
  );
  assert.equal(sender, "alice@example.org");
  assert.deepEqual(recipients, [
    { address: "bob@example.org", originalRecipient: "rfc822;bob@old.example" },
    { address: "Alice@example.org" },
  ]);
  assert.ok(
    text.endsWith(
      "From: Alice <alice@example.org>\r\nTo: bob@example.org\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n",
    ),
    text,
  );
});

test("a stranger: the envelope, and not an octet of the header", async () => {
  const { sender, recipients, text } = await stored(
    config(rewriting, { trustedNetworks: [] }),
    { from: "x@host.example.org", to: ["<bob@old.example>"] },
    header,
  );
  assert.equal(sender, "x@example.org");
  assert.deepEqual(
    recipients?.map(({ address }) => address),
    ["bob@example.org"],
  );
  assert.ok(text.includes(`\r\n${header}\r\nbody\r\n`), text);
});

test("a stranger's header too, where everybody's is ours", async () => {
  const { text } = await stored(
    config({ ...rewriting, rewriteHeadersOf: ["Everybody"] }, { trustedNetworks: [] }),
    { from: "x@example.net", to: ["<bob@old.example>"] },
    "From: Root <root@host.example.org>\r\nTo: bob@old.example\r\n",
  );
  assert.match(text, /From: Root <root@host\.example\.org>\r\nTo: bob@example\.org\r\n/);
  assert.match(text, /\r\nDate: .*\r\nMessage-ID: <Q00000000001@mx\.example\.org>\r\n/);
});

test("what a trusted client's header lacks is added, with the rewritten sender", async () => {
  const missing = (text: string): string[] =>
    [...text.matchAll(/^(Date|Message-ID|From):/gm)].map(([, name = ""]) => name);
  const ours = await stored(
    config(rewriting),
    { from: "alice@host.example.org", to: ["<bob@example.org>"] },
    "Subject: x\r\n",
  );
  assert.deepEqual(missing(ours.text), ["Date", "Message-ID", "From"]);
  assert.match(ours.text, /\r\nFrom: <alice@example\.org>\r\n/);
  const stranger = await stored(
    config(rewriting, { trustedNetworks: [] }),
    { from: "x@example.net", to: ["<bob@example.org>"] },
    "Subject: x\r\n",
  );
  assert.deepEqual(missing(stranger.text), []);
  const nobody = await stored(
    config({ rewriteHeadersOf: [] }),
    { from: "x@example.net", to: ["<bob@example.org>"] },
    "Subject: x\r\n",
  );
  assert.deepEqual(missing(nobody.text), []);
});

test("the null sender and <postmaster> stay what they are", async () => {
  const { sender, recipients } = await stored(
    config({ canonical: [map({ "@mx.example.org": "@example.org" })], complete: { origin: "mx.example.org" } }),
    { from: "", to: ["<Postmaster>"] },
    header,
  );
  assert.equal(sender, "");
  assert.deepEqual(recipients, [{ address: "Postmaster" }]);
});

test("incomplete addresses are completed before anything asks about them", async () => {
  const { sender, recipients, text } = await stored(
    config({ complete: { origin: "example.org", parent: "example.org" } }),
    { from: "alice", to: ["<bob>", "alice"] },
    "From: alice\r\nTo: bob@host, Bob <bob>\r\n",
  );
  assert.equal(sender, "alice@example.org");
  assert.deepEqual(
    recipients?.map(({ address }) => address),
    ["bob@example.org", "alice@example.org"],
  );
  assert.match(text, /From: alice@example\.org\r\nTo: bob@host\.example\.org, Bob <bob@example\.org>\r\n/);
});

const answers: readonly (readonly [
  name: string,
  rewriting: Partial<RewritingSettings>,
  rcpt: string,
  reply: string,
])[] = [
  ["exists only once it is rewritten", rewriting, "<bob@old.example>", "250 2.1.5 *"],
  [
    "exists only as it is written",
    { canonical: [map({ "bob@example.org": "gone@example.org" })] },
    "<bob@example.org>",
    "550 5.1.1 *",
  ],
  ["is rewritten to nobody", rewriting, "<nobody@old.example>", "550 5.1.1 *"],
  [
    "leads out of a domain of ours",
    { canonical: [map({ "x@old.example": "x@elsewhere.example" })] },
    "<x@old.example>",
    "250 2.1.5 *",
  ],
  [
    "a map opens no relay",
    { canonical: [map({ "@elsewhere.example": "@example.org" })] },
    "<bob@elsewhere.example>",
    "554 5.7.1 *",
  ],
  [
    "a map hides no route",
    { canonical: [map({ "@old.example": "@elsewhere.example" })] },
    "<victim%far.example@old.example>",
    "554 5.7.1 *",
  ],
  [
    "a circle is our trouble",
    { canonical: [map({ "a@old.example": "b@old.example", "b@old.example": "a@old.example" })] },
    "<a@old.example>",
    "451 4.6.0 *",
  ],
  [
    "other classes do not count",
    { canonical: [map({ "@old.example": "@example.org" }, ["HeaderRecipient", "EnvelopeSender"])] },
    "<bob@old.example>",
    "550 5.1.1 *",
  ],
  [
    "in its other form",
    { canonical: [map({ "bob@old.example": "bob@example.org" })] },
    "<BOB+x@old.example>",
    "250 2.1.5 *",
  ],
];
for (const [name, settings, rcpt, reply] of answers)
  test(`RCPT: ${name}`, async () => {
    await using server = await aServer(config(settings, { trustedNetworks: [] }));
    const client = await play(
      server.port(),
      `S: 220 *\nC: HELO c.example\nS: 250 *\nC: MAIL FROM:<x@example.net>\nS: 250 *\nC: RCPT TO:${rcpt}\nS: ${reply}`,
    );
    client.close();
  });

test("trouble with a header or a sender: 451, nothing stored, the reason in the log", async () => {
  const circle = { "a@x.example": "b@x.example", "b@x.example": "a@x.example" };
  const inHeader = await stored(
    config({ canonical: [map(circle, ["HeaderRecipient"])] }),
    { from: "s@example.net", to: ["<bob@example.org>"] },
    "To: a@x.example\r\n",
    "451 4.6.0 *",
  );
  const inSender = await stored(
    config({ canonical: [map(circle, ["EnvelopeSender"])] }),
    { from: "a@x.example", to: ["<bob@example.org>"] },
    header,
    "451 4.6.0 *",
  );
  for (const { text, lines } of [inHeader, inSender]) {
    assert.equal(text, "");
    assert.ok(JSON.stringify(lines).includes("in a circle"));
  }
});

test("Reinject: it was rewritten before", async () => {
  const listeners = [aListener({ role: "Reinject", trustedProxies: ["127.0.0.0/8"] })];
  const { sender, text } = await stored(
    config(rewriting, { listeners }),
    { from: "alice@host.example.org", to: ["<bob@example.org>"] },
    header,
  );
  assert.equal(sender, "alice@host.example.org");
  assert.ok(text.includes(header));
});

/** The password of alice is `secret`. */
const argon2 = "$argon2id$v=19$m=256,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$0CUPvSealRO6hhNZEKwrvKKRV3txZJhLCQ+/ZkQFl7g";

for (const hideClientAddress of [false, true])
  test(`Submission, cleanHeaders.hideClientAddress ${hideClientAddress}`, async () => {
    const submission = aListener({
      role: "Submission",
      tls: { mode: "Implicit", required: true },
      cleanHeaders: { hideClientAddress, removeFields: ["user-agent", "x-originating-ip", "message-id"] },
    });
    const plain = config(rewriting, { listeners: [submission], trustedNetworks: [] });
    await using server = await aServer({
      ...plain,
      passwords: new Map([["alice@example.org", argon2]]),
      certificates: new Map([["own", await aCertificate(["mx.example.org"])]]),
      serverCertificates: ["own"],
    });
    const sent =
      "User-Agent: Secret 1.0\r\n (folded)\r\nFrom: alice@host.example.org\r\nX-Originating-IP: [10.0.0.1]\r\nMessage-ID: <1@laptop.local>\r\nSubject: User-Agent: x\r\n";
    const client = await play(
      server.port(),
      `S: 220 *
       C: HELO laptop.local
       S: 250 *
       C: AUTH PLAIN ${Buffer.from("\0alice@example.org\0secret").toString("base64")}
       S: 235 *
       C: MAIL FROM:<alice@example.org>
       S: 250 *
       C: RCPT TO:<bob@example.org>
       S: 250 *
       C: DATA
       S: 354 *
       C! ${JSON.stringify(`${sent}\r\nbody\r\n.\r\n`)}
       S: 250 *`,
      { tls: {} },
    );
    client.close();
    const text = server.queue.stored[0]?.content.toString() ?? "";
    const by = "by mx.example.org (Packetboat) with SMTP id Q00000000001";
    assert.equal(text.includes("127.0.0.1"), !hideClientAddress, text);
    assert.equal(text.includes("laptop.local"), !hideClientAddress, text);
    assert.equal(text.includes("TLSv1"), !hideClientAddress, text);
    assert.equal(text.startsWith(`Received: ${by}\r\n\tfor <bob@example.org>;\r\n\t`), hideClientAddress, text);
    assert.ok(text.includes(by));
    // What was taken out and is needed is made anew; From was rewritten.
    assert.match(
      text,
      /\r\nDate: .*\r\nMessage-ID: <Q00000000001@mx\.example\.org>\r\nFrom: alice@example\.org\r\nSubject: User-Agent: x\r\n\r\nbody\r\n$/,
    );
  });

test("a probe asks for whom the mail would be for", async () => {
  const asked: string[] = [];
  const settings = config(rewriting, { trustedNetworks: [] });
  const behind = aDomain({ class: "Relay", recipients: "Verify" });
  await using server = await aServer(
    {
      ...settings,
      domains: new Map([
        ["old.example", aDomain()],
        ["example.org", behind],
      ]),
    },
    {
      verify: (address) => {
        asked.push(address);
        return Promise.resolve({ kind: "deliverable", said: "250 yes" });
      },
    },
  );
  const client = await play(
    server.port(),
    "S: 220 *\nC: HELO c.example\nS: 250 *\nC: MAIL FROM:<x@example.net>\nS: 250 *\nC: RCPT TO:<who@old.example>\nS: 250 *",
  );
  client.close();
  assert.deepEqual(asked, ["who@example.org"]);
});
