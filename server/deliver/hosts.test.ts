/** Two exchanges, on 127.0.0.1 (better) and 127.0.0.2 (worse): what the first must do for the second to be asked. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { describe, type TestContext, test } from "node:test";
import { aResolver } from "../dns/dns-fixture.ts";
import type { DeliveryReport } from "./deliver.ts";
import {
  aJob,
  aLiveConfig,
  aMessage,
  aPeer,
  aScript,
  byMx,
  delivering,
  mxConfig,
  politely,
  said,
  to,
} from "./outbound-fixture.ts";

/** For every phase: soon over where a host is silent, and time enough for one that answers on a busy machine. */
const impatient = { setupMs: 600, silenceMs: 600, finalMs: 600 };

type Answer = (line: string, socket: Socket, connection: number) => string | undefined;

async function twoHosts(
  t: TestContext,
  greeting: string | undefined,
  first: Answer,
  recipients: readonly string[] = ["a@dom.test"],
): Promise<{ readonly report: DeliveryReport; readonly second: readonly string[]; readonly firstConnections: number }> {
  const better = await aScript(t, greeting, first);
  const worse = await aScript(t, "220 hi\r\n", politely(), { address: "127.0.0.2", port: better.port });
  const resolver = await aResolver(t, {
    "dom.test MX": [
      { preference: 1, exchange: "better.test" },
      { preference: 2, exchange: "worse.test" },
    ],
    "better.test A": ["127.0.0.1"],
    "worse.test A": ["127.0.0.2"],
  });
  const deliver = delivering(t, { timeouts: impatient }, resolver);
  const report = await deliver(aJob(mxConfig(better.port), byMx("dom.test"), aMessage(recipients)));
  return { report, second: worse.lines, firstConnections: better.connections };
}

describe("side by side, because some wait for a host that says nothing", { concurrency: 5 }, () => {
  const goesOn: readonly [what: string, greeting: string | undefined, answer: Answer][] = [
    ["hangs up", undefined, politely()],
    ["greets with 4xx", "450 4.3.2 busy\r\n", politely()],
    ["greets with 421", "421 4.3.2 busy\r\n", politely()],
    ["greets with 5xx", "554 5.7.1 no SMTP here\r\n", politely()],
    ["greets with 2xx that is not 220", "250 what\r\n", politely()],
    ["says nothing", "", politely()],
    ["trickles its greeting", "220-so\r\n", politely()],
    ["refuses EHLO and HELO", "220 hi\r\n", politely({ EHLO: "550 no\r\n", HELO: "550 no\r\n" })],
    ["answers 421 to EHLO", "220 hi\r\n", politely({ EHLO: "421 bye\r\n" })],
    ["has no storage at MAIL", "220 hi\r\n", politely({ MAIL: "452 4.3.1 full\r\n" })],
    ["closes with 421 at MAIL", "220 hi\r\n", politely({ MAIL: "421 4.7.0 slow down\r\n" })],
    ["hangs up at RCPT", "220 hi\r\n", politely({ RCPT: undefined })],
    ["is silent at RCPT", "220 hi\r\n", politely({ RCPT: "" })],
    ["puts the recipient off", "220 hi\r\n", politely({ RCPT: "450 4.2.0 greylisted\r\n" })],
    ["puts the sender off", "220 hi\r\n", politely({ MAIL: "450 4.1.8 who\r\n" })],
    ["puts the message off", "220 hi\r\n", politely({ ".": "450 4.7.0 looking at it\r\n" })],
    ["closes with 421 at DATA", "220 hi\r\n", politely({ DATA: "421 bye\r\n" })],
  ];
  for (const [what, greeting, answer] of goesOn) {
    test(`the next exchange is asked when one ${what}`, async (t) => {
      const { report, second } = await twoHosts(t, greeting, answer);
      assert.deepEqual(said(report), ["delivered 250 2.0.0"]);
      assert.equal(report.outcomes[0]?.remoteHost, "worse.test[127.0.0.2]");
      assert.equal(second.filter((line) => line === ".").length, 1);
      assert.equal(report.dialogue, undefined);
    });
  }

  const endsThere: readonly [what: string, own: Record<string, string | undefined>, expected: string][] = [
    ["refuses the recipient", { RCPT: "550 5.1.1 unknown\r\n" }, "failed recipient 550 5.1.1"],
    ["answers RCPT with 3xx", { RCPT: "354 what\r\n" }, "failed recipient 451 4.5.0"],
    ["refuses the sender", { MAIL: "550 5.7.1 no\r\n" }, "failed message 550 5.7.1"],
    ["answers MAIL with 3xx", { MAIL: "354 what\r\n" }, "failed message 451 4.5.0"],
    ["refuses the message", { ".": "554 5.7.1 spam\r\n" }, "failed message 554 5.7.1"],
    ["answers the dot with 3xx", { ".": "354 more\r\n" }, "failed message 451 4.5.0"],
    ["hangs up after the dot", { ".": undefined }, "failed host 451 4.4.2"],
    ["is silent after the dot", { ".": "" }, "failed host 451 4.4.2"],
  ];
  for (const [what, own, expected] of endsThere) {
    test(`no other exchange is asked when one ${what}: ${expected}`, async (t) => {
      const { report, second } = await twoHosts(t, "220 hi\r\n", politely(own));
      assert.deepEqual(said(report), [expected]);
      assert.deepEqual(second, []);
    });
  }

  test("only the recipients without an answer go to the next exchange", async (t) => {
    const { report, second } = await twoHosts(
      t,
      "220 hi\r\n",
      (line) =>
        line.startsWith("RCPT TO:<no@")
          ? "550 5.1.1 unknown\r\n"
          : line.startsWith("RCPT TO:<full@")
            ? "421 4.3.0 enough\r\n"
            : politely()(line),
      ["no@dom.test", "full@dom.test"],
    );
    assert.deepEqual(said(report), ["failed recipient 550 5.1.1", "delivered 250 2.0.0"]);
    assert.deepEqual(
      second.filter((line) => line.startsWith("RCPT")),
      ["RCPT TO:<full@dom.test>"],
    );
  });

  for (const [what, full] of [
    ["452 4.5.3", "452 4.5.3 too many\r\n"],
    ["552 of old", "552 too many\r\n"],
  ]) {
    test(`what is over a server's number of recipients (${what}) follows in the same connection`, async (t) => {
      let accepted = 0;
      const peer = await aScript(t, "220 hi\r\n", (line) => {
        if (line.startsWith("MAIL")) accepted = 0;
        return line.startsWith("RCPT") && ++accepted > 2 ? full : politely()(line);
      });
      const message = aMessage(["a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"]);
      const report = await delivering(t)(aJob(aLiveConfig(), to(peer.port), message));
      assert.deepEqual(new Set(said(report)), new Set(["delivered 250 2.0.0"]));
      assert.equal(peer.lines.filter((line) => line === ".").length, 3);
      assert.equal(peer.connections, 1);
    });
  }

  /** An octet every 40 ms: never silent, never done. */
  const drip: Answer = (_line, socket) => {
    const timer = setInterval(() => socket.write("2"), 40);
    socket.once("close", () => clearInterval(timer));
    return "";
  };
  for (const at of ["MAIL", "RCPT", "DATA", "."]) {
    test(`a peer that answers ${at} an octet at a time is left after the time for a whole reply`, async (t) => {
      const startedMs = performance.now();
      const { report, second } = await twoHosts(t, "220 hi\r\n", (line, socket, connection) =>
        line === at || line.startsWith(`${at} `) || line.startsWith(`${at}:`)
          ? drip(line, socket, connection)
          : politely()(line),
      );
      assert.ok(performance.now() - startedMs < 5000);
      if (at === ".") {
        assert.deepEqual(said(report), ["failed host 451 4.4.2"]);
        assert.deepEqual(second, []);
      } else assert.deepEqual(said(report), ["delivered 250 2.0.0"]);
    });
  }
});

test("a reply whose lines never end is cut off", async (t) => {
  const { report } = await twoHosts(t, "220 hi\r\n", (line, socket) => {
    if (!line.startsWith("MAIL")) return politely()(line);
    const flood = (): void => {
      while (!socket.destroyed && socket.write("250-more\r\n".repeat(1000)));
    };
    socket.on("drain", flood);
    flood();
    return "";
  });
  assert.deepEqual(said(report), ["delivered 250 2.0.0"]);
  assert.equal(report.outcomes[0]?.remoteHost, "worse.test[127.0.0.2]");
});

// --- Ourselves --------------------------------------------------------------------------------------------------------------------

const ownName = politely({ EHLO: "250-MX.example.org\r\n250 8BITMIME\r\n" });

test("an exchange that greets with our own name is ourselves behind some other address: the mail loops", async (t) => {
  const { report, second } = await twoHosts(t, "220 hi\r\n", ownName);
  assert.deepEqual(said(report), ["failed destination 554 5.4.6"]);
  assert.equal(report.outcomes[0]?.reply.text, "Mail for dom.test loops back to myself");
  assert.deepEqual(second, []);
});

test("where a better exchange is only down, the mail waits for it", async (t) => {
  const own = await aScript(t, "220 hi\r\n", ownName);
  const resolver = await aResolver(t, {
    "dom.test MX": [
      { preference: 1, exchange: "down.test" },
      { preference: 2, exchange: "another-pod.test" },
      { preference: 3, exchange: "never.test" },
    ],
    "down.test A": ["127.0.0.3"],
    "another-pod.test A": ["127.0.0.1"],
    "never.test A": ["127.0.0.1"],
  });
  const report = await delivering(
    t,
    {},
    resolver,
  )(aJob(mxConfig(own.port), byMx("dom.test"), aMessage(["a@dom.test"])));
  assert.deepEqual(said(report), ["failed host 451 4.4.1"]);
  assert.equal(own.connections, 1);
  assert.ok(!own.lines.some((line) => line.startsWith("MAIL")));
});

test("a configured next hop may call itself as we do", async (t) => {
  const peer = await aScript(t, "220 hi\r\n", ownName);
  assert.deepEqual(said(await delivering(t)(aJob(aLiveConfig(), to(peer.port), aMessage(["a@dom.test"])))), [
    "delivered 250 2.0.0",
  ]);
});

// --- Source addresses -------------------------------------------------------------------------------------------------------------

test("mail leaves from the source address of its family; a route's own wins; one we do not have is said", async (t) => {
  const from: (string | undefined)[] = [];
  const peer = await aPeer(t, {
    onConnect(session, done) {
      from.push(session.remoteAddress);
      done();
    },
  });
  const config = aLiveConfig({}, { outbound: { sourceAddresses: ["::1", "127.0.0.9"] } });
  const deliver = delivering(t);
  const job = (sourceAddresses?: readonly string[]) =>
    aJob(
      config,
      {
        ...to(peer.port),
        ...(sourceAddresses === undefined ? {} : { sourceAddresses, destination: sourceAddresses.join() }),
      },
      aMessage(["a@dom.test"]),
    );
  assert.deepEqual(said(await deliver(job())), ["delivered 250 2.0.0"]);
  assert.deepEqual(said(await deliver(job(["127.0.0.8"]))), ["delivered 250 2.0.0"]);
  // No address of the peer's family: the system chooses.
  assert.deepEqual(said(await deliver(job(["::1"]))), ["delivered 250 2.0.0"]);
  assert.deepEqual(from, ["127.0.0.9", "127.0.0.8", "127.0.0.1"]);
  const missing = await deliver(job(["192.0.2.1"]));
  assert.deepEqual(said(missing), ["failed host 451 4.4.1"]);
  assert.match(missing.outcomes[0]?.reply.text ?? "", /from 192\.0\.2\.1: Cannot assign requested address/);
});

// --- What the addresses need ------------------------------------------------------------------------------------------------------

test("an IDN domain goes out as A-labels; only a local part outside ASCII needs SMTPUTF8", async (t) => {
  const plain = await aScript(t, "220 hi\r\n", politely());
  const message = aMessage(["ann@b\u00fccher.test", "j\u00fcrgen@b\u00fccher.test", "bob@x.test"], {
    envelope: { sender: "me@m\u00fcller.test" },
  });
  const deliver = delivering(t);
  assert.deepEqual(said(await deliver(aJob(aLiveConfig(), to(plain.port), message))), [
    "delivered 250 2.0.0",
    "failed recipient 550 5.6.7",
    "delivered 250 2.0.0",
  ]);
  assert.deepEqual(plain.lines.slice(1, 4), [
    "MAIL FROM:<me@xn--mller-kva.test>",
    "RCPT TO:<ann@xn--bcher-kva.test>",
    "RCPT TO:<bob@x.test>",
  ]);
  const modern = await aScript(t, "220 hi\r\n", politely({ EHLO: "250-peer\r\n250 SMTPUTF8\r\n" }));
  const all = await deliver(aJob(aLiveConfig(), to(modern.port), message));
  assert.deepEqual(said(all), ["delivered 250 2.0.0", "delivered 250 2.0.0", "delivered 250 2.0.0"]);
  assert.equal(modern.lines[1], "MAIL FROM:<me@xn--mller-kva.test> SMTPUTF8");
});

test("8-bit content goes as it is to a server that does not announce 8BITMIME, without BODY", async (t) => {
  const received: string[] = [];
  const peer = await aPeer(t, {
    hide8BITMIME: true,
    onData(stream, session, done) {
      stream.on("data", (part: Buffer) => received.push(part.toString("utf8")));
      stream.on("end", () => done(null, JSON.stringify(session.envelope.mailFrom)));
    },
  });
  const content = "Subject: x\r\n\r\nGr\u00fc\u00dfe\r\n";
  const report = await delivering(t)(
    aJob(aLiveConfig(), to(peer.port), aMessage(["a@x.test"], { envelope: { body: "8BITMIME" } }), content),
  );
  assert.deepEqual(said(report), ["delivered 250"]);
  assert.equal(received.join(""), content);
  assert.doesNotMatch(report.outcomes[0]?.reply.text ?? "", /BODY/);
});

// --- The dialogue of a failure ----------------------------------------------------------------------------------------------------

test("a failed delivery tells what was said, without the message", async (t) => {
  const peer = await aScript(
    t,
    "220-hello\r\n220 there\r\n",
    politely({ EHLO: "250-peer\r\n250 PIPELINING\r\n", ".": "554-5.7.1 Looks\r\n554 5.7.1 like spam\r\n" }),
  );
  const report = await delivering(t)(aJob(aLiveConfig(), to(peer.port), aMessage(["a@x.test"])));
  assert.equal(
    report.dialogue,
    [
      `* connected to 127.0.0.1[127.0.0.1]:${peer.port}`,
      "S: 220-hello",
      "S: 220 there",
      "C: EHLO mx.example.org",
      "S: 250-peer",
      "S: 250 PIPELINING",
      "C: MAIL FROM:<sender@example.org>",
      "C: RCPT TO:<a@x.test>",
      "C: DATA",
      "S: 250 2.0.0 ok",
      "S: 250 2.0.0 ok",
      "S: 354 go",
      "C: [message content, 57 octets]",
      "C: .",
      "S: 554-5.7.1 Looks",
      "S: 554 5.7.1 like spam",
    ].join("\n"),
  );
});

test("who is put off is offered to two servers, no more, and the last one's word stands", async (t) => {
  const putOff = (word: string) => politely({ RCPT: `450 4.2.0 ${word}\r\n` });
  const first = await aScript(t, "220 hi\r\n", putOff("first"));
  const { port } = first;
  const second = await aScript(t, "220 hi\r\n", putOff("second"), { address: "127.0.0.2", port });
  const third = await aScript(t, "220 hi\r\n", politely(), { address: "127.0.0.3", port });
  const exchange = (number: number) => ({ preference: number, exchange: `mx${number}.test` });
  const resolver = await aResolver(t, {
    "dom.test MX": [exchange(1), exchange(2), exchange(3)],
    "down.test MX": [exchange(1), exchange(4)],
    ...Object.fromEntries([1, 2, 3, 4].map((number) => [`mx${number}.test A`, [`127.0.0.${number}`]])),
  });
  const deliver = delivering(t, {}, resolver);
  const reply = async (domain: string): Promise<string | undefined> => {
    const { outcomes } = await deliver(aJob(mxConfig(port), byMx(domain), aMessage([`a@${domain}`])));
    return `${outcomes[0]?.kind} ${outcomes[0]?.reply.text} ${outcomes[0]?.remoteHost}`;
  };
  assert.equal(await reply("dom.test"), "failed second mx2.test[127.0.0.2]");
  assert.deepEqual([first.connections, second.connections, third.connections], [1, 1, 0]);
  // Nobody else answers: what was said stands, not that another was not there.
  assert.equal(await reply("down.test"), "failed first mx1.test[127.0.0.1]");
});

test("put off over a kept connection, the next server is asked, not the same again", async (t) => {
  let isBusy = false;
  const first = await aScript(t, "220 hi\r\n", (line) => politely(isBusy ? { RCPT: "450 4.2.0 later\r\n" } : {})(line));
  const second = await aScript(t, "220 hi\r\n", politely(), { address: "127.0.0.2", port: first.port });
  const resolver = await aResolver(t, {
    "dom.test MX": [
      { preference: 1, exchange: "mx1.test" },
      { preference: 2, exchange: "mx2.test" },
    ],
    "mx1.test A": ["127.0.0.1"],
    "mx2.test A": ["127.0.0.2"],
  });
  const deliver = delivering(t, {}, resolver);
  const job = aJob(mxConfig(first.port), byMx("dom.test"), aMessage(["a@dom.test"]));
  assert.deepEqual(said(await deliver(job)), ["delivered 250 2.0.0"]);
  isBusy = true;
  const report = await deliver(job);
  assert.equal(report.outcomes[0]?.remoteHost, "mx2.test[127.0.0.2]");
  assert.deepEqual([first.connections, second.connections], [1, 1]);
});

test("every host of an attempt is in the dialogue, a kept connection begins anew, and success has none", async (t) => {
  let refuse = false;
  const peer = await aScript(t, "220 hi\r\n", (line) =>
    line.startsWith("RCPT") && refuse ? "550 5.1.1 gone\r\n" : politely()(line),
  );
  const resolver = await aResolver(t, {
    "dom.test MX": [
      { preference: 1, exchange: "down.test" },
      { preference: 2, exchange: "up.test" },
    ],
    "down.test A": ["127.0.0.3"],
    "up.test A": ["127.0.0.1"],
  });
  const deliver = delivering(t, {}, resolver);
  const job = aJob(mxConfig(peer.port), byMx("dom.test"), aMessage(["a@dom.test"]));
  assert.equal((await deliver(job)).dialogue, undefined);
  refuse = true;
  assert.equal(
    (await deliver(job)).dialogue,
    [
      "* connection to up.test[127.0.0.1] kept from an earlier message",
      "C: MAIL FROM:<sender@example.org>",
      "S: 250 2.0.0 ok",
      "C: RCPT TO:<a@dom.test>",
      "S: 550 5.1.1 gone",
    ].join("\n"),
  );
  const anew = (await delivering(t, {}, resolver)(job)).dialogue?.split("\n") ?? [];
  assert.equal(anew[0], `* connect to down.test[127.0.0.3]:${peer.port}: Connection refused`);
  assert.equal(anew[1], `* connected to up.test[127.0.0.1]:${peer.port}`);
});

for (const mechanism of ["PLAIN", "LOGIN", "CRAM-MD5"]) {
  test(`no password gets into the dialogue (${mechanism}), not even echoed by the server`, async (t) => {
    const peer = await aScript(t, "220 hi\r\n", (line, _socket) => {
      if (line.startsWith("EHLO")) return `250-peer\r\n250 AUTH ${mechanism}\r\n`;
      if (line === "AUTH LOGIN") return "334 VXNlcm5hbWU6\r\n";
      if (line === "AUTH CRAM-MD5") return "334 PDEyMzRAcGVlcj4=\r\n";
      if (line === Buffer.from("user").toString("base64")) return "334 UGFzc3dvcmQ6\r\n";
      return `535 5.7.8 no: ${line} s3cret-word\r\n`;
    });
    const config = aLiveConfig(
      {},
      {},
      {
        credentials: new Map([["default/login", { username: "user", password: "s3cret-word" }]]),
      },
    );
    const { delivery, ...rest } = to(peer.port);
    assert.ok(delivery.kind === "smtp");
    const transport = { ...rest, delivery: { ...delivery, credentials: "default/login" } };
    const report = await delivering(t)(aJob(config, transport, aMessage(["a@x.test"])));
    assert.deepEqual(said(report), ["failed host 454 4.7.0"]);
    const dialogue = report.dialogue ?? "";
    assert.match(dialogue, new RegExp(`^C: AUTH ${mechanism}`, "m"));
    for (const secret of ["s3cret-word", Buffer.from("s3cret-word").toString("base64")]) {
      assert.ok(!dialogue.includes(secret), dialogue);
      assert.ok(!JSON.stringify(report.outcomes).includes(secret), JSON.stringify(report.outcomes));
    }
  });
}

for (const [what, go] of [
  ["fails", (socket: Socket) => void socket.once("data", () => socket.write("rubbish that is no handshake"))],
  ["hangs", () => undefined],
] as const) {
  test(`TLS that ${what} is told, and the second try in plaintext`, async (t) => {
    const peer = await aScript(t, "220 hi\r\n", (line, socket) => {
      if (line.startsWith("MAIL")) return "550 5.7.1 no\r\n";
      if (line !== "STARTTLS") return politely({ EHLO: "250-peer\r\n250 STARTTLS\r\n" })(line);
      socket.removeAllListeners("data");
      go(socket);
      return "220 go\r\n";
    });
    const deliver = delivering(t, { timeouts: impatient });
    const report = await deliver(aJob(aLiveConfig(), to(peer.port), aMessage(["a@x.test"])));
    const told = (report.dialogue ?? "").split("\n");
    const at = (line: RegExp): number => told.findIndex((each) => line.test(each));
    assert.ok(at(/^C: STARTTLS$/) > 0, told.join("\n"));
    assert.ok(at(/^\* 127\.0\.0\.1: (Cannot start TLS|timed out)/) > at(/^C: STARTTLS$/), told.join("\n"));
    assert.ok(at(/without TLS this time$/) > at(/^\* 127\.0\.0\.1: /), told.join("\n"));
    assert.equal(told.at(-1), "S: 550 5.7.1 no");
  });
}
