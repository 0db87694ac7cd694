/**
 * Restrictions and access rules as a postmaster writes them, against a real DNS server: the lists of the first reference setup, with its table of hosts that have no PTR, and
 * the actions of access(5). What is refused here is refused by the whole server, from the manifest to the reply.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Nsd, nsdMissing } from "../peers/nsd.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, quickstart } from "./manifests.ts";

/** Clients come from addresses of loopback: .1 is well known, .2 lies about its name, .3 and .4 have none, .9 is trusted. */
const zones = {
  "127.in-addr.arpa": ["1.0.0 IN PTR mail.client.test.", "2.0.0 IN PTR liar.client.test."],
  "client.test": [
    "mail IN A 127.0.0.1",
    "mail IN MX 10 mail",
    "liar IN A 192.0.2.1",
    "@ IN MX 10 mail",
    "null IN MX 0 .",
  ],
};

const rule = (name: string, spec: object): string => object("AccessRule", name, { serverRef: { name: "mx" }, ...spec });
const rules =
  rule("without-ptr", { scope: "Client", match: [{ cidr: "127.0.0.4/32" }], action: { permit: {} } }) +
  rule("dialup", {
    scope: "Client",
    match: [{ regexp: "^dsl[0-9-]+\\." }],
    action: { reject: { code: 550, text: "No dial-up" } },
  }) +
  rule("suspicious", { scope: "Sender", match: [{ exact: "offers@" }], action: { hold: {} } }) +
  rule("insiders-only", {
    scope: "Recipient",
    match: [{ exact: "alice+staff@example.org" }],
    action: { checks: ["CheckSenderAccess insiders", "Reject"] },
  }) +
  rule("insiders", { scope: "Sender", table: "insiders", match: [{ domain: "client.test" }], action: { permit: {} } });

describe("restrictions", { skip: nsdMissing() }, () => {
  let dns: Nsd;
  let boat: Packetboat;
  const write = (restrictions: object): Record<string, string> => ({
    ...quickstart(),
    "mx.yaml":
      object("MailServer", "mx", {
        hostname: "mx.example.org",
        outbound: { dns: { resolvers: [dns.resolver] } },
        networks: { trusted: ["127.0.0.9/32"] },
        restrictions,
      }) +
      object("MailDomain", "example-org", {
        domain: "example.org",
        serverRef: { name: "mx" },
        class: "Mailbox",
        delivery: { maildir: {} },
      }) +
      rules,
  });
  const lists = {
    client: ["RejectUnknownClientHostname"],
    helo: ["RejectInvalidHelo", "RejectNonFQDNHelo", "RejectUnknownHelo"],
    sender: ["RejectUnlistedSender", "RejectUnknownSenderDomain"],
    recipient: ["RejectNonFQDNRecipient", "RejectUnknownRecipientDomain"],
    data: ["RejectUnauthPipelining"],
  };
  before(async () => {
    dns = await Nsd.start(zones);
    boat = await Packetboat.start(write(lists));
  });
  after(async () => {
    await boat[Symbol.asyncDispose]();
    await dns[Symbol.asyncDispose]();
  });

  /** What a client at 127.0.0.`last` is told at RCPT, or at the first refusal before it. */
  async function told(
    last: number,
    { helo = "mail.client.test", from = "bob@client.test", to = "alice@example.org" } = {},
  ): Promise<string> {
    await using client = await SmtpDialogue.open(boat.mx, { localAddress: `127.0.0.${last}` });
    let reply = await client.reply();
    for (const command of [`HELO ${helo}`, `MAIL FROM:<${from}>`, `RCPT TO:<${to}>`]) {
      if (!reply.startsWith("2")) return reply;
      reply = await client.command(command);
    }
    return reply;
  }

  const table: readonly (readonly [string, number, Parameters<typeof told>[1], RegExp])[] = [
    ["a client whose name leads back", 1, {}, /^250 2\.1\.5/],
    [
      "one whose name leads elsewhere",
      2,
      {},
      /^450 4\.7\.25 Client host rejected: cannot find your hostname, \[127\.0\.0\.2\]/,
    ],
    ["one without a name", 3, {}, /^450 4\.7\.25/],
    ["one without a name that a rule lets in", 4, {}, /^250 2\.1\.5/],
    ["which has to say HELO properly all the same", 4, { helo: "localhost" }, /^504 5\.5\.2/],
    ["a trusted network says what it likes", 9, { helo: "x", from: "bob@nowhere.test" }, /^250 2\.1\.5/],
    ["but not to nobody", 9, { helo: "x", to: "nobody@example.org" }, /^550 5\.1\.1/],
    ["a HELO that is no name", 1, { helo: "what!ever" }, /^501 5\.5\.2/],
    ["a HELO that does not exist", 1, { helo: "nowhere.client.test" }, /^450 4\.7\.1 Helo/],
    ["a sender of ours that does not exist", 1, { from: "nobody@example.org" }, /^550 5\.1\.0/],
    ["a sender's domain that does not exist", 1, { from: "bob@gone.client.test" }, /^450 4\.1\.8/],
    ["a sender's domain that takes no mail", 1, { from: "bob@null.client.test" }, /^550 5\.7\.27/],
    ["a domain that nobody can say anything of", 1, { from: "bob@elsewhere.test" }, /^450 4\.1\.8/],
    ["no relaying", 1, { to: "x@client.test" }, /^554 5\.7\.1 Relay access denied/],
    ["a class: an insider", 1, { to: "alice+staff@example.org" }, /^250 2\.1\.5/],
    ["a class: a stranger", 4, { from: "", to: "alice+staff@example.org" }, /^554 5\.7\.1/],
  ];
  for (const [name, last, given, expected] of table)
    test(`${name}: ${expected.source}`, async () => assert.match(await told(last, given), expected));

  test("mail of a sender on hold is accepted and waits", async () => {
    await using client = await SmtpDialogue.open(boat.mx);
    await client.reply();
    for (const command of ["HELO mail.client.test", "MAIL FROM:<offers@client.test>", "RCPT TO:<alice@example.org>"])
      assert.match(await client.command(command), /^250/);
    assert.match(await client.command("DATA"), /^354/);
    assert.match(await client.command("Subject: x\r\n\r\nx\r\n."), /^250 2\.0\.0/);
    const { messages } = await boat.json<{ messages: { hold: number } }>("/queue");
    assert.equal(messages.hold, 1);
  });

  test("an edit holds at once: without delayReject the client is refused before the greeting", async () => {
    await boat.configure("mx.yaml", write({ ...lists, delayReject: false })["mx.yaml"] ?? "");
    const greeting = async (): Promise<string> => {
      await using client = await SmtpDialogue.open(boat.mx, { localAddress: "127.0.0.3" });
      return await client.reply();
    };
    await until("the new lists", 10_000, async () => (await greeting()).startsWith("450 4.7.25"));
    await using client = await SmtpDialogue.open(boat.mx, { localAddress: "127.0.0.3" });
    assert.match(await client.reply(), /^450 4\.7\.25/);
    assert.match(await client.command("HELO mail.client.test"), /^503 5\.7\.0/);
    assert.match(await client.command("QUIT"), /^221/);
  });
});
