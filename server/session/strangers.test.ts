import assert from "node:assert/strict";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { aServer, TestClient } from "../listen/inbound-fixture.ts";
import { isStrangersLine, isTlsHello } from "./strangers.ts";

test("who speaks something else", () => {
  for (const line of [
    "GET / HTTP/1.1",
    "post /x HTTP/1.0",
    "CONNECT mx:25 HTTP/1.1",
    "PRI * HTTP/2.0",
    " EHLO x",
    "<html>",
    ".",
    "\u0016\u0003\u0001",
    "250 Ok",
    "é",
  ])
    assert.equal(isStrangersLine(line), true, line);
  for (const line of ["EHLO x", "ehlo x", "NOOP", "", "GETTER x", "XCLIENT", "OPTION", "Host: x"])
    assert.equal(isStrangersLine(line), false, line);
  assert.equal(isTlsHello(Buffer.from([22, 3, 1, 2, 0])), true);
  assert.equal(isTlsHello(Buffer.from("EHLO")), false);
});

test("an HTTP request: one reply, and no line of its body is a command", async () => {
  await using server = await aServer();
  const client = await TestClient.connect(server.port());
  client.send(
    [
      "POST / HTTP/1.1",
      "Host: mx.example.org",
      "",
      "EHLO x",
      "MAIL FROM:<bob@example.net>",
      "RCPT TO:<alice@example.org>",
      "DATA",
      "Subject: x",
      "",
      ".",
      "",
    ].join("\r\n"),
  );
  assert.match((await client.line()) ?? "", /^220 /);
  assert.equal(await client.line(), "221 2.7.0 Error: I can break rules, too. Goodbye.");
  assert.equal(await client.closed(), true);
  assert.equal(server.queue.stored.length, 0);
});

test("the form that a browser posts to us with a command in its first line", async () => {
  await using server = await aServer();
  const client = await TestClient.connect(server.port());
  client.send("EHLO x\r\n------boundary\r\nMAIL FROM:<>\r\n");
  const replies: string[] = [];
  for (let reply = await client.reply(); reply !== "<closed>"; reply = await client.reply())
    replies.push(reply.slice(0, 3));
  assert.deepEqual(replies, ["220", "250", "221"]);
});

test("a TLS hello on a plain port ends at once, not at the idle time", { timeout: 5000 }, async () => {
  await using server = await aServer();
  const socket = connectTls({ port: server.port(), host: "127.0.0.1", rejectUnauthorized: false });
  const error = await new Promise<NodeJS.ErrnoException>((resolve) => socket.once("error", resolve));
  // Our greeting and goodbye are no TLS records.
  assert.match(error.code ?? "", /^(ERR_SSL_|ECONNRESET|EPROTO)/);
  while (!server.lines.some(({ event }) => event === "disconnect")) await new Promise(setImmediate);
  // In the middle of a dialogue as well.
  const client = await TestClient.connect(server.port());
  await client.reply();
  assert.match(await client.say("HELO x"), /^250 /);
  client.send(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]));
  assert.match(await client.reply(), /^221 2\.7\.0 /);
  assert.equal(await client.closed(), true);
});
