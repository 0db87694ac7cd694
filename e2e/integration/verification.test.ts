/**
 * Recipient and sender verification against real servers: Dovecot's LMTP with users it knows, a Postfix with relay recipients it knows, both ended in the middle. What an
 * address is found to be is remembered: by the other shards, and by a shard that was killed.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Dovecot, dovecotMissing } from "../peers/dovecot.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { Postfix, postfixMissing, SmtpSink } from "../peers/postfix.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object } from "./manifests.ts";

const undeliverable = "450 4.1.1 Recipient address rejected: undeliverable address";
const unverified = "450 4.1.1 Recipient address rejected: unverified address, try again later";

async function inTransaction(port: number, sender = "bob@example.com"): Promise<SmtpDialogue> {
  const client = await SmtpDialogue.open(port);
  assert.match(await client.reply(), /^220 /);
  assert.match(await client.command("EHLO client.example.net"), /^250/);
  assert.match(await client.command(`MAIL FROM:<${sender}>`), /^250 /);
  return client;
}

describe("verification", { skip: dovecotMissing() ?? postfixMissing() ?? false }, () => {
  let boat: Packetboat;
  let dovecot: Dovecot;
  let postfix: Postfix;
  let sink: SmtpSink;

  /** Probes so far, of all shards. */
  const probes = async (): Promise<number> => {
    const text = await (await boat.admin("/metrics")).text();
    const counts = [...text.matchAll(/^packetboat_address_probes_total\{[^}]*\} (\d+)$/gm)];
    return counts.reduce((sum, [, count]) => sum + Number(count), 0);
  };

  before(async () => {
    dovecot = await Dovecot.start(["kim@lmtp.example"]);
    sink = await SmtpSink.start();
    postfix = await Postfix.start(
      sink.port,
      "relay_domains = relay.example\nrelay_recipient_maps = inline:{ kim@relay.example=ok }",
    );
    const domain = (name: string, spec: object): string =>
      object("MailDomain", name, { serverRef: { name: "mx" }, recipients: { from: "Verify" }, ...spec });
    boat = await Packetboat.start({
      "server.yaml": object("MailServer", "mx", {
        hostname: "mx.example.org",
        restrictions: { sender: ["RejectUnverifiedSender"] },
        limits: { hardErrors: 1000 },
      }),
      "domains.yaml":
        domain("lmtp", {
          domain: "lmtp.example",
          class: "Mailbox",
          delivery: { lmtp: { host: "127.0.0.1", port: dovecot.port } },
        }) +
        domain("relay", {
          domain: "relay.example",
          class: "Relay",
          delivery: { smtp: { host: "127.0.0.1", port: postfix.port } },
        }) +
        object("MailDomain", "ours", {
          domain: "example.org",
          serverRef: { name: "mx" },
          class: "Mailbox",
          delivery: { discard: {} },
        }) +
        object("Mailbox", "alice", { address: "alice@example.org", domainRef: { name: "ours" } }) +
        object("Alias", "own", {
          domainRef: { name: "lmtp" },
          addresses: ["own"],
          destinations: ["alice@example.org"],
        }),
    });
  });
  after(async () => {
    for (const peer of [boat, postfix, sink, dovecot]) await peer?.[Symbol.asyncDispose]();
  });

  for (const domain of ["lmtp.example", "relay.example"])
    test(`${domain}: who is known there is taken, nobody else; each is asked once`, { timeout: 60_000 }, async () => {
      const before_ = await probes();
      for (let round = 0; round < 3; round += 1) {
        // The null sender needs no verification.
        await using client = await inTransaction(boat.mx, "");
        assert.match(await client.command(`RCPT TO:<kim@${domain}>`), /^250 /);
        assert.equal(await client.command(`RCPT TO:<zoe@${domain}>`), undeliverable);
      }
      assert.equal((await probes()) - before_, 2);
    });

  test("an object is an object: nobody is asked about it", async () => {
    const before_ = await probes();
    await using client = await inTransaction(boat.mx, "");
    assert.match(await client.command("RCPT TO:<own@lmtp.example>"), /^250 /);
    assert.equal(await probes(), before_);
  });

  test("a probe leaves nothing behind at the other server", () => {
    assert.doesNotMatch(readFileSync(join(postfix.directory, "log"), "utf8"), /message-id=|queue active/);
  });

  test("mail to a verified recipient arrives", { timeout: 30_000 }, async () => {
    await using client = await SmtpDialogue.open(boat.mx);
    await client.reply();
    await client.command("EHLO client.example.net");
    const replies = await client.send({ from: "", to: ["kim@lmtp.example"], content: "Subject: known\n\nhello\n" });
    assert.match(replies.at(-1) ?? "", /^250 /);
    await until("the message at Dovecot", 15_000, () => dovecot.messages("kim@lmtp.example").length === 1);
  });

  test("senders: one that cannot be answered is refused, one that can is taken", { timeout: 30_000 }, async () => {
    for (const [sender, expected] of [
      ["kim@relay.example", /^250 /],
      ["zoe@relay.example", /^450 4\.1\.7 Sender address rejected: undeliverable address$/],
      ["alice@example.org", /^250 /],
      ["nobody@example.org", /^450 4\.1\.7 Sender address rejected: undeliverable address$/],
    ] as const) {
      await using client = await inTransaction(boat.mx, sender);
      assert.match(await client.command("RCPT TO:<alice@example.org>"), expected, sender);
    }
  });

  test("a shard that is killed, and both servers gone: what is known is known", { timeout: 60_000 }, async () => {
    const killed = boat.shards();
    for (const pid of killed) process.kill(pid, "SIGKILL");
    postfix.stop();
    await dovecot[Symbol.asyncDispose]();
    await until("new shards", 30_000, async () => {
      const now = boat.shards();
      return now.length === killed.length && !now.some((pid) => killed.includes(pid)) && (await boat.isWhole());
    });
    const before_ = await probes();
    await using client = await inTransaction(boat.mx, "");
    for (const domain of ["lmtp.example", "relay.example"]) {
      assert.match(await client.command(`RCPT TO:<kim@${domain}>`), /^250 /);
      assert.equal(await client.command(`RCPT TO:<zoe@${domain}>`), undeliverable);
    }
    assert.equal(await probes(), before_);

    // Who is new has to wait, and a server that does not answer is asked once.
    for (const name of ["new", "newer", "newest", "new"])
      assert.equal(await client.command(`RCPT TO:<${name}@relay.example>`), unverified);
    let outcomes: Record<string, unknown>[] = [];
    await until("a probe that found nobody", 10_000, () => {
      outcomes = boat.log().filter(({ event, result }) => event === "address-probed" && result === "down");
      return outcomes.length > 0;
    });
    assert.ok(
      outcomes.every(({ said }) => String(said).startsWith("451 4.4.1 ")),
      JSON.stringify(outcomes),
    );
  });
});
