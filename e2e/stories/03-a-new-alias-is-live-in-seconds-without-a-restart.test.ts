/** From `kubectl apply` of an Alias to 250 from the running pod: p95 of 20 within 3 s; wrong references are explained and harm nobody. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, Stage } from "./stage.ts";

test("20 aliases, one after the other: each is accepted within seconds of kubectl apply, and the pod never restarts", async () => {
  const stage = await Stage.set();
  const before = await stage.pods();
  const host = await stage.service();
  /** In a session of its own each time: a session that asks for unknown users again and again is slowed, then closed. */
  const rcpt = async (address: string): Promise<string> => {
    await using client = await SmtpDialogue.open(25, { host });
    await client.reply();
    await client.command("EHLO client.example.net");
    await client.command("MAIL FROM:<>");
    return await client.command(`RCPT TO:<${address}>`); // awaited here: the session closes with the block
  };
  const sinceStart: number[] = [];
  const sinceApplied: number[] = [];
  for (let count = 0; count < 20; count++) {
    const name = `quick-${count}`;
    assert.match(await rcpt(`${name}@example.org`), /^550 5\.1\.1 /);
    const start = performance.now();
    const alias = object("Alias", name, {
      domainRef: { name: "example-org" },
      addresses: [name],
      destinations: ["alice@example.org"],
    });
    const applied = stage.apply(alias).then(() => performance.now());
    await until(`${name}@example.org`, 30_000, async () => (await rcpt(`${name}@example.org`)).startsWith("250"));
    const live = performance.now();
    sinceStart.push(live - start);
    sinceApplied.push(Math.max(0, live - (await applied)));
  }
  const p95 = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[18] ?? Number.NaN;
  console.log(
    `alias live, ms after kubectl apply began: p95 ${p95(sinceStart).toFixed(0)}, all ${sinceStart.map((ms) => ms.toFixed(0)).join(" ")}`,
  );
  console.log(`alias live, ms after kubectl apply returned: p95 ${p95(sinceApplied).toFixed(0)}`);
  assert.ok(p95(sinceStart) < 3000, `p95 ${p95(sinceStart)} ms`);
  const after = await stage.pods();
  assert.deepEqual(
    after.map((pod) => pod.metadata.uid),
    before.map((pod) => pod.metadata.uid),
  );
  await stage.kubectl("delete", "aliases", ...Array.from({ length: 20 }, (_, count) => `quick-${count}`));
});

test("a Mailbox with a wrong reference says Accepted=False with the sentence; other mail flows", async () => {
  const stage = await Stage.set();
  await stage.apply(
    object("Mailbox", "lost", { address: "lost@nowhere.example", domainRef: { name: "no-such-domain" } }),
  );
  await until(
    "Accepted=False",
    20_000,
    async () => (await stage.condition("mailbox/lost", "Accepted"))?.status === "False",
  );
  const accepted = await stage.condition("mailbox/lost", "Accepted");
  console.log(`Mailbox lost: ${accepted?.reason}: ${accepted?.message}`);
  assert.equal(accepted?.reason, "InvalidReference");
  assert.match(accepted?.message ?? "", /no-such-domain/);
  assert.equal((await stage.condition("mailbox/lost", "Ready"))?.status, "False");
  await using client = await stage.session();
  assert.match(
    (await client.send({ from: "bob@example.net", to: ["alice@example.org"], content: "Subject: flows\n\nx\n" })).at(
      -1,
    ) ?? "",
    /^250 /,
  );
  await stage.ready("mailserver/mx");
  await stage.kubectl("delete", "mailbox/lost");
});

test("two objects that claim one address: the older wins, the younger says so and names it", async () => {
  const stage = await Stage.set();
  await stage.apply(
    object("Alias", "first", {
      domainRef: { name: "example-org" },
      addresses: ["claimed"],
      destinations: ["alice@example.org"],
    }),
  );
  await stage.ready("alias/first");
  await sleep(1100); // creationTimestamp has whole seconds
  await stage.apply(
    object("Alias", "a-second", {
      domainRef: { name: "example-org" },
      addresses: ["claimed"],
      destinations: ["alice@example.org"],
    }),
  );
  await until(
    "Conflict",
    20_000,
    async () => (await stage.condition("alias/a-second", "Accepted"))?.reason === "Conflict",
  );
  assert.match((await stage.condition("alias/a-second", "Accepted"))?.message ?? "", /first/);
  assert.equal((await stage.condition("alias/first", "Ready"))?.status, "True");
  await stage.kubectl("delete", "alias/first");
  // The winner gone, the other one takes over by itself.
  await stage.ready("alias/a-second");
  await stage.kubectl("delete", "alias/a-second");
});
