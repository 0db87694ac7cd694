import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { aMailServer } from "../../crds/builders.ts";
import type { MailServerSpec } from "../../crds/mail-server.ts";
import { serverSectionSchema } from "../../server/config/schema.ts";
import { buildDesired } from "./build.ts";
import { aWorld } from "./sample-world.ts";

function build(spec: Pick<Partial<MailServerSpec>, "postscreen" | "greylisting" | "restrictions">) {
  const desired = buildDesired(aWorld({ server: aMailServer({ spec }) }));
  const verdict = desired.verdicts.get("MailServer/default/mx");
  const { postscreen, dnsbl, greylisting } = serverSectionSchema.parse(desired.config.server);
  return { postscreen, dnsbl, greylisting, message: verdict?.accepted === false ? verdict.message : "" };
}

suite("build: postscreen, DNS lists, greylisting", () => {
  test("absent is off", () => {
    assert.deepEqual(build({}), { postscreen: undefined, dnsbl: undefined, greylisting: undefined, message: "" });
  });

  test("defaults are explicit", () => {
    const { postscreen, greylisting, message } = build({ postscreen: {}, greylisting: {} });
    assert.equal(message, "");
    assert.deepEqual(postscreen, {
      greetWaitMs: 6000,
      greetAction: "Enforce",
      dnsbl: { sites: [], threshold: 1, allowlistThreshold: 0, action: "Enforce", timeoutMs: 5000 },
      deepTests: {},
      access: [],
      accessAction: "Enforce",
      cacheMs: {
        preGreet: 86_400_000,
        dnsbl: 3_600_000,
        pipelining: 2_592_000_000,
        nonSmtpCommand: 2_592_000_000,
        bareNewline: 2_592_000_000,
      },
    });
    assert.deepEqual(greylisting, {
      delayMs: 300_000,
      retryWindowMs: 172_800_000,
      expireMs: 3_024_000_000,
      autoAllowAfter: 5,
      ipv4Prefix: 24,
      ipv6Prefix: 64,
      exempt: { networks: [], clientDomains: [], recipients: [] },
    });
  });

  test("what Postfix's postscreen_dnsbl_sites and reject_rbl_client say", () => {
    const { postscreen, dnsbl, message } = build({
      postscreen: {
        greetAction: "Ignore",
        dnsbl: {
          sites: [
            { zone: "Zen.Spamhaus.org", filter: "127.0.0.[2..11]", weight: 2 },
            { zone: "list.dnswl.org", filter: "127.0.[0..255].[1..3]", weight: -2 },
            { zone: "key.dq.example", shownAs: "dq.example" },
          ],
          threshold: 2,
          allowlistThreshold: -1,
        },
        access: [{ network: "192.0.2.7", action: "Permit" }],
        deepTests: { pipelining: "Enforce" },
      },
      restrictions: {
        dnsbl: [{ zone: "sbl-xbl.spamhaus.org" }, { zone: "rhs.example", kind: "Sender", action: "Permit" }],
      },
    });
    assert.equal(message, "");
    assert.deepEqual(postscreen?.dnsbl.sites, [
      { zone: "zen.spamhaus.org", filter: "127.0.0.[2..11]", weight: 2 },
      { zone: "list.dnswl.org", filter: "127.0.[0..255].[1..3]", weight: -2 },
      { zone: "key.dq.example", shownAs: "dq.example", weight: 1 },
    ]);
    assert.deepEqual(postscreen?.access, [{ network: "192.0.2.7/32", action: "Permit" }]);
    assert.deepEqual(postscreen?.deepTests, { pipelining: "Enforce" });
    assert.deepEqual(dnsbl, [
      { zone: "sbl-xbl.spamhaus.org", kind: "Client", action: "Reject" },
      { zone: "rhs.example", kind: "Sender", action: "Permit" },
    ]);
  });

  test("what cannot be used is said and left out", () => {
    const { postscreen, dnsbl, greylisting, message } = build({
      postscreen: {
        greetWait: "5m",
        dnsbl: { sites: [{ zone: "bl.example", filter: "127.0.0.256" }, { zone: "ok.example" }] },
        access: [{ network: "999.0.0.0/8", action: "Reject" }],
      },
      restrictions: { dnsbl: [{ zone: "bl.example", filter: "127.0.0" }] },
      greylisting: { delay: "1d", retryWindow: "1h", exempt: { networks: ["10.0.0.0/99"] } },
    });
    assert.equal(postscreen?.greetWaitMs, 60_000);
    assert.deepEqual(postscreen.dnsbl.sites, [{ zone: "ok.example", weight: 1 }]);
    assert.deepEqual(postscreen.access, []);
    assert.deepEqual(dnsbl, []);
    assert.equal(greylisting?.retryWindowMs, 3 * 86_400_000);
    assert.deepEqual(greylisting.exempt.networks, []);
    for (const part of [
      '"5m" in spec.postscreen.greetWait is longer than a minute',
      '"127.0.0.256" in spec.postscreen.dnsbl.sites[0].filter is not an address pattern',
      '"999.0.0.0/8" in spec.postscreen.access[0].network is not a network',
      '"127.0.0" in spec.restrictions.dnsbl[0].filter is not an address pattern',
      '"1h" in spec.greylisting.retryWindow is over before delay is',
      "And 1 more.",
    ])
      assert.ok(message.includes(part), `${part}\n${message}`);
  });
});
