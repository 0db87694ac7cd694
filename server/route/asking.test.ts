/** Routing with look-ups: inline tables as sources, outages that come and go, objects that go first, questions that cost nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LookupRole, LookupSource } from "../config/lookups.ts";
import type { AddressEntry, DomainEntry, LiveConfig, ServerSection } from "../config/schema.ts";
import { aLiveConfig } from "../deliver/outbound-fixture.ts";
import { LookupUnavailable } from "../lookup/lookup.ts";
import { createLookups, type Lookups } from "../lookup/lookups.ts";
import { createLog } from "../observe/log.ts";
import { replyLine } from "../reply.ts";
import { Asking } from "./asking.ts";
import type { RecipientStanding, Resolution } from "./resolve.ts";

const log = createLog("test", "silent");
const maildir = { kind: "maildir" as const, base: "mail" };
const domain = (more: Partial<DomainEntry> = {}): DomainEntry => ({
  class: "Mailbox",
  recipients: "Lookups",
  delivery: maildir,
  catchAll: [],
  ...more,
});
const mailbox: AddressEntry = {
  mailbox: { authentication: true, suspended: false, forwardTo: [], keepCopy: false, sendAs: [] },
};
const alias = (...destinations: string[]): AddressEntry => ({ alias: { destinations, senders: [] } });
const smtp = (host: string) => ({
  delivery: { kind: "smtp" as const, host, port: 25, lookupMX: false, implicitTLS: false },
});

const table = (role: LookupRole, text: string): LookupSource => ({
  kind: "table",
  name: role.toLowerCase(),
  type: "Hash",
  text,
  roles: [role],
});
const tables = (texts: Partial<Record<LookupRole, string>>): LookupSource[] =>
  Object.entries(texts).map(([role, text]) => table(role as LookupRole, text));
const down = (...roles: LookupRole[]): LookupSource => ({ kind: "unusable", name: "db", roles, reason: "a test" });

const objects = (server: Partial<ServerSection> = {}): LiveConfig =>
  aLiveConfig(
    {
      domains: {
        "example.org": domain(),
        "closed.test": domain({ recipients: "Objects" }),
        "alias.test": { class: "Alias", recipients: "Lookups", catchAll: [] },
        "catch.test": domain({ catchAll: ["alice@example.org"] }),
      },
      addresses: {
        "alice@example.org": mailbox,
        "list@example.org": alias("alice@example.org", "team@example.org"),
        "ring@example.org": alias("gnir@example.org"),
      },
      routes: { "routed.test": smtp("by-route"), "*": smtp("smarthost") },
    },
    { recipientDelimiters: "+", ...server },
  );

const told = (standing: RecipientStanding): string =>
  standing.kind === "local"
    ? standing.domainClass
    : standing.kind === "refused"
      ? replyLine(standing.reply).slice(0, 9)
      : standing.kind;
const ledTo = (resolution: Resolution): string =>
  resolution.kind === "deliver"
    ? resolution.transport.destination
    : resolution.kind === "expand"
      ? resolution.into.join(" ")
      : replyLine(resolution.reply).slice(0, 9);

class World {
  readonly config: LiveConfig;
  readonly asking: Asking;
  /** `role key` of every question. */
  readonly questions: string[] = [];
  isDown = false;

  constructor(sources: LookupSource[], config: LiveConfig = objects()) {
    this.config = config;
    const real = createLookups({ ...config, server: { lookups: sources } }, log);
    const watched: Lookups = {
      has: (role) => real.has(role),
      names: (role) => real.names(role),
      table: (name) => real.table(name),
      close: () => real.close(),
      first: async (role, keys, names) => {
        this.questions.push(`${role} ${String(keys)}`);
        if (this.isDown) throw new LookupUnavailable("db", "source", "a test");
        return await real.first(role, keys, names);
      },
    };
    this.asking = new Asking(() => watched, log);
  }

  async standing(address: string): Promise<string> {
    return told(await this.asking.standingOf(this.config, address));
  }

  async resolve(address: string, expanded = false): Promise<string> {
    return ledTo(await this.asking.resolve(this.config, address, { sender: "", expanded }));
  }
}

test("where objects decide, and where there is nobody to ask, the answer is there at once and nothing is asked", () => {
  const nobody = new World([]);
  for (const address of ["alice@example.org", "nobody@example.org", "x@elsewhere.test"])
    assert.ok(!(nobody.asking.standingOf(nobody.config, address) instanceof Promise), address);
  const world = new World([down("domains", "aliases", "mailboxes", "transports", "tlsPolicies")]);
  for (const address of [
    "alice@example.org",
    "Alice+x@example.org",
    "nobody@closed.test",
    "postmaster",
    "x@[192.0.2.1]",
  ])
    assert.ok(!(world.asking.standingOf(world.config, address) instanceof Promise), address);
  assert.deepEqual(world.questions, []);
  const noDomains = new World([down("aliases", "mailboxes")]);
  assert.ok(!(noDomains.asking.standingOf(noDomains.config, "x@elsewhere.test") instanceof Promise));
});

test("standing: objects, then look-ups by user+ext@domain, user@domain, @domain; domains that only look-ups know", async () => {
  const world = new World(
    tables({
      domains: "served.test 1\nopen.test 1\n",
      mailboxes: "bob@example.org 1\nbob@served.test 1\nbob@alias.test 1\n",
      aliases: "team@example.org alice@example.org\nbob+x@served.test eve@elsewhere.test\n@open.test bob@served.test\n",
    }),
  );
  for (const [address, expected] of [
    ["bob@example.org", "Mailbox"],
    ["BOB+y@example.org", "Mailbox"],
    ["team@example.org", "Mailbox"],
    ["nobody@example.org", "550 5.1.1"],
    ["bob@closed.test", "550 5.1.1"],
    ["x@catch.test", "Mailbox"],
    ["bob@served.test", "Relay"],
    ["nobody@served.test", "550 5.1.1"],
    ["postmaster@served.test", "Mailbox"],
    ["x@open.test", "Relay"],
    ["x@elsewhere.test", "remote"],
    // A domain of class Alias has no mailboxes.
    ["bob@alias.test", "550 5.1.1"],
  ] as const)
    assert.equal(await world.standing(address), expected, address);
});

test("what looked-up domains are, the MailServer says", async () => {
  const sources = tables({ domains: "served.test 1\n", mailboxes: "bob@served.test 1\n" });
  const lmtp = { kind: "lmtp" as const, host: "dovecot", port: 24 };
  const of = (lookedUpDomains: NonNullable<ServerSection["lookedUpDomains"]>): World =>
    new World(sources, objects({ lookedUpDomains }));
  const boxes = of({ class: "Mailbox", recipients: "Lookups", delivery: lmtp });
  assert.equal(await boxes.standing("bob@served.test"), "Mailbox");
  assert.equal(await boxes.resolve("Bob+x@served.test"), "lmtp:[dovecot]:24");
  const bare = of({ class: "Mailbox", recipients: "Lookups" });
  assert.equal(await bare.resolve("bob@served.test"), "451 4.3.5");
  const any = of({ class: "Relay", recipients: "Any" });
  assert.equal(await any.standing("nobody@served.test"), "Relay");
  assert.equal(await any.resolve("nobody@served.test"), "smtp:[smarthost]:25");
});

test("aliases over look-ups and objects mixed: followed to the end, circles ended, an alias to itself keeps its own", async () => {
  const world = new World(
    tables({
      mailboxes: "bob@example.org 1\ncarol@example.org 1\n",
      aliases: [
        "team@example.org bob@example.org,both@example.org",
        "both@example.org carol@example.org,bob@example.org,out@elsewhere.test",
        "gnir@example.org ring@example.org",
        "bob@example.org bob@example.org,archive@elsewhere.test",
        "odd@example.org |/bin/sh",
        "short@example.org carol",
        "whole@example.org @elsewhere.test",
        ...Array.from({ length: 150 }, (_, at) => `deep${at}@example.org deep${at + 1}@example.org`),
        `wide@example.org ${Array.from({ length: 1001 }, (_, at) => `w${at}@elsewhere.test`).join(",")}`,
      ].join("\n"),
    }),
  );
  const everybody = ["archive@elsewhere.test", "bob@example.org", "carol@example.org", "out@elsewhere.test"];
  const sorted = async (address: string): Promise<string[]> => (await world.resolve(address)).split(" ").sort();
  assert.deepEqual(await sorted("team@example.org"), everybody);
  assert.deepEqual(await sorted("list@example.org"), ["alice@example.org", ...everybody].sort());
  assert.equal(await world.resolve("bob@example.org", true), "maildir:mail/bob@example.org");
  assert.equal(await world.resolve("ring@example.org"), "554 5.4.6");
  assert.equal(await world.resolve("gnir@example.org"), "554 5.4.6");
  assert.equal(await world.resolve("deep0@example.org"), "554 5.4.6");
  assert.equal(await world.resolve("deep60@example.org"), "deep150@example.org");
  assert.equal(await world.resolve("wide@example.org"), "554 5.4.6");
  assert.equal(await world.resolve("short+tag@example.org"), "carol+tag@example.org");
  assert.equal(await world.resolve("whole@example.org"), "whole@elsewhere.test");
  // What cannot be sent to waits for a person.
  assert.equal(await world.resolve("odd@example.org"), "451 4.3.0");
});

test("an outage is 451 and never an answer; the next question after it is answered", async () => {
  const world = new World(
    tables({
      domains: "served.test 1\n",
      mailboxes: "bob@example.org 1\n",
      aliases: "team@example.org bob@example.org\n",
    }),
  );
  world.isDown = true;
  for (const address of ["bob@example.org", "nobody@example.org", "x@elsewhere.test", "postmaster@served.test"]) {
    assert.equal(await world.standing(address), "451 4.3.0", address);
    assert.equal(await world.resolve(address), "451 4.3.0", address);
  }
  // Of an alias all or nothing: a part now and the rest later could reach the same reader twice.
  assert.equal(await world.resolve("list@example.org"), "451 4.3.0");
  assert.equal(await world.standing("alice@example.org"), "Mailbox");
  assert.equal(await world.resolve("alice@example.org"), "maildir:mail/alice@example.org");
  world.isDown = false;
  assert.equal(await world.standing("nobody@example.org"), "550 5.1.1");
  assert.equal(await world.resolve("list@example.org"), "alice@example.org bob@example.org");
});

test("an outage of a later source does not matter to what an earlier one knows", async () => {
  const world = new World([
    ...tables({ domains: "served.test 1\n", mailboxes: "bob@served.test 1\n" }),
    down("domains"),
  ]);
  assert.equal(await world.standing("bob@served.test"), "Relay");
  assert.equal(await world.standing("bob@elsewhere.test"), "451 4.3.0");
});

test("transports: an object's delivery and Routes, then look-ups, then what is for everything", async () => {
  const texts = {
    domains: "served.test 1\nrouted.test 1\n",
    mailboxes: "bob@served.test 1\nbob@routed.test 1\neve@served.test 1\n",
    transports: [
      "served.test lmtp:[dovecot]:24",
      "eve@served.test error:5.2.1 gone",
      "routed.test smtp:[never]",
      "example.org smtp:[never]",
      "elsewhere.test smtp:[partner]:2525",
      ".below.test relay:hub.test",
      "direct.test smtp:",
      "odd.test uucp:x",
    ].join("\n"),
  };
  const world = new World(tables(texts));
  for (const [address, expected] of [
    ["alice@example.org", "maildir:mail/alice@example.org"],
    ["bob@served.test", "lmtp:[dovecot]:24"],
    ["eve@served.test", "error:550 5.2.1 gone"],
    ["bob@routed.test", "smtp:[by-route]:25"],
    ["x@elsewhere.test", "smtp:[partner]:2525"],
    ["x@deep.below.test", "smtp:hub.test:25"],
    ["x@direct.test", "mx:direct.test"],
    ["x@odd.test", "451 4.3.5"],
    ["x@other.test", "smtp:[smarthost]:25"],
  ] as const)
    assert.equal(await world.resolve(address), expected, address);
  const everything = new World(tables({ transports: "* smtp:[all]\n" }));
  assert.equal(await everything.resolve("x@other.test"), "smtp:[smarthost]:25");
  const noRoutes = new World(tables({ transports: "* smtp:[all]\n" }), aLiveConfig({ domains: {}, addresses: {} }));
  assert.equal(await noRoutes.resolve("x@other.test"), "smtp:[all]:25");
  const dead = new World([down("transports")]);
  assert.equal(await dead.resolve("x@other.test"), "451 4.3.0");
  assert.equal(await dead.resolve("x@routed.test"), "smtp:[by-route]:25");
  assert.equal(await dead.resolve("alice@example.org"), "maildir:mail/alice@example.org");
});

test("TLS policies: those of objects, then look-ups; one that cannot be had or read makes mail wait", async () => {
  const config = aLiveConfig({
    domains: {},
    addresses: {},
    tlsPolicies: { "object.test": { level: "Secure", match: [], fingerprints: [] } },
  });
  const world = new World(
    tables({
      tlsPolicies: "strict.test verify match=mx.strict.test\n.below.test encrypt\nodd.test perhaps\ndane.test dane\n",
    }),
    config,
  );
  const levelOf = async (address: string): Promise<string> => {
    const resolution = await world.asking.resolve(config, address, { sender: "", expanded: true });
    return resolution.kind === "deliver" ? (resolution.transport.tlsPolicy?.level ?? "default") : ledTo(resolution);
  };
  assert.equal(await levelOf("x@strict.test"), "Verify");
  assert.equal(await levelOf("x@deep.below.test"), "Encrypt");
  assert.equal(await levelOf("x@other.test"), "default");
  assert.equal(await levelOf("x@dane.test"), "default");
  assert.equal(await levelOf("x@odd.test"), "451 4.7.5");
  world.questions.length = 0;
  assert.equal(await levelOf("x@object.test"), "default");
  assert.deepEqual(world.questions, []);
  world.isDown = true;
  assert.equal(await levelOf("x@strict.test"), "451 4.3.0");
  assert.equal(await levelOf("x@object.test"), "default");
});
