/** Postscreen, DNS lists and greylisting as a postmaster writes them, with all shards of a pod and a real DNS server that holds the lists. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Nsd, nsdMissing } from "../peers/nsd.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, quickstart } from "./manifests.ts";

const listed = (last: number, answer: string, text?: string): string[] => [
  `${last}.0.0.127 IN A ${answer}`,
  ...(text === undefined ? [] : [`${last}.0.0.127 IN TXT "${text}"`]),
];

/** Clients come from addresses of loopback: .1 is nobody, .2 is listed by both, .3 by one, .4 vouched for, .5 in a list that may not be asked. */
const zones = {
  "zen.example": [...listed(2, "127.0.0.4"), ...listed(5, "127.255.255.254")],
  "bl.example": [
    ...listed(2, "127.0.0.2"),
    ...listed(3, "127.0.0.2", "See https://bl.example/?q=127.0.0.3"),
    ...listed(4, "127.0.0.2"),
  ],
  "wl.example": listed(4, "127.0.5.3"),
  "rhs.example": ["spam.example IN A 127.0.1.2", 'spam.example IN TXT "spam domain"'],
  // Sold, and answers everything.
  "gone.example": ["* IN A 203.0.113.80", "@ IN A 203.0.113.80"],
};

describe("postscreen, DNS lists and greylisting", { skip: nsdMissing() }, () => {
  let dns: Nsd;
  let boat: Packetboat;
  const write = (spec: Readonly<Record<string, unknown>>): Record<string, string> => ({
    ...quickstart(),
    "mx.yaml":
      object("MailServer", "mx", {
        hostname: "mx.example.org",
        outbound: { dns: { resolvers: [dns.resolver] } },
        ...spec,
      }) +
      object("MailDomain", "example-org", {
        domain: "example.org",
        serverRef: { name: "mx" },
        class: "Mailbox",
        delivery: { maildir: {} },
      }),
  });
  const postscreen = {
    greetWait: "400ms",
    dnsbl: {
      // The setting of many a Postfix: `zen.spamhaus.org=127.0.0.[2..11]*2 …`.
      sites: [
        { zone: "zen.example", filter: "127.0.0.[2..11]", weight: 2 },
        { zone: "bl.example" },
        { zone: "wl.example", filter: "127.0.[0..255].[1..3]", weight: -4 },
        { zone: "gone.example", weight: 5 },
      ],
      threshold: 2,
      allowlistThreshold: -1,
    },
  };
  before(async () => {
    dns = await Nsd.start(zones);
    boat = await Packetboat.start(write({ postscreen }));
  });
  after(async () => {
    await boat[Symbol.asyncDispose]();
    await dns[Symbol.asyncDispose]();
  });

  /** A client at 127.0.0.`last`: its commands, and what it was told, greeting first. */
  async function told(last: number, ...commands: readonly string[]): Promise<string[]> {
    await using client = await SmtpDialogue.open(boat.mx, { localAddress: `127.0.0.${last}` });
    const replies = [await client.reply()];
    for (const command of commands) replies.push(await client.command(command));
    return replies;
  }
  const waited = "220-mx.example.org ESMTP Packetboat\n220 mx.example.org ESMTP Packetboat";
  const welcome = "220 mx.example.org ESMTP Packetboat";
  const rcpt = async (last: number, sender: string): Promise<string> =>
    (await told(last, "HELO a.example", `MAIL FROM:<${sender}>`, "RCPT TO:<alice@example.org>")).at(-1) ?? "";
  const seen = (last: number): string[] =>
    boat
      .log()
      .filter(({ event, client }) => event === "postscreen" && client === `127.0.0.${last}`)
      .map((line) => ["result", "test", "score"].flatMap((key) => (key in line ? [String(line[key])] : [])).join(" "));

  test("an unlisted client waits once, whichever shard it meets, and delivers", async () => {
    const delivery = await told(
      1,
      "HELO client.example.net",
      "MAIL FROM:<bob@example.net>",
      "RCPT TO:<alice@example.org>",
      "DATA",
      "Subject: waited\r\n\r\n.",
    );
    assert.equal(delivery[0], waited);
    assert.match(delivery.at(-1) ?? "", /^250 /);
    for (let time = 0; time < 6; time++) assert.equal((await told(1))[0], welcome);
    await until("the log", 5000, () => seen(1).length === 7);
    assert.deepEqual(seen(1), ["pass 0", ...Array.from({ length: 6 }, () => "remembered")]);
    await until("the message", 10_000, () =>
      boat.maildir("mail/example.org/alice").some((text) => text.includes("waited")),
    );
  });

  test("a client on the lists is refused at RCPT", async () => {
    assert.equal(
      await rcpt(2, "x@example.net"),
      "550 5.7.1 Service unavailable; client [127.0.0.2] blocked using zen.example",
    );
    await until("the log", 5000, () => seen(2).length > 0);
    assert.deepEqual(seen(2), ["fail dnsbl 3"]);
    const refusal = () => boat.log().find(({ event, client }) => event === "rcpt-refused" && client === "127.0.0.2");
    await until("the refusal in the log", 5000, () => refusal() !== undefined);
    const { helo, from, to } = refusal() ?? {};
    assert.deepEqual([helo, from, to], ["a.example", "x@example.net", "alice@example.org"]);
  });

  test("below the threshold, vouched for, and lists that mean nothing", async () => {
    for (const [last, expected] of [
      [3, "pass 1"],
      [4, "allowlisted -3"],
      [5, "pass 0"],
    ] as const) {
      assert.equal((await told(last))[0], waited);
      await until(`the log of ${last}`, 5000, () => seen(last).length > 0);
      assert.deepEqual(seen(last), [expected]);
    }
    const metrics = await (await boat.admin("/metrics")).text();
    assert.match(metrics, /packetboat_dnsbl_queries_total\{list="gone\.example",result="implausible"\} [1-9]/);
    assert.match(metrics, /packetboat_dnsbl_queries_total\{list="zen\.example",result="refused"\} [1-9]/);
  });

  test("an early talker is cut off once the setting says so, without a restart", async () => {
    boat.write("mx.yaml", write({ postscreen: { ...postscreen, greetAction: "Drop" } })["mx.yaml"] ?? "");
    await until("the drop", 20_000, async () => {
      await using client = await SmtpDialogue.open(boat.mx, { localAddress: "127.0.0.9" });
      client.write("EHLO early.example\r\n");
      return (await client.reply()).endsWith("521 5.5.1 Protocol error");
    });
  });

  test("restrictions.dnsbl and greylisting: the list's words, the sender's domain, and a client that comes again", async () => {
    const dnsbl = [
      { zone: "wl.example", filter: "127.0.[0..255].[1..3]", action: "Permit" },
      { zone: "bl.example" },
      { zone: "rhs.example", kind: "Sender" },
    ];
    await boat.configure("mx.yaml", write({ restrictions: { dnsbl }, greylisting: { delay: "1s" } })["mx.yaml"] ?? "");
    const refused = "554 5.7.1 Service unavailable;";
    const words = `${refused} Client host [127.0.0.3] blocked using bl.example; See https://bl.example/?q=127.0.0.3`;
    await until("the setting", 20_000, async () => (await rcpt(3, "x@example.net")) === words);
    assert.equal(
      await rcpt(1, "x@spam.example"),
      `${refused} Sender address [x@spam.example] blocked using rhs.example; spam domain`,
    );
    assert.match(await rcpt(4, "x@example.net"), /^250 /, "vouched for: no list, no wait");
    assert.match(await rcpt(1, "bob@example.net"), /^451 4\.7\.1 Greylisted/);
    // Another shard may be asked: they agree.
    await until("its turn", 10_000, async () => (await rcpt(1, "bob@example.net")).startsWith("250 "));
  });
});
