/** Mail through the Service to a real Dovecot by LMTP; and 500 queued messages survive the deletion of their pod. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Dovecot, dovecotMissing } from "../peers/dovecot.ts";
import { freePort, until } from "../peers/ports.ts";
import { object, Stage } from "./stage.ts";

const skip = dovecotMissing();

test("a message through the Service is in Dovecot's maildir", { skip }, async (context) => {
  const stage = await Stage.set();
  if (!stage.cluster.capabilities.loadImage)
    return context.skip("pods of a foreign cluster do not reach this machine's Dovecot");
  const users = ["dora@lmtp.example"];
  await using dovecot = await Dovecot.start(users, { address: stage.cluster.nodeAddress });
  await stage.apply(
    object("MailDomain", "lmtp-example", {
      domain: "lmtp.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: { lmtp: { host: stage.cluster.nodeAddress, port: dovecot.port } },
    }) + object("Mailbox", "dora", { address: "dora@lmtp.example", domainRef: { name: "lmtp-example" } }),
  );
  await stage.ready("mailbox/dora");
  await using client = await stage.session();
  const replies = await client.send({ from: "bob@example.net", to: users, content: "Subject: by lmtp\n\nhello\n" });
  assert.match(replies.at(-1) ?? "", /^250 /);
  await until("the message", 20_000, () =>
    dovecot.messages("dora@lmtp.example").some((message) => message.includes("by lmtp")),
  );
  await stage.kubectl("delete", "mailbox/dora", "maildomain/lmtp-example");
});

test("deleting the pod while 500 messages are queued loses none and delivers each", { skip }, async (context) => {
  const stage = await Stage.set();
  if (!stage.cluster.capabilities.loadImage)
    return context.skip("pods of a foreign cluster do not reach this machine's Dovecot");
  const port = await freePort();
  await stage.kubectl(
    "patch",
    "mailserver/mx",
    "--type=merge",
    "-p",
    JSON.stringify({ spec: { queue: { minBackoff: "2s", maxBackoff: "5s" } } }),
  );
  await stage.apply(
    object("MailDomain", "kept-example", {
      domain: "kept.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      delivery: { lmtp: { host: stage.cluster.nodeAddress, port } },
    }) + object("Mailbox", "keeper", { address: "keeper@kept.example", domainRef: { name: "kept-example" } }),
  );
  await stage.ready("mailserver/mx");
  await stage.ready("mailbox/keeper");
  {
    await using client = await stage.session();
    for (let count = 0; count < 500; count++) {
      const replies = await client.send({
        from: "bob@example.net",
        to: ["keeper@kept.example"],
        content: `Subject: number ${count};\n\nkept\n`,
      });
      assert.match(replies.at(-1) ?? "", /^250 /);
    }
  }
  const before = (await stage.pods())[0];
  const summary = (await (await stage.admin("/queue")).json()) as { messages: { active: number; deferred: number } };
  assert.equal(summary.messages.active + summary.messages.deferred, 500);
  await stage.kubectl("delete", "pod", before?.metadata.name ?? "", "--grace-period=1", "--wait");
  await using dovecot = await Dovecot.start(["keeper@kept.example"], { address: stage.cluster.nodeAddress, port });
  await until("500 messages in Dovecot", 180_000, () => dovecot.messages("keeper@kept.example").length >= 500);
  await until("an empty queue", 60_000, async () => {
    const { messages } = (await (await stage.admin("/queue")).json()) as typeof summary;
    return messages.active + messages.deferred === 0;
  });
  const numbers = dovecot.messages("keeper@kept.example").map((message) => /number (\d+);/.exec(message)?.[1]);
  assert.equal(new Set(numbers).size, 500, "each one");
  console.log(
    `500 queued, pod deleted: ${new Set(numbers).size} distinct delivered, ${numbers.length - 500} delivered twice`,
  );
  assert.notEqual((await stage.pods())[0]?.metadata.uid, before?.metadata.uid);
  await stage.kubectl("delete", "mailbox/keeper", "maildomain/kept-example");
});
