/** Where mail goes, with real peers: Dovecot over a unix socket that takes one recipient and refuses the other, Postfix as the relay of one sender. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Dovecot, dovecotMissing } from "../peers/dovecot.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { Postfix, postfixMissing } from "../peers/postfix.ts";
import { Sink } from "../peers/sink.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object } from "./manifests.ts";

const mailServer = (outbound: unknown = {}): string =>
  object("MailServer", "mx", {
    hostname: "mx.example.org",
    networks: { trusted: ["127.0.0.0/8"] },
    queue: { minBackoff: "1s", maxBackoff: "2s" },
    outbound,
  });
const local =
  object("MailDomain", "local", {
    domain: "local.example",
    serverRef: { name: "mx" },
    class: "Mailbox",
    delivery: { maildir: {} },
  }) + object("Mailbox", "bob", { address: "bob@local.example", domainRef: { name: "local" } });

async function send(boat: Packetboat, from: string, to: readonly string[], subject: string): Promise<void> {
  await using client = await SmtpDialogue.open(boat.mx);
  await client.reply();
  await client.command("EHLO client.example.net");
  const replies = await client.send({ from, to, content: `Subject: ${subject}\n\nbody\n` });
  assert.match(replies.at(-1) ?? "", /^250 /);
}

test("Dovecot over a unix socket: after the dot one recipient is taken and the other refused, each by its own reply", {
  skip: dovecotMissing(),
}, async () => {
  const users = ["dora@lmtp.example", "full@lmtp.example"];
  await using dovecot = await Dovecot.start(users, { mostMessages: 1 });
  await using boat = await Packetboat.start({
    "all.yaml":
      mailServer() +
      local +
      object("MailDomain", "lmtp", {
        domain: "lmtp.example",
        serverRef: { name: "mx" },
        class: "Mailbox",
        delivery: { lmtp: { socketPath: dovecot.socket } },
      }) +
      ["dora", "full"]
        .map((name) => object("Mailbox", name, { address: `${name}@lmtp.example`, domainRef: { name: "lmtp" } }))
        .join(""),
  });
  await send(boat, "bob@local.example", ["full@lmtp.example"], "fills it");
  await until("the first message", 20_000, () => dovecot.messages("full@lmtp.example").length === 1);
  await send(boat, "bob@local.example", users, "for both");
  await until("dora's message", 20_000, () =>
    dovecot.messages("dora@lmtp.example").some((message) => message.includes("for both")),
  );
  await until("the bounce", 20_000, () => boat.maildir("mail/local.example/bob").length === 1);
  const bounce = boat.maildir("mail/local.example/bob")[0] ?? "";
  assert.match(bounce, /^Final-Recipient: rfc822; ?full@lmtp\.example/im);
  assert.match(bounce, /^Status: 5\.2\.2/im);
  assert.doesNotMatch(bounce, /^Final-Recipient: rfc822; ?dora/im);
  assert.equal(dovecot.messages("full@lmtp.example").length, 1);
});

test("a Route by sender leads through Postfix; other senders fall through to the relay host; a destination's Route goes before both", {
  skip: postfixMissing(),
}, async () => {
  await using behindPostfix = await Sink.start();
  await using relayHost = await Sink.start();
  await using partner = await Sink.start();
  await using postfix = await Postfix.start(behindPostfix.port);
  await using boat = await Packetboat.start({
    "all.yaml":
      mailServer({ relayHost: { host: "127.0.0.1", port: relayHost.port } }) +
      object("Route", "by-sender", {
        senders: ["@vip.example"],
        serverRef: { name: "mx" },
        nextHop: { host: "127.0.0.1", port: postfix.port },
        sourceAddresses: ["127.0.0.5"],
      }) +
      object("Route", "partner", {
        destinations: ["partner.example"],
        serverRef: { name: "mx" },
        nextHop: { host: "127.0.0.1", port: partner.port },
      }),
  });
  await send(boat, "a@vip.example", ["x@elsewhere.example"], "by sender");
  await send(boat, "a@plain.example", ["y@elsewhere.example"], "by relay host");
  await send(boat, "a@vip.example", ["z@partner.example"], "by destination");
  const came = (): string =>
    [behindPostfix, relayHost, partner]
      .map(({ messages }) => messages.map(({ to }) => to.join()).join(" "))
      .join(" | ");
  await until("all three", 20_000, () => came() === "x@elsewhere.example | y@elsewhere.example | z@partner.example");
  // Postfix tells from which address it was spoken to.
  assert.match(behindPostfix.messages[0]?.content ?? "", /^Received: from mx\.example\.org \([^)]*\[127\.0\.0\.5\]\)/m);
  const sent = (): Record<string, unknown>[] => boat.log().filter(({ event }) => event === "delivery");
  await until("a line of each", 5000, () => sent().length >= 3);
  assert.deepEqual(new Set(sent().map(({ status }) => status)), new Set(["sent"]));
});
