/** Setup b: virtual domains with mailboxes, aliases in every form, delimiters, and a domain of aliases only. */
import { object } from "../../../integration/manifests.ts";
import { crossed, domain, mail, mailbox, mailServer, type Pair, stranger, texthash, trusted } from "../pair.ts";

const boxes = ["alice", "bob", "carol", "dave", "o-brien", "mc+donald", "first.last", "user_name", "x"];
const everybody = Array.from({ length: 40 }, (_, number) => `member${number}@away.example`);

/** Local parts at example.org; a full address stands for itself. */
const aliases: Readonly<Record<string, readonly string[]>> = {
  one: ["alice@example.org"],
  two: ["alice@example.org", "bob@example.org"],
  outside: ["friend@away.example"],
  both: ["alice@example.org", "friend@away.example"],
  nested: ["two@example.org", "carol@example.org"],
  deeper: ["nested@example.org", "outside@example.org"],
  chain1: ["chain2@example.org"],
  chain2: ["chain3@example.org"],
  chain3: ["chain4@example.org"],
  chain4: ["chain5@example.org"],
  chain5: ["carol@example.org"],
  diamond: ["left@example.org", "right@example.org"],
  left: ["dave@example.org", "alice@example.org"],
  right: ["dave@example.org", "bob@example.org"],
  many: everybody,
  "to-extension": ["alice+inbox@example.org"],
  "to-capitals": ["Alice@EXAMPLE.ORG"],
  "to-catch-all": ["anybody@catch.example"],
  "to-list-domain": ["staff@lists.example"],
  "named+tag": ["carol@example.org"],
  named: ["bob@example.org"],
  "with-hyphen": ["bob@example.org"],
  "to-nobody": ["nobody@example.org"],
  "to-nobody-and-alice": ["nobody@example.org", "alice@example.org"],
  ring: ["gnir@example.org"],
  gnir: ["ring@example.org"],
  myself: ["myself@example.org"],
  "ring-and-alice": ["ring@example.org", "alice@example.org"],
  abuse: ["alice@example.org"],
};
const listAliases: Readonly<Record<string, readonly string[]>> = {
  staff: ["alice@example.org", "bob@example.org"],
  "staff+boss": ["carol@example.org"],
  away: ["someone@away.example"],
};
const recipients: Readonly<Record<string, string | readonly string[]>> = {
  ...Object.fromEntries([...boxes, ...Object.keys(aliases)].map((each) => [each, `${each}@example.org`])),
  ...Object.fromEntries(Object.keys(listAliases).map((each) => [`list-${each}`, `${each}@lists.example`])),
  "box-capitals": "ALICE@Example.ORG",
  "box-plus": "alice+tag@example.org",
  "box-minus": "alice-tag@example.org",
  "box-plus-minus": "alice+one-two@example.org",
  "box-empty-extension": "alice+@example.org",
  "hyphen-box-plus": "o-brien+tag@example.org",
  "plus-box-minus": "mc+donald-tag@example.org",
  "hyphen-prefix-unknown": "o@example.org",
  "alias-plus": "one+tag@example.org",
  "alias-two-plus": "two+tag@example.org",
  "alias-outside-plus": "outside+tag@example.org",
  "alias-named-other-tag": "named+other@example.org",
  "alias-named-tag-capitals": "Named+Tag@example.org",
  "alias-hyphen-tag": "with-hyphen-tag@example.org",
  "alias-to-extension-plus": "to-extension+more@example.org",
  "alias-capitals": "TWO@EXAMPLE.ORG",
  nobody: "nobody@example.org",
  "nobody-plus": "nobody+tag@example.org",
  "catch-anybody": "anybody@catch.example",
  "catch-plus": "anybody+tag@catch.example",
  "catch-user": "user@catch.example",
  "catch-user-plus": "user+tag@catch.example",
  "catch-alias": "alias@catch.example",
  "catch-postmaster": "postmaster@catch.example",
  "moved-domain-user": "alice@old.example",
  "moved-domain-plus": "alice+tag@old.example",
  "moved-domain-unknown": "nobody@old.example",
  "moved-domain-alias": "two@old.example",
  "list-unknown": "nobody@lists.example",
  "list-staff-plus": "staff+tag@lists.example",
  "child-domain": "alice@sub.example.org",
  foreign: "victim@elsewhere.example",
  "two-boxes": ["alice@example.org", "bob@example.org"],
  "box-and-its-alias": ["alice@example.org", "one@example.org"],
  "two-aliases-of-one": ["one@example.org", "abuse@example.org"],
  "box-and-box-plus": ["alice@example.org", "alice+tag@example.org"],
  "three-domains": ["alice@example.org", "anybody@catch.example", "staff@lists.example"],
  "known-and-unknown": ["nobody@example.org", "alice@example.org", "nobody@lists.example"],
  "known-and-foreign": ["victim@elsewhere.example", "alice@example.org"],
};

const entries = (map: Readonly<Record<string, readonly string[]>>, at: string): (readonly [string, string])[] =>
  Object.entries(map).map(([local, to]) => [`${local}@${at}`, to.join(", ")]);
const alias = (map: Readonly<Record<string, readonly string[]>>, at: string): string =>
  object("Alias", `aliases-${at.replaceAll(".", "-")}`, {
    domainRef: { name: at.replaceAll(".", "-") },
    entries: Object.entries(map).map(([local, destinations]) => ({ address: `${local}@${at}`, destinations })),
  });

export const virtual: Pair = {
  name: "b",
  title: "virtual domains and aliases",
  postfix: ({ sink }) => ({
    main: `mydomain = example.net
myhostname = mta.example.net
recipient_delimiter = +-
virtual_mailbox_domains = example.org, catch.example
virtual_mailbox_maps = texthash:\${config_directory}/mailboxes
virtual_alias_domains = lists.example, old.example
virtual_alias_maps = texthash:\${config_directory}/virtual
virtual_transport = smtp:[127.0.0.1]:${sink}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
`,
    files: {
      mailboxes: texthash([...boxes.map((each) => [`${each}@example.org`, "x"] as const), ["user@catch.example", "x"]]),
      virtual: texthash([
        ...entries(aliases, "example.org"),
        ["dave@example.org", "dave@example.org, copy@away.example"],
        ...entries(listAliases, "lists.example"),
        ["alias@catch.example", "bob@example.org"],
        // Postfix asks aliases first: a user beside a catch-all must be an alias of itself.
        ["user@catch.example", "user@catch.example"],
        ["@catch.example", "carol@example.org"],
        ["@old.example", "@example.org"],
      ]),
    },
  }),
  packetboat: (around) =>
    [
      mailServer(around, {
        hostname: "mta.example.net",
        addresses: { recipientDelimiters: "+-" },
        postmaster: ["alice@example.org"],
      }),
      domain(around, "example.org", { class: "Mailbox" }),
      domain(around, "catch.example", { class: "Mailbox", catchAll: ["carol@example.org"] }),
      domain(around, "lists.example", { class: "Alias" }),
      domain(around, "old.example", { class: "Alias", catchAll: ["@example.org"] }),
      // An address is a Mailbox or an Alias, not both: copies are forwardTo.
      ...boxes.map((each) =>
        mailbox(`${each}@example.org`, each === "dave" ? { forwardTo: ["copy@away.example"] } : {}),
      ),
      mailbox("user@catch.example"),
      alias(aliases, "example.org"),
      alias(listAliases, "lists.example"),
      alias({ alias: ["bob@example.org"] }, "catch.example"),
    ].join(""),
  dialogues: [
    ...crossed(
      "to",
      { stranger },
      Object.fromEntries(Object.entries(recipients).map(([name, to]) => [name, mail(to)])),
    ),
    ...crossed(
      "null-sender",
      { stranger },
      Object.fromEntries(
        ["alice", "two", "outside", "to-nobody", "ring"].map((each) => [
          each,
          mail(`${each}@example.org`, { from: "" }),
        ]),
      ),
    ),
    ...crossed(
      "out",
      { trusted },
      {
        foreign: mail("friend@away.example"),
        "foreign-and-ours": mail(["friend@away.example", "two@example.org"]),
        "from-ours": mail("friend@away.example", { from: "alice@example.org" }),
        "from-ours-unknown": mail("friend@away.example", { from: "nobody@example.org" }),
        nobody: mail("nobody@example.org"),
      },
    ),
  ],
};
