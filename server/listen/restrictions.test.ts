/** Restrictions and access rules as clients meet them: transcripts over real sockets, and what lies in the queue afterwards. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { AccessAction } from "../config/access-rules.ts";
import { noRestrictions, type Restrictions } from "../config/restrictions.ts";
import type { LiveConfig } from "../config/schema.ts";
import { aConfig, aRule, aServer, noDns, play } from "./inbound-fixture.ts";

const restricted = (restrictions: Partial<Restrictions>): LiveConfig =>
  aConfig({}, { restrictions: { ...noRestrictions, ...restrictions } });

const nameless = { ...noDns, reverse: () => Promise.resolve({ kind: "none" as const }) };
const everybody = [{ kind: "cidr" as const, value: "0.0.0.0/0" }];
/** And its answer. */
const ehlo = `C: EHLO client.example.net\n${"S: 250-*\n".repeat(7)}S: 250 SMTPUTF8`;
const lists = { client: ["RejectUnknownClientHostname"], helo: ["RejectNonFQDNHelo"], sender: ["RejectNonFQDNSender"] };

suite("delayReject", () => {
  test("on: every refusal is given at RCPT, and the log names the recipient", async () => {
    await using server = await aServer(restricted(lists), { resolver: nameless });
    const client = await play(
      server.port(),
      `S: 220 *
       ${ehlo.replace("client.example.net", "x")}
       C: MAIL FROM:<bob@localhost>
       S: 250 2.1.0 Ok
       C: RCPT TO:<alice@example.org>
       S: 450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.1]
       C: DATA
       S: 554 5.5.1 No valid recipients
       C: QUIT
       S: 221 *
       CLOSED`,
    );
    client.close();
    const refused = server.lines.find(({ event }) => event === "rcpt-refused");
    assert.equal(refused?.["to"], "alice@example.org");
    assert.equal(refused?.["check"], "RejectUnknownClientHostname");
    assert.equal(refused?.["reason"], "unknown-client-name");
  });

  test("off: the client is refused before the greeting; it may only say QUIT", async () => {
    await using server = await aServer(restricted({ ...lists, delayReject: false }), { resolver: nameless });
    const client = await play(
      server.port(),
      `S: 450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.1]
       C: EHLO client.example.net
       S: 503 5.7.0 Access denied
       C: MAIL FROM:<bob@example.com>
       S: 503 5.7.0 Access denied
       C: QUIT
       S: 221 *
       CLOSED`,
    );
    client.close();
    assert.equal(
      server.lines.find(({ event }) => event === "connect-refused")?.["check"],
      "RejectUnknownClientHostname",
    );
  });

  test("off: HELO and MAIL are refused where they stand, and can be said better", async () => {
    await using server = await aServer(restricted({ ...lists, delayReject: false }));
    const client = await play(
      server.port(),
      `S: 220 *
       C: HELO x
       S: 504 5.5.2 Helo command rejected: need fully-qualified hostname
       C: MAIL FROM:<bob@example.com>
       S: 503 5.5.1 *
       C: HELO client.example.net
       S: 250 *
       C: MAIL FROM:<bob@localhost>
       S: 504 5.5.2 Sender address rejected: need fully-qualified address
       C: MAIL FROM:<bob@example.com>
       S: 250 *
       C: RCPT TO:<alice@example.org>
       S: 250 *`,
    );
    client.close();
  });
});

suite("RejectUnauthPipelining", () => {
  const config = restricted({ data: ["RejectUnauthPipelining"], helo: ["RejectUnauthPipelining"] });
  const table: readonly (readonly [string, string])[] = [
    [
      "a group that ends with DATA is allowed (RFC 2920)",
      `S: 220 *
       ${ehlo}
       C! "MAIL FROM:<bob@example.com>\\r\\nRCPT TO:<alice@example.org>\\r\\nDATA\\r\\n"
       S: 250 *
       S: 250 *
       S: 354 *
       C! "Subject: x\\r\\n\\r\\n.\\r\\nMAIL FROM:<bob@example.com>\\r\\nRCPT TO:<alice@example.org>\\r\\n"
       S: 250 *
       S: 250 *
       S: 250 *`,
    ],
    [
      "the message behind DATA, unasked",
      `S: 220 *
       ${ehlo}
       C! "MAIL FROM:<bob@example.com>\\r\\nRCPT TO:<alice@example.org>\\r\\n"
       S: 250 *
       S: 250 *
       C! "DATA\\r\\nSubject: x\\r\\n\\r\\n.\\r\\n"
       S: 503 5.5.0 Improper use of SMTP command pipelining`,
    ],
    [
      "the same with bare line ends, and split in the middle of a line end",
      `S: 220 *
       ${ehlo}
       C! "MAIL FROM:<bob@example.com>\\nRCPT TO:<alice@example.org>\\r"
       S: 250 *
       C! "\\nDATA\\nx"
       S: 250 *
       S: 503 5.5.0 *`,
    ],
    [
      "what came too early is not forgotten",
      `S: 220 *
       C! "EHLO client.example.net\\r\\nMAIL FROM:<bob@example.com>\\r\\n"
       ${"S: 250-*\n".repeat(7)}
       S: 250 SMTPUTF8
       S: 250 2.1.0 *
       C: RCPT TO:<alice@example.org>
       S: 503 5.5.0 *`,
    ],
    [
      "any of it by a client that said HELO",
      `S: 220 *
       C: HELO client.example.net
       S: 250 *
       C! "MAIL FROM:<bob@example.com>\\r\\nRCPT TO:<alice@example.org>\\r\\nRSET\\r\\n"
       S: 250 *
       S: 503 5.5.0 *
       S: 250 *`,
    ],
    [
      "the octets of BDAT are no command",
      `S: 220 *
       ${ehlo}
       C! "MAIL FROM:<bob@example.com>\\r\\nRCPT TO:<alice@example.org>\\r\\nBDAT 3 LAST\\r\\nx\\r\\n"
       S: 250 *
       S: 250 *
       S: 250 *`,
    ],
  ];
  for (const [name, transcript] of table) {
    test(name, async () => {
      await using server = await aServer(config);
      (await play(server.port(), transcript)).close();
    });
  }

  test("behind EHLO, where delayReject is off", async () => {
    await using server = await aServer(restricted({ helo: ["RejectUnauthPipelining"], delayReject: false }));
    const client = await play(
      server.port(),
      `S: 220 *
       C! "EHLO client.example.net\\r\\nMAIL FROM:<bob@example.com>\\r\\n"
       S: 503 5.5.0 *
       S: 503 5.5.1 *`,
    );
    client.close();
  });
});

test("what the data list refuses is refused at DATA and at BDAT, whose octets are no commands", async () => {
  await using server = await aServer(restricted({ data: ["Defer"] }));
  const client = await play(
    server.port(),
    `S: 220 *
     ${ehlo}
     C: MAIL FROM:<bob@example.com>
     S: 250 *
     C: RCPT TO:<alice@example.org>
     S: 250 *
     C: DATA
     S: 450 4.3.2 Try again later
     C! "BDAT 6 LAST\\r\\nQUIT\\r\\n"
     S: 450 4.3.2 Try again later
     C: NOOP
     S: 250 *`,
  );
  client.close();
});

suite("access rules", () => {
  const message = (rcpt: string) => `S: 220 *
    C: HELO client.example.net
    S: 250 *
    C: MAIL FROM:<bob@example.com>
    S: 250 *
    ${rcpt}
    C: DATA
    S: 354 *
    C! "Subject: x\\r\\n\\r\\nHello\\r\\n.\\r\\n"
    S: 250 2.0.0 Ok: queued as *`;
  const plain = message("C: RCPT TO:<alice@example.org>\nS: 250 *");
  const acting = (...actions: AccessAction[]): LiveConfig =>
    aConfig(
      {},
      {
        accessRules: actions.map((action, place) =>
          aRule(
            place === 0 ? "Client" : "Sender",
            place === 0 ? everybody : [{ kind: "domain", value: "example.com" }],
            action,
          ),
        ),
      },
    );

  test("Hold, Redirect, Prepend and Bcc happen to the stored message; Warn is read", async () => {
    await using server = await aServer(acting({ kind: "Hold" }, { kind: "Redirect", address: "boss@example.net" }));
    (await play(server.port(), plain)).close();
    assert.deepEqual(
      server.queue.stored[0]?.envelope.recipients.map(({ address }) => address),
      ["boss@example.net"],
    );
    assert.equal(server.lines.find(({ event }) => event === "queued")?.["held"], true);
    assert.equal(server.accepted.length, 0);

    await server.reconfigure(
      acting({ kind: "Prepend", field: "X-Seen: yes" }, { kind: "Bcc", address: "archive@example.net" }),
    );
    const two = message("C: RCPT TO:<alice@example.org>\nS: 250 *\nC: RCPT TO:<alice+x@example.org>\nS: 250 *");
    (await play(server.port(), two)).close();
    assert.match(server.queue.stored[1]?.content.toString() ?? "", /^X-Seen: yes\r\nReceived: /);
    assert.deepEqual(
      server.queue.stored[1]?.envelope.recipients.map(({ address }) => address),
      ["alice@example.org", "alice+x@example.org", "archive@example.net"],
    );

    await server.reconfigure(acting({ kind: "Warn", text: "look at this" }));
    (await play(server.port(), plain)).close();
    const note = server.lines.find(({ event }) => event === "policy-note");
    assert.deepEqual(
      [note?.["check"], note?.["text"], note?.["to"]],
      ["CheckClientAccess rule", "look at this", "alice@example.org"],
    );
  });

  test("Discard: the client is told yes, nothing is stored", async () => {
    await using server = await aServer(acting({ kind: "Discard" }));
    (await play(server.port(), plain)).close();
    assert.equal(server.queue.stored.length, 0);
  });

  test("an edited rule holds for the next recipient of the same transaction", async () => {
    await using server = await aServer();
    const client = await play(
      server.port(),
      `S: 220 *
       C: HELO client.example.net
       S: 250 *
       C: MAIL FROM:<bob@example.com>
       S: 250 *
       C: RCPT TO:<alice@example.org>
       S: 250 *`,
    );
    await server.reconfigure(acting({ kind: "Reject", code: 550, text: "No more" }));
    assert.equal(await client.say("RCPT TO:<alice@example.org>"), "550 5.7.1 No more");
    client.close();
  });
});
