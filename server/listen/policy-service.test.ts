/** Policy services as clients meet them: who is asked when, with what, and what comes of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PolicyService } from "../config/policy-services.ts";
import type { LiveConfig, ServerSection } from "../config/schema.ts";
import { type Answering, aService, PolicyDaemon } from "../delegate/daemon-fixture.ts";
import { aConfig, aDomain, aListener, aMailbox, aServer, TestClient, type TestServer } from "./inbound-fixture.ts";

function config(services: readonly PolicyService[], server: Partial<Omit<ServerSection, "limits">> = {}): LiveConfig {
  const addresses = ["alice", "carol", "trap", "copy"].map((name) => [`${name}@example.org`, aMailbox()] as const);
  return aConfig(
    { domains: new Map([["example.org", aDomain()]]), addresses: new Map(addresses) },
    {
      policyServices: [...services],
      ...server,
    },
  );
}

async function greeted(server: TestServer): Promise<TestClient> {
  const client = await TestClient.connect(server.port());
  assert.match(await client.reply(), /^220 /);
  assert.match(await client.say("EHLO client.example.net"), /^250/);
  return client;
}

async function send(client: TestClient, text = "Subject: x\r\n\r\nhello\r\n"): Promise<string> {
  assert.match(await client.say("DATA"), /^354 /);
  return await client.say(`${text}.`);
}

async function aMessage(client: TestClient, recipients: readonly string[] = ["alice"]): Promise<string> {
  assert.match(await client.say("MAIL FROM:<bob@example.com> SIZE=1234"), /^250 /);
  for (const name of recipients) assert.match(await client.say(`RCPT TO:<${name}@example.org>`), /^250 /);
  return await send(client);
}

const always =
  (action: string): Answering =>
  () =>
    `action=${action}\n\n`;

test("every stage is asked in its turn, with one instance a message", async () => {
  await using daemon = await PolicyDaemon.start(always("DUNNO"));
  const stages = ["Client", "Helo", "Sender", "Recipient", "Data", "EndOfMessage"] as const;
  const services = stages.map((stage) =>
    aService({ name: stage.toLowerCase(), stage, endpoint: daemon.endpoint, context: stage }),
  );
  await using server = await aServer(config(services));
  const client = await greeted(server);
  assert.match(await aMessage(client, ["alice", "carol"]), /^250 2\.0\.0 Ok: queued/);
  const asked = daemon.questions.map((question) => [
    question["policy_context"],
    question["protocol_state"],
    question["recipient"],
    question["recipient_count"],
    question["size"],
  ]);
  const rcpt = (context: string, name: string): readonly string[] => [
    context,
    "RCPT",
    `${name}@example.org`,
    "0",
    "1234",
  ];
  const lists = ["Client", "Helo", "Sender", "Recipient"];
  assert.deepEqual(asked, [
    ...lists.map((context) => rcpt(context, "alice")),
    ...lists.map((context) => rcpt(context, "carol")),
    ["Data", "DATA", "", "2", "1234"],
    ["EndOfMessage", "END-OF-MESSAGE", "", "2", "21"],
  ]);
  const [first] = daemon.questions;
  assert.equal(new Set(daemon.questions.map(({ instance }) => instance)).size, 1);
  assert.equal(daemon.questions.at(-1)?.["queue_id"], server.queue.stored[0]?.id);
  assert.deepEqual(
    ["protocol_name", "client_address", "client_name", "server_address", "helo_name", "sender"].map(
      (name) => first?.[name],
    ),
    ["ESMTP", "127.0.0.1", "client.example.net", "127.0.0.1", "client.example.net", "bob@example.com"],
  );
  assert.equal(first?.["server_port"], String(server.port()));
  assert.equal(first?.["client_port"], String(client.socket.localPort));

  await aMessage(client);
  const instances = new Set(daemon.questions.map(({ instance }) => instance));
  assert.equal(instances.size, 2, "another message is another instance");
  assert.equal(
    daemon.questions.findLast(({ protocol_state }) => protocol_state === "DATA")?.["recipient"],
    "alice@example.org",
  );
});

test("refusals: for now, for good, and at the end of the message", async () => {
  await using daemon = await PolicyDaemon.start(always("450 4.2.0 Greylisted, come again"));
  const at = (stage: PolicyService["stage"]): LiveConfig => config([aService({ stage, endpoint: daemon.endpoint })]);
  await using server = await aServer(at("Recipient"));
  const client = await greeted(server);
  await client.say("MAIL FROM:<bob@example.com>");
  assert.equal(await client.say("RCPT TO:<alice@example.org>"), "450 4.2.0 Greylisted, come again");
  daemon.answering = always("REJECT 5.7.23 SPF fail");
  assert.equal(await client.say("RCPT TO:<alice@example.org>"), "554 5.7.23 SPF fail");
  daemon.answering = always("DEFER_IF_PERMIT Wait");
  assert.equal(await client.say("RCPT TO:<alice@example.org>"), "450 4.7.1 Wait");
  const asked = daemon.questions.length;
  assert.match(await client.say("RCPT TO:<nobody@example.org>"), /^550 5\.1\.1 /);
  assert.equal(daemon.questions.length, asked, "nobody is asked about a recipient that does not exist");
  await client.say("RSET");

  await server.reconfigure(at("Sender"));
  daemon.answering = always("REJECT not you");
  await client.say("MAIL FROM:<bob@example.com>");
  assert.equal(await client.say("RCPT TO:<alice@example.org>"), "554 5.7.1 not you");
  await client.say("RSET");

  await server.reconfigure(at("Data"));
  daemon.answering = always("DEFER data");
  await client.say("MAIL FROM:<bob@example.com>");
  await client.say("RCPT TO:<alice@example.org>");
  assert.equal(await client.say("DATA"), "450 4.7.1 data");
  await client.say("RSET");

  await server.reconfigure(at("EndOfMessage"));
  daemon.answering = always("550 5.7.1 too much of you");
  assert.equal(await aMessage(client), "550 5.7.1 too much of you");
  assert.equal(server.queue.stored.length, 0);
  assert.equal(server.queue.aborted, 1);
  daemon.answering = always("DISCARD");
  assert.match(await aMessage(client), /^250 2\.0\.0 Ok: queued/);
  assert.equal(server.queue.stored.length, 0);
  daemon.answering = always("DUNNO");
  assert.match(await aMessage(client), /^250 /);
  assert.equal(server.queue.stored.length, 1);
});

test("effects: header, hold, another recipient, a copy", async () => {
  await using daemon = await PolicyDaemon.start(always("PREPEND X-Policy: seen"));
  await using server = await aServer(config([aService({ endpoint: daemon.endpoint })]));
  const client = await greeted(server);
  assert.match(await aMessage(client), /^250 /);
  assert.match(server.queue.stored[0]?.content.toString() ?? "", /^X-Policy: seen\r\nReceived: /);
  daemon.answering = always("HOLD");
  assert.match(await aMessage(client), /^250 /);
  assert.equal(server.accepted.length, 1, "what is held is not handed over");
  daemon.answering = always("REDIRECT trap@example.org");
  assert.match(await aMessage(client, ["alice", "carol"]), /^250 /);
  daemon.answering = always("BCC copy@example.org");
  assert.match(await aMessage(client), /^250 /);
  assert.deepEqual(
    server.queue.stored.map(({ envelope }) => envelope.recipients.map(({ address }) => address)),
    [["alice@example.org"], ["alice@example.org"], ["trap@example.org"], ["alice@example.org", "copy@example.org"]],
  );
  daemon.answering = always("WARN watch this one");
  assert.match(await aMessage(client), /^250 /);
});

test("several services: the first that is sure decides; OK opens no relay", async () => {
  await using one = await PolicyDaemon.start(always("PREPEND X-One: 1"));
  await using two = await PolicyDaemon.start(always("OK"));
  await using three = await PolicyDaemon.start(always("REJECT"));
  const services = [one, two, three].map(({ endpoint }, place) => aService({ name: `s${place}`, endpoint }));
  await using server = await aServer(config(services));
  const client = await greeted(server);
  assert.match(await aMessage(client), /^250 /);
  assert.match(server.queue.stored[0]?.content.toString() ?? "", /^X-One: 1\r\n/);
  assert.equal(three.questions.length, 0);
  await client.say("MAIL FROM:<bob@example.com>");
  assert.match(await client.say("RCPT TO:<x@elsewhere.example>"), /^554 5\.7\.1 Relay access denied/);
});

test("those who may relay are asked about only where the service is for all", async () => {
  await using daemon = await PolicyDaemon.start(always("REJECT"));
  const trusting = (clients: PolicyService["clients"]): LiveConfig =>
    config([aService({ endpoint: daemon.endpoint, clients })], { trustedNetworks: ["127.0.0.0/8"] });
  await using server = await aServer(trusting("Untrusted"));
  const client = await greeted(server);
  assert.match(await aMessage(client), /^250 /);
  assert.equal(daemon.questions.length, 0);
  await server.reconfigure(trusting("All"));
  await client.say("MAIL FROM:<bob@example.com>");
  assert.match(await client.say("RCPT TO:<alice@example.org>"), /^554 5\.7\.1 Access denied/);
});

test("a daemon killed mid-run: 451, and mail again once it is back", async () => {
  await using daemon = await PolicyDaemon.start(always("DUNNO"), "tcp");
  await using server = await aServer(config([aService({ endpoint: daemon.endpoint })]));
  const client = await greeted(server);
  assert.match(await aMessage(client), /^250 /);
  await daemon.kill();
  await client.say("MAIL FROM:<bob@example.com>");
  assert.equal(await client.say("RCPT TO:<alice@example.org>"), "451 4.3.5 Server configuration problem");
  await daemon.listen();
  assert.match(await client.say("RCPT TO:<alice@example.org>"), /^250 /);
  assert.match(await send(client), /^250 /);
});

test("a daemon that does nothing does not end the session, nor the drain", { timeout: 10_000 }, async () => {
  await using daemon = await PolicyDaemon.start(() => undefined);
  const server = await aServer(config([aService({ endpoint: daemon.endpoint, timeoutMs: 100_000 })]));
  const client = await greeted(server);
  await client.say("MAIL FROM:<bob@example.com>");
  const asked = daemon.asked();
  client.send("RCPT TO:<alice@example.org>\r\n");
  await asked;
  await server.stop();
});

test("CheckPolicyService asks where a list names it; a name that nobody has is 451", async () => {
  await using daemon = await PolicyDaemon.start(always("REJECT greylisted"));
  const { stage: _, ...unplaced } = aService({ name: "grey", endpoint: daemon.endpoint });
  const naming = (name: string): LiveConfig => {
    const restrictions = { ...aConfig().server.restrictions, recipient: [`CheckPolicyService ${name}`] };
    return config([unplaced], { restrictions });
  };
  await using server = await aServer(naming("grey"));
  const client = await greeted(server);
  await client.say("MAIL FROM:<bob@example.com>");
  assert.equal(await client.say("RCPT TO:<alice@example.org>"), "554 5.7.1 greylisted");
  assert.equal(daemon.questions.length, 1);
  await server.reconfigure(naming("gray"));
  assert.match(await client.say("RCPT TO:<alice@example.org>"), /^451 4\.3\.5 /);
});

test("delayReject off: refused as soon as it is known, by the greeting and HELO too", async () => {
  await using daemon = await PolicyDaemon.start(always("REJECT not here"));
  const early = (stage: PolicyService["stage"]): LiveConfig =>
    config([aService({ stage, endpoint: daemon.endpoint })], {
      restrictions: { ...aConfig().server.restrictions, delayReject: false },
    });
  await using server = await aServer(early("Client"));
  const refused = await TestClient.connect(server.port());
  assert.match(await refused.reply(), /^554 .*not here/);
  assert.equal(daemon.questions.at(-1)?.["protocol_state"], "CONNECT");
  await server.reconfigure(early("Helo"));
  const client = await TestClient.connect(server.port());
  await client.reply();
  assert.match(await client.say("EHLO client.example.net"), /^554 .*not here/);
  assert.equal(daemon.questions.at(-1)?.["protocol_state"], "EHLO");
  await server.reconfigure(early("Sender"));
  await client.say("EHLO client.example.net");
  assert.equal(await client.say("MAIL FROM:<bob@example.com>"), "554 5.7.1 not here");
  assert.equal(daemon.questions.at(-1)?.["sender"], "bob@example.com");
});

test("ETRN asks about the domain", async () => {
  await using daemon = await PolicyDaemon.start(always("REJECT not your mail"));
  const live = config([aService({ stage: "Etrn", endpoint: daemon.endpoint })], {
    listeners: [{ ...aListener(), etrn: true }],
  });
  await using server = await aServer({
    ...live,
    domains: new Map([...live.domains, ["relay.example", aDomain({ class: "Relay", recipients: "Any" })]]),
  });
  const client = await greeted(server);
  assert.equal(await client.say("ETRN relay.example"), "554 5.7.1 not your mail");
  const [question] = daemon.questions;
  assert.deepEqual([question?.["protocol_state"], question?.["etrn_domain"]], ["ETRN", "relay.example"]);
});
