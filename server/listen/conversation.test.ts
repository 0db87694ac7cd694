/** The conversation on an MX listener, as transcripts over loopback. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { registry } from "../observe/metrics.ts";
import { QueueUnavailable } from "../queue/queue.ts";
import { aConfig, aDomain, aListener, aMailbox, aRule, aServer, play, TestClient } from "./inbound-fixture.ts";

const hello = `S: 220 mx.example.org ESMTP Packetboat
     C: EHLO client.example.net
     S: 250-mx.example.org
     S: 250-PIPELINING
     S: 250-SIZE 100000
     S: 250-ENHANCEDSTATUSCODES
     S: 250-8BITMIME
     S: 250-CHUNKING
     S: 250-DSN
     S: 250 SMTPUTF8`;
const envelope = `C: MAIL FROM:<bob@example.com>
     S: 250 2.1.0 Ok
     C: RCPT TO:<alice@example.org>
     S: 250 2.1.5 Ok`;

const transcripts: readonly (readonly [string, string])[] = [
  [
    "a message",
    `${hello}
     ${envelope}
     C: DATA
     S: 354 End data with <CR><LF>.<CR><LF>
     C: Subject: hello
     C:
     C: hello
     C: .
     S: 250 2.0.0 Ok: queued as Q00000000001
     C: QUIT
     S: 221 2.0.0 Bye
     CLOSED`,
  ],
  [
    "HELO",
    `S: 220 *
     C: HELO client.example.net
     S: 250 mx.example.org
     ${envelope}
     C: QUIT
     S: 221 *
     CLOSED`,
  ],
  [
    "everything in one packet, in order",
    `S: 220 *
     C! "EHLO x\\r\\nMAIL FROM:<bob@example.com>\\r\\nRCPT TO:<nobody@example.org>\\r\\nRCPT TO:<alice@example.org>\\r\\nDATA\\r\\n"
     S: 250-mx.example.org
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250-*
     S: 250 SMTPUTF8
     S: 250 2.1.0 Ok
     S: 550 5.1.1 User unknown
     S: 250 2.1.5 Ok
     S: 354 *
     C! "a: b\\r\\n\\r\\nc\\r\\n.\\r\\nRSET\\r\\nNOOP\\r\\nQUIT\\r\\n"
     S: 250 2.0.0 Ok: queued as *
     S: 250 2.0.0 Ok
     S: 250 2.0.0 Ok
     S: 221 2.0.0 Bye
     CLOSED`,
  ],
  [
    "the small verbs",
    `${hello}
     C: NOOP whatever
     S: 250 2.0.0 Ok
     C: noop
     S: 250 2.0.0 Ok
     C: VRFY alice
     S: 252 2.1.5 *
     C: EXPN list
     S: 502 5.5.1 *
     C: HELP
     S: 214 2.0.0 *
     C: RSET
     S: 250 2.0.0 Ok
     C: RSET now
     S: 501 5.5.4 *
     C: WIZ
     S: 500 5.5.2 Command not recognized
     C: XYZZY
     S: 500 5.5.2 Command not recognized
     C: AUTH PLAIN AGEAYg==
     S: 502 5.5.1 AUTH is not offered here
     C: STARTTLS
     S: 454 4.7.0 TLS is not available now`,
  ],
  [
    "out of order",
    `S: 220 *
     C: MAIL FROM:<bob@example.com>
     S: 503 5.5.1 Send HELO or EHLO first
     C: RCPT TO:<alice@example.org>
     S: 503 5.5.1 Need MAIL command
     C: DATA
     S: 503 5.5.1 Need MAIL command
     C: EHLO
     S: 501 5.5.4 *
     C: EHLO two words
     S: 501 5.5.4 *
     C: HELO x
     S: 250 *
     C: MAIL FROM:<bob@example.com>
     S: 250 2.1.0 *
     C: MAIL FROM:<bob@example.com>
     S: 503 5.5.1 Nested MAIL command
     C: DATA
     S: 503 5.5.1 Need RCPT command
     C: RCPT TO:<nobody@example.org>
     S: 550 5.1.1 *
     C: DATA
     S: 554 5.5.1 No valid recipients
     C: HELO x
     S: 250 *
     C: RCPT TO:<alice@example.org>
     S: 503 5.5.1 Need MAIL command`,
  ],
  [
    "broken envelopes",
    `${hello}
     C: MAIL
     S: 501 5.5.4 *
     C: MAIL TO:<a@b>
     S: 501 5.5.4 *
     C: MAIL FROM:<a>
     S: 501 5.1.7 *
     C: MAIL FROM:<a@b c>
     S: 501 5.1.7 *
     C: MAIL FROM:<a@example.com> FOO=1
     S: 555 5.5.4 *
     C: MAIL FROM:<a@example.com> SIZE=x
     S: 501 5.5.4 *
     C: MAIL FROM:<a@example.com> SIZE=100001
     S: 552 5.3.4 *
     C: MAIL FROM:a@example.com SIZE=100000
     S: 250 2.1.0 *
     C: RCPT TO:<>
     S: 501 5.1.3 *
     C: RCPT TO:<alice>
     S: 501 5.1.3 *
     C: RCPT TO:<alice@example.org> NOTIFY=NEVER,DELAY
     S: 501 5.5.4 *
     C: RCPT TO:<x@elsewhere.example>
     S: 554 5.7.1 Relay access denied`,
  ],
  [
    "bytes that no command has",
    `${hello}
     C! "NOOP \\u0000\\r\\n"
     S: 500 5.5.2 *
     C! "NOOP \\u0007\\r\\n"
     S: 500 5.5.2 *
     C! "NOOP a\\rb\\r\\n"
     S: 500 5.5.2 *
     C! "MAIL FROM:<\\u00e4@example.com>\\r\\n"
     S: 500 5.5.2 *
     C! "MAIL FROM:<\\u00c3\\u00a4@example.com>\\r\\n"
     S: 553 5.6.7 *
     C! "MAIL FROM:<\\u00c3\\u00a4@example.com> SMTPUTF8\\r\\n"
     S: 250 2.1.0 *`,
  ],
  [
    "a long line",
    `S: 220 *
     C! "NOOP ${"a".repeat(2048)}\\r\\n"
     S: 500 5.5.2 Line too long
     C: NOOP
     S: 250 *
     C! "${"a".repeat(13_000)}"
     S: 500 5.5.2 Line too long
     CLOSED`,
  ],
  [
    "a browser",
    `S: 220 *
     C: GET / HTTP/1.1
     S: 221 2.7.0 Error: I can break rules, too. Goodbye.
     CLOSED`,
  ],
  [
    "who speaks before the greeting is heard after it",
    `C: EHLO x
     S: 220 *
     S: 250-mx.example.org`,
  ],
];

for (const [name, transcript] of transcripts) {
  test(name, { timeout: 10_000 }, async () => {
    await using server = await aServer();
    const client = await play(server.port(), transcript);
    client.close();
  });
}

test("postmaster without a domain", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await play(
    server.port(),
    `${hello}
     C: MAIL FROM:<>
     S: 250 2.1.0 Ok
     C: RCPT TO:<Postmaster>
     S: 250 2.1.5 Ok
     C: RCPT TO:<postmaster@example.org>
     S: 250 2.1.5 Ok
     C: DATA
     S: 354 *
     C: .
     S: 250 2.0.0 *`,
  );
  client.close();
  assert.deepEqual(
    server.queue.stored[0]?.envelope.recipients.map(({ address }) => address),
    ["Postmaster", "postmaster@example.org"],
  );
});

test("strict envelopes", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { strictEnvelopes: true }));
  const client = await play(
    server.port(),
    `${hello}
     C: MAIL FROM:bob@example.com
     S: 501 5.1.7 *
     C: MAIL FROM: <bob@example.com>
     S: 250 2.1.0 *
     C: RCPT TO:alice@example.org
     S: 501 5.1.3 *`,
  );
  client.close();
});

test("the envelope that is stored", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await play(
    server.port(),
    `${hello}
     C: MAIL FROM:<Bob@Example.com> BODY=8BITMIME RET=HDRS ENVID=a+2Bb SMTPUTF8
     S: 250 *
     C: RCPT TO:<Alice+x@Example.org> NOTIFY=success,FAILURE ORCPT=rfc822;first@example.net
     S: 250 *
     C: RCPT TO:<alice@example.org>
     S: 250 *
     C: RCPT TO:<Alice+x@Example.org> NOTIFY=NEVER
     S: 250 *
     C: DATA
     S: 354 *
     C: .
     S: 250 *`,
  );
  client.close();
  assert.deepEqual(server.queue.stored[0]?.envelope, {
    sender: "Bob@Example.com",
    recipients: [{ address: "Alice+x@Example.org", notify: ["NEVER"] }, { address: "alice@example.org" }],
    smtpUtf8: true,
    body: "8BITMIME",
    requireTls: false,
    envelopeId: "a+2Bb",
    return: "HDRS",
  });
  assert.deepEqual(server.queue.stored[0]?.origin, {
    listener: "mx",
    clientAddress: "127.0.0.1",
    clientName: "client.example.net",
    helo: "client.example.net",
    protocol: "UTF8SMTP",
  });
});

test("the recipient limit", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await play(server.port(), hello);
  await client.say("MAIL FROM:<>");
  for (let number = 0; number < 100; number += 1)
    assert.match(await client.say(`RCPT TO:<alice+${number}@example.org>`), /^250 /);
  assert.match(await client.say("RCPT TO:<alice@example.org>"), /^452 4\.5\.3 /);
  assert.match(await client.say("RCPT TO:<alice+7@example.org>"), /^250 /);
  client.close();
});

test("a queue that takes nothing", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await play(server.port(), `${hello}\n${envelope}`);
  server.queue.trouble = "full";
  assert.match(await client.say("DATA"), /^452 4\.3\.1 /);
  server.queue.trouble = undefined;
  assert.match(await client.say("DATA"), /^354 /);
  server.queue.commitTrouble = new QueueUnavailable("full", "no space");
  assert.match(await client.say("a: b\r\n\r\n."), /^452 4\.3\.1 /);
  for (const line of ["MAIL FROM:<>", "RCPT TO:<alice@example.org>"]) assert.match(await client.say(line), /^250 /);
  assert.match(await client.say("DATA"), /^354 /);
  server.queue.commitTrouble = new Error("a bug");
  assert.match(await client.say("a: b\r\n\r\n."), /^451 4\.3\.0 /);
  server.queue.trouble = "full";
  assert.match(await client.say("MAIL FROM:<>"), /^452 4\.3\.1 /);
  server.queue.trouble = "failed";
  assert.match(await client.say("MAIL FROM:<>"), /^421 4\.3\.0 /);
  assert.equal(await client.closed(), true);
  assert.equal(server.queue.stored.length, 0);
});

test("a sync that failed: 421 instead of 250", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await play(server.port(), `${hello}\n${envelope}`);
  await client.say("DATA");
  server.queue.commitTrouble = new QueueUnavailable("failed", "fdatasync: EIO");
  assert.match(await client.say("a: b\r\n\r\n."), /^421 4\.3\.0 /);
  assert.equal(await client.closed(), true);
});

test("too many errors end it; a good message forgives them", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { softErrors: 100, hardErrors: 3 } }));
  const client = await play(server.port(), hello);
  await client.say("FOO");
  await client.say("FOO");
  for (const line of ["MAIL FROM:<>", "RCPT TO:<alice@example.org>", "DATA"]) await client.say(line);
  assert.match(await client.say("a: b\r\n\r\n."), /^250 /);
  await client.say("FOO");
  await client.say("FOO");
  assert.match(await client.say("FOO"), /^500 /);
  assert.match(await client.reply(), /^421 4\.7\.0 /);
  assert.equal(await client.closed(), true);
});

describe("side by side, because they wait", { concurrency: true }, () => {
  test("beyond the soft limit everything is answered late, as by Postfix", { timeout: 10_000 }, async () => {
    await using server = await aServer(aConfig({}, { limits: { softErrors: 1, hardErrors: 20 } }), {
      errorDelayMs: 700,
    });
    const client = await play(server.port(), hello);
    const timed = async (command: string): Promise<number> => {
      const begun = performance.now();
      await client.say(command);
      return performance.now() - begun;
    };
    assert.ok((await timed("FOO")) < 630);
    assert.ok((await timed("FOO")) >= 630);
    assert.ok((await timed("NOOP")) >= 630);
    client.close();
  });

  test("idle", { timeout: 10_000 }, async () => {
    await using server = await aServer(aConfig({}, { limits: { idleTimeoutMs: 500 } }));
    const transcripts = [
      `${hello}\nS: 421 4.4.2 *\nCLOSED`,
      `${hello}\n${envelope}\nC: DATA\nS: 354 *\nC: Subject: and then\nS: 421 4.4.2 *\nCLOSED`,
    ];
    for (const client of await Promise.all(transcripts.map((each) => play(server.port(), each)))) client.close();
    await server.stop();
    assert.equal(server.queue.aborted, 1);
    assert.equal(server.queue.stored.length, 0);
  });

  test("a slow commit is not the client's idleness", { timeout: 10_000 }, async () => {
    await using server = await aServer(aConfig({}, { limits: { idleTimeoutMs: 500 } }));
    let open: () => void = () => undefined;
    server.queue.gate = new Promise((resolve) => {
      open = resolve;
    });
    const client = await play(server.port(), `${hello}\n${envelope}\nC: DATA\nS: 354 *`);
    client.send("a: b\r\n\r\n.\r\n");
    setTimeout(open, 1000);
    assert.match(await client.reply(), /^250 2\.0\.0 Ok: queued/);
    client.close();
  });
});

test("connections of one client, and of all", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { limits: { connectionsPerClient: 2, connections: 3 } }));
  const first = await play(server.port(), "S: 220 *");
  const second = await play(server.port(), "S: 220 *");
  await play(server.port(), "S: 421 4.7.0 Too many connections from your address\nCLOSED");
  const other = await play(server.port(), "S: 220 *", { localAddress: "127.0.0.2" });
  await play(server.port(), "S: 421 4.7.0 Too many connections, try again later\nCLOSED", {
    localAddress: "127.0.0.3",
  });
  await first.say("QUIT");
  assert.equal(await first.closed(), true);
  // The place is free once the server has seen the end.
  for (;;) {
    const again = await TestClient.connect(server.port());
    const greeting = await again.reply();
    again.close();
    if (greeting.startsWith("220 ")) break;
  }
  second.close();
  other.close();
});

test("a shared state that is down lets clients in", { timeout: 10_000 }, async () => {
  const down = (): Promise<never> => Promise.reject(new Error("no primary"));
  await using server = await aServer(aConfig({}, { limits: { connectionsPerClient: 1 } }), {
    shared: { acquire: down, release: down, add: down, remember: down, recall: down },
  });
  const client = await play(server.port(), hello);
  client.close();
  assert.ok(server.lines.some(({ event }) => event === "shared-state-unavailable"));
});

test("mail thrown away looks accepted and is not stored", { timeout: 10_000 }, async () => {
  const accessRules = [
    aRule("Sender", [{ kind: "exact", value: "spam@example.com" }], { kind: "Discard" }),
    aRule("Recipient", [{ kind: "exact", value: "alice+trap@example.org" }], { kind: "Discard" }),
  ];
  await using server = await aServer(aConfig({}, { accessRules }));
  const client = await play(server.port(), hello);
  const send = async (from: string, ...to: string[]): Promise<void> => {
    assert.match(await client.say(`MAIL FROM:<${from}>`), /^250 /);
    for (const address of to) assert.match(await client.say(`RCPT TO:<${address}>`), /^250 /);
    assert.match(await client.say("DATA"), /^354 /);
    assert.match(await client.say("a: b\r\n\r\n."), /^250 2\.0\.0 Ok: queued as Q/);
  };
  await send("spam@example.com", "alice@example.org");
  await send("bob@example.com", "alice+trap@example.org");
  assert.equal(server.queue.stored.length, 0);
  await send("bob@example.com", "alice+trap@example.org", "alice@example.org");
  assert.deepEqual(
    server.queue.stored.map(({ envelope: { recipients } }) => recipients.map(({ address }) => address)),
    [["alice@example.org"]],
  );
  client.close();
});

test("what a change of the tables means for an open connection", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await play(
    server.port(),
    `${hello}\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<carol@example.org>\nS: 550 5.1.1 *`,
  );
  await server.reconfigure(
    aConfig(
      { addresses: new Map([["carol@example.org", aMailbox()]]), domains: new Map([["example.org", aDomain()]]) },
      { hostname: "new.example.org" },
    ),
  );
  assert.match(await client.say("RCPT TO:<carol@example.org>"), /^250 2\.1\.5 /);
  assert.match(await client.say("RCPT TO:<alice@example.org>"), /^550 5\.1\.1 /);
  assert.match(await client.say("EHLO x"), /^250-new\.example\.org\n/);
  client.close();
});

test("a line in the log for each step, without what a client may not put there", { timeout: 10_000 }, async () => {
  await using server = await aServer();
  const client = await play(
    server.port(),
    `${hello}
     C: MAIL FROM:<bob@example.com>
     S: 250 *
     C: RCPT TO:<nobody@example.org>
     S: 550 *
     C: RCPT TO:<alice@example.org>
     S: 250 *
     C: DATA
     S: 354 *
     C: Message-ID: <1@example.com>
     C:
     C: .
     S: 250 *
     C: QUIT
     S: 221 *
     CLOSED`,
  );
  client.close();
  await server.stop();
  const steps = server.lines.filter(({ session }) => session !== undefined).map(({ event }) => event);
  assert.deepEqual(steps, ["connect", "rcpt-refused", "queued", "disconnect"]);
  const queued = server.lines.find(({ event }) => event === "queued");
  assert.deepEqual(
    {
      id: queued?.["id"],
      from: queued?.["from"],
      nrcpt: queued?.["nrcpt"],
      client: queued?.["client"],
      messageId: queued?.["messageId"],
      size: queued?.["size"],
    },
    {
      id: "Q00000000001",
      from: "bob@example.com",
      nrcpt: 1,
      client: "127.0.0.1",
      messageId: "<1@example.com>",
      size: server.queue.stored[0]?.content.length,
    },
  );
  const refused = server.lines.find(({ event }) => event === "rcpt-refused");
  assert.deepEqual(
    [refused?.["to"], refused?.["reason"], refused?.["check"], refused?.["reply"]],
    ["nobody@example.org", "unknown-user", "recipientRefused", "550 5.1.1 User unknown"],
  );
});

test("metrics", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig({}, { listeners: [aListener({ name: "metered" })] }));
  const client = await play(
    server.port("metered"),
    `${hello}\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<x@elsewhere.example>\nS: 554 *\nC: RCPT TO:<alice@example.org>\nS: 250 *\nC: DATA\nS: 354 *\nC: .\nS: 250 *`,
  );
  client.close();
  await server.stop();
  const text = await registry.metrics();
  assert.match(text, /packetboat_connections_total\{listener="metered"\} 1/);
  assert.match(text, /packetboat_connections_open\{listener="metered"\} 0/);
  assert.match(text, /packetboat_messages_accepted_total\{listener="metered"\} 1/);
  assert.match(
    text,
    /packetboat_rejected_total\{listener="metered",stage="rcpt",reason="relay-denied",class="permanent"\} 1/,
  );
});

test("a scheduler that throws does not take back the 250", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig(), {
    onAccepted: () => {
      throw new Error("a bug");
    },
  });
  const client = await play(
    server.port(),
    `${hello}\n${envelope}\nC: DATA\nS: 354 *\nC: .\nS: 250 2.0.0 *\nC: NOOP\nS: 250 *`,
  );
  client.close();
  assert.ok(server.lines.some(({ event, id }) => event === "hand-over-failed" && id === "Q00000000001"));
});

test("a bug below the session is 4xx and ends one connection", { timeout: 10_000 }, async () => {
  await using server = await aServer(aConfig(), {
    standingOf: () => {
      throw new Error("a bug");
    },
  });
  const client = await play(
    server.port(),
    `${hello}\nC: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<alice@example.org>\nS: 451 4.3.0 *\nC: NOOP\nS: 250 *`,
  );
  client.close();
});
