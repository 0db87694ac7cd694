/** Listeners that come, go and change; and the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, aListener, aServer, play, TestClient } from "./inbound-fixture.ts";

const envelope = `S: 220 *
  C: HELO x
  S: 250 *
  C: MAIL FROM:<>
  S: 250 *
  C: RCPT TO:<alice@example.org>
  S: 250 *`;

test("listeners follow the configuration, sessions stay", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const first = server.port();
  const open = await play(first, envelope);
  await server.reconfigure(aConfig({}, { listeners: [aListener(), aListener({ name: "second" })] }));
  assert.equal(server.port(), first, "what did not change stays open");
  const second = await play(server.port("second"), "S: 220 *");
  await server.reconfigure(aConfig({}, { listeners: [aListener({ name: "second" })] }));
  assert.deepEqual(
    server.inbound.ports().map(({ listener }) => listener),
    ["second"],
  );
  await assert.rejects(TestClient.connect(first), { code: "ECONNREFUSED" });
  // The session of the listener that went away finishes its message.
  assert.match(await open.say("DATA"), /^354 /);
  assert.match(await open.say("."), /^250 /);
  open.close();
  second.close();
});

test("settings of a listener change under an open session", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await play(server.port(), "S: 220 *\nC: HELO x\nS: 250 *");
  await server.reconfigure(aConfig({}, { listeners: [aListener({ tls: { required: true } })] }));
  assert.match(await client.say("MAIL FROM:<>"), /^530 5\.7\.0 /);
  client.close();
});

test("both families, and one the host lacks", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig(), { addresses: ["127.0.0.1", "::1", "192.0.2.254"] });
  const ports = server.inbound.ports();
  assert.ok(ports.some(({ address }) => address === "127.0.0.1"));
  assert.ok(
    server.lines.some(({ event, address }) => event === "address-family-not-available" && address === "192.0.2.254"),
  );
  const six = ports.find(({ address }) => address === "::1");
  if (six === undefined) return;
  const client = await play(six.port, `${envelope}\nC: DATA\nS: 354 *\nC: .\nS: 250 *`, { host: "::1" });
  client.close();
  assert.match(
    server.queue.stored[0]?.content.toString() ?? "",
    /^Received: from x \(client\.example\.net \[IPv6:::1\]\)/,
  );
});

test("two shards on one port", { timeout: 10_000 }, async () => {
  await using one = await aServer();
  const config = aConfig({}, { listeners: [aListener({ port: one.port() })] });
  await using two = await aServer(config);
  assert.equal(two.port(), one.port());
});

test("a port that another program has: logged, tried again at the next change", { timeout: 10_000 }, async () => {
  const { createServer } = await import("node:net");
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const { port } = taken.address() as { port: number };
  const config = aConfig({}, { listeners: [aListener({ port })] });
  await using server = await aServer(config);
  assert.deepEqual(server.inbound.ports(), []);
  assert.ok(server.lines.some(({ event, error }) => event === "listen-failed" && error === "EADDRINUSE"));
  await new Promise((resolve) => taken.close(resolve));
  await server.reconfigure(config);
  assert.equal(server.port(), port);
});

test("drain: no new ones, idle ones are sent away, transactions end", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const port = server.port();
  const idle = await play(port, "S: 220 *\nC: HELO x\nS: 250 *");
  const busy = await play(port, `${envelope}\nC: DATA\nS: 354 *`);
  const enveloped = await play(port, envelope);
  let drained = false;
  const draining = server.inbound.drain(60_000).then(() => {
    drained = true;
  });
  assert.match(await idle.reply(), /^421 4\.3\.2 /);
  assert.equal(await idle.closed(), true);
  await assert.rejects(TestClient.connect(port), { code: "ECONNREFUSED" });
  assert.equal(drained, false);
  assert.match(await busy.say("a: b\r\n\r\n."), /^250 2\.0\.0 Ok: queued/);
  assert.match(await busy.reply(), /^421 4\.3\.2 /);
  assert.equal(drained, false);
  assert.match(await enveloped.say("RSET"), /^250 /);
  assert.match(await enveloped.reply(), /^421 4\.3\.2 /);
  await draining;
  assert.equal(server.queue.stored.length, 1);
});

test("drain: the 250 of a commit under way comes before the end", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  let open: () => void = () => undefined;
  server.queue.gate = new Promise((resolve) => {
    open = resolve;
  });
  const client = await play(server.port(), `${envelope}\nC: DATA\nS: 354 *`);
  const begins = server.queue.commitBegins();
  client.send("a: b\r\n\r\n.\r\n");
  await begins;
  const draining = server.inbound.drain(60_000);
  setImmediate(open);
  assert.match(await client.reply(), /^250 2\.0\.0 Ok: queued/);
  assert.match(await client.reply(), /^421 4\.3\.2 /);
  await draining;
});

test("drain: the deadline", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await play(server.port(), `${envelope}\nC: DATA\nS: 354 *\nC: half a message`);
  const begun = performance.now();
  const draining = server.inbound.drain(100);
  assert.match(await client.reply(), /^421 4\.3\.2 /);
  await draining;
  assert.ok(performance.now() - begun < 5000);
  assert.ok(server.lines.some(({ event }) => event === "drain-deadline"));
  assert.equal(server.queue.stored.length, 0);
  client.close();
});
