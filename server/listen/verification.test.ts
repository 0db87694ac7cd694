/** Recipients and senders verified at a real SMTP server, as clients meet it. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { DomainEntry, LiveConfig, ServerSection } from "../config/schema.ts";
import { aPeer, delivering } from "../deliver/outbound-fixture.ts";
import { resolveRecipient } from "../route/recipient.ts";
import { MemorySharedState } from "../session/shared-state.ts";
import { Verifier } from "../verify/verifier.ts";
import { aConfig, aDomain, aMailbox, aServer, capturedLog, TestClient, type TestServer } from "./inbound-fixture.ts";

const base = aConfig().server;

function config(
  port: number,
  domain: Partial<DomainEntry> = {},
  server: Partial<Omit<ServerSection, "limits">> = {},
): LiveConfig {
  const delivery = { kind: "smtp", host: "127.0.0.1", port, lookupMX: false, implicitTLS: false } as const;
  return aConfig(
    {
      domains: new Map([
        ["example.net", aDomain({ class: "Relay", recipients: "Verify", delivery, ...domain })],
        ["example.org", aDomain()],
      ]),
      addresses: new Map([
        ["alice@example.org", aMailbox()],
        ["own@example.net", { alias: { destinations: ["alice@example.org"], senders: [] } }],
      ]),
    },
    server,
  );
}

/** A server that knows users whose name begins with `k`; each question about a recipient is in `asked`. */
async function aTarget(t: TestContext): Promise<{ readonly port: number; readonly asked: string[]; received: number }> {
  const asked: string[] = [];
  const peer = await aPeer(t, {
    onRcptTo({ address }, _session, done) {
      asked.push(address);
      done(address.startsWith("k") ? undefined : Object.assign(new Error("5.1.1 who?"), { responseCode: 550 }));
    },
  });
  return {
    port: peer.port,
    asked,
    get received() {
      return peer.received.length;
    },
  };
}

interface Verifying {
  readonly server: TestServer;
  readonly become: (live: LiveConfig) => Promise<void>;
}

async function verifying(t: TestContext, live: LiveConfig): Promise<Verifying> {
  let current = live;
  const verifier = new Verifier({
    config: () => current,
    resolve: resolveRecipient,
    deliver: delivering(t),
    shared: new MemorySharedState(),
    log: capturedLog().log,
  });
  const server = await aServer(live, { verify: verifier.verify });
  t.after(async () => {
    verifier.close();
    await server.stop();
  });
  return {
    server,
    become: (next) => {
      current = next;
      return server.reconfigure(next);
    },
  };
}

async function inTransaction(server: TestServer, sender = "bob@example.com"): Promise<TestClient> {
  const client = await TestClient.connect(server.port());
  assert.match(await client.reply(), /^220 /);
  assert.match(await client.say("HELO client.example.net"), /^250 /);
  assert.match(await client.say(`MAIL FROM:<${sender}>`), /^250 /);
  return client;
}

test("Verify: who exists there is taken, who does not is refused, objects are not asked about", async (t) => {
  const target = await aTarget(t);
  const { server, become } = await verifying(t, config(target.port));
  const client = await inTransaction(server);
  assert.match(await client.say("RCPT TO:<kim@example.net>"), /^250 2\.1\.5/);
  assert.equal(
    await client.say("RCPT TO:<zoe@example.net>"),
    "450 4.1.1 Recipient address rejected: undeliverable address",
  );
  assert.match(await client.say("RCPT TO:<own@example.net>"), /^250 /);
  assert.match(await client.say("RCPT TO:<postmaster@example.net>"), /^250 /);
  assert.match(await client.say("RCPT TO:<kim@example.net>"), /^250 /);
  assert.match(await client.say("RCPT TO:<Zoe@EXAMPLE.net>"), /^450 /);
  assert.deepEqual(target.asked, ["kim@example.net", "zoe@example.net"], "each address once");
  assert.equal(target.received, 0, "nothing was sent");

  await become(config(target.port, {}, { verification: { ...base.verification, recipientRejectCode: 550 } }));
  assert.match(await client.say("RCPT TO:<zoe@example.net>"), /^550 5\.1\.1 /);
  const [refused] = server.lines.filter(({ event }) => event === "rcpt-refused");
  assert.deepEqual([refused?.["check"], refused?.["reason"]], ["recipientUnverified", "unverified-recipient"]);
});

test("Verify over LMTP asks the mailbox server itself", async (t) => {
  const asked: string[] = [];
  const peer = await aPeer(t, {
    lmtp: true,
    onRcptTo({ address }, _session, done) {
      asked.push(address);
      done();
    },
  });
  const delivery = { kind: "lmtp", host: "127.0.0.1", port: peer.port } as const;
  const { server } = await verifying(t, config(peer.port, { class: "Mailbox", delivery }));
  const client = await inTransaction(server);
  assert.match(await client.say("RCPT TO:<anybody@example.net>"), /^250 /);
  assert.deepEqual(asked, ["anybody@example.net"]);
});

test("nobody there: 450, and again 450 without another attempt", async (t) => {
  const { server } = await verifying(t, config(1));
  const client = await inTransaction(server);
  const answer = "450 4.1.1 Recipient address rejected: unverified address, try again later";
  assert.equal(await client.say("RCPT TO:<kim@example.net>"), answer);
  assert.equal(await client.say("RCPT TO:<kim@example.net>"), answer);
});

test("a server that is slow: 450 after the wait, 250 when it has answered", { timeout: 10_000 }, async (t) => {
  const gate = Promise.withResolvers<void>();
  const peer = await aPeer(t, {
    onRcptTo(_address, _session, done) {
      void gate.promise.then(() => done());
    },
  });
  const { server, become } = await verifying(
    t,
    config(peer.port, {}, { verification: { ...base.verification, waitMs: 20 } }),
  );
  const client = await inTransaction(server);
  assert.match(await client.say("RCPT TO:<kim@example.net>"), /^450 4\.1\.1 .*unverified/);
  gate.resolve();
  await become(config(peer.port, {}, { verification: { ...base.verification, waitMs: 5000 } }));
  assert.match(await client.say("RCPT TO:<kim@example.net>"), /^250 /);
});

test("RejectUnverifiedSender and RejectUnverifiedRecipient in the lists", async (t) => {
  const target = await aTarget(t);
  const restrictions = { ...base.restrictions, sender: ["RejectUnverifiedSender"] };
  const { server, become } = await verifying(t, config(target.port, {}, { restrictions }));
  const liar = await inTransaction(server, "zoe@example.net");
  assert.equal(
    await liar.say("RCPT TO:<alice@example.org>"),
    "450 4.1.7 Sender address rejected: undeliverable address",
  );
  for (const sender of ["kim@example.net", ""]) {
    const client = await inTransaction(server, sender);
    assert.match(await client.say("RCPT TO:<alice@example.org>"), /^250 /);
  }
  const recipients = { ...base.restrictions, recipient: ["RejectUnverifiedRecipient"] };
  await become(config(target.port, { recipients: "Any" }, { restrictions: recipients }));
  const client = await inTransaction(server);
  assert.match(await client.say("RCPT TO:<zoe@example.net>"), /^450 4\.1\.1 /);
  assert.match(await client.say("RCPT TO:<kim@example.net>"), /^250 /);
});
