import assert from "node:assert/strict";
import { test } from "node:test";
import type { Listener, ServerSection } from "../config/schema.ts";
import { aConfig, aListener, aServer, play } from "../listen/inbound-fixture.ts";
import { reinjectStages, stagesOf } from "./reinject.ts";
import { stages } from "./stages.ts";

const reinject = (listener: Partial<Listener> = {}, server: Partial<ServerSection> = {}) =>
  aConfig(
    {},
    { listeners: [aListener({ name: "filtered", role: "Reinject", tls: { mode: "None" }, ...listener })], ...server },
  );

const message = (to: string, from = "bob@example.net"): string => `C: MAIL FROM:<${from}>
     S: 250 *
     C: RCPT TO:<${to}>
     S: 250 *
     C: DATA
     S: 354 *
     C: Subject: x
     C:
     C: .
     S: 250 *`;

for (const [name, config] of [
  ["the listener's trustedProxies", reinject({ trustedProxies: ["127.0.0.1/32"] })],
  ["trusted networks", reinject({}, { trustedNetworks: ["127.0.0.1/32"] })],
] as const)
  test(`a filter of ${name} gives back whatever was accepted before`, async () => {
    await using server = await aServer(config);
    await play(
      server.port("filtered"),
      `S: 220 *
     C: HELO filter
     S: 250 *
     ${message("alice@example.org")}
     somebody unknown, somebody elsewhere, a local part that hides a route: accepted before, not judged again
     ${message("nobody@example.org")}
     ${message("victim@foreign.example")}
     ${message("alice@example.org", "")}`,
    );
    assert.deepEqual(
      server.queue.stored.map(({ envelope }) => envelope.recipients[0]?.address),
      ["alice@example.org", "nobody@example.org", "victim@foreign.example", "alice@example.org"],
    );
  });

test("nobody else may, whoever he says he is", async () => {
  await using server = await aServer(reinject({ trustedProxies: ["127.0.0.1/32"] }));
  await play(
    server.port("filtered"),
    `S: 220 *
     C: XCLIENT ADDR=127.0.0.1
     S: 550 5.7.0 *
     C: HELO filter
     S: 250 *
     C: MAIL FROM:<bob@example.net>
     S: 554 5.7.1 Access denied
     C: RCPT TO:<alice@example.org>
     S: 503 *`,
    { localAddress: "127.0.0.9" },
  );
  assert.equal(server.queue.stored.length, 0);
});

test("a filter that speaks for a client opens the door to that client only if it may relay", async () => {
  await using server = await aServer(
    reinject({ trustedProxies: ["127.0.0.1/32"] }, { trustedNetworks: ["192.0.2.0/24"] }),
  );
  await play(
    server.port("filtered"),
    `S: 220 *
     C: XCLIENT ADDR=198.51.100.7 HELO=spike
     S: 220 *
     C: MAIL FROM:<bob@example.net>
     S: 554 5.7.1 *`,
  );
  await play(
    server.port("filtered"),
    `S: 220 *
     C: XCLIENT ADDR=192.0.2.7 HELO=inside
     S: 220 *
     ${message("victim@foreign.example")}`,
  );
});

test("the size of a message and the form of an address count as everywhere", async () => {
  await using server = await aServer(reinject({ trustedProxies: ["127.0.0.1/32"] }));
  await play(
    server.port("filtered"),
    `S: 220 *
     C: HELO filter
     S: 250 *
     C: MAIL FROM:<bob@example.net> SIZE=100001
     S: 552 5.3.4 *
     C: MAIL FROM:<bob@example.net>
     S: 250 *
     C: RCPT TO:<nobody>
     S: 501 5.1.3 *`,
  );
});

test("no TLS and no login are offered or asked for", async () => {
  await using server = await aServer(reinject({ trustedProxies: ["127.0.0.1/32"] }));
  await play(
    server.port("filtered"),
    `S: 220 *
     C: HELO filter
     S: 250 *
     C: STARTTLS
     S: 502 *
     C: AUTH PLAIN AGEAYg==
     S: 502 *`,
  );
});

test("the policy of a filter's listener reads", () => {
  assert.deepEqual(
    Object.fromEntries(
      (["greeting", "helo", "mail", "rcpt", "data", "end"] as const).map((stage) => [
        stage,
        reinjectStages[stage].map(({ checks }) =>
          typeof checks === "function" ? "?" : checks.map(({ name }) => name),
        ),
      ]),
    ),
    {
      greeting: [],
      helo: [],
      mail: [
        ["heloMissing", "tlsMissing", "notAFilter"],
        ["senderNeedsUtf8", "declaredSizeTooLarge"],
        ["queueTakesNothing"],
      ],
      rcpt: [["recipientNeedsUtf8", "tooManyRecipients"]],
      data: [],
      end: [],
    },
  );
  assert.equal(stagesOf({ role: "MX" }), stages);
  assert.equal(stagesOf({ role: "Submission" }), stages);
  assert.equal(stagesOf({ role: "Reinject" }), reinjectStages);
});
