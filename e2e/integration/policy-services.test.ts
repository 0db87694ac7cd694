/**
 * Policy delegation against real daemons: postgrey and policyd-spf as Debian ships them, killed and started again; and a real Postfix beside us that tells the same daemon of the same
 * message, attribute by attribute. SMTPD_POLICY_README.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Packetboat } from "../peers/packetboat.ts";
import { policyDaemonsMissing, Postgrey, RecordingDaemon, SpawnedDaemon, type Told } from "../peers/policy-daemon.ts";
import { until } from "../peers/ports.ts";
import { Postfix, postfixMissing, SmtpSink } from "../peers/postfix.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object } from "./manifests.ts";

const mailServer = (policyServices: readonly object[]): string =>
  object("MailServer", "mx", { hostname: "mx.example.org", policyServices });
const mailboxes =
  object("MailDomain", "ours", {
    domain: "example.org",
    serverRef: { name: "mx" },
    class: "Mailbox",
    delivery: { discard: {} },
  }) +
  ["alice", "carol"]
    .map((name) => object("Mailbox", name, { address: `${name}@example.org`, domainRef: { name: "ours" } }))
    .join("");

async function greeted(port: number): Promise<SmtpDialogue> {
  const client = await SmtpDialogue.open(port);
  assert.match(await client.reply(), /^220 /);
  assert.match(await client.command("EHLO client.example.net"), /^250/);
  return client;
}

const missing = policyDaemonsMissing() ?? postfixMissing();

describe("policy services", { skip: missing ?? false }, () => {
  let boat: Packetboat;
  before(async () => {
    boat = await Packetboat.start({ "server.yaml": mailServer([]), "ours.yaml": mailboxes });
  });
  after(async () => boat?.[Symbol.asyncDispose]());

  const serve = (services: readonly object[]): Promise<void> => boat.configure("server.yaml", mailServer(services));

  test("postgrey: greylisted, let in after the delay with its header; killed: 451; back: 250", {
    timeout: 90_000,
  }, async () => {
    await using postgrey = await Postgrey.start(1);
    await serve([
      { name: "postgrey", address: `127.0.0.1:${postgrey.port}`, stage: "Recipient", retryDelay: "0s", timeout: "5s" },
    ]);
    await using client = await greeted(boat.mx);
    await client.command("MAIL FROM:<bob@example.com>");
    assert.match(await client.command("RCPT TO:<alice@example.org>"), /^450 4\.[27]\.[01] Greylisted/);
    let reply = "";
    await until("the end of the delay", 20_000, async () => {
      reply = await client.command("RCPT TO:<alice@example.org>");
      return !reply.startsWith("450");
    });
    assert.match(reply, /^250 /);

    await postgrey.kill();
    const answer = "451 4.3.5 Server configuration problem";
    assert.equal(await client.command("RCPT TO:<carol@example.org>"), answer);
    await postgrey.run();
    await until("carol to be let in", 20_000, async () => {
      reply = await client.command("RCPT TO:<carol@example.org>");
      return reply.startsWith("250");
    });
    assert.match(await client.command("DATA"), /^354 /);
    client.write("Subject: greylisted once\r\n\r\nhello\r\n.\r\n");
    assert.match(await client.reply(), /^250 2\.0\.0 Ok: queued/);
    const metrics = await (await boat.admin("/metrics")).text();
    assert.match(metrics, /packetboat_policy_service_answers_total\{service="postgrey",result="unavailable"\} 1\n/);
    const events = (): Record<string, unknown>[] => boat.log().filter(({ service }) => service === "postgrey");
    await until("four lines in the log", 5000, () => events().length >= 4);
    assert.deepEqual(
      events().map(({ event }) => event),
      ["policy-service-action", "policy-service-failed", "policy-service-recovered", "policy-service-action"],
    );
    assert.match(String(events()[0]?.["action"]), /^PREPEND X-Greylist: delayed \d+ seconds by postgrey/);
  });

  test("policyd-spf: its header on a message, over several questions", { timeout: 60_000 }, async () => {
    await using daemon = await SpawnedDaemon.start("/usr/bin/policyd-spf");
    await serve([{ name: "spf", address: `inet:127.0.0.1:${daemon.port}`, stage: "Recipient" }]);
    await using client = await greeted(boat.mx);
    for (const to of ["alice", "carol"]) {
      const replies = await client.send({
        from: "bob@example.com",
        to: [`${to}@example.org`],
        content: "Subject: x\n\nx\n",
      });
      assert.match(replies.at(-1) ?? "", /^250 /);
    }
    // Loopback is skipped, which the daemon says in a header of its own.
    const said = (): Record<string, unknown>[] =>
      boat.log().filter(({ service, event }) => service === "spf" && event === "policy-service-action");
    await until("both lines in the log", 5000, () => said().length === 2);
    for (const { action } of said()) assert.match(String(action), /^prepend X-Comment: SPF/);
  });

  test("what Postfix tells a daemon we tell it, attribute by attribute", { timeout: 60_000 }, async () => {
    await using daemon = await RecordingDaemon.start();
    await using sink = await SmtpSink.start();
    const ask = `check_policy_service inet:127.0.0.1:${daemon.port}`;
    const lists = ["client", "helo", "sender", "recipient", "data", "end_of_data"];
    await using postfix = await Postfix.start(
      sink.port,
      ["relay_domains = example.org", ...lists.map((name) => `smtpd_${name}_restrictions = ${ask}`)].join("\n"),
    );
    await serve(
      ["Client", "Helo", "Sender", "Recipient", "Data", "EndOfMessage"].map((stage) => ({
        name: stage.toLowerCase(),
        address: `127.0.0.1:${daemon.port}`,
        stage,
      })),
    );
    const dialogue = async (port: number): Promise<Told[]> => {
      const from = daemon.told.length;
      await using client = await greeted(port);
      assert.match(await client.command("MAIL FROM:<bob@example.com> SIZE=2000"), /^250/);
      assert.match(await client.command("RCPT TO:<alice@example.org>"), /^250/);
      assert.match(await client.command("RCPT TO:<carol@example.org>"), /^250/);
      assert.match(await client.command("DATA"), /^354/);
      client.write("Subject: compare\r\n\r\nhello\r\n.\r\n");
      assert.match(await client.reply(), /^250/);
      return daemon.told.slice(from);
    };
    const [theirs, ours] = [await dialogue(postfix.port), await dialogue(boat.mx)];
    assert.equal(ours.length, theirs.length);
    // Of the machine, the moment and the queue: there, and of the same kind, but not the same.
    const ownValues = new Set([
      "client_name",
      "reverse_client_name",
      "client_port",
      "server_port",
      "queue_id",
      "instance",
    ]);
    for (const [at, their] of theirs.entries()) {
      const our = ours[at] ?? [];
      assert.deepEqual(
        our.map(([name]) => name).slice(0, their.length),
        their.map(([name]) => name),
      );
      for (const [name, value] of their) {
        if (ownValues.has(name)) continue;
        assert.equal(our.find((each) => each[0] === name)?.[1], value, `question ${at}, ${name}`);
      }
    }
    const instances = (told: readonly Told[]): number =>
      new Set(told.map((each) => new Map(each).get("instance"))).size;
    assert.deepEqual([instances(theirs), instances(ours)], [1, 1]);
    assert.notEqual(new Map(ours.at(-1)).get("queue_id"), "");
  });
});
