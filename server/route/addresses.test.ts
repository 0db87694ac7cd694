/** What users of Postfix rely on: who comes first beside a catch-all, one copy each, one domain in all its spellings, and the words for somebody who moved. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AddressEntry, DomainEntry } from "../config/schema.ts";
import { aLiveConfig } from "../deliver/outbound-fixture.ts";
import { replyLine } from "../reply.ts";
import { resolveRecipient } from "./recipient.ts";
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

const config = aLiveConfig(
  {
    domains: {
      "catch.test": domain({ catchAll: ["rest@example.org"] }),
      "aliased.test": domain(),
      "example.org": domain(),
      "xn--bcher-kva.example": domain(),
      "xn--strae-oqa.example": { class: "Alias", recipients: "Objects", catchAll: [] },
    },
    addresses: {
      "user@catch.test": mailbox(),
      "user+exact@catch.test": mailbox(),
      "list@catch.test": alias("a@remote.test", "b@remote.test"),
      "gone@catch.test": mailbox({ suspended: true }),
      "moved@catch.test": { relocatedTo: "moved@new.example" },
      "@aliased.test": alias("rest@example.org"),
      "user@aliased.test": mailbox(),
      "rest@example.org": mailbox(),
      "one@example.org": alias("two@example.org", "Rest@Example.org", "X@remote.test"),
      "two@example.org": alias("three@example.org", "REST@example.org", "x@REMOTE.test"),
      "three@example.org": mailbox({ forwardTo: ["rest@example.org", "x@remote.test"], keepCopy: true }),
      "jens@xn--bcher-kva.example": mailbox(),
      "@xn--strae-oqa.example": alias("@b\u00fccher.example"),
      "idn@example.org": alias("jens@B\u00dcCHER.example", "jens@xn--bcher-kva.example", "jens@XN--BCHER-KVA.example"),
    },
    routes: {
      "xn--rmer-5qa.test": {
        delivery: { kind: "smtp", host: "gw", port: 25, lookupMX: false, implicitTLS: false },
      },
    },
  },
  { recipientDelimiters: "+-" },
);

function leadsTo(address: string): string {
  const resolution = resolveRecipient(config, address, { sender: "s@any.test", expanded: false });
  if (resolution.kind === "fail") return replyLine(resolution.reply);
  return resolution.kind === "expand" ? resolution.into.join(" ") : resolution.transport.destination;
}

const table: readonly (readonly [what: string, address: string, leads: string])[] = [
  ["a mailbox before the catch-all", "user@catch.test", "maildir:mail/user@catch.test"],
  ["a mailbox without its extension before the catch-all", "user+x@catch.test", "maildir:mail/user@catch.test"],
  ["the other delimiter", "user-x@catch.test", "maildir:mail/user@catch.test"],
  ["the whole name before the one without extension", "user+exact@catch.test", "maildir:mail/user+exact@catch.test"],
  ["an extension of an extension", "user+exact+y@catch.test", "maildir:mail/user@catch.test"],
  ["an alias before the catch-all", "list@catch.test", "a@remote.test b@remote.test"],
  ["a suspended mailbox before the catch-all", "gone@catch.test", "550 5.2.1 Mailbox disabled, not accepting messages"],
  ["somebody who moved before the catch-all", "moved@catch.test", "551 5.1.6 User has moved to moved@new.example"],
  ["the catch-all for the rest", "anybody@catch.test", "rest@example.org"],
  ["a mailbox before a catch-all alias", "user@aliased.test", "maildir:mail/user@aliased.test"],
  ["its extension, too", "user+x@aliased.test", "maildir:mail/user@aliased.test"],
  ["a catch-all alias for the rest", "anybody@aliased.test", "rest@example.org"],
  ["nested, and one copy each", "one@example.org", "Rest@Example.org X@remote.test three@example.org"],
  ["a mailbox by its U-label", "jens@b\u00fccher.example", "maildir:mail/jens@xn--bcher-kva.example"],
  ["in capitals", "JENS@B\u00dcCHER.EXAMPLE", "maildir:mail/jens@xn--bcher-kva.example"],
  ["decomposed", "jens@bu\u0308cher.example", "maildir:mail/jens@xn--bcher-kva.example"],
  ["by its A-label, in capitals", "jens@XN--BCHER-KVA.EXAMPLE", "maildir:mail/jens@xn--bcher-kva.example"],
  ["a renamed domain, by its U-label", "jens@stra\u00dfe.example", "jens@b\u00fccher.example"],
  ["three spellings of one destination", "idn@example.org", "jens@B\u00dcCHER.example"],
  ["a route by its U-label", "x@r\u00f6mer.test", "smtp:[gw]:25"],
  ["nobody in a domain by its U-label", "nobody@b\u00fccher.example", "550 5.1.1 User unknown"],
];
for (const [what, address, leads] of table) test(`${what}: ${address}`, () => assert.equal(leadsTo(address), leads));

test("RCPT: an address of a domain in any spelling is ours", () => {
  for (const name of ["b\u00fccher.example", "B\u00dcCHER.example", "xn--bcher-kva.example", "XN--bcher-KVA.Example"]) {
    assert.deepEqual(standingOf(config, `jens@${name}`), { kind: "local", domainClass: "Mailbox" });
    assert.equal(standingOf(config, `nobody@${name}`).kind, "refused");
  }
});

test("RCPT: somebody who moved is told where to, in Postfix's words", () => {
  const standing = standingOf(config, "moved+x@catch.test");
  assert.ok(standing.kind === "refused");
  assert.equal(replyLine(standing.reply), "551 5.1.6 User has moved to moved@new.example");
});
