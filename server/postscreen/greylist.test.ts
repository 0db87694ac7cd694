/** Greylisting: the rules over a clock that the test holds, and the transcript of a client that comes again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, aListener, aRule, aServer, capturedLog, play, TestClient } from "../listen/inbound-fixture.ts";
import { registry } from "../observe/metrics.ts";
import { MemorySharedState } from "../session/shared-state.ts";
import { Greylist, networkOf, senderOf } from "./greylist.ts";
import { aGreylisting, deadSharedState } from "./postscreen-fixture.ts";

const timeout = 10_000;
const minutes = (count: number): number => count * 60_000;
const days = (count: number): number => minutes(count * 1440);

function aGreylist(): { readonly list: Greylist; readonly clock: { ms: number } } {
  const clock = { ms: Date.parse("2026-01-01T00:00:00Z") };
  const now = (): number => clock.ms;
  return { list: new Greylist(new MemorySharedState(now), capturedLog().log, now), clock };
}

test("a triplet: new, too early, waited, known, forgotten", async () => {
  const { list, clock } = aGreylist();
  const settings = aGreylisting({ autoAllowAfter: 0 });
  const ask = () => list.wait(settings, "192.0.2.1", "bob@example.com", "alice@example.org");
  assert.equal(await ask(), minutes(5));
  clock.ms += minutes(2);
  assert.equal(await ask(), minutes(3));
  clock.ms += minutes(3);
  assert.equal(await ask(), undefined);
  clock.ms += days(34);
  assert.equal(await ask(), undefined);
  // From its last message on.
  clock.ms += days(34);
  assert.equal(await ask(), undefined);
  clock.ms += days(36);
  assert.equal(await ask(), minutes(5));
});

test("who comes back too late is new again", async () => {
  const { list, clock } = aGreylist();
  const ask = () => list.wait(aGreylisting(), "192.0.2.1", "bob@example.com", "alice@example.org");
  await ask();
  clock.ms += days(2);
  assert.equal(await ask(), minutes(5));
});

test("a clock that was set back makes nobody wait longer", async () => {
  const { list, clock } = aGreylist();
  const ask = () => list.wait(aGreylisting(), "192.0.2.1", "bob@example.com", "alice@example.org");
  await ask();
  clock.ms -= days(1);
  assert.equal(await ask(), minutes(5));
});

test("another network, sender or recipient is another triplet; another address of the network is not", async () => {
  const { list, clock } = aGreylist();
  const settings = aGreylisting();
  await list.wait(settings, "192.0.2.1", "bob@example.com", "alice@example.org");
  clock.ms += minutes(5);
  for (const [client, sender, recipient, expected] of [
    ["192.0.2.200", "bob@example.com", "alice@example.org", undefined],
    ["192.0.2.1", "Bob@Example.COM", "alice@example.org", undefined],
    ["192.0.3.1", "bob@example.com", "alice@example.org", minutes(5)],
    ["192.0.2.1", "eve@example.com", "alice@example.org", minutes(5)],
    ["192.0.2.1", "", "alice@example.org", minutes(5)],
    ["192.0.2.1", "bob@example.com", "carol@example.org", minutes(5)],
  ] as const)
    assert.equal(await list.wait(settings, client, sender, recipient), expected, `${client} ${sender} ${recipient}`);
});

test("a network that waited often enough waits no more, while it keeps writing", async () => {
  const { list, clock } = aGreylist();
  const settings = aGreylisting({ autoAllowAfter: 2 });
  const ask = (recipient: string) => list.wait(settings, "192.0.2.1", "bob@example.com", `${recipient}@example.org`);
  for (const recipient of ["a", "b"]) {
    assert.equal(await ask(recipient), minutes(5));
    clock.ms += minutes(6);
    assert.equal(await ask(recipient), undefined);
    // The same again does not count.
    assert.equal(await ask(recipient), undefined);
    if (recipient === "a") assert.equal(await ask("x"), minutes(5));
  }
  assert.equal(await ask("c"), undefined);
  clock.ms += days(30);
  assert.equal(await ask("d"), undefined);
  clock.ms += days(36);
  assert.equal(await ask("e"), minutes(5));
});

test("networks", () => {
  const settings = aGreylisting();
  for (const [address, expected] of [
    ["192.0.2.77", "192.0.2.0/24"],
    ["::ffff:192.0.2.77", "192.0.2.0/24"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["fe80::1%eth0", "fe80::/64"],
  ] as const)
    assert.equal(networkOf(address, settings), expected);
  assert.equal(networkOf("192.0.2.77", aGreylisting({ ipv4Prefix: 32 })), "192.0.2.77/32");
  assert.equal(networkOf("192.0.2.77", aGreylisting({ ipv4Prefix: 20 })), "192.0.0.0/20");
  assert.equal(networkOf("2001:db8:1:ffff::1", aGreylisting({ ipv6Prefix: 60 })), "2001:db8:1:fff0::/60");
});

test("senders", () => {
  for (const [sender, expected] of [
    ["Bob@Example.COM", "bob@example.com"],
    ["bounce-1234-99@list.example", "bounce-#-#@list.example"],
    ["bob+a1b2c3@example.com", "bob@example.com"],
    ["", ""],
  ] as const)
    assert.equal(senderOf(sender), expected);
});

const envelope = (name: string) => `
  S: 220 *
  C: HELO ${name}
  S: 250 *
  C: MAIL FROM:<bob@example.com>
  S: 250 *`;

test("a client that comes again", { timeout }, async () => {
  let ms = Date.parse("2026-01-01T00:00:00Z");
  const now = (): number => ms;
  const config = aConfig({}, { greylisting: aGreylisting() });
  await using server = await aServer(config, { shared: new MemorySharedState(now), now });
  (
    await play(
      server.port(),
      `${envelope("client.example.net")}
  C: RCPT TO:<nobody@example.org>
  S: 550 5.1.1 *
  C: RCPT TO:<alice@example.org>
  S: 451 4.7.1 Greylisted, try again in 300 seconds
  C: DATA
  S: 554 5.5.1 *`,
    )
  ).close();
  ms += 299_500;
  (
    await play(
      server.port(),
      `${envelope("client.example.net")}
  C: RCPT TO:<alice@example.org>
  S: 451 4.7.1 Greylisted, try again in 1 seconds`,
    )
  ).close();
  ms += 500;
  (
    await play(
      server.port(),
      `${envelope("client.example.net")}
  C: RCPT TO:<alice@example.org>
  S: 250 *
  C: DATA
  S: 354 *
  C: Subject: patience
  C:
  C: .
  S: 250 *`,
    )
  ).close();
  const line = server.lines.find(({ event, reason }) => event === "rcpt-refused" && reason === "greylisted");
  assert.deepEqual([line?.["check"], line?.["to"]], ["greylisted", "alice@example.org"]);
});

test("who need not wait", { timeout }, async () => {
  const strict = { delayMs: 3_600_000 };
  const cases: readonly (readonly [string, ReturnType<typeof aConfig>, string])[] = [
    ["nobody is exempt", aConfig({}, { greylisting: aGreylisting(strict) }), "451"],
    ["a trusted network", aConfig({}, { greylisting: aGreylisting(strict), trustedNetworks: ["127.0.0.0/8"] }), "250"],
    [
      "an exempt network",
      aConfig({}, { greylisting: aGreylisting({ exempt: { networks: ["127.0.0.1/32"] } }) }),
      "250",
    ],
    [
      "an exempt name's child",
      aConfig({}, { greylisting: aGreylisting({ exempt: { clientDomains: ["example.net"] } }) }),
      "250",
    ],
    [
      "no exempt name's child",
      aConfig({}, { greylisting: aGreylisting({ exempt: { clientDomains: ["ample.net"] } }) }),
      "451",
    ],
    [
      "an exempt recipient",
      aConfig({}, { greylisting: aGreylisting({ exempt: { recipients: ["alice@example.org"] } }) }),
      "250",
    ],
    [
      "an exempt domain",
      aConfig({}, { greylisting: aGreylisting({ exempt: { recipients: ["@example.org"] } }) }),
      "250",
    ],
    [
      "an access rule permits the client",
      aConfig(
        {},
        {
          greylisting: aGreylisting(),
          accessRules: [aRule("Client", [{ kind: "cidr", value: "127.0.0.0/8" }], { kind: "Permit" })],
        },
      ),
      "250",
    ],
    [
      "an access rule permits the recipient",
      aConfig(
        {},
        {
          greylisting: aGreylisting(),
          accessRules: [aRule("Recipient", [{ kind: "exact", value: "alice@example.org" }], { kind: "Permit" })],
        },
      ),
      "250",
    ],
    [
      "another listener",
      aConfig(
        {},
        { greylisting: aGreylisting(), listeners: [aListener({ role: "Reinject" })], trustedNetworks: ["127.0.0.0/8"] },
      ),
      "250",
    ],
  ];
  for (const [name, config, expected] of cases) {
    await using server = await aServer(config);
    const client = await play(server.port(), envelope("a.example"));
    assert.equal((await client.say("RCPT TO:<alice@example.org>")).slice(0, 3), expected, name);
    if (expected === "451") assert.equal((await client.say("RCPT TO:<postmaster>")).slice(0, 3), "250", name);
    client.close();
  }
});

test("a shared state that does not answer greylists nobody", { timeout }, async () => {
  await using server = await aServer(aConfig({}, { greylisting: aGreylisting() }), {
    shared: deadSharedState,
  });
  const client = await TestClient.connect(server.port());
  await client.reply();
  await client.say("HELO a.example");
  await client.say("MAIL FROM:<bob@example.com>");
  assert.match(await client.say("RCPT TO:<alice@example.org>"), /^250 /);
  client.close();
});

test("what happened is counted", async () => {
  const text = await registry.metrics();
  for (const result of ["new", "early", "passed", "known", "allowed", "unavailable"])
    assert.match(text, new RegExp(`packetboat_greylisting_total\\{result="${result}"\\} [1-9]`));
  assert.match(
    text,
    /packetboat_rejected_total\{listener="mx",stage="rcpt",reason="greylisted",class="temporary"\} [1-9]/,
  );
});
