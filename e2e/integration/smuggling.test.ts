/**
 * No second message inside a first, on every listener and by either way in: whatever other servers have taken for the end of the data, whole, octet by octet, and cut at
 * every place in and around it. One message, one reply, and the next reply belongs to the next command. CERT VU#302671; RFC 5321 §4.1.1.4, RFC 3030 §2.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, secret } from "./manifests.ts";

const PASSWORD = "a-test-password";

const endings: readonly string[] = [
  "\r\n.\n",
  "\n.\n",
  "\n.\r\n",
  "\r.\r",
  "\r.\r\n",
  "\r\n.\r",
  "\n.\r",
  "\r.\n",
  "\r\n\r.\r\n",
  "\r\n.\r\r\n",
  "\r\n.\n\r\n",
  "\n\n.\r\n",
  "\r\n\0.\r\n",
  "\r\n.\0\r\n",
  "\r\r\n.\r\r\n",
];
const behind = "MAIL FROM:<alice@example.org>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx";
const START = "Subject: s\r\n\r\nb";

/** Where to cut: nowhere, everywhere, and once at each place from before the imitation to behind it. */
function* ways(body: string, ending: string): Generator<readonly string[]> {
  yield [body];
  yield body.split("");
  for (let at = START.length - 1; at <= START.length + ending.length + 1; at += 1)
    yield [body.slice(0, at), body.slice(at)];
}

describe("smuggling", () => {
  let boat: Packetboat;
  before(async () => {
    boat = await Packetboat.start({
      "all.yaml":
        object("MailServer", "mx", {
          hostname: "mx.example.org",
          limits: { softErrors: 1000, hardErrors: 1000 },
          listeners: [
            { name: "mx", role: "MX", port: 25 },
            { name: "submission", role: "Submission", port: 587 },
            { name: "submissions", role: "Submission", port: 465, tls: { mode: "Implicit" } },
            { name: "filtered", role: "Reinject", port: 10025, trustedProxies: ["127.0.0.1"] },
          ],
        }) +
        object("MailDomain", "ours", {
          domain: "example.org",
          serverRef: { name: "mx" },
          class: "Mailbox",
          delivery: { maildir: {} },
        }) +
        object("Mailbox", "alice", {
          address: "alice@example.org",
          domainRef: { name: "ours" },
          passwordSecretRef: { name: "alice" },
        }) +
        secret("alice", { password: PASSWORD }),
    });
  });
  after(async () => {
    await boat[Symbol.asyncDispose]();
  });

  const login = `AUTH PLAIN ${Buffer.from(`\0alice@example.org\0${PASSWORD}`).toString("base64")}`;
  const doors: Readonly<Record<string, () => Promise<SmtpDialogue>>> = {
    mx: () => greeted(boat.mx),
    "mx, under TLS": () => greeted(boat.mx, { startTls: true }),
    submission: () => greeted(boat.submission, { startTls: true, login: true }),
    submissions: () => greeted(boat.submissions, { tls: true, login: true }),
    filtered: () => greeted(10025 + boat.offset),
  };
  async function greeted(
    port: number,
    options: { readonly tls?: boolean; readonly startTls?: boolean; readonly login?: boolean } = {},
  ): Promise<SmtpDialogue> {
    const client = await SmtpDialogue.open(port, { tls: options.tls ?? false });
    assert.match(await client.reply(), /^220 /);
    assert.match(await client.command("EHLO client.example.net"), /^250/);
    if (options.startTls === true) {
      await client.startTls();
      assert.match(await client.command("EHLO client.example.net"), /^250/);
    }
    if (options.login === true) assert.match(await client.command(login), /^235 /);
    return client;
  }
  async function sent(client: SmtpDialogue, pieces: readonly string[]): Promise<void> {
    for (const piece of pieces) {
      client.write(piece);
      // Its own packet, or at least its own read.
      if (pieces.length > 1) await new Promise(setImmediate);
    }
  }
  const envelope = "MAIL FROM:<alice@example.org>\r\nRCPT TO:<alice@example.org>\r\n";

  for (const [door, open] of Object.entries(doors))
    test(`${door}: by DATA`, async () => {
      await using client = await open();
      for (const ending of endings) {
        const body = `${START}${ending}${behind}\r\n.\r\n`;
        for (const pieces of ways(body, ending)) {
          client.write(`${envelope}DATA\r\n`);
          for (const reply of [/^250 /, /^250 /, /^354 /]) assert.match(await client.reply(), reply);
          await sent(client, pieces);
          assert.match(await client.reply(), /^550 5\.6\.0 /, JSON.stringify(ending));
          assert.match(await client.command("NOOP"), /^250 2\.0\.0 Ok$/, JSON.stringify(ending));
        }
      }
    });

  for (const [door, open] of Object.entries(doors))
    test(`${door}: by BDAT`, async () => {
      await using client = await open();
      // Here even the true end, and another BDAT, mean nothing.
      for (const ending of [...endings, "\r\n.\r\n", "\r\nBDAT 0 LAST\r\n"]) {
        const isText = ending === "\r\n.\r\n" || ending.startsWith("\r\nBDAT");
        const body = `${START}${ending}${behind}\r\n.\r\n`;
        for (const pieces of ways(body, ending)) {
          client.write(envelope);
          for (const reply of [/^250 /, /^250 /]) assert.match(await client.reply(), reply);
          await sent(client, [`BDAT ${body.length} LAST\r\n`, ...pieces]);
          assert.match(
            await client.reply(),
            isText ? /^250 2\.0\.0 Ok: queued/ : /^550 5\.6\.0 /,
            JSON.stringify(ending),
          );
          assert.match(await client.command("NOOP"), /^250 2\.0\.0 Ok$/, JSON.stringify(ending));
        }
      }
    });

  test("of all that only what was one message is there, once each", async () => {
    await until(
      "an empty queue",
      20_000,
      async () => (await boat.json<{ recipients: number }>("/queue")).recipients === 0,
    );
    const messages = boat.maildir("mail/example.org/alice");
    const taken =
      Object.keys(doors).length *
      ["\r\n.\r\n", "\r\nBDAT 0 LAST\r\n"].reduce((sum, ending) => sum + [...ways("x".repeat(50), ending)].length, 0);
    assert.equal(messages.length, taken);
    for (const message of messages) assert.match(message, /^Subject: s$/m);
    assert.equal(messages.filter((message) => message.startsWith("Subject: smuggled")).length, 0);
    const queued = (): number => boat.log().filter(({ event }) => event === "queued").length;
    await until("a line of each", 5000, () => queued() >= taken);
    assert.equal(queued(), taken);
  });

  test("no command survives the handshake, and none is answered after it", async () => {
    for (const injected of [
      "NOOP\r\n",
      "RSET\r\nEHLO x\r\n",
      `${envelope}DATA\r\n`,
      "QUIT\r\n",
      "XCLIENT ADDR=10.0.0.1\r\n",
    ]) {
      await using client = await greeted(boat.mx);
      client.write(`STARTTLS\r\n${injected}`);
      assert.match(await client.reply(), /^220 /);
      const secure = await client.afterTls();
      assert.ok(secure.encrypted);
      // Nothing is known inside: not the hello before it, not what was slipped in.
      assert.match(await client.command("MAIL FROM:<bob@example.net>"), /^503 5\.5\.1 /, injected);
      assert.match(await client.command("NOOP"), /^250 2\.0\.0 Ok$/, injected);
    }
  });
});
