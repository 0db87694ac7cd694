/**
 * Address rewriting, Postfix beside Packetboat: the same maps, the same mail, and what leaves either of them has the same envelope and the same addresses in its header.
 * canonical_maps with classes, extensions, patterns and rounds, masquerade_domains with exceptions, myorigin and mydomain, smtp_generic_maps.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Packetboat } from "../peers/packetboat.ts";
import { until } from "../peers/ports.ts";
import { Postfix, postfixMissing } from "../peers/postfix.ts";
import { Sink, type Sunk } from "../peers/sink.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object } from "./manifests.ts";

type Entries = readonly (readonly [from: string, to: string])[];
const maps = {
  sender: [["sales@x.example", "office@x.example"]],
  recipient: [
    ["sales@x.example", "desk@x.example"],
    ["@rcpt.example", "@rcptnew.example"],
  ],
  common: [
    ["alice@example.com", "alice.doe@example.com"],
    ["bob@example.com", "robert@example.com"],
    ["bob+lists@example.com", "lists@example.com"],
    ["@old.example", "@new.example"],
    ["carl@old.example", "karl@new.example"],
    ["root", "admin@example.com"],
    ["chain1@x.example", "chain2@x.example"],
    ["chain2@x.example", "chain3@x.example"],
    ["upper@x.example", "Upper@x.example"],
    ["office@x.example", "bureau@x.example"],
    ["outer@x.example", "inner@host.example.com"],
  ],
  generic: [
    ["alice.doe@example.com", "alice@isp.example"],
    ["@int.example", "@isp.example"],
    ["ext@box.example", "extout@isp.example"],
    ["twice@box.example", "twice@int.example"],
    ["keeper@host.example.com", "kept@isp.example"],
  ],
} satisfies Record<string, Entries>;
const patterns = String.raw`/^(.*@)test\.example\.com$/ ${"${1}"}example.com
/^host-([0-9]+)@num\.example$/ user$1@num.example
/^frida@example\.com$/ freda@example.com
`;

interface Case {
  readonly from: string;
  readonly to: readonly string[];
  readonly header: readonly string[];
}
const dated = ["Date: Fri, 2 Jan 2026 03:04:05 +0000", "Message-ID: <1@client.example>"];
const plain = (address: string, header: readonly string[] = []): Case => ({
  from: address,
  to: [address],
  header: [`From: ${address}`, `To: ${address}`, ...dated, ...header],
});
const cases: readonly Case[] = [
  // Maps, keys and extensions; each as sender and recipient, in envelope and header.
  ...[
    "alice@example.com",
    "ALICE@Example.COM",
    "alice+x@example.com",
    "alice+x+y@example.com",
    "bob@example.com",
    "bob+lists@example.com",
    "bob+Lists@example.com",
    "bob+other@example.com",
    "dora@old.example",
    "dora+x@old.example",
    "carl@old.example",
    "carl+x@old.example",
    "root@example.com",
    "root+x@example.com",
    "root@elsewhere.example",
    "chain1@x.example",
    "upper@x.example",
    "sales@x.example",
    "sales+q@x.example",
    "office@x.example",
    "outer@x.example",
    "somebody@rcpt.example",
    "stranger@nowhere.example",
    // Patterns: whole addresses only.
    "anna@test.example.com",
    "Anna+x@TEST.example.com",
    "host-17@num.example",
    "host-x@num.example",
    "frida@example.com",
    "frida+x@example.com",
    // Masquerading.
    "emil@host.example.com",
    "emil@a.b.example.com",
    "emil@ml.example.com",
    "emil@x.ml.example.com",
    "emil@otherexample.com",
    "keeper@host.example.com",
    "Keeper@host.example.com",
    "keeper+x@host.example.com",
    // Incomplete.
    "emil@host",
    "alice@host",
    // On the way out.
    "any@int.example",
    "ext@box.example",
    "ext+x@box.example",
    "twice@box.example",
  ].map((address) => plain(address)),
  // Nothing but a subject: what is added?
  { from: "alice@example.com", to: ["bob@example.com"], header: ["Subject: bare"] },
  { from: "", to: ["alice@example.com"], header: ["From: alice", "To: root, emil"] },
  {
    from: "alice@example.com",
    to: ["stranger@nowhere.example", "dora@old.example", "emil@host.example.com"],
    header: [
      'From: "Doe, Alice" <alice@example.com>',
      "Sender: emil@host.example.com",
      // Postfix would move a comment that stands before its address; here it stays.
      "Reply-To: Sales <sales@x.example>, bob@example.com (the boss)",
      "To: friends: dora@old.example, Carl <carl@old.example>;, undisclosed-recipients:;",
      'Cc: =?utf-8?q?J=C3=B6rg?= <emil@host.example.com>,\r\n\tanna@test.example.com (at work, or not),\r\n "root" <root@example.com>',
    ],
  },
  {
    from: "emil@host.example.com",
    to: ["sales@x.example"],
    header: [
      ...dated,
      "Resent-From: alice@example.com",
      "Resent-To: sales@x.example",
      "Resent-Cc: chain1@x.example",
      "Resent-Sender: sales@x.example",
      "From: sales@x.example",
      "To: sales@x.example",
      "Errors-To: sales@x.example",
      "Disposition-Notification-To: Sales <sales@x.example>",
      "Return-Receipt-To: sales@x.example",
      "X-Other: sales@x.example",
      "Subject-Of: alice@example.com",
    ],
  },
  {
    from: "any@int.example",
    to: ["ext@box.example", "any@int.example"],
    header: ["From: Any <any@int.example>", "To: ext@box.example", "Cc: twice@box.example, x@int.example"],
  },
];

const numberOf = ({ content }: Sunk): number => Number(/^X-Case: (\d+)\r?$/m.exec(content)?.[1] ?? -1);
const checked =
  /^(from|sender|reply-to|to|cc|resent-from|resent-to|resent-cc|resent-sender|errors-to|disposition-notification-to|return-receipt-to|x-other|subject-of):/i;

/** What both must agree on: octets of space and folds are theirs. */
function seen({ from, to, content }: Sunk): unknown {
  const header = content.slice(0, content.search(/\r?\n\r?\n/)).replaceAll(/\r?\n(?=[ \t])/g, "");
  return {
    from,
    to: [...to].sort(),
    fields: header
      .split(/\r?\n/)
      .filter((line) => checked.test(line))
      .map((line) => line.replaceAll(/\s/g, "").replace(/^(From:)<([^<>]+)>$/, "$1$2"))
      .sort(),
    added: ["Date", "Message-I[dD]", "From"].map((name) => new RegExp(`^${name}:`, "m").test(header)),
  };
}

async function send(port: number): Promise<void> {
  await using client = await SmtpDialogue.open(port);
  assert.match(await client.reply(), /^220/);
  assert.match(await client.command("EHLO client.example"), /^250/);
  for (const [number, { from, to, header }] of cases.entries()) {
    assert.match(await client.command(`MAIL FROM:<${from}>`), /^250/, `case ${number}`);
    for (const address of to) assert.match(await client.command(`RCPT TO:<${address}>`), /^250/, `case ${number}`);
    assert.match(await client.command("DATA"), /^354/);
    client.write([...header, `X-Case: ${number}`, "", "x", ".", ""].join("\r\n"));
    assert.match(await client.reply(), /^250/, `case ${number}`);
  }
}

type Files = (name: string) => string;
const entries = (name: keyof typeof maps): object => ({ entries: maps[name].map(([from, to]) => ({ from, to })) });

/** The same said twice. */
const setups: readonly {
  readonly name: string;
  readonly mainCf: (texthash: Files, regexp: Files) => string;
  readonly addresses: object;
  /** That many messages at least must have left with another envelope than they came with. */
  readonly changed: number;
}[] = [
  {
    name: "everything, clients of ours",
    mainCf: (texthash, regexp) => `append_dot_mydomain = yes
local_header_rewrite_clients = permit_mynetworks
sender_canonical_maps = ${texthash("sender")}
recipient_canonical_maps = ${texthash("recipient")}
canonical_maps = ${texthash("common")}, ${regexp("patterns")}
masquerade_domains = !ml.example.com, example.com
masquerade_exceptions = keeper
smtp_generic_maps = ${texthash("generic")}
`,
    addresses: {
      canonical: [
        { classes: ["EnvelopeSender", "HeaderSender"], ...entries("sender") },
        { classes: ["EnvelopeRecipient", "HeaderRecipient"], ...entries("recipient") },
        { ...entries("common"), tables: ["patterns"] },
      ],
      masquerade: { domains: ["!ml.example.com", "example.com"], exceptions: ["keeper"] },
      generic: [entries("generic")],
      complete: { origin: "example.com", parent: "example.com" },
    },
    changed: 30,
  },
  {
    name: "strangers",
    mainCf: (texthash, regexp) => `local_header_rewrite_clients =
canonical_maps = ${regexp("patterns")}, ${texthash("common")}
masquerade_domains = example.com
smtp_generic_maps = ${texthash("generic")}
`,
    addresses: {
      canonical: [{ tables: ["patterns", "common"] }],
      masquerade: { domains: ["example.com"] },
      generic: [{ tables: ["generic"] }],
      complete: { origin: "example.com" },
      rewriteHeadersOf: [],
    },
    changed: 25,
  },
  {
    name: "recipients only, other classes, extensions stay behind",
    mainCf: (texthash, regexp) => `local_header_rewrite_clients = permit_mynetworks
canonical_classes = envelope_recipient, header_recipient
canonical_maps = ${texthash("common")}, ${regexp("patterns")}
sender_canonical_classes = header_sender
sender_canonical_maps = ${texthash("sender")}
propagate_unmatched_extensions = generic
masquerade_domains = a.b.example.com, example.com, !ml.example.com
masquerade_classes = envelope_recipient, header_sender
smtp_generic_maps = ${texthash("generic")}
`,
    addresses: {
      canonical: [
        { classes: ["HeaderSender"], propagateExtension: false, ...entries("sender") },
        {
          classes: ["EnvelopeRecipient", "HeaderRecipient"],
          tables: ["common", "patterns"],
          propagateExtension: false,
        },
      ],
      masquerade: {
        domains: ["a.b.example.com", "example.com", "!ml.example.com"],
        classes: ["EnvelopeRecipient", "HeaderSender"],
      },
      generic: [{ ...entries("generic"), propagateExtension: true }],
      complete: { origin: "example.com" },
    },
    changed: 25,
  },
];

const missing = postfixMissing();
const texts = {
  ...Object.fromEntries(
    Object.entries(maps).map(([name, map]) => [name, map.map(([from, to]) => `${from} ${to}\n`).join("")]),
  ),
  patterns,
};

for (const { name, mainCf, addresses, changed } of setups)
  describe(`rewriting as Postfix does it: ${name}`, { skip: missing ?? false }, () => {
    const stack = new AsyncDisposableStack();
    const bySide = new Map<string, ReadonlyMap<number, Sunk>>();

    before(async () => {
      const [postfixSink, packetboatSink] = [stack.use(await Sink.start()), stack.use(await Sink.start())];
      const folder = mkdtempSync(join(tmpdir(), "packetboat-rewriting-"));
      stack.defer(() => rmSync(folder, { recursive: true, force: true }));
      for (const [file, text] of Object.entries(texts)) writeFileSync(join(folder, file), text);
      const own = mainCf(
        (file) => `texthash:${join(folder, file)}`,
        (file) => `regexp:${join(folder, file)}`,
      );
      const postfix = stack.use(
        await Postfix.start(
          postfixSink.port,
          `myorigin = example.com\nmydomain = example.com\nrecipient_delimiter = +\n${own}`,
        ),
      );
      const packetboat = stack.use(
        await Packetboat.start({
          "server.yaml": object("MailServer", "mx", {
            hostname: "packetboat.bench.example",
            networks: { trusted: ["127.0.0.0/8"] },
            outbound: { relayHost: { host: "127.0.0.1", port: packetboatSink.port } },
            tables: Object.entries(texts).map(([table, text]) => ({
              name: table,
              type: table === "patterns" ? "Regexp" : "Hash",
              content: { text },
            })),
            addresses,
          }),
        }),
      );
      await Promise.all([send(postfix.port), send(packetboat.mx)]);
      for (const [side, sink] of [
        ["postfix", postfixSink],
        ["packetboat", packetboatSink],
      ] as const) {
        await until(`all mail of ${side}`, 60_000, () =>
          Promise.resolve(new Set(sink.messages.map(numberOf)).size === cases.length),
        );
        bySide.set(side, new Map(sink.messages.map((message) => [numberOf(message), message])));
      }
    });
    after(() => stack.disposeAsync());

    for (const [number, { from, to }] of cases.entries())
      test(`${number}: ${from} → ${to.join(", ")}`, () => {
        const [theirs, ours] = ["postfix", "packetboat"].map((side) => bySide.get(side)?.get(number));
        assert.ok(theirs !== undefined && ours !== undefined);
        assert.deepEqual(seen(ours), seen(theirs));
      });

    test("most of them are rewritten at all", () => {
      const moved = cases.filter(({ from, to }, number) => {
        const ours = bySide.get("packetboat")?.get(number);
        return ours !== undefined && (ours.from !== from || ours.to.join() !== to.join());
      });
      assert.ok(moved.length >= changed, `${moved.length}`);
    });
  });
