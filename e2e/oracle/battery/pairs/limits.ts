/** Setup d: what one client, session and message may use; envelopes that are not strict; addresses that are rewritten, moved away or hidden. */
import { object } from "../../../integration/manifests.ts";
import { crossed, domain, mail, mailbox, mailServer, type Pair, stranger, texthash, trusted } from "../pair.ts";
import type { Step } from "../transcript.ts";
import { relayForms, utf8 } from "./relay-forms.ts";

const hello = "EHLO client.example.com";
const from = "MAIL FROM:<bob@sender.example>";
const rcpt = "RCPT TO:<alice@example.org>";
const SIZE = 10_240;
const letter = (body: string, dot?: string): readonly Step[] => [
  hello,
  from,
  rcpt,
  { message: `Subject: x\n\n${body}`, ...(dot === undefined ? {} : { dot }) },
  "NOOP",
  "QUIT",
];
const line = `${"x".repeat(70)}\n`;

const sizes: Readonly<Record<string, readonly Step[]>> = {
  "declared-small": [hello, `${from} SIZE=1000`, rcpt, "QUIT"],
  "declared-zero": [hello, `${from} SIZE=0`, rcpt, "QUIT"],
  "declared-large": [hello, `${from} SIZE=${SIZE + 1}`, rcpt, "QUIT"],
  "declared-huge": [hello, `${from} SIZE=99999999999`, rcpt, "QUIT"],
  "declared-beyond-numbers": [hello, `${from} SIZE=999999999999999999999999`, rcpt, "QUIT"],
  "declared-negative": [hello, `${from} SIZE=-1`, rcpt, "QUIT"],
  "declared-words": [hello, `${from} SIZE=big`, rcpt, "QUIT"],
  "declared-nothing": [hello, `${from} SIZE=`, rcpt, "QUIT"],
  "declared-twice": [hello, `${from} SIZE=10 SIZE=20`, rcpt, "QUIT"],
  "sent-half": letter(line.repeat(70)),
  "sent-double": letter(line.repeat(290)),
  "sent-double-declared-small": [
    hello,
    `${from} SIZE=100`,
    rcpt,
    { message: `Subject: x\n\n${line.repeat(290)}` },
    "NOOP",
    "QUIT",
  ],
  "sent-after-a-large-one": [
    hello,
    from,
    rcpt,
    { message: `Subject: x\n\n${line.repeat(290)}` },
    from,
    rcpt,
    { message: "Subject: y\n\nsmall" },
    "QUIT",
  ],
};
const bodies: Readonly<Record<string, readonly Step[]>> = {
  empty: letter(""),
  "no-header": [hello, from, rcpt, { message: "\nbody" }, "QUIT"],
  dots: letter("..\n...\n..x\n"),
  "long-line": letter("x".repeat(2000)),
  "longer-line": letter("x".repeat(5000)),
  "eight-bit": letter(utf8("Größe")),
  latin1: letter("Gr\xf6\xdfe"),
  bell: letter("\x07"),
  "headers-only": [hello, from, rcpt, { message: "Subject: x" }, "QUIT"],
  "no-final-newline-twice": letter("a\n\n\n\n"),
  "received-30": [hello, from, rcpt, { message: `${"Received: from a by b; now\n".repeat(30)}\nbody` }, "QUIT"],
  "received-60": [hello, from, rcpt, { message: `${"Received: from a by b; now\n".repeat(60)}\nbody` }, "QUIT"],
  "received-120": [hello, from, rcpt, { message: `${"Received: from a by b; now\n".repeat(120)}\nbody` }, "QUIT"],
};
const many = (count: number): readonly Step[] => [
  hello,
  from,
  ...Array.from({ length: count }, (_, number) => `RCPT TO:<alice+${number}@example.org>`),
];
const wrong = (count: number, text = "FROB"): readonly string[] => Array.from({ length: count }, () => text);
const limits: Readonly<Record<string, readonly Step[]>> = {
  "recipients-100": [...many(100), { message: "Subject: x\n\nx" }, "QUIT"],
  "recipients-103": [...many(103), { message: "Subject: x\n\nx" }, "QUIT"],
  "recipients-103-rset": [...many(103), "RSET", from, rcpt, "QUIT"],
  "errors-4": [hello, ...wrong(4), "NOOP", "QUIT"],
  "errors-many": [hello, ...wrong(25), "NOOP", "QUIT"],
  "errors-unknown-users": [hello, from, ...wrong(25, "RCPT TO:<nobody@example.org>"), "QUIT"],
  "errors-relaying": [hello, from, ...wrong(25, "RCPT TO:<victim@elsewhere.example>"), "QUIT"],
  "errors-bad-sender": [hello, ...wrong(25, "MAIL FROM:<a b>"), "QUIT"],
  "errors-before-helo": [...wrong(25, "MAIL FROM:<bob@sender.example>"), "QUIT"],
  "errors-then-message": [hello, ...wrong(3), from, rcpt, { message: "Subject: x\n\nx" }, ...wrong(4), "QUIT"],
  "junk-noop": [hello, ...wrong(30, "NOOP"), "QUIT"],
  "junk-rset": [hello, ...wrong(30, "RSET"), "QUIT"],
  "junk-vrfy": [hello, ...wrong(30, "VRFY alice@example.org"), "QUIT"],
  "junk-helo": [...wrong(30, hello), "QUIT"],
  "line-500": [hello, `NOOP ${"x".repeat(490)}`, "QUIT"],
  "line-1900": [hello, `NOOP ${"x".repeat(1900)}`, "QUIT"],
  "line-local-part-64": [hello, from, `RCPT TO:<${"a".repeat(64)}@example.org>`, "QUIT"],
  "line-local-part-100": [hello, from, `RCPT TO:<${"a".repeat(100)}@example.org>`, "QUIT"],
  "line-local-part-100-foreign": [hello, from, `RCPT TO:<${"a".repeat(100)}@elsewhere.example>`, "QUIT"],
  "line-sender-100": [hello, `MAIL FROM:<${"a".repeat(100)}@sender.example>`, rcpt, "QUIT"],
  "line-domain-300": [hello, `MAIL FROM:<bob@${"a.".repeat(150)}example>`, "QUIT"],
};
const places: Readonly<Record<string, readonly Step[]>> = Object.fromEntries(
  Object.entries({
    "canonical-address": "old.name@example.org",
    "canonical-extension": "old.name+tag@example.org",
    "canonical-domain": "alice@previous.example",
    "canonical-domain-unknown": "nobody@previous.example",
    "canonical-to-foreign": "left@example.org",
    "canonical-chain": "older.name@example.org",
    relocated: "moved@example.org",
    "relocated-extension": "moved+tag@example.org",
    "relocated-capitals": "MOVED@example.org",
    plain: "alice@example.org",
    "dot-first": ".alice@example.org",
    "dot-last": "alice.@example.org",
    "two-dots": "ali..ce@example.org",
  }).map(([name, to]) => [name, mail(to)]),
);
const senders = {
  masqueraded: "x@host.corp.example",
  "masqueraded-deeper": "x@a.b.corp.example",
  "masquerade-exception": "root@host.corp.example",
  "masquerade-excluded-domain": "x@ml.corp.example",
  canonical: "old.name@example.org",
};

export const limited: Pair = {
  name: "d",
  title: "limits, rewriting, lenient envelopes",
  postfix: ({ sink }) => ({
    main: `mydomain = example.net
myhostname = mta.example.net
recipient_delimiter = +
virtual_mailbox_domains = example.org
virtual_mailbox_maps = texthash:\${config_directory}/mailboxes
virtual_alias_maps = inline:{ {postmaster@mta.example.net=alice@example.org} }
virtual_transport = smtp:[127.0.0.1]:${sink}
relocated_maps = texthash:\${config_directory}/relocated
canonical_maps = texthash:\${config_directory}/canonical
masquerade_domains = !ml.corp.example, corp.example
masquerade_exceptions = root
message_size_limit = ${SIZE}
smtpd_recipient_limit = 100
smtpd_helo_required = yes
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 5
smtpd_junk_command_limit = 10
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
`,
    files: {
      mailboxes: texthash(
        ["alice@example.org", "new.name@example.org", "moved@example.org"].map((each) => [each, "x"]),
      ),
      relocated: texthash([["moved@example.org", "new@elsewhere.example"]]),
      canonical: texthash([
        ["old.name@example.org", "new.name@example.org"],
        ["older.name@example.org", "old.name@example.org"],
        ["left@example.org", "left@elsewhere.example"],
        ["@previous.example", "@example.org"],
      ]),
    },
  }),
  packetboat: (around) =>
    [
      mailServer(around, {
        hostname: "mta.example.net",
        postmaster: ["alice@example.org"],
        limits: {
          messageSize: `${SIZE}`,
          recipients: 100,
          softErrors: 1000,
          hardErrors: 5,
          junkCommands: 10,
          connectionsPerClient: 0,
        },
        addresses: {
          canonical: [
            {
              entries: [
                { from: "old.name@example.org", to: "new.name@example.org" },
                { from: "older.name@example.org", to: "old.name@example.org" },
                { from: "left@example.org", to: "left@elsewhere.example" },
                { from: "@previous.example", to: "@example.org" },
              ],
            },
          ],
          masquerade: { domains: ["!ml.corp.example", "corp.example"], exceptions: ["root"] },
          complete: { origin: "mta.example.net" },
        },
      }),
      domain(around, "example.org", { class: "Mailbox" }),
      mailbox("alice@example.org"),
      mailbox("new.name@example.org"),
      object("Alias", "moved", {
        domainRef: { name: "example-org" },
        addresses: ["moved"],
        relocatedTo: "new@elsewhere.example",
      }),
    ].join(""),
  dialogues: [
    ...crossed("size", { stranger }, sizes),
    ...crossed("body", { stranger }, bodies),
    ...crossed("limit", { stranger }, limits),
    ...crossed("place", { stranger, trusted }, places),
    ...crossed(
      "as",
      { stranger, trusted },
      Object.fromEntries(
        Object.entries(senders).map(([name, sender]) => [name, mail("alice@example.org", { from: sender })]),
      ),
    ),
    ...crossed(
      "lenient",
      { stranger, trusted },
      Object.fromEntries(
        Object.entries(relayForms("example.org", "elsewhere.example")).map(([name, to]) => [
          name,
          [hello, from, `RCPT TO:${to}`, { message: "Subject: x\n\nx" }, "QUIT"],
        ]),
      ),
    ),
    ...crossed(
      "lenient-sender",
      { stranger },
      Object.fromEntries(
        Object.entries({
          "no-brackets": "bob@sender.example",
          "no-domain": "<bob>",
          "two-ats": "<bob@a.example@sender.example>",
          "trailing-dot": "<bob@sender.example.>",
          "two-dots": "<bob@sender..example>",
          "dot-first": "<.bob@sender.example>",
          "dot-last": "<bob.@sender.example>",
          "dots-inside": "<b..ob@sender.example>",
          "blank-before": " <bob@sender.example>",
          "display-name": "Bob <bob@sender.example>",
          comment: "<bob@sender.example (Bob)>",
          empty: "",
          null: "<>",
        }).map(([name, sender]) => [name, [hello, `MAIL FROM:${sender}`, rcpt, "QUIT"]]),
      ),
    ),
  ],
};
