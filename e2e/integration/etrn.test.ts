/** ETRN and XFORWARD through a whole server: a host that was away asks for its mail, and what a proxy said of a message goes with it through the queue. RFC 1985. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { Sink } from "../peers/sink.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object } from "./manifests.ts";

const relayed = (name: string, domain: string, port: number): string =>
  object("MailDomain", name, {
    domain,
    serverRef: { name: "mx" },
    class: "Relay",
    recipients: { from: "Any" },
    delivery: { smtp: { host: "127.0.0.1", port } },
  });

test("a host that was away asks for its mail, and gets its own only", async () => {
  await using home = await Sink.start();
  await using other = await Sink.start();
  home.refuses = true;
  other.refuses = true;
  await using boat = await Packetboat.start({
    "all.yaml":
      object("MailServer", "mx", {
        hostname: "mx.example.org",
        // Nothing moves by itself while this test runs.
        queue: { minBackoff: "1h" },
        listeners: [{ name: "mx", role: "MX", port: 25, etrn: true, trustedProxies: ["127.0.0.1"] }],
      }) +
      relayed("home", "home.example", home.port) +
      relayed("other", "other.example", other.port),
  });
  await using client = await SmtpDialogue.open(boat.mx);
  assert.match(await client.reply(), /^220 /);
  assert.match(await client.command("EHLO home.example"), /^250-ETRN$/m);
  assert.match(await client.command("ETRN home.example"), /^251 2\.0\.0 /);
  assert.match(
    await client.command("XFORWARD NAME=spike.example.net ADDR=192.0.2.7 IDENT=4ZxQ SOURCE=REMOTE"),
    /^250 /,
  );
  for (const to of ["a@home.example", "b@home.example", "c@other.example"]) {
    const replies = await client.send({ from: "bob@example.net", to: [to], content: `Subject: ${to}\n\nx\n` });
    assert.match(replies.at(-1) ?? "", /^250 /);
  }
  const deferred = async (): Promise<number> =>
    (await boat.json<{ messages: { deferred: number } }>("/queue")).messages.deferred;
  await until("three that wait", 20_000, async () => (await deferred()) === 3);

  home.refuses = false;
  other.refuses = false;
  assert.match(await client.command("ETRN foreign.example"), /^459 4\.7\.1 /);
  assert.match(await client.command("ETRN home.example"), /^25[23] 2\.0\.0 /);
  await until("the mail of home", 20_000, () => home.messages.length === 2);
  assert.deepEqual(home.messages.map(({ to }) => to.join()).sort(), ["a@home.example", "b@home.example"]);
  await until("its queue empty", 20_000, async () => (await deferred()) === 1);
  assert.equal(other.messages.length, 0);

  // What the proxy said of the first message was kept with it, in the log and in the queue.
  const queued = boat.log().filter(({ event }) => event === "queued");
  assert.deepEqual(
    queued.map(({ origClient, origQueueId }) => [origClient, origQueueId]),
    [
      ["spike.example.net[192.0.2.7]", "4ZxQ"],
      [undefined, undefined],
      [undefined, undefined],
    ],
  );
  const flushed = (): Record<string, unknown>[] =>
    boat.log().filter(({ event, domain }) => event === "etrn" && domain === "home.example");
  await until("both lines in the log", 5000, () => flushed().length >= 2);
  assert.deepEqual(
    flushed().map(({ messages }) => messages),
    [0, 2],
  );
});
