/**
 * What leaves, octet by octet: never a bare CR or LF, never a NUL, never a second transaction, whatever the queue gives us. What came in was held to the same rules, but
 * aliases, look-ups and old queues have not been strangers' only way to write an address or a line. RFC 5321 §2.3.8, §4.1.1.4.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { domainKey } from "../config/address.ts";
import { aJob, aLiveConfig, aMessage, aRecipient, contentOf, delivering, to } from "./outbound-fixture.ts";

interface Heard {
  readonly port: number;
  /** Of the last connection. */
  wire(): string;
  reset(): void;
}

/** Says yes to everything, and keeps every octet. */
async function aListener(t: TestContext): Promise<Heard> {
  let wire = "";
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket)).on("error", () => undefined);
    let pending = "";
    let inData = false;
    socket.write("220 peer\r\n");
    socket.on("data", (data: Buffer) => {
      wire += data.toString("latin1");
      pending += data.toString("latin1");
      for (;;) {
        // As a careless server would: any LF ends a line.
        const end = pending.indexOf(inData ? "\n.\r\n" : "\n");
        if (end < 0) return;
        const line = pending.slice(0, end).trim();
        pending = pending.slice(end + (inData ? 4 : 1));
        if (inData) {
          inData = false;
          socket.write("250 2.0.0 taken\r\n");
        } else if (/^EHLO/i.test(line))
          socket.write("250-peer\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 SIZE\r\n");
        else if (/^DATA$/i.test(line)) {
          inData = true;
          // The first line of an empty message is its end.
          pending = `\n${pending}`;
          socket.write("354 go\r\n");
        } else if (/^QUIT/i.test(line)) socket.end("221 bye\r\n");
        else socket.write("250 2.0.0 ok\r\n");
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    wire: () => wire,
    reset: () => {
      wire = "";
    },
  };
}

const piece = fc.constantFrom(
  "a",
  "é",
  "@",
  "<",
  ">",
  " ",
  "\r",
  "\n",
  "\r\n",
  "\0",
  ".",
  "\r\n.\r\n",
  "\n.\n",
  "RCPT TO:<smuggled@x>",
  "\r\nDATA\r\n",
  "example.org",
);
const hostile = fc.array(piece, { maxLength: 6 }).map((parts) => parts.join(""));
const address = fc.oneof(
  hostile,
  hostile.map((text) => `${text}@example.org`),
  fc.constant("a@example.org"),
);

/** As written, and with the A-labels of its domain (RFC 5890). */
function spellings(recipient: string): readonly string[] {
  const written = recipient.trim();
  const at = written.lastIndexOf("@");
  const domain = at < 0 ? undefined : domainKey(written.slice(at + 1));
  return domain === undefined ? [written] : [written, `${written.slice(0, at)}@${domain}`];
}

test("never a bare CR, LF or NUL, never two transactions", { timeout: 30_000 }, async (t) => {
  const peer = await aListener(t);
  const config = aLiveConfig();
  let delivered = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        sender: address,
        recipients: fc.array(address, { minLength: 1, maxLength: 3 }),
        envelopeId: hostile,
        original: hostile,
      }),
      fc.array(hostile, { maxLength: 4 }),
      async ({ sender, recipients, envelopeId, original }, content) => {
        peer.reset();
        const message = aMessage(
          recipients.map((each) => aRecipient(each, { originalRecipient: `rfc822;${original}` })),
          { envelope: { sender, envelopeId, smtpUtf8: true, body: "8BITMIME" } },
        );
        // A connection of its own, closed at the end: the wire is then all there is.
        const job = { ...aJob(config, to(peer.port), message), content: () => contentOf(...content) };
        const report = await delivering(t, { kept: { sessions: 0 } })(job);
        delivered += report.outcomes.filter(({ kind }) => kind === "delivered").length;
        const wire = peer.wire();
        assert.doesNotMatch(wire, /\r(?!\n)|(?<!\r)\n/);
        assert.ok(!wire.includes("\0"));
        // Outside of the message: each command at most once, and nobody but those the queue names.
        const at = wire.indexOf("\r\nDATA\r\n");
        const [before, behind] = at < 0 ? [wire, ""] : [wire.slice(0, at), wire.slice(at + 8)];
        const commands = before.split("\r\n");
        assert.ok(commands.filter((line) => line.startsWith("MAIL FROM")).length <= 1);
        for (const line of commands.filter((each) => each.startsWith("RCPT TO:")))
          assert.ok(
            recipients
              .flatMap(spellings)
              .some((each) => Buffer.from(line, "latin1").toString("utf8").startsWith(`RCPT TO:<${each}>`)),
            line,
          );
        if (behind !== "") assert.match(behind, /(?:^|\r\n)\.\r\n(?:QUIT\r\n|RSET\r\n)?$/);
      },
    ),
    { numRuns: 150 },
  );
  assert.ok(delivered > 0);
});
