/** What becomes of an address, as tables: maps, their order and rounds, masquerading, completion, the way out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type AddressClass, noRewriting, type RewritingSettings } from "../config/rewriting.ts";
import { aConfig } from "../listen/inbound-fixture.ts";
import type { ServerSection } from "../config/schema.ts";
import { Rewriting } from "./rewriting.ts";

type Canonical = RewritingSettings["canonical"][number];

const all: AddressClass[] = ["EnvelopeSender", "EnvelopeRecipient", "HeaderSender", "HeaderRecipient"];
const aMap = (entries: Record<string, string>, more: Partial<Canonical> = {}): Canonical => ({
  classes: all,
  entries,
  tables: [],
  propagateExtension: true,
  ...more,
});
const aTable = (
  name: string,
  type: "Hash" | "Regexp" | "PCRE" | "CIDR",
  text: string,
): ServerSection["lookups"][number] => ({
  kind: "table",
  name,
  type,
  text,
  roles: [],
});
const rewriting = (
  settings: Partial<RewritingSettings>,
  lookups: ServerSection["lookups"] = [],
  recipientDelimiters = "+",
): Rewriting => Rewriting.of(aConfig({}, { rewriting: { ...noRewriting, ...settings }, lookups, recipientDelimiters }));

const say = (found: ReturnType<Rewriting["wayIn"]>): string =>
  found.kind === "address" ? found.address : `trouble: ${found.reason}`;

const staff = aMap({
  "alice@example.org": "alice.doe@example.org",
  "alice+lists@example.org": "lists@example.org",
  "@old.example": "@new.example",
  "bob@old.example": "robert@new.example",
  root: "admin@example.net",
  "a b@example.org": "ab@example.org",
  "x@xn--bcher-kva.example": "x@books.example",
  "Carl@example.org": "never@found.example",
});
const tables = [
  aTable("patterns", "Regexp", "/^(.*@)test\\.example\\.com$/ ${1}example.com\n/^host-(\\d+)@/ user$1@example.com"),
  aTable("hash", "Hash", "dora@example.org dora.x@example.org\n@b\u00fccher2.example @books2.example\njust jeff"),
  aTable("broken", "Regexp", "/^broken@/ not an address\n/^two@/ a@b, c@d"),
];

const found: readonly (readonly [settings: Partial<RewritingSettings>, from: string, to: string])[] = [
  [{ canonical: [staff] }, "alice@example.org", "alice.doe@example.org"],
  [{ canonical: [staff] }, "ALICE@Example.ORG", "alice.doe@example.org"],
  [{ canonical: [staff] }, '"alice"@example.org', "alice.doe@example.org"],
  [{ canonical: [staff] }, '"a b"@example.org', "ab@example.org"],
  [{ canonical: [staff] }, "alice+x@example.org", "alice.doe+x@example.org"],
  [{ canonical: [staff] }, "alice+Xy@example.org", "alice.doe+Xy@example.org"],
  [{ canonical: [staff] }, "alice+lists@example.org", "lists@example.org"],
  [{ canonical: [{ ...staff, propagateExtension: false }] }, "alice+x@example.org", "alice.doe@example.org"],
  [{ canonical: [staff] }, "Carla@old.example", "Carla@new.example"],
  [{ canonical: [staff] }, "carla+x@old.example", "carla+x@new.example"],
  [{ canonical: [staff] }, "bob@old.example", "robert@new.example"],
  [{ canonical: [staff] }, "bob+y@old.example", "robert+y@new.example"],
  [{ canonical: [staff] }, "root@mx.example.org", "admin@example.net"],
  [{ canonical: [staff] }, "root+x@mx.example.org", "admin+x@example.net"],
  [{ canonical: [staff] }, "root@example.org", "root@example.org"],
  [{ canonical: [staff], complete: { origin: "example.org" } }, "root@example.org", "admin@example.net"],
  [{ canonical: [staff] }, "x@b\u00fccher.example", "x@books.example"],
  [{ canonical: [staff] }, "x@XN--BCHER-KVA.example", "x@books.example"],
  [{ canonical: [staff] }, "nobody@nowhere.example", "nobody@nowhere.example"],
  [{ canonical: [staff] }, "not an address", "not an address"],
  [{ canonical: [staff] }, "@old.example", "@old.example"],
  [{ canonical: [staff] }, "x@[192.0.2.1]", "x@[192.0.2.1]"],
  // Patterns, and tables after entries.
  [{ canonical: [aMap({}, { tables: ["patterns"] })] }, "Dave@TEST.example.com", "Dave@example.com"],
  [{ canonical: [aMap({}, { tables: ["patterns"] })] }, "host-17@x.example", "user17@example.com"],
  [
    { canonical: [aMap({ "dora@example.org": "first@example.org" }, { tables: ["hash"] })] },
    "dora@example.org",
    "first@example.org",
  ],
  [{ canonical: [aMap({}, { tables: ["hash"] })] }, "dora+z@example.org", "dora.x+z@example.org"],
  [{ canonical: [aMap({}, { tables: ["hash"] })] }, "y@xn--bcher2-3ya.example", "y@books2.example"],
  [{ canonical: [aMap({}, { tables: ["hash"] })] }, "just@mx.example.org", "jeff@mx.example.org"],
  [
    { canonical: [aMap({}, { tables: ["hash"] })], complete: { origin: "o.example" } },
    "just@mx.example.org",
    "jeff@o.example",
  ],
  // A pattern sees whole addresses only.
  [{ canonical: [aMap({}, { tables: ["p2"] })] }, "frida+x@example.org", "frida+x@example.org"],
  // Again and again, and one map after the other.
  [{ canonical: [aMap({ "a@x.example": "b@x.example", "b@x.example": "c@x.example" })] }, "a@x.example", "c@x.example"],
  [{ canonical: [aMap({ "a@x.example": "A@x.example" })] }, "a@x.example", "A@x.example"],
  [
    { canonical: [aMap({ "a@x.example": "b@x.example" }), aMap({ "b@x.example": "c@x.example" })] },
    "a@x.example",
    "c@x.example",
  ],
  [
    { canonical: [aMap({ "b@x.example": "c@x.example" }), aMap({ "a@x.example": "b@x.example" })] },
    "a@x.example",
    "b@x.example",
  ],
  // Trouble.
  [
    { canonical: [aMap({ "a@x.example": "b@x.example", "b@x.example": "a@x.example" })] },
    "a@x.example",
    "trouble: the canonical map leads a@x.example in a circle",
  ],
  [
    { canonical: [aMap({}, { tables: ["broken"] })] },
    "broken@x.example",
    'trouble: the result "not an address" is not an address',
  ],
  [
    { canonical: [aMap({}, { tables: ["broken"] })] },
    "two@x.example",
    'trouble: the result "a@b, c@d" is not an address',
  ],
  [{ canonical: [aMap({}, { tables: ["gone"] })] }, "a@x.example", "trouble: table gone cannot be used"],
  [{ canonical: [aMap({}, { tables: ["networks"] })] }, "a@x.example", "trouble: table networks cannot be used"],
  // Completion.
  [{}, "alice", "alice"],
  [{ complete: { origin: "example.org" } }, "alice", "alice@example.org"],
  [{ complete: { origin: "example.org" }, canonical: [staff] }, "alice", "alice.doe@example.org"],
  [{ complete: { origin: "example.org" } }, "Postmaster", "Postmaster"],
  [{ complete: { parent: "example.org" } }, "alice@host", "alice@host.example.org"],
  [{ complete: { parent: "example.org" } }, "alice@host.example.net", "alice@host.example.net"],
  [{ complete: { parent: "example.org" } }, "alice@[192.0.2.1]", "alice@[192.0.2.1]"],
];
const lookups = [
  ...tables,
  aTable("p2", "PCRE", "/^frida@example\\.org$/ never@example.org"),
  aTable("networks", "CIDR", "10.0.0.0/8 x"),
];
for (const [place, [settings, from, to]] of found.entries())
  test(`way in ${place + 1}: ${from} → ${to}`, () => {
    const subject = rewriting(settings, lookups);
    const once = say(subject.wayIn(from, "HeaderSender"));
    assert.equal(once, to);
  });

test("classes are apart", () => {
  const subject = rewriting({
    canonical: [
      aMap({ "a@x.example": "sender@x.example" }, { classes: ["EnvelopeSender", "HeaderSender"] }),
      aMap({ "a@x.example": "recipient@x.example" }, { classes: ["EnvelopeRecipient"] }),
    ],
  });
  const said = all.map((where) => say(subject.wayIn("a@x.example", where)));
  assert.deepEqual(said, ["sender@x.example", "recipient@x.example", "sender@x.example", "a@x.example"]);
  assert.equal(subject.touches("HeaderRecipient"), false);
  assert.equal(subject.touches("HeaderRecipient", "HeaderSender"), true);
  assert.equal(rewriting({}).touches(...all), false);
});

const seed003 = {
  domains: [
    { domain: "ml.example.com", isHidden: false },
    { domain: "example.com", isHidden: true },
  ],
  exceptions: ["root"],
  classes: all,
};
const masqueraded: readonly (readonly [string, string])[] = [
  ["alice@host.example.com", "alice@example.com"],
  ["alice@a.b.EXAMPLE.com", "alice@example.com"],
  ["alice@example.com", "alice@example.com"],
  ["alice@ml.example.com", "alice@ml.example.com"],
  ["alice@x.ml.example.com", "alice@x.ml.example.com"],
  ["alice@xml.example.com", "alice@example.com"],
  ["alice@otherexample.com", "alice@otherexample.com"],
  ["root@host.example.com", "root@host.example.com"],
  ["Root@host.example.com", "Root@host.example.com"],
  ["root+x@host.example.com", "root+x@example.com"],
  ["alice@example.org", "alice@example.org"],
];
for (const [from, to] of masqueraded)
  test(`masquerade ${from} → ${to}`, () => {
    assert.equal(say(rewriting({ masquerade: seed003 }).wayIn(from, "EnvelopeSender")), to);
    assert.equal(
      say(rewriting({ masquerade: { ...seed003, classes: ["HeaderSender"] } }).wayIn(from, "EnvelopeSender")),
      from,
    );
  });

test("masquerading comes after the canonical maps", () => {
  const settings = { canonical: [aMap({ "a@x.example": "b@host.example.com" })], masquerade: seed003 };
  assert.equal(say(rewriting(settings).wayIn("a@x.example", "HeaderRecipient")), "b@example.com");
});

const generic = [
  {
    entries: { "alice@int.example": "alice@example.net", "@int.example": "office@example.net" },
    tables: [],
    propagateExtension: false,
  },
  {
    entries: {
      "alice@int.example": "second@example.net",
      "carl@x.example": "dora@x.example",
      "dora@x.example": "never@x.example",
    },
    tables: ["patterns"],
    propagateExtension: true,
  },
];
const out: readonly (readonly [string, string])[] = [
  ["alice@int.example", "alice@example.net"],
  ["alice+x@int.example", "alice@example.net"],
  ["bob@int.example", "office@example.net"],
  ["carl@x.example", "dora@x.example"],
  ["carl+q@x.example", "dora+q@x.example"],
  ["x@test.example.com", "x@example.com"],
  ["other@example.org", "other@example.org"],
];
for (const [from, to] of out)
  test(`way out ${from} → ${to}`, () => {
    const subject = rewriting({ generic }, tables);
    assert.equal(say(subject.wayOut(from)), to);
    assert.equal(say(subject.wayIn(from, "EnvelopeSender")), from);
  });

test("whatever the address: an answer, within bounds, and stable", () => {
  const subject = rewriting(
    {
      canonical: [staff, aMap({}, { tables: ["patterns"] })],
      masquerade: seed003,
      complete: { origin: "o.example", parent: "p.example" },
    },
    tables,
  );
  const label = fc.constantFrom(
    "alice",
    "bob",
    "+x",
    '"',
    "a b",
    ".",
    "old.example",
    "test.example.com",
    "example.org",
    "host-1",
    "@",
    "\u00fc",
    "[",
    "]",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ maxLength: 80 }),
        fc.array(label, { maxLength: 6 }).map((each) => each.join("")),
      ),
      (address) => {
        const once = subject.wayIn(address, "HeaderSender");
        assert.equal(once.kind, "address");
        if (once.kind !== "address") return;
        const twice = subject.wayIn(once.address, "HeaderSender");
        assert.deepEqual(twice, once);
        if (once.address !== address) assert.doesNotMatch(once.address, /[\r\n<>,;]/);
      },
    ),
    { numRuns: 700 },
  );
});
