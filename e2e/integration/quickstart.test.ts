/** What the README promises a stranger: `npm start`'s server with the quickstart's manifests, spoken to over real sockets. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, quickstart } from "./manifests.ts";

/** From examples/quickstart: marked there as a password for trying things out. */
const ALICE = { user: "alice@example.org", password: "test-password-change-me" };
const plain = (user: string, password: string): string => Buffer.from(`\0${user}\0${password}`).toString("base64");

describe("quickstart", () => {
  let boat: Packetboat;
  before(async () => {
    boat = await Packetboat.start(quickstart());
  });
  after(() => boat[Symbol.asyncDispose]());

  const delivered = async (subject: string, mailbox = "mail/example.org/alice"): Promise<string> => {
    await until(`"${subject}" in ${mailbox}`, 10_000, () =>
      boat.maildir(mailbox).some((message) => message.includes(subject)),
    );
    return boat.maildir(mailbox).find((message) => message.includes(subject)) ?? "";
  };

  test("a message to alice is a file in her maildir, with Return-Path, Delivered-To and Received", async () => {
    await using client = await SmtpDialogue.open(boat.mx);
    assert.match(await client.reply(), /^220 mx\.example\.org ESMTP/);
    assert.match(
      await client.command("EHLO client.example.net"),
      /PIPELINING[\s\S]*STARTTLS|STARTTLS[\s\S]*PIPELINING/,
    );
    const replies = await client.send({
      from: "bob@example.net",
      to: ["alice@example.org"],
      content: "Subject: first light\n\n.dots stay\nhello\n",
    });
    assert.match(replies.at(-1) ?? "", /^250 2\.0\.0 /);
    const message = await delivered("first light");
    assert.match(message, /^Return-Path: <bob@example\.net>\nDelivered-To: alice@example\.org\n/m);
    assert.match(message, /^Received: from client\.example\.net [\s\S]*by mx\.example\.org/m);
    assert.match(message, /\n\n\.dots stay\nhello\n/);
  });

  test("over IPv6 loopback as well", async () => {
    await using client = await SmtpDialogue.open(boat.mx, { host: "::1" });
    assert.match(await client.reply(), /^220 /);
  });

  const refusals: readonly { readonly name: string; readonly lines: readonly string[]; readonly last: RegExp }[] = [
    {
      name: "a user who does not exist",
      lines: ["MAIL FROM:<bob@example.net>", "RCPT TO:<nobody@example.org>"],
      last: /^550 5\.1\.1 /,
    },
    {
      name: "relay to a foreign domain, loopback is not trusted",
      lines: ["MAIL FROM:<bob@example.net>", "RCPT TO:<x@example.com>"],
      last: /^554 5\.7\.1 /,
    },
    {
      name: "the percent form",
      lines: ["MAIL FROM:<bob@example.net>", "RCPT TO:<x%example.com@example.org>"],
      last: /^55\d 5\.\d\.\d /,
    },
    {
      name: "a source route",
      lines: ["MAIL FROM:<bob@example.net>", "RCPT TO:<@example.org:x@example.com>"],
      last: /^5\d\d 5\.\d\.\d /,
    },
    {
      name: "AUTH on the MX port",
      lines: [`AUTH PLAIN ${plain(ALICE.user, ALICE.password)}`],
      last: /^5\d\d 5\.5\.1 /,
    },
  ];
  for (const { name, lines, last } of refusals) {
    test(`refused: ${name}`, async () => {
      await using client = await SmtpDialogue.open(boat.mx);
      await client.reply();
      await client.command("EHLO client.example.net");
      let reply = "";
      for (const line of lines) reply = await client.command(line);
      assert.match(reply, last);
    });
  }

  for (const address of ["postmaster", "Postmaster@example.org", "alice+lists@example.org", "ALICE@EXAMPLE.ORG"]) {
    test(`<${address}> reaches alice`, async () => {
      await using client = await SmtpDialogue.open(boat.mx);
      await client.reply();
      await client.command("EHLO client.example.net");
      const subject = `to ${address} at ${Date.now()}`;
      const replies = await client.send({ from: "", to: [address], content: `Subject: ${subject}\n\nx\n` });
      assert.match(replies.at(-1) ?? "", /^250 /);
      await delivered(subject);
    });
  }

  test("submission: no AUTH before TLS, wrong password 535, right one sends, a foreign sender is refused", async () => {
    await using client = await SmtpDialogue.open(boat.submission);
    await client.reply();
    assert.doesNotMatch(await client.command("EHLO laptop.example.org"), /AUTH/);
    assert.match(await client.command(`AUTH PLAIN ${plain(ALICE.user, ALICE.password)}`), /^530 5\.7\.0 /);
    assert.match(await client.command("MAIL FROM:<alice@example.org>"), /^530 5\.7\.0 /);
    await client.startTls();
    assert.match(await client.command("EHLO laptop.example.org"), /AUTH (PLAIN LOGIN|LOGIN PLAIN)/);
    assert.match(await client.command("MAIL FROM:<alice@example.org>"), /^530 5\.7\.0 /);
    assert.match(await client.command(`AUTH PLAIN ${plain(ALICE.user, "wrong")}`), /^535 5\.7\.8 /);
    assert.match(await client.command(`AUTH PLAIN ${plain("nobody@example.org", "wrong")}`), /^535 5\.7\.8 /);
    assert.match(await client.command(`AUTH PLAIN ${plain(ALICE.user, ALICE.password)}`), /^235 2\.7\.0 /);
    assert.match(await client.command("MAIL FROM:<ceo@example.org>"), /^553 5\.7\.1 /);
    const replies = await client.send({
      from: "alice@example.org",
      to: ["alice@example.org"],
      content: "Subject: to myself\n\nx\n",
    });
    assert.match(replies.at(-1) ?? "", /^250 /);
    assert.match(await delivered("to myself"), /ESMTPSA/);
  });

  test("submissions: TLS at once, AUTH LOGIN", async () => {
    await using client = await SmtpDialogue.open(boat.submissions, { tls: true });
    await client.reply();
    await client.command("EHLO laptop.example.org");
    assert.match(await client.command("AUTH LOGIN"), /^334 /);
    assert.match(await client.command(Buffer.from(ALICE.user).toString("base64")), /^334 /);
    assert.match(await client.command(Buffer.from(ALICE.password).toString("base64")), /^235 /);
  });

  test("an alias written to the folder is live in under a second; a bad manifest changes nothing and is explained", async () => {
    const inTransaction = async (): Promise<SmtpDialogue> => {
      const client = await SmtpDialogue.open(boat.mx);
      await client.reply();
      await client.command("EHLO client.example.net");
      await client.command("MAIL FROM:<bob@example.net>");
      return client;
    };
    let live: string | null = null;
    /** From the file to the 250, in a session that was open before. */
    const liveAfterMs = async (name: string): Promise<number> => {
      await using client = await inTransaction();
      assert.match(await client.command(`RCPT TO:<${name}@example.org>`), /^550 /);
      const before = (await boat.json<{ hash: string }>("/config")).hash;
      const written = performance.now();
      boat.write(
        `zz-${name}.yaml`,
        object("Alias", name, {
          domainRef: { name: "example-org" },
          addresses: [name],
          destinations: ["alice@example.org"],
        }),
      );
      await until(`${name}@example.org`, 5000, async () => {
        // Who errs ten times is answered slowly.
        await sleep(80);
        return (await client.command(`RCPT TO:<${name}@example.org>`)).startsWith("250");
      });
      const tookMs = performance.now() - written;
      // The shard that was asked runs it; there is a hash again when the other does, too.
      await until("every shard to run it", 5000, async () => {
        live = (await boat.json<{ hash: string | null }>("/config")).hash;
        return live !== null && live !== before;
      });
      return tookMs;
    };
    // One that comes late in a busy moment is followed by another; a product that takes a second is late every time.
    const tookMs: number[] = [];
    while (tookMs.length < 5 && Math.min(...tookMs) >= 1000) tookMs.push(await liveAfterMs(`sales-${tookMs.length}`));
    assert.ok(Math.min(...tookMs) < 1000, `took ${tookMs.join(", ")} ms`);

    boat.write(
      "zz-bad.yaml",
      object("Alias", "bad", { domainRef: { name: "example-org" }, addresses: ["x"], destinations: "not a list" }),
    );
    await until("an explanation", 5000, () => /zz-bad\.yaml[\s\S]*destinations/.test(boat.output));
    assert.equal((await boat.json<{ hash: string }>("/config")).hash, live);
    await using client = await inTransaction();
    assert.match(await client.command("RCPT TO:<sales-0@example.org>"), /^250 /);
    boat.write("zz-bad.yaml", "");
  });

  test("metrics add up over all shards, and no secret is in the log", async () => {
    const metrics = await (await boat.admin("/metrics")).text();
    const accepted = [...metrics.matchAll(/^packetboat_messages_accepted_total\{listener="mx"\} (\d+)$/gm)];
    assert.equal(accepted.length, 1);
    assert.ok(Number(accepted[0]?.[1]) >= 5);
    assert.match(metrics, /^packetboat_rejected_total\{.*reason="[a-z-]+".*\} \d+$/m);
    assert.match(metrics, /^packetboat_config_info\{hash="[0-9a-f]{64}"\} 1$/m);
    assert.match(metrics, /^packetboat_deliveries_total\{transport="maildir",result="delivered"\} \d+$/m);
    const log = JSON.stringify(boat.log());
    assert.match(log, /"delivery"/);
    assert.doesNotMatch(log, /test-password-change-me|PRIVATE KEY|argon2id\$/);
  });
});
