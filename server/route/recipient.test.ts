import assert from "node:assert/strict";
import { test } from "node:test";
import type { AddressEntry, DomainEntry, LiveConfig } from "../config/schema.ts";
import { aLiveConfig } from "../deliver/outbound-fixture.ts";
import { resolveRecipient } from "./recipient.ts";
import type { Resolution } from "./resolve.ts";
import { standingOf } from "./standing.ts";

const mailbox = (more: Partial<NonNullable<AddressEntry["mailbox"]>> = {}): AddressEntry => ({
  mailbox: { authentication: true, suspended: false, forwardTo: [], keepCopy: false, sendAs: [], ...more },
});
const alias = (...destinations: string[]): AddressEntry => ({ alias: { destinations, senders: [] } });
const domain = (more: Partial<DomainEntry> = {}): DomainEntry => ({
  class: "Mailbox",
  recipients: "Objects",
  delivery: { kind: "maildir", base: "mail" },
  catchAll: [],
  ...more,
});
const smtp = (host: string) => ({
  delivery: { kind: "smtp" as const, host, port: 25, lookupMX: false, implicitTLS: false },
});

const config = aLiveConfig(
  {
    domains: {
      "example.org": domain(),
      "alias.test": { class: "Alias", recipients: "Objects", catchAll: [] },
      "relay.test": { class: "Relay", recipients: "Any", catchAll: [] },
      "inner.test": domain({
        class: "Relay",
        recipients: "Any",
        delivery: { kind: "lmtp", host: "dovecot", port: 24 },
      }),
      "catch.test": domain({ catchAll: ["alice@example.org"] }),
      "old.test": { class: "Alias", recipients: "Objects", catchAll: [] },
      "bare.test": { class: "Mailbox", recipients: "Objects", catchAll: [] },
    },
    addresses: {
      "alice@example.org": mailbox(),
      "bob@example.org": mailbox({ delivery: { kind: "lmtp", host: "bob", port: 24 } }),
      "bob+exact@example.org": mailbox(),
      "gone@example.org": mailbox({ suspended: true }),
      "moved@example.org": { relocatedTo: "new@else.test" },
      "fwd@example.org": mailbox({ forwardTo: ["x@remote.test"] }),
      "keep@example.org": mailbox({ forwardTo: ["x@remote.test"], keepCopy: true }),
      "selfkeep@example.org": mailbox({ forwardTo: ["SelfKeep@Example.ORG", "x@remote.test"] }),
      "list@example.org": alias("alice@example.org", "sub@alias.test", "alice@example.org"),
      "sub@alias.test": alias("bob@example.org", "x@remote.test"),
      "loop1@alias.test": alias("loop2@alias.test"),
      "loop2@alias.test": alias("loop1@alias.test"),
      "mutual@alias.test": alias("mutual2@alias.test", "alice@example.org"),
      "mutual2@alias.test": alias("mutual@alias.test", "bob@example.org"),
      "onlyself@alias.test": alias("onlyself@alias.test"),
      "copy@relay.test": alias("copy@relay.test", "alice@example.org"),
      "tag@alias.test": alias("tag+x@alias.test", "alice@example.org"),
      "quoted@alias.test": alias("alice+fixed@example.org", "bob@example.org"),
      "@old.test": alias("@example.org"),
      "a@bare.test": mailbox(),
    },
    routes: {
      "relay.test": smtp("relay-host"),
      ".parent.test": smtp("parent"),
      ".deep.parent.test": smtp("deep"),
      "exact.parent.test": { ...smtp("exact"), connections: 3, tls: { clientCertificate: "default/cert" } },
    },
    senderRoutes: { "vip@example.org": smtp("vip"), "@sales.test": smtp("sales") },
  },
  { recipientDelimiters: "+-", postmaster: ["alice@example.org"] },
);

/** What a resolution says, in a word. */
function said(resolution: Resolution): string {
  if (resolution.kind === "fail") return `${resolution.reply.code} ${resolution.reply.enhanced}`;
  if (resolution.kind === "expand") return `expand ${resolution.into.join(" ")}`;
  const { destination, mailbox: box } = resolution.transport;
  return box === undefined || destination.startsWith("maildir") ? destination : `${destination} ${box}`;
}
const ask = (address: string, options: { sender?: string; expanded?: boolean; config?: LiveConfig } = {}): string =>
  said(
    resolveRecipient(options.config ?? config, address, {
      sender: options.sender ?? "s@any.test",
      expanded: options.expanded ?? false,
    }),
  );

const table: readonly [address: string, expected: string][] = [
  ["alice@example.org", "maildir:mail/alice@example.org"],
  ["ALICE@Example.Org", "maildir:mail/alice@example.org"],
  ['"alice"@example.org', "maildir:mail/alice@example.org"],
  // Extensions: exact first, then without, first delimiter of any kind, never at the start.
  ["alice+x@example.org", "maildir:mail/alice@example.org"],
  ["alice-x+y@example.org", "maildir:mail/alice@example.org"],
  ["bob+exact@example.org", "maildir:mail/bob+exact@example.org"],
  ["+alice@example.org", "550 5.1.1"],
  ["bob+Other@example.org", "lmtp:[bob]:24 bob@example.org"],
  // Refusals.
  ["nobody@example.org", "550 5.1.1"],
  ["nobody@alias.test", "550 5.1.1"],
  ["gone@example.org", "550 5.2.1"],
  ["moved@example.org", "551 5.1.6"],
  ["not-an-address", "501 5.1.3"],
  ["@example.org", "501 5.1.3"],
  ['""@old.test', "501 5.1.3"],
  ["a@bare.test", "451 4.3.5"],
  // Expansion.
  ["fwd@example.org", "expand x@remote.test"],
  ["keep@example.org", "expand keep@example.org x@remote.test"],
  ["selfkeep@example.org", "expand SelfKeep@Example.ORG x@remote.test"],
  ["list@example.org", "expand alice@example.org bob@example.org x@remote.test"],
  ["list+tag@example.org", "expand alice+tag@example.org bob+tag@example.org x+tag@remote.test"],
  ["loop1@alias.test", "554 5.4.6"],
  ["mutual@alias.test", "expand alice@example.org bob@example.org"],
  ["onlyself@alias.test", "451 4.3.5"],
  ["copy@relay.test", "expand copy@relay.test alice@example.org"],
  ["tag@alias.test", "expand alice@example.org tag+x@alias.test alice+x@example.org"],
  ["quoted+y@alias.test", "expand alice+fixed@example.org bob+y@example.org"],
  // Catch-all: the domain's list, and a whole domain renamed.
  ["whoever+x@catch.test", "expand alice@example.org"],
  ["alice@old.test", "expand alice@example.org"],
  ["Alice+x@old.test", "expand Alice+x@example.org"],
  // Relay class and any local part.
  ["whoever@relay.test", "smtp:[relay-host]:25"],
  ["who@inner.test", "lmtp:[dovecot]:24 who@inner.test"],
  // Remote.
  ["x@remote.test", "mx:remote.test"],
  ["x@REMOTE.test.", "mx:remote.test"],
  ["x@bücher.test", "mx:xn--bcher-kva.test"],
  ["x@[192.0.2.1]", "mx:[192.0.2.1]"],
  ["x@[IPv6:2001:db8::1]", "mx:[ipv6:2001:db8::1]"],
  ["x@[not-an-ip]", "501 5.1.3"],
  ["x@a.parent.test", "smtp:[parent]:25"],
  ["x@b.deep.parent.test", "smtp:[deep]:25"],
  ["x@exact.parent.test", "smtp:[exact]:25"],
  ["x@parent.test", "mx:parent.test"],
  // Postmaster: without a domain, of a served domain, of the host.
  ["Postmaster", "expand alice@example.org"],
  ["postmaster@example.org", "expand alice@example.org"],
  ["postmaster@mx.example.org", "expand alice@example.org"],
  ["postmaster@relay.test", "smtp:[relay-host]:25"],
  ["postmaster@remote.test", "mx:remote.test"],
];
for (const [address, expected] of table) test(`${address} → ${expected}`, () => assert.equal(ask(address), expected));

test("an expanded address is final while its own expansion still contains it", () => {
  assert.equal(ask("keep@example.org", { expanded: true }), "maildir:mail/keep@example.org");
  assert.equal(ask("copy@relay.test", { expanded: true }), "smtp:[relay-host]:25");
  // The mailbox became an alias after the expansion: its mail follows.
  assert.equal(ask("list@example.org", { expanded: true }), "expand alice@example.org bob@example.org x@remote.test");
});

test("routes by sender lose to routes by destination and win over the relay host", () => {
  const relaying = aLiveConfig(
    {
      domains: {},
      addresses: {},
      routes: { "remote.test": smtp("by-destination") },
      senderRoutes: { "vip@example.org": smtp("vip"), "@sales.test": smtp("sales") },
    },
    {
      outbound: {
        relayHost: { host: "Relay.Test", port: 587, lookupMX: false, implicitTLS: true, credentials: "default/relay" },
      },
    },
  );
  const from = (sender: string, address: string) => ask(address, { sender, config: relaying }).split(" ")[0];
  assert.equal(from("vip@example.org", "x@remote.test"), "smtp:[by-destination]:25");
  assert.equal(from("VIP@Example.org", "x@other.test"), "smtp:[vip]:25");
  assert.equal(from("who@sales.test", "x@other.test"), "smtp:[sales]:25");
  assert.equal(from("", "x@other.test"), "smtp:[relay.test]:587;tls;auth=default/relay");
  assert.equal(
    said(
      resolveRecipient({ ...relaying, routes: new Map([["*", smtp("star")]]) }, "x@y.test", {
        sender: "vip@example.org",
        expanded: false,
      }),
    ).split(" ")[0],
    "smtp:[star]:25",
  );
});

test("a route's connections and client certificate reach the transport", () => {
  const resolution = resolveRecipient(config, "x@exact.parent.test", { sender: "", expanded: false });
  assert.ok(resolution.kind === "deliver");
  assert.equal(resolution.transport.connections, 3);
  assert.equal(resolution.transport.clientCertificate, "default/cert");
  assert.equal(resolution.transport.tlsPolicyKey, "[exact]:25");
});

test("every transport of a Route, by destination and by sender; who sends from another address shares nothing", () => {
  const hop = { host: "gw", port: 26 };
  const routes = {
    "lmtp.test": { delivery: { kind: "lmtp" as const, ...hop } },
    "error.test": { delivery: { kind: "error" as const, code: 550, enhanced: "5.7.1", text: "no" } },
    "later.test": { delivery: { kind: "error" as const, code: 450, enhanced: "4.7.1", text: "retry" } },
    "discard.test": { delivery: { kind: "discard" as const } },
    "hold.test": { delivery: { kind: "hold" as const } },
    "mx.test": { delivery: { kind: "smtp" as const, ...hop, lookupMX: true, implicitTLS: false } },
    "six.test": {
      delivery: { kind: "smtp" as const, host: "2001:db8::1", port: 25, lookupMX: false, implicitTLS: false },
    },
    "bound.test": { ...smtp("gw"), sourceAddresses: ["192.0.2.1", "2001:db8::1"] },
    "free.test": smtp("gw"),
  };
  const routed = aLiveConfig({
    domains: {},
    addresses: {},
    routes,
    senderRoutes: { "@discarded.test": routes["discard.test"], "@refused.test": routes["error.test"] },
  });
  const by = (domainName: string, sender = "s@any.test"): string =>
    ask(`x@${domainName}`, { config: routed, sender }).split(" x@")[0] ?? "";
  assert.equal(by("lmtp.test"), "lmtp:[gw]:26");
  assert.equal(by("error.test"), "error:550 5.7.1 no");
  assert.equal(by("later.test"), "error:450 4.7.1 retry");
  assert.equal(by("discard.test"), "discard");
  assert.equal(by("hold.test"), "hold");
  assert.equal(by("mx.test"), "smtp:gw:26");
  assert.equal(by("six.test"), "smtp:[2001:db8::1]:25");
  assert.equal(by("free.test"), "smtp:[gw]:25");
  assert.equal(by("bound.test"), "smtp:[gw]:25;from=192.0.2.1,2001:db8::1");
  assert.equal(by("elsewhere.test", "a@discarded.test"), "discard");
  assert.equal(by("elsewhere.test", "a@refused.test"), "error:550 5.7.1 no");
  assert.equal(by("elsewhere.test", "a@other.test"), "mx:elsewhere.test");
  const resolution = resolveRecipient(routed, "x@bound.test", { sender: "", expanded: false });
  assert.ok(resolution.kind === "deliver");
  assert.deepEqual(resolution.transport.sourceAddresses, ["192.0.2.1", "2001:db8::1"]);
});

test("the TLS policy of an MX delivery is looked up by the recipient's domain", () => {
  const resolution = resolveRecipient(config, "x@Remote.test", { sender: "", expanded: false });
  assert.ok(resolution.kind === "deliver" && resolution.transport.tlsPolicyKey === "remote.test");
});

test("expansion ends: 100 steps deep and 1,000 addresses wide are the limits", () => {
  const chain = (length: number): LiveConfig => ({
    ...config,
    addresses: new Map(
      Array.from({ length }, (_, at) => [
        `a${at}@alias.test`,
        alias(at === length - 1 ? "end@remote.test" : `a${at + 1}@alias.test`),
      ]),
    ),
  });
  assert.equal(ask("a0@alias.test", { config: chain(100) }), "expand end@remote.test");
  assert.equal(ask("a0@alias.test", { config: chain(101) }), "554 5.4.6");
  const wide = (width: number): LiveConfig => ({
    ...config,
    addresses: new Map([["w@alias.test", alias(...Array.from({ length: width }, (_, at) => `u${at}@remote.test`))]]),
  });
  assert.equal(ask("w@alias.test", { config: wide(999) }).split(" ").length, 1000);
  assert.equal(ask("w@alias.test", { config: wide(1001) }), "554 5.4.6");
});

test("postmaster that leads nowhere is held, not lost", () => {
  const nobody = aLiveConfig({}, { postmaster: [] });
  assert.equal(ask("postmaster", { config: nobody }), "hold");
  assert.equal(standingOf(nobody, "postmaster").kind, "local");
});

const standings: readonly [address: string, expected: string][] = [
  ["alice@example.org", "local Mailbox"],
  ["alice+x@example.org", "local Mailbox"],
  ["list@example.org", "local Mailbox"],
  ["sub@alias.test", "local Alias"],
  ["x@relay.test", "local Relay"],
  ["anybody@catch.test", "local Mailbox"],
  ["anybody@old.test", "local Alias"],
  ["x@remote.test", "remote"],
  ["postmaster", "local Mailbox"],
  ["postmaster@alias.test", "local Mailbox"],
  ["postmaster@mx.example.org", "local Mailbox"],
  ["root@mx.example.org", "remote"],
  ["nobody@example.org", "refused unknown-user"],
  ["gone@example.org", "refused suspended"],
  ["moved@example.org", "refused relocated"],
  ["nonsense", "refused not-an-address"],
  ['""@example.org', "refused not-an-address"],
  [`${"x".repeat(600)}@example.org`, "refused not-an-address"],
];
for (const [address, expected] of standings) {
  test(`RCPT ${address.slice(0, 40)}: ${expected}`, () => {
    const standing = standingOf(config, address);
    const word =
      standing.kind === "local"
        ? `local ${standing.domainClass}`
        : standing.kind === "refused"
          ? `refused ${standing.reason}`
          : standing.kind;
    assert.equal(word, expected);
  });
}
