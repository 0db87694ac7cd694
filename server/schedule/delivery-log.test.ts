import assert from "node:assert/strict";
import { test } from "node:test";
import { aLog, aMessage, aRecipient } from "../deliver/outbound-fixture.ts";
import type { Delivery } from "../config/schema.ts";
import type { Reply } from "../reply.ts";
import type { Transport } from "../route/resolve.ts";
import { logResult } from "./delivery-log.ts";
import type { Verdict } from "./trouble.ts";

const smtp: Delivery = { kind: "smtp", host: "h", port: 25, lookupMX: false, implicitTLS: false };

function lineOf(
  given: {
    readonly verdict?: Verdict;
    readonly reply?: Reply;
    readonly remoteHost?: string;
    readonly orcpt?: string;
    readonly delivery?: Transport["delivery"];
    readonly tls?: string;
  } = {},
): Record<string, unknown> {
  const { log, lines } = aLog();
  const recipient = aRecipient("a@x.test", given.orcpt === undefined ? {} : { originalRecipient: given.orcpt });
  const message = aMessage([recipient]);
  const transport: Transport = { delivery: given.delivery ?? smtp, destination: "d", tlsPolicyKey: "" };
  const result = {
    recipient,
    verdict: given.verdict ?? "delivered",
    reply: given.reply ?? { code: 250, enhanced: "2.1.5", text: "taken" },
    action: "relayed" as const,
    reportsItself: false,
    warn: false,
    ...(given.remoteHost === undefined ? {} : { remoteHost: given.remoteHost }),
  };
  logResult(log, message, result, transport, { before: 1500, waiting: 20, connect: 300.4, transmit: 4 }, given.tls);
  assert.equal(lines.length, 1);
  return lines[0] ?? {};
}

test("a delivery in Postfix's words: id, to, relay, delay, delays=a/b/c/d, dsn, status", () => {
  const line = lineOf({ remoteHost: "mx.x.test[192.0.2.1]", tls: "TLSv1.3 TLS_AES_256_GCM_SHA384" });
  const { event, id, to, orig_to, relay, delay, delays, dsn, status, reply, tls } = line;
  assert.deepEqual(
    { event, id, to, orig_to, relay, delay, delays, dsn, status, reply, tls },
    {
      event: "delivery",
      id: "0TestQueueId1",
      to: "a@x.test",
      orig_to: undefined,
      relay: "mx.x.test[192.0.2.1]",
      delay: 1.824,
      delays: [1.5, 0.02, 0.3, 0.004],
      dsn: "2.1.5",
      status: "sent",
      reply: "250 2.1.5 taken",
      tls: "TLSv1.3 TLS_AES_256_GCM_SHA384",
    },
  );
});

for (const [verdict, reply, status, dsn] of [
  ["deferred", { code: 450, enhanced: "4.2.0", text: "greylisted" }, "deferred", "4.2.0"],
  ["failed", { code: 550, enhanced: "5.1.1", text: "unknown" }, "bounced", "5.1.1"],
  ["failed", { code: 550, enhanced: "", text: "no enhanced code" }, "bounced", "5.0.0"],
  ["delivered", { code: 250, enhanced: "", text: "ok" }, "sent", "2.0.0"],
] as const) {
  test(`${verdict} with ${reply.code} ${reply.enhanced}: status=${status} dsn=${dsn}`, () => {
    const line = lineOf({ verdict, reply });
    assert.equal(line["status"], status);
    assert.equal(line["dsn"], dsn);
  });
}

test("orig_to is the address as it was written, and only where it differs", () => {
  assert.equal(lineOf({ orcpt: "rfc822;list+2Btag@y.test" })["orig_to"], "list+tag@y.test");
  assert.equal(lineOf({ orcpt: "rfc822;a@x.test" })["orig_to"], undefined);
});

test("relay without a host: the means, or none", () => {
  assert.equal(lineOf({ delivery: { kind: "maildir", base: "m" } })["relay"], "maildir");
  assert.equal(lineOf({ delivery: { kind: "discard" } })["relay"], "discard");
  assert.equal(lineOf({ verdict: "deferred" })["relay"], "none");
});
