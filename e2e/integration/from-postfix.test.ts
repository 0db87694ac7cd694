/**
 * Two of the setups of examples/from-postfix as whole servers, each with real peers behind it: what their READMEs promise. Only places differ from the files: hosts of the
 * setup become ports of this machine, a real DNS server stands for the world, and the trusted networks become one address, because every client here comes from loopback.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseAllDocuments, stringify } from "yaml";
import { Dovecot, dovecotMissing } from "../peers/dovecot.ts";
import { DovecotAuth, dovecotAuthMissing } from "../peers/dovecot-auth.ts";
import { NextHop } from "../peers/next-hop.ts";
import { Nsd, nsdMissing } from "../peers/nsd.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { RecordingDaemon } from "../peers/policy-daemon.ts";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";

const STRANGER = "127.0.0.2";
const TRUSTED = "127.0.0.9";

interface Document {
  kind: string;
  metadata: { name: string };
  spec: Record<string, unknown>;
}

/** The example, after `change` has put each object where this test has its peers. */
function example(name: string, change: (document: Document) => void): Record<string, string> {
  const path = resolve(import.meta.dirname, "../../examples/from-postfix", name, "mail.yaml");
  const documents = parseAllDocuments(readFileSync(path, "utf8")).map((document) => document.toJS() as Document);
  for (const document of documents) change(document);
  return { "mail.yaml": documents.map((document) => `---\n${stringify(document)}`).join("") };
}

/** Replies to the lines of one transaction, up to the first refusal. */
async function told(
  port: number,
  lines: readonly string[],
  localAddress = STRANGER,
  helo = "mail.client.test",
): Promise<string> {
  await using client = await SmtpDialogue.open(port, { localAddress });
  let reply = await client.reply();
  for (const line of [`EHLO ${helo}`, ...lines]) {
    if (!/^[23]/.test(reply)) return reply;
    reply = await client.command(line);
  }
  return reply;
}

/** One whole message; the last reply. */
async function sent(port: number, from: string, to: string, subject: string, localAddress = STRANGER): Promise<string> {
  await using client = await SmtpDialogue.open(port, { localAddress });
  await client.reply();
  await client.command("EHLO mail.client.test");
  const content = `From: <${from}>\nTo: <${to}>\nSubject: ${subject}\n\nhello\n`;
  return (await client.send({ from, to: [to], content })).at(-1) ?? "";
}

const plain = (user: string, password: string): string =>
  `AUTH PLAIN ${Buffer.from(`\0${user}\0${password}`).toString("base64")}`;

/** The world: a domain that strangers write from, one that mail goes to, and the lists. Loopback addresses .5 and .6 are listed. */
const world = {
  "client.test": ["@ IN MX 10 mail", "mail IN A 127.0.0.2"],
  "externaladdress.com": ["@ IN MX 10 mail", "mail IN A 127.0.0.1"],
  "example.com": ["@ IN MX 10 smtp", "smtp IN A 127.0.0.1"],
  "127.in-addr.arpa": ["2.0.0 IN PTR mail.client.test."],
  "sbl.spamhaus.org": ["5.0.0.127 IN A 127.0.0.2"],
  "zen.spamhaus.org": ["5.0.0.127 IN A 127.0.0.2"],
  "bl.spamcop.net": ["5.0.0.127 IN A 127.0.0.2", "6.0.0.127 IN A 127.0.0.2"],
  "b.barracudacentral.org": [],
};

describe("from-postfix/002: users and mailboxes in Dovecot", {
  skip: nsdMissing() ?? dovecotMissing() ?? dovecotAuthMissing() ?? false,
}, () => {
  const peers = new AsyncDisposableStack();
  let boat: Packetboat;
  let dovecot: Dovecot;
  let outside: NextHop;

  before(async () => {
    const dns = peers.use(await Nsd.start(world));
    dovecot = peers.use(await Dovecot.start(["yrt127@example.com", "foo@example.com"]));
    const logins = peers.use(await DovecotAuth.start({ "yrt127@example.com": "yrt's", "foo@example.com": "foo's" }));
    outside = peers.use(await NextHop.start());
    const manifests = example("002", ({ kind, spec }) => {
      if (kind === "MailDomain" && spec["delivery"] !== undefined)
        spec["delivery"] = { lmtp: { host: "127.0.0.1", port: dovecot.port } };
      if (kind !== "MailServer") return;
      spec["networks"] = { trusted: [`${TRUSTED}/32`] };
      spec["authentication"] = {
        ...(spec["authentication"] as object),
        dovecot: { host: "127.0.0.1", port: logins.port },
      };
      spec["outbound"] = {
        dns: { resolvers: [dns.resolver] },
        port: outside.port,
        allowedNetworks: ["127.0.0.0/8"],
      };
    });
    boat = peers.use(await Packetboat.start(manifests));
  });
  after(() => peers.disposeAsync());

  const refusals: readonly (readonly [string, readonly string[], RegExp, string?, string?])[] = [
    ["AUTH on port 25", [plain("foo@example.com", "foo's")], /^5\d\d 5\.5\.1 /],
    [
      "relaying",
      ["MAIL FROM:<bob@client.test>", "RCPT TO:<x@externaladdress.com>"],
      /^554 5\.7\.1 Relay access denied/,
    ],
    ["the recipient_blacklist", ["MAIL FROM:<bob@client.test>", "RCPT TO:<recipient@example.com>"], /^554 5\.7\.1 /],
    [
      "a client on sbl.spamhaus.org",
      ["MAIL FROM:<bob@client.test>", "RCPT TO:<foo@example.com>"],
      /^55\d 5\.7\.1 /,
      "127.0.0.5",
    ],
    [
      "a HELO that is no name",
      ["MAIL FROM:<bob@client.test>", "RCPT TO:<foo@example.com>"],
      /^501 5\.5\.2 /,
      STRANGER,
      "a!b",
    ],
    [
      "a HELO without a dot",
      ["MAIL FROM:<bob@client.test>", "RCPT TO:<foo@example.com>"],
      /^504 5\.5\.2 /,
      STRANGER,
      "pc",
    ],
    [
      "a HELO that DNS does not know",
      ["MAIL FROM:<bob@client.test>", "RCPT TO:<foo@example.com>"],
      /^450 4\.7\.1 /,
      STRANGER,
      "gone.client.test",
    ],
  ];
  for (const [name, lines, reply, from, helo] of refusals)
    test(`refused: ${name}`, async () => assert.match(await told(boat.mx, lines, from, helo), reply));

  test("it says its name, its size, and no AUTH on port 25", async () => {
    await using client = await SmtpDialogue.open(boat.mx, { localAddress: STRANGER });
    assert.match(await client.reply(), /^220 smtp\.example\.com ESMTP/);
    const offered = await client.command("EHLO mail.client.test");
    assert.match(offered, /^250-SIZE 10485760$/m);
    assert.doesNotMatch(offered, /AUTH/);
  });

  test("at most 100 recipients", async () => {
    await using client = await SmtpDialogue.open(boat.mx, { localAddress: STRANGER });
    await client.reply();
    await client.command("EHLO mail.client.test");
    await client.command("MAIL FROM:<bob@client.test>");
    for (let index = 0; index < 100; index += 1)
      assert.match(await client.command(`RCPT TO:<user${index}@example.com>`), /^250 /);
    assert.match(await client.command("RCPT TO:<foo@example.com>"), /^452 4\.5\.3 /);
  });

  test("foo's mail is foo's, everything else is yrt127's, bar's goes to another system", async () => {
    for (const [to, subject] of [
      ["foo@example.com", "for foo"],
      ["anything@example.com", "for the catch-all"],
      ["bar@example.com", "for bar"],
      ["root@smtp.example.com", "for root"],
    ] as const)
      assert.match(await sent(boat.mx, "bob@client.test", to, subject), /^250 2\.0\.0 /);
    await until("the mail to be where it belongs", 15_000, () => {
      const inbox = (user: string, subject: string): boolean =>
        dovecot.messages(user).some((message) => message.includes(subject));
      return (
        inbox("foo@example.com", "for foo") &&
        inbox("yrt127@example.com", "for the catch-all") &&
        inbox("yrt127@example.com", "for root") &&
        outside.to("bar@externaladdress.com").length === 1
      );
    });
  });

  async function submits(user: string, password: string, from: string): Promise<string> {
    await using client = await SmtpDialogue.open(boat.submission, { localAddress: STRANGER });
    await client.reply();
    assert.doesNotMatch(await client.command("EHLO laptop"), /AUTH/, "not before TLS");
    assert.match(await client.command("MAIL FROM:<x@example.com>"), /^530 5\.7\.0 /);
    await client.startTls();
    assert.match(await client.command("EHLO laptop"), /^250[- ]AUTH PLAIN LOGIN$/m);
    const reply = await client.command(plain(user, password));
    if (!reply.startsWith("235")) return reply;
    const content = `From: <${from}>\nSubject: submitted\n\nhello\n`;
    return (await client.send({ from, to: ["x@externaladdress.com"], content })).at(-1) ?? "";
  }
  const submissions: readonly (readonly [string, string, string, string, RegExp])[] = [
    ["foo sends as foo", "foo@example.com", "foo's", "foo@example.com", /^250 2\.0\.0 /],
    ["foo does not send as yrt127", "foo@example.com", "foo's", "yrt127@example.com", /^553 5\.7\.1 /],
    ["yrt127 sends as anybody of the domain", "yrt127@example.com", "yrt's", "sales@example.com", /^250 2\.0\.0 /],
    [
      "yrt127 sends as foo: sendAs is all of the domain",
      "yrt127@example.com",
      "yrt's",
      "foo@example.com",
      /^250 2\.0\.0 /,
    ],
    ["a wrong password", "foo@example.com", "yrt's", "foo@example.com", /^535 5\.7\.8 /],
  ];
  for (const [name, user, password, from, reply] of submissions)
    test(`submission: ${name}`, async () => assert.match(await submits(user, password, from), reply));
});

describe("from-postfix/004: a smarthost", { skip: nsdMissing() ?? false }, () => {
  const peers = new AsyncDisposableStack();
  let boat: Packetboat;
  let inside: NextHop;
  let outside: NextHop;
  let spf: RecordingDaemon;
  const FILTER = "127.0.0.8";

  before(async () => {
    const dns = peers.use(await Nsd.start(world));
    inside = peers.use(await NextHop.start());
    outside = peers.use(await NextHop.start());
    spf = peers.use(await RecordingDaemon.start());
    const manifests = example("004", ({ kind, spec }) => {
      if (kind === "MailDomain" && spec["delivery"] !== undefined)
        spec["delivery"] = { smtp: { host: "127.0.0.1", port: inside.port } };
      if (kind !== "MailServer") return;
      const [service] = spec["policyServices"] as Record<string, unknown>[];
      const [mx, reinject] = spec["listeners"] as Record<string, unknown>[];
      spec["policyServices"] = [{ ...service, address: `127.0.0.1:${spf.port}` }];
      spec["listeners"] = [mx, { ...reinject, trustedProxies: [`${FILTER}/32`] }];
      spec["networks"] = { trusted: [`${TRUSTED}/32`] };
      spec["greylisting"] = { delay: "1s" };
      spec["postscreen"] = { ...(spec["postscreen"] as object), greetWait: "1s" };
      spec["outbound"] = {
        dns: { resolvers: [dns.resolver] },
        port: outside.port,
        allowedNetworks: ["127.0.0.0/8"],
      };
    });
    boat = peers.use(await Packetboat.start(manifests));
  });
  after(() => peers.disposeAsync());

  const to = (address: string, from = "bob@client.test"): string[] => [`MAIL FROM:<${from}>`, `RCPT TO:<${address}>`];
  const refusals: readonly (readonly [string, readonly string[], RegExp, string?])[] = [
    ["relaying", to("x@externaladdress.com"), /^554 5\.7\.1 Relay access denied/],
    ["a recipient that the server inside does not know", to("ghost@example.com"), /^450 4\.1\.1 /],
    ["the same from the LAN", to("ghost@example.com"), /^450 4\.1\.1 /, TRUSTED],
    ["one who has moved", to("olduser@example.com"), /^55\d 5\.1\.6 .*newuser@example\.net/],
    ["a sender's domain that does not exist", to("kim@example.com", "bob@gone.client.test"), /^450 4\.1\.8 /],
    ["that domain from the LAN", to("kim@example.com", "bob@gone.client.test"), /^450 4\.1\.8 /, TRUSTED],
    ["a client on the lists: 2 + 1", to("kim@example.com"), /^550 5\.7\.1 /, "127.0.0.5"],
    ["a stranger, who has to come again", to("kim@example.com"), /^451 4\.7\.1 /],
    ["a client whose sum is 1, only so", to("kim@example.com", "eve@client.test"), /^451 4\.7\.1 /, "127.0.0.6"],
  ];
  for (const [name, lines, reply, from] of refusals)
    test(`refused: ${name}`, async () => assert.match(await told(boat.mx, lines, from), reply));

  test("a stranger who comes again is heard, the policy daemon asked, and the mail forwarded", async () => {
    await until("the mail to be taken", 15_000, async () =>
      (await sent(boat.mx, "bob@client.test", "pat@example.com", "forwarded")).startsWith("250 2.0.0"),
    );
    await until("the mail to be inside", 15_000, () => inside.to("pat@example.com").length === 1);
    const asked = spf.told
      .map((attributes) => new Map(attributes))
      .find((told) => told.get("recipient") === "pat@example.com");
    assert.equal(asked?.get("client_address"), STRANGER);
    assert.equal(asked?.get("sender"), "bob@client.test");
  });

  test("the LAN relays, and is asked to wait for nothing", async () => {
    assert.match(await sent(boat.mx, "kim@example.com", "x@externaladdress.com", "out", TRUSTED), /^250 2\.0\.0 /);
    await until("the mail to be outside", 15_000, () => outside.to("x@externaladdress.com").length === 1);
    assert.equal(
      spf.told.some((attributes) => attributes.some(([, value]) => value === TRUSTED)),
      false,
    );
  });

  test("mail to the test domain is mail to the real one, in envelope and header", async () => {
    assert.match(await sent(boat.mx, "kim@example.com", "lee@test.example.com", "canonical", TRUSTED), /^250 2\.0\.0 /);
    await until("the mail to be inside", 15_000, () => inside.to("lee@example.com").length === 1);
    assert.match(inside.to("lee@example.com")[0]?.content.toString() ?? "", /^To: <lee@example\.com>\r$/m);
  });

  test("root of the host is a person", async () => {
    assert.match(
      await sent(boat.mx, "kim@example.com", "root@smarthost.example.com", "cron", TRUSTED),
      /^250 2\.0\.0 /,
    );
    await until("the mail to be inside", 15_000, () => inside.to("admin@example.com").length === 1);
  });

  test("what the content filter gives back is not judged again; nobody else may give it back", async () => {
    const port = 10_025 + boat.offset;
    assert.match(await told(port, to("kim@example.com")), /^554 /);
    assert.match(await sent(port, "bob@gone.client.test", "rae@example.com", "filtered", FILTER), /^250 2\.0\.0 /);
    await until("the mail to be inside", 15_000, () => inside.to("rae@example.com").length === 1);
  });
});
