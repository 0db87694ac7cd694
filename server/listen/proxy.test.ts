/** PROXY headers at a listener: believed from whom the configuration names, from nobody else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, aListener, aServer, TestClient } from "./inbound-fixture.ts";

const timeout = 10_000;
const proxied = aConfig(
  { addresses: new Map() },
  { listeners: [aListener({ proxyProtocol: ["127.0.0.1/32"] })], trustedNetworks: ["203.0.113.0/24"] },
);
const header = "PROXY TCP4 203.0.113.9 198.51.100.1 40000 25\r\n";

test("the client is who the header says: it may relay, the proxy may not", { timeout }, async () => {
  await using server = await aServer(proxied);
  for (const [first, reply] of [
    [header, /^250 2\.1\.5/],
    ["PROXY TCP4 203.0.114.9 198.51.100.1 40000 25\r\n", /^554 5\.7\.1 Relay access denied/],
    ["PROXY UNKNOWN\r\n", /^554 5\.7\.1 Relay access denied/],
  ] as const) {
    const client = await TestClient.connect(server.port());
    client.send(first);
    assert.match(await client.reply(), /^220 /);
    await client.say("EHLO client.example.net");
    await client.say("MAIL FROM:<bob@example.com>");
    assert.match(await client.say("RCPT TO:<x@elsewhere.example>"), reply);
    client.close();
  }
});

test("header and commands in one packet, and octet by octet", { timeout }, async () => {
  await using server = await aServer(proxied);
  for (const step of [1, 1000]) {
    const client = await TestClient.connect(server.port());
    const octets = Buffer.from(`${header}EHLO client.example.net\r\nMAIL FROM:<bob@example.com>\r\n`);
    for (let at = 0; at < octets.length; at += step) client.send(octets.subarray(at, at + step));
    assert.match(await client.reply(), /^220 /);
    assert.match(await client.reply(), /^250-/);
    assert.match(await client.reply(), /^250 2\.1\.0/);
    client.close();
  }
});

test("a proxy that sends no header, or a broken one, is not served", { timeout }, async () => {
  await using server = await aServer(proxied);
  for (const first of [
    "EHLO client.example.net\r\n",
    "PROXY TCP4 203.0.113.9\r\n",
    `PROXY UNKNOWN ${"x".repeat(200)}`,
  ]) {
    const client = await TestClient.connect(server.port());
    client.send(first);
    assert.ok(await client.closed());
  }
});

test("a header from anybody else is a command that does not exist, and nobody's address", { timeout }, async () => {
  const config = aConfig(
    {},
    { listeners: [aListener({ proxyProtocol: ["192.0.2.0/24"] })], trustedNetworks: ["203.0.113.0/24"] },
  );
  for (const forged of [config, aConfig({}, { trustedNetworks: ["203.0.113.0/24"] })]) {
    await using server = await aServer(forged);
    const client = await TestClient.connect(server.port());
    assert.match(await client.reply(), /^220 /);
    assert.match(await client.say(header.trimEnd()), /^500 5\.5\.2/);
    await client.say("EHLO client.example.net");
    await client.say("MAIL FROM:<bob@example.com>");
    assert.match(await client.say("RCPT TO:<x@elsewhere.example>"), /^554 5\.7\.1 Relay access denied/);
    client.close();
  }
});
