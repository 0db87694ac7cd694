/**
 * Not an open relay, and no second message inside a first: what an untrusted client may try, against the whole server, with a listener behind it that would
 * see whatever left. RFC 5321 §3.6, §4.1.1.3 (source routes), §4.1.1.4 (end of data), §7.9; CERT VU#302671 (smuggling).
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { Sink } from "../peers/sink.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, secret } from "./manifests.ts";

const PASSWORD = "a-test-password";
const plain = (user: string, password: string): string => Buffer.from(`\0${user}\0${password}`).toString("base64");
/** As the bytes of UTF-8 on the wire; SmtpDialogue writes one byte a character. */
const utf8 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

const MAIL = "MAIL FROM:<bob@example.net>";
const denied = /^554 5\.7\.1 /;
const unknownUser = /^550 5\.1\.1 /;
const badSyntax = /^501 5\.(1\.3|5\.[24]) /;

interface Attempt {
  readonly name: string;
  readonly mail?: string;
  /** Everything after `RCPT TO:`. */
  readonly to: string;
  /** `local`: accepted, for alice and nobody else. */
  readonly reply: RegExp | "local";
}

const attempts: readonly Attempt[] = [
  // Plainly foreign, whoever it claims to come from.
  { name: "a foreign domain", to: "<victim@foreign.example>", reply: denied },
  { name: "in capitals", to: "<VICTIM@FOREIGN.EXAMPLE>", reply: denied },
  { name: "from a user of ours", mail: "MAIL FROM:<alice@example.org>", to: "<victim@foreign.example>", reply: denied },
  {
    name: "to its own sender",
    mail: "MAIL FROM:<victim@foreign.example>",
    to: "<victim@foreign.example>",
    reply: denied,
  },
  { name: "as a bounce", mail: "MAIL FROM:<>", to: "<victim@foreign.example>", reply: denied },
  {
    name: "from our postmaster",
    mail: "MAIL FROM:<postmaster@example.org>",
    to: "<victim@foreign.example>",
    reply: denied,
  },
  { name: "from our host", mail: "MAIL FROM:<root@mx.example.org>", to: "<victim@foreign.example>", reply: denied },
  {
    name: "from a source route",
    mail: "MAIL FROM:<@example.org:bob@example.net>",
    to: "<victim@foreign.example>",
    reply: denied,
  },
  { name: "a foreign postmaster", to: "<postmaster@foreign.example>", reply: denied },
  // Nearly ours.
  { name: "a subdomain of a served one", to: "<alice@sub.example.org>", reply: denied },
  { name: "a parent of a served one", to: "<alice@org>", reply: denied },
  { name: "a served one as a prefix", to: "<alice@example.org.foreign.example>", reply: denied },
  { name: "a served one as a suffix without a dot", to: "<alice@fakeexample.org>", reply: denied },
  { name: "the server's own name", to: "<victim@mx.example.org>", reply: denied },
  { name: "localhost", to: "<victim@localhost>", reply: denied },
  { name: "a trailing dot", to: "<victim@foreign.example.>", reply: badSyntax },
  { name: "a served domain with a trailing dot", to: "<alice@example.org.>", reply: badSyntax },
  { name: "two dots", to: "<victim@foreign..example>", reply: badSyntax },
  { name: "a dot before the domain", to: "<alice@.example.org>", reply: badSyntax },
  // Routes inside the address.
  { name: "percent at ours", to: "<victim%foreign.example@example.org>", reply: unknownUser },
  { name: "percent at one we hand on", to: "<victim%foreign.example@relayed.example>", reply: denied },
  { name: "percent at a foreign one", to: "<alice%example.org@foreign.example>", reply: denied },
  { name: "percent at our address", to: "<victim%foreign.example@[127.0.0.1]>", reply: denied },
  { name: "percent alone", to: "<victim%foreign.example>", reply: badSyntax },
  { name: "percent behind a delimiter", to: "<alice+victim%foreign.example@example.org>", reply: "local" },
  { name: "bang path at ours", to: "<foreign.example!victim@example.org>", reply: unknownUser },
  { name: "bang path at one we hand on", to: "<foreign.example!victim@relayed.example>", reply: denied },
  { name: "bang path at a foreign one", to: "<example.org!alice@foreign.example>", reply: denied },
  { name: "bang path alone", to: "<foreign.example!victim>", reply: badSyntax },
  { name: "source route through us", to: "<@example.org:victim@foreign.example>", reply: denied },
  { name: "source route through two", to: "<@example.org,@mx.example.org:victim@foreign.example>", reply: denied },
  { name: "source route that ends with us", to: "<@foreign.example:alice@example.org>", reply: "local" },
  { name: "source route in capitals", to: "<@EXAMPLE.ORG:VICTIM@FOREIGN.EXAMPLE>", reply: denied },
  { name: "source route twice", to: "<@example.org:@foreign.example:victim@foreign.example>", reply: badSyntax },
  // Quotes, several at signs, blanks.
  { name: "a quoted address at ours", to: '<"victim@foreign.example"@example.org>', reply: unknownUser },
  { name: "a quoted address at one we hand on", to: '<"victim@foreign.example"@relayed.example>', reply: denied },
  { name: "a quoted percent at one we hand on", to: '<"victim%foreign.example"@relayed.example>', reply: denied },
  { name: "an escaped at sign at one we hand on", to: '<"victim\\@foreign.example"@relayed.example>', reply: denied },
  { name: "our address quoted at a foreign one", to: '<"alice@example.org"@foreign.example>', reply: denied },
  { name: "a quoted bracket", to: '<"alice@example.org>"@foreign.example>', reply: denied },
  { name: "an unfinished quote", to: '<"victim@foreign.example>', reply: badSyntax },
  { name: "a quote in the middle", to: '<victim"@example.org"@foreign.example>', reply: badSyntax },
  { name: "alice in quotes", to: '<"alice"@example.org>', reply: "local" },
  { name: "two at signs, ours last", to: "<victim@foreign.example@example.org>", reply: badSyntax },
  { name: "two at signs, ours first", to: "<alice@example.org@foreign.example>", reply: badSyntax },
  { name: "two at signs, one we hand on last", to: "<victim@foreign.example@relayed.example>", reply: badSyntax },
  { name: "two addresses in brackets", to: "<alice@example.org,victim@foreign.example>", reply: badSyntax },
  { name: "two addresses with a blank", to: "<alice@example.org victim@foreign.example>", reply: badSyntax },
  { name: "two bracketed addresses", to: "<alice@example.org>,<victim@foreign.example>", reply: badSyntax },
  { name: "a second address as a parameter", to: "<alice@example.org> <victim@foreign.example>", reply: /^5(55|01) / },
  { name: "no brackets", to: "victim@foreign.example", reply: /^5(54|01) / },
  { name: "blanks inside the brackets", to: "< victim@foreign.example >", reply: badSyntax },
  { name: "a blank before the at sign", to: "<victim @foreign.example>", reply: badSyntax },
  { name: "a tab before the domain", to: "<victim@\tforeign.example>", reply: /^50[01] 5\./ },
  { name: "nested brackets", to: "<<victim@foreign.example>>", reply: badSyntax },
  { name: "a NUL after our address", to: "<alice@example.org\0@foreign.example>", reply: /^50[01] 5\./ },
  { name: "a bare CR after our address", to: "<alice@example.org\r@foreign.example>", reply: /^50[01] 5\./ },
  { name: "an empty domain", to: "<victim@>", reply: badSyntax },
  { name: "an empty local part", to: "<@foreign.example>", reply: badSyntax },
  { name: "an empty quoted local part", to: '<""@foreign.example>', reply: badSyntax },
  { name: "no address", to: "<>", reply: badSyntax },
  { name: "no domain", to: "<victim>", reply: badSyntax },
  {
    name: "an ORCPT elsewhere",
    to: "<alice@example.org> ORCPT=rfc822;victim@foreign.example",
    reply: /^(250|555|501) /,
  },
  // Addresses instead of names.
  { name: "an IPv4 literal", to: "<victim@[192.0.2.1]>", reply: denied },
  { name: "our own IPv4 literal", to: "<alice@[127.0.0.1]>", reply: denied },
  { name: "an IPv6 literal", to: "<victim@[IPv6:2001:db8::1]>", reply: denied },
  { name: "our own IPv6 literal", to: "<alice@[IPv6:::1]>", reply: denied },
  { name: "an IPv4 address in an IPv6 literal", to: "<victim@[IPv6:::ffff:192.0.2.1]>", reply: denied },
  { name: "an IPv6 literal without its tag", to: "<victim@[2001:db8::1]>", reply: badSyntax },
  { name: "a name in a literal", to: "<victim@[foreign.example]>", reply: badSyntax },
  { name: "a served name in a literal", to: "<alice@[example.org]>", reply: badSyntax },
  { name: "an address without brackets", to: "<victim@192.0.2.1>", reply: /^5(54|01) / },
  { name: "an address as one number", to: "<victim@3221225985>", reply: /^5(54|01) / },
  { name: "an address in hex", to: "<victim@0xc0000201>", reply: /^5(54|01) / },
  // Letters that look like others.
  {
    name: "a Cyrillic a in our domain, unannounced",
    to: utf8("<alice@ex\u0430mple.org>"),
    reply: /^5(53 5\.6\.7|54 5\.7\.1|01) /,
  },
  { name: "a Cyrillic a in our domain", mail: `${MAIL} SMTPUTF8`, to: utf8("<alice@ex\u0430mple.org>"), reply: denied },
  { name: "a Cyrillic a in alice", mail: `${MAIL} SMTPUTF8`, to: utf8("<\u0430lice@example.org>"), reply: unknownUser },
  {
    name: "a full-width at sign, ours behind",
    mail: `${MAIL} SMTPUTF8`,
    to: utf8("<victim\uff20foreign.example@example.org>"),
    reply: unknownUser,
  },
  {
    name: "a full-width at sign alone",
    mail: `${MAIL} SMTPUTF8`,
    to: utf8("<alice\uff20example.org>"),
    reply: badSyntax,
  },
  {
    name: "an ideographic full stop",
    mail: `${MAIL} SMTPUTF8`,
    to: utf8("<alice@example.org\u3002foreign.example>"),
    reply: denied,
  },
  {
    name: "a zero-width space in our domain",
    mail: `${MAIL} SMTPUTF8`,
    to: utf8("<alice@example\u200b.org>"),
    reply: badSyntax,
  },
  {
    name: "a soft hyphen at the end of our domain",
    mail: `${MAIL} SMTPUTF8`,
    to: utf8("<alice@foreign.example\u00ad>"),
    reply: /^5(54|01) /,
  },
  {
    name: "broken UTF-8",
    mail: `${MAIL} SMTPUTF8`,
    to: "<alice@example.org\xc0\x80@foreign.example>",
    reply: /^50[01] 5\./,
  },
];

/** Lines that must be refused, each in turn, before a recipient could be named. */
const conversations: readonly { readonly name: string; readonly steps: readonly (readonly [string, RegExp])[] }[] = [
  { name: "RCPT before MAIL", steps: [["RCPT TO:<victim@foreign.example>", /^503 /]] },
  {
    name: "DATA before RCPT",
    steps: [
      [MAIL, /^250 /],
      ["DATA", /^503 /],
    ],
  },
  {
    name: "RCPT after RSET",
    steps: [
      [MAIL, /^250 /],
      ["RCPT TO:<alice@example.org>", /^250 /],
      ["RSET", /^250 /],
      ["RCPT TO:<victim@foreign.example>", /^503 /],
      ["DATA", /^503 /],
    ],
  },
  {
    name: "MAIL twice",
    steps: [
      [MAIL, /^250 /],
      ["RCPT TO:<alice@example.org>", /^250 /],
      ["MAIL FROM:<alice@example.org>", /^503 /],
      ["RCPT TO:<victim@foreign.example>", denied],
    ],
  },
  {
    name: "HELO as ourselves",
    steps: [
      ["HELO mx.example.org", /^250 /],
      [MAIL, /^250 /],
      ["RCPT TO:<victim@foreign.example>", denied],
    ],
  },
  {
    name: "EHLO as localhost",
    steps: [
      ["EHLO localhost", /^250/],
      [MAIL, /^250 /],
      ["RCPT TO:<victim@foreign.example>", denied],
    ],
  },
  {
    name: "EHLO as a loopback address",
    steps: [
      ["EHLO [127.0.0.1]", /^250/],
      [MAIL, /^250 /],
      ["RCPT TO:<victim@foreign.example>", denied],
    ],
  },
  {
    name: "an AUTH parameter of somebody else's login",
    steps: [
      ["MAIL FROM:<bob@example.net> AUTH=alice@example.org", /^(250|555) /],
      ["RCPT TO:<victim@foreign.example>", /^5(54|03) /],
    ],
  },
  {
    name: "AUTH PLAIN on the MX port",
    steps: [
      [`AUTH PLAIN ${plain("alice@example.org", PASSWORD)}`, /^502 /],
      [MAIL, /^250 /],
      ["RCPT TO:<victim@foreign.example>", denied],
    ],
  },
  {
    name: "AUTH LOGIN on the MX port",
    steps: [
      ["AUTH LOGIN", /^502 /],
      [MAIL, /^250 /],
      ["RCPT TO:<victim@foreign.example>", denied],
    ],
  },
  {
    name: "AUTH EXTERNAL on the MX port",
    steps: [
      ["AUTH EXTERNAL =", /^50[24] /],
      [MAIL, /^250 /],
      ["RCPT TO:<victim@foreign.example>", denied],
    ],
  },
  {
    name: "XCLIENT, XFORWARD and PROXY from nobody we trust",
    steps: [
      ["XCLIENT ADDR=10.0.0.1 LOGIN=alice@example.org", /^5/],
      ["XFORWARD ADDR=10.0.0.1", /^5/],
      ["PROXY TCP4 10.0.0.1 127.0.0.1 1 25", /^5/],
      [MAIL, /^250 /],
      ["RCPT TO:<victim@foreign.example>", denied],
    ],
  },
  {
    name: "SEND, SOML, SAML, TURN and ETRN",
    steps: [
      ["SEND FROM:<bob@example.net>", /^50/],
      ["SOML FROM:<bob@example.net>", /^50/],
      ["SAML FROM:<bob@example.net>", /^50/],
      ["TURN", /^50/],
      ["ETRN foreign.example", /^50/],
      ["RCPT TO:<victim@foreign.example>", /^503 /],
    ],
  },
];

describe("not an open relay", () => {
  let boat: Packetboat;
  let sink: Sink;
  let local = 0;
  const content = (subject: string): string =>
    `Subject: ${subject}\nTo: victim@foreign.example\nCc: victim@foreign.example\nBcc: victim@foreign.example\nResent-To: victim@foreign.example\nApparently-To: victim@foreign.example\n\nx\n`;

  before(async () => {
    sink = await Sink.start();
    const outside = { host: "127.0.0.1", port: sink.port };
    boat = await Packetboat.start({
      "all.yaml":
        object("MailServer", "mx", {
          hostname: "mx.example.org",
          limits: { softErrors: 1000, hardErrors: 1000 },
          outbound: { relayHost: outside },
          listeners: [
            { name: "mx", role: "MX", port: 25 },
            { name: "submission", role: "Submission", port: 587 },
            { name: "submissions", role: "Submission", port: 465, tls: { mode: "Implicit" } },
            { name: "behind-nat", role: "MX", port: 2526, proxyProtocol: { trustedCIDRs: ["127.0.0.1"] } },
            { name: "filtered", role: "Reinject", port: 10025, trustedProxies: ["127.0.0.1"] },
          ],
        }) +
        object("MailDomain", "ours", {
          domain: "example.org",
          serverRef: { name: "mx" },
          class: "Mailbox",
          delivery: { maildir: {} },
        }) +
        // Handed on unread: the host behind it might follow a route hidden in a local part.
        object("MailDomain", "relayed", {
          domain: "relayed.example",
          serverRef: { name: "mx" },
          class: "Relay",
          recipients: { from: "Any" },
          delivery: { smtp: outside },
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
    // The sink first: it is there even when the server could not start, and would keep the process alive.
    await sink[Symbol.asyncDispose]();
    await boat[Symbol.asyncDispose]();
  });

  const greeted = async (port: number, host = "127.0.0.1"): Promise<SmtpDialogue> => {
    const client = await SmtpDialogue.open(port, { host });
    assert.match(await client.reply(), /^220 /);
    await client.command("EHLO client.example.net");
    return client;
  };

  /** Source NAT: everybody in the world comes from the node, from the pod network's gateway, or from the cluster's own loopback. */
  const natted = ["10.244.1.1", "192.168.0.10", "172.17.0.1", "100.64.0.1", "127.0.0.1"];
  const places: readonly (readonly [where: string, from: (turn: number) => Promise<SmtpDialogue>])[] = [
    ["", () => greeted(boat.mx)],
    [
      ", behind source NAT",
      async (turn) => {
        const client = await SmtpDialogue.open(2526 + boat.offset);
        client.write(`PROXY TCP4 ${natted[turn % natted.length]} 10.244.1.9 40000 25\r\n`);
        assert.match(await client.reply(), /^220 /);
        await client.command("EHLO client.example.net");
        return client;
      },
    ],
  ];

  for (const [where, from] of places)
    for (const [turn, { name, mail = MAIL, to, reply }] of attempts.entries())
      test(`${reply === "local" ? "for alice alone" : "refused"}: ${name}${where}`, async () => {
        await using client = await from(turn);
        assert.match(await client.command(mail), /^250 /);
        const answer = await client.command(`RCPT TO:${to}`);
        assert.match(answer, reply === "local" ? /^250 / : reply);
        // Whatever the answer was, the client goes on as if it had been 250.
        const data = await client.command("DATA");
        if (!answer.startsWith("250")) return assert.match(data, /^5(03|54) 5\.5\.1 /);
        assert.match(data, /^354 /);
        client.write(`${content(name).replaceAll("\n", "\r\n")}.\r\n`);
        assert.match(await client.reply(), /^250 /);
        local += 1;
      });

  test("refused: a PROXY header where none is expected, and none where one is", async () => {
    await using forged = await SmtpDialogue.open(boat.mx);
    forged.write("PROXY TCP4 10.0.0.1 10.0.0.2 1 25\r\n");
    assert.match(await forged.reply(), /^220 /);
    assert.match(await forged.reply(), /^500 5\.5\.2 /);
    await forged.command("EHLO client.example.net");
    await forged.command(MAIL);
    assert.match(await forged.command("RCPT TO:<victim@foreign.example>"), denied);
    await using bare = await SmtpDialogue.open(2526 + boat.offset);
    bare.write("EHLO client.example.net\r\n");
    assert.equal(await bare.reply(), "");
  });

  test("refused: a proxy's word for a client that may not relay, and a content filter's door for anybody else", async () => {
    for (const address of ["10.244.1.1", "127.0.0.1", "IPV6:::1", "[UNAVAILABLE]"]) {
      await using filter = await SmtpDialogue.open(10025 + boat.offset);
      assert.match(await filter.reply(), /^220 /);
      assert.match(await filter.command(`XCLIENT ADDR=${address}`), /^220 /);
      await filter.command("EHLO client.example.net");
      assert.match(await filter.command(MAIL), /^554 5\.7\.1 /, address);
      // It passes on what its client says, who cannot become anybody by it. 127.0.0.1 is the filter itself.
      if (address !== "127.0.0.1") assert.match(await filter.command("XCLIENT ADDR=127.0.0.1"), /^550 5\.7\.0 /);
    }
    // From another address than the one that is trusted.
    await using other = await SmtpDialogue.open(10025 + boat.offset, { host: "::1" });
    assert.match(await other.reply(), /^220 /);
    for (const verb of ["XCLIENT ADDR=127.0.0.1", "XFORWARD ADDR=127.0.0.1"])
      assert.match(await other.command(verb), /^550 5\.7\.0 /);
    await other.command("EHLO client.example.net");
    for (const mail of [MAIL, "MAIL FROM:<>", "MAIL FROM:<alice@example.org>"])
      assert.match(await other.command(mail), /^554 5\.7\.1 /);
    assert.match(await other.command("RCPT TO:<victim@foreign.example>"), /^503 /);
  });

  for (const { name, steps } of conversations) {
    test(`refused: ${name}`, async () => {
      await using client = await greeted(boat.mx);
      for (const [line, reply] of steps) assert.match(await client.command(line), reply, line);
    });
  }

  test("refused: over IPv6 loopback", async () => {
    await using client = await greeted(boat.mx, "::1");
    await client.command(MAIL);
    assert.match(await client.command("RCPT TO:<victim@foreign.example>"), denied);
  });

  test("refused: under TLS without a certificate that anybody trusts", async () => {
    await using client = await greeted(boat.mx);
    await client.startTls();
    await client.command("EHLO client.example.net");
    await client.command(MAIL);
    assert.match(await client.command("RCPT TO:<victim@foreign.example>"), denied);
  });

  test("refused: pipelined behind a valid recipient; the message is for that one alone", async () => {
    await using client = await greeted(boat.mx);
    client.write(
      `${MAIL}\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<victim@foreign.example>\r\nRCPT TO:<victim%foreign.example@relayed.example>\r\nDATA\r\n`,
    );
    for (const reply of [/^250 /, /^250 /, denied, denied, /^354 /]) assert.match(await client.reply(), reply);
    client.write(`${content("pipelined").replaceAll("\n", "\r\n")}.\r\nRCPT TO:<victim@foreign.example>\r\n`);
    assert.match(await client.reply(), /^250 /);
    local += 1;
    assert.match(await client.reply(), /^503 /);
  });

  test("refused: a bare LF that hides a second RCPT in the first", async () => {
    await using client = await greeted(boat.mx);
    await client.command(MAIL);
    // Read as one line or as two: neither part may be accepted.
    client.write("RCPT TO:<nobody@example.org>\nRCPT TO:<victim@foreign.example>\r\nDATA\r\n");
    const answers = [await client.reply(), await client.reply()];
    if (!/^5(03|54) 5\.5\.1 /.test(answers.at(-1) ?? "")) answers.push(await client.reply());
    for (const answer of answers) assert.match(answer, /^5/);
  });

  test("refused: commands sent before TLS are not obeyed inside it", async () => {
    await using client = await greeted(boat.submission);
    client.write(`STARTTLS\r\nAUTH PLAIN ${plain("alice@example.org", PASSWORD)}\r\nMAIL FROM:<alice@example.org>\r\n`);
    assert.match(await client.reply(), /^(220|5\d\d|421) /);
    // What came with STARTTLS was thrown away or ended the session; nothing of it is answered in the clear.
    assert.doesNotMatch(await client.reply(1000).catch(() => ""), /^2/);
  });

  for (const listener of ["submission", "submissions"] as const) {
    test(`refused: ${listener} without a login`, async () => {
      await using client = await SmtpDialogue.open(boat[listener], { tls: listener === "submissions" });
      await client.reply();
      await client.command("EHLO client.example.net");
      for (const inTls of [false, true]) {
        if (inTls && listener === "submission") {
          await client.startTls();
          await client.command("EHLO client.example.net");
        }
        for (const mail of [MAIL, "MAIL FROM:<alice@example.org>", "MAIL FROM:<>"])
          assert.match(await client.command(mail), /^530 5\.7\.0 /);
        assert.match(await client.command("RCPT TO:<victim@foreign.example>"), /^5(30|03) /);
        assert.match(await client.command("RCPT TO:<alice@example.org>"), /^5(30|03) /);
        assert.match(await client.command("DATA"), /^5(30|03) /);
      }
      assert.match(await client.command(`AUTH PLAIN ${plain("alice@example.org", "wrong")}`), /^535 /);
      assert.match(await client.command("MAIL FROM:<alice@example.org>"), /^530 5\.7\.0 /);
    });
  }

  test("a login that ended with its connection helps nobody after it", async () => {
    {
      await using client = await greeted(boat.submission);
      await client.startTls();
      await client.command("EHLO client.example.net");
      assert.match(await client.command(`AUTH PLAIN ${plain("alice@example.org", PASSWORD)}`), /^235 /);
    }
    await using client = await greeted(boat.submission);
    await client.startTls();
    await client.command("EHLO client.example.net");
    assert.match(await client.command("MAIL FROM:<alice@example.org>"), /^530 5\.7\.0 /);
  });

  test("of all that, nothing left; alice has what was hers; and her own mail does leave", async () => {
    await until("an empty queue", 10_000, async () => {
      const { recipients } = await boat.json<{ recipients: number }>("/queue");
      return recipients === 0;
    });
    assert.deepEqual(sink.messages, []);
    assert.equal(sink.connections, 0);
    assert.ok(local >= 4);
    assert.equal(boat.maildir("mail/example.org/alice").length, local);
    // The listener is no dummy: what may leave arrives there.
    await using client = await greeted(boat.submission);
    await client.startTls();
    await client.command("EHLO client.example.net");
    await client.command(`AUTH PLAIN ${plain("alice@example.org", PASSWORD)}`);
    const replies = await client.send({
      from: "alice@example.org",
      to: ["friend@foreign.example"],
      content: content("out"),
    });
    assert.match(replies.at(-1) ?? "", /^250 /);
    await until("it outside", 10_000, () => sink.messages.length === 1);
    assert.deepEqual(
      sink.messages.map(({ to }) => to),
      [["friend@foreign.example"]],
    );
  });

  // What other servers have taken for the end of the data. Behind it stands what an attacker would have the server obey.
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
    // Nothing but a bare CR or LF somewhere.
    "\n",
    "\r",
    "\r\r\n",
    "\n\r\n",
  ];
  const smuggled = "MAIL FROM:<bob@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx";

  for (const ending of endings) {
    test(`one message, refused, whole and cut at every byte: ${JSON.stringify(ending)}`, async () => {
      await using client = await greeted(boat.mx);
      const body = `Subject: s\r\n\r\nb${ending}${smuggled}\r\n.\r\n`;
      // 0: whole. The pause makes two packets of it; should the server read both at once all the same, that cut was merely tried twice.
      for (let cut = 0; cut < body.length; cut += 1) {
        client.write(`${MAIL}\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n`);
        for (const reply of [/^250 /, /^250 /, /^354 /]) assert.match(await client.reply(), reply, `cut at ${cut}`);
        if (cut > 0) {
          client.write(body.slice(0, cut));
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        client.write(body.slice(cut));
        assert.match(await client.reply(), /^550 5\.6\.0 /, `cut at ${cut}`);
        // One answer to the data, and the next one belongs to the next command: nothing in between was obeyed.
        assert.match(await client.command("NOOP"), /^250 2\.0\.0 Ok$/, `cut at ${cut}`);
      }
    });
  }

  test("dots that are no end: one message, whole and cut at every byte, as it was sent", async () => {
    await using client = await greeted(boat.mx);
    const before = boat.maildir("mail/example.org/alice").length;
    const body = "Subject: dots\r\n\r\n..\r\n...\r\n. \r\n.x\r\n\r\n..\r\n.\r\n";
    for (let cut = 0; cut < body.length; cut += 1) {
      client.write(`${MAIL}\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n`);
      for (const reply of [/^250 /, /^250 /, /^354 /]) assert.match(await client.reply(), reply);
      client.write(body.slice(0, cut));
      await new Promise((resolve) => setTimeout(resolve, 1));
      client.write(body.slice(cut));
      assert.match(await client.reply(), /^250 /, `cut at ${cut}`);
    }
    const here = (): string[] => boat.maildir("mail/example.org/alice");
    await until("all of them", 10_000, () => here().length === before + body.length);
    const dotted = here().filter((message) => message.includes("Subject: dots"));
    assert.equal(dotted.length, body.length);
    for (const message of dotted) assert.ok(message.endsWith("\n\n.\n..\n \nx\n\n.\n"), JSON.stringify(message));
    assert.equal(here().filter((message) => message.includes("smuggled")).length, 0);
  });
});
