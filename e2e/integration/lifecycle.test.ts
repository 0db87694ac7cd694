/** Ends and beginnings: SIGTERM, a second start on the same data, a shard killed under load, a certificate replaced, Dovecot by LMTP, bounces. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Dovecot, dovecotMissing } from "../peers/dovecot.ts";
import { Packetboat } from "../peers/packetboat.ts";
import { freePort, until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { selfSigned } from "../peers/certificates.ts";
import { object, quickstart, secret } from "./manifests.ts";

async function ready(port: number): Promise<SmtpDialogue> {
  const client = await SmtpDialogue.open(port);
  await client.reply();
  await client.command("EHLO client.example.net");
  return client;
}

test("mail to Dovecot by LMTP: delivered, refused user bounced to the sender's mailbox, Dovecot down defers and recovers", {
  skip: dovecotMissing(),
}, async () => {
  const port = await freePort();
  const domain = (lmtpPort: number): string =>
    object("MailServer", "mx", { hostname: "mx.example.org", queue: { minBackoff: "1s", maxBackoff: "2s" } }) +
    object("MailDomain", "lmtp", {
      domain: "lmtp.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: { lmtp: { host: "127.0.0.1", port: lmtpPort } },
    }) +
    object("MailDomain", "local", {
      domain: "local.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: { maildir: {} },
    }) +
    ["dora", "ghost"]
      .map((name) => object("Mailbox", name, { address: `${name}@lmtp.example`, domainRef: { name: "lmtp" } }))
      .join("") +
    object("Mailbox", "bob", { address: "bob@local.example", domainRef: { name: "local" } });
  await using boat = await Packetboat.start({ "all.yaml": domain(port) });
  await using client = await ready(boat.mx);
  // Nobody listens there yet: accepted, deferred.
  const replies = await client.send({
    from: "bob@local.example",
    to: ["dora@lmtp.example", "ghost@lmtp.example"],
    content: "Subject: over lmtp\n\nbody\n",
  });
  assert.match(replies.at(-1) ?? "", /^250 /);
  await until(
    "the message to be deferred",
    10_000,
    async () => (await boat.json<{ messages: { deferred: number } }>("/queue")).messages.deferred === 1,
  );

  await using dovecot = await Dovecot.start(["dora@lmtp.example"]);
  boat.write("all.yaml", domain(dovecot.port));
  await until("dora's message", 20_000, () =>
    dovecot.messages("dora@lmtp.example").some((message) => message.includes("over lmtp")),
  );
  // Dovecot knows no ghost and says so at RCPT, for that recipient alone: its sender hears of it.
  await until("the bounce for the ghost", 20_000, () => boat.maildir("mail/local.example/bob").length === 1);
  const bounce = boat.maildir("mail/local.example/bob")[0] ?? "";
  assert.match(bounce, /^Final-Recipient: rfc822; ?ghost@lmtp\.example/im);
  assert.doesNotMatch(bounce, /^Final-Recipient: rfc822; ?dora/im);
  await until("an empty queue", 20_000, async () => {
    const { messages } = await boat.json<{ messages: { deferred: number; active: number } }>("/queue");
    return messages.deferred + messages.active === 0;
  });
});

test("a remote refusal bounces to the sender in RFC 3464 form", async () => {
  await using boat = await Packetboat.start({
    ...quickstart(),
    "z.yaml":
      object("MailDomain", "broken", {
        domain: "broken.example",
        serverRef: { name: "mx" },
        class: "Mailbox",
        delivery: { error: { code: 550, enhancedCode: "5.2.0", text: "This domain is closed" } },
      }) + object("Mailbox", "closed", { address: "someone@broken.example", domainRef: { name: "broken" } }),
  });
  await using client = await ready(boat.mx);
  const replies = await client.send({
    from: "alice@example.org",
    to: ["someone@broken.example"],
    content: "Subject: will bounce\n\nbody\n",
  });
  assert.match(replies.at(-1) ?? "", /^250 /);
  await until("the bounce", 10_000, () => boat.maildir("mail/example.org/alice").length > 0);
  const bounce = boat.maildir("mail/example.org/alice")[0] ?? "";
  assert.match(bounce, /^Return-Path: <>/m);
  assert.match(bounce, /^Content-Type: multipart\/report; report-type=delivery-status/im);
  assert.match(bounce, /^Final-Recipient: rfc822; ?someone@broken\.example/im);
  assert.match(bounce, /^Action: failed/im);
  assert.match(bounce, /^Status: 5\.2\.0/im);
  assert.match(bounce, /will bounce/);
});

test("SIGTERM ends it with 0; a second start on the same folder delivers what was queued", async () => {
  const port = await freePort();
  const manifest = (lmtp: number): string =>
    object("MailServer", "mx", { hostname: "mx.example.org", queue: { minBackoff: "1s", maxBackoff: "1s" } }) +
    object("MailDomain", "d", {
      domain: "d.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: lmtp === 0 ? { maildir: {} } : { lmtp: { host: "127.0.0.1", port: lmtp } },
    }) +
    object("Mailbox", "x", { address: "x@d.example", domainRef: { name: "d" } });
  await using boat = await Packetboat.start({ "all.yaml": manifest(port) });
  {
    await using client = await ready(boat.mx);
    for (let count = 0; count < 20; count++)
      assert.match(
        (await client.send({ from: "a@b.example", to: ["x@d.example"], content: `Subject: kept ${count};\n\nx\n` })).at(
          -1,
        ) ?? "",
        /^250 /,
      );
  }
  assert.equal(await boat.stop(), 0);
  boat.write("all.yaml", manifest(0));
  await boat.run();
  await until("all 20", 20_000, () => boat.maildir("mail/d.example/x").length >= 20);
  await sleep(200);
  const subjects = boat.maildir("mail/d.example/x").map((message) => /kept (\d+);/.exec(message)?.[1]);
  assert.equal(new Set(subjects).size, 20);
  assert.equal(subjects.length, 20);
});

test("a second server on the same data folder is refused with a sentence", async () => {
  await using boat = await Packetboat.start(quickstart());
  const { spawnSync } = await import("node:child_process");
  const second = spawnSync(
    process.execPath,
    [
      "server/main.ts",
      "--config",
      `${boat.data}/config`,
      "--data",
      boat.data,
      "--listen",
      "127.0.0.1",
      "--port-offset",
      String(boat.offset + 50),
      "--admin-port",
      String(await freePort()),
    ],
    { encoding: "utf8", timeout: 20_000 },
  );
  assert.equal(second.status, 1);
  assert.match(second.stdout, /in use by another packetboat server/);
});

test("a certificate replaced in its Secret is shown by the next handshake, without dropping a session; a broken one changes nothing", async () => {
  const [first, second] = [await selfSigned("mx.example.org"), await selfSigned("mx.example.org")];
  const manifests = { ...quickstart() };
  const server = object("MailServer", "mx", {
    hostname: "mx.example.org",
    tls: { certificates: [{ secretName: "mx-tls" }] },
  });
  for (const [name, text] of Object.entries(manifests)) {
    // The quickstart's MailServer is replaced by one that names a certificate.
    manifests[name] = text
      .split(/^---$/m)
      .filter((document) => !/^kind: MailServer$/m.test(document))
      .join("---\n");
  }
  await using boat = await Packetboat.start({
    ...manifests,
    "server.yaml": server + secret("mx-tls", { "tls.crt": first.certificate, "tls.key": first.privateKey }),
  });
  const shown = async (): Promise<string> => {
    await using client = await ready(boat.mx);
    return (await client.startTls()).getPeerX509Certificate()?.fingerprint256 ?? "";
  };
  const fingerprint = (pem: string): string => new X509Certificate(pem).fingerprint256;
  assert.equal(await shown(), fingerprint(first.certificate));
  await using session = await ready(boat.mx);
  const renewed = { "tls.crt": second.certificate, "tls.key": second.privateKey };
  await boat.configure("server.yaml", server + secret("mx-tls", renewed));
  await until("the new certificate", 10_000, async () => (await shown()) === fingerprint(second.certificate));
  assert.match(await session.command("NOOP"), /^250 /);
  boat.write("server.yaml", server + secret("mx-tls", { "tls.crt": second.certificate, "tls.key": first.privateKey }));
  await until("an explanation", 5000, () => /mx-tls/.test(boat.output));
  assert.equal(await shown(), fingerprint(second.certificate));
});
