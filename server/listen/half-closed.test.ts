/** Clients that close their side before they have heard anything. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { aServer } from "./inbound-fixture.ts";

test("who says all at once and closes that side gets every answer", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  // As `printf … | nc` and `sendmail -bs` do; the side is closed before the greeting is written.
  const talk = async (text: string): Promise<string> => {
    const socket = connect({ host: "127.0.0.1", port: server.port(), allowHalfOpen: true });
    let heard = "";
    socket.setEncoding("latin1").on("data", (piece: string) => (heard += piece));
    socket.end(text);
    await once(socket, "end");
    socket.destroy();
    return heard
      .replaceAll(/^250-.*\r\n/gm, "")
      .replaceAll(/ .*\r\n/g, " ")
      .trim();
  };
  const start = "EHLO x\r\nMAIL FROM:<bob@example.com>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n";
  assert.equal(await talk("EHLO x\r\nQUIT\r\n"), "220 250 221");
  assert.equal(await talk("EHLO x\r\n"), "220 250");
  assert.equal(await talk(""), "220");
  assert.equal(await talk(`${start}Subject: x\r\n\r\nx\r\n.\r\n`), "220 250 250 250 354 250");
  assert.equal(server.queue.stored.length, 1);
  assert.equal(await talk(`${start}Subject: half\r\n\r\nx\r\n.\r`), "220 250 250 250 354");
  assert.equal(server.queue.stored.length, 1);
  assert.equal(server.queue.aborted, 1);
});
