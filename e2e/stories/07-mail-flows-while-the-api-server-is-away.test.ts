/** The API server stopped for 60 s: mail flows, and the operator recovers by itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../peers/ports.ts";
import { SmtpDialogue } from "../peers/smtp.ts";
import { object, OPERATOR, Stage, SYSTEM } from "./stage.ts";

test("60 s without an API server", async (context) => {
  const stage = await Stage.set();
  if (!stage.cluster.capabilities.stopApiServer)
    return context.skip("the API server of a foreign cluster is not ours to stop");
  const address = await stage.service();
  const [pod] = await stage.pods();
  const operator = await stage.list("pods", "-n", SYSTEM, "-l", `app.kubernetes.io/name=${OPERATOR}`);
  const ids: string[] = [];
  await stage.cluster.stopApiServer();
  try {
    const end = Date.now() + 60_000;
    while (Date.now() < end) {
      await using client = await SmtpDialogue.open(25, { host: address });
      await client.reply();
      await client.command("EHLO client.example.net");
      const reply =
        (
          await client.send({
            from: "bob@example.net",
            to: ["alice@example.org"],
            content: `Subject: away ${ids.length}\n\nx\n`,
          })
        ).at(-1) ?? "";
      assert.match(reply, /^250 /);
      ids.push(/queued as ([0-9A-Za-z]+)/.exec(reply)?.[1] ?? "");
      await sleep(1000);
    }
    for (const id of ids)
      await until(`${id} delivered`, 10_000, async () => (await stage.admin(`/queue/${id}`, pod)).status === 404);
  } finally {
    await stage.cluster.startApiServer();
  }
  console.log(`${ids.length} messages accepted and delivered while the API server was away`);
  const back = performance.now();
  await until("the API server to take an alias", 30_000, () =>
    stage
      .apply(
        object("Alias", "after-outage", {
          domainRef: { name: "example-org" },
          addresses: ["after-outage"],
          destinations: ["alice@example.org"],
        }),
      )
      .then(
        () => true,
        () => false,
      ),
  );
  const seconds = (): string => ((performance.now() - back) / 1000).toFixed(1);
  await until(
    "the operator to judge the alias",
    120_000,
    async () => (await stage.condition("alias/after-outage", "Accepted"))?.status === "True",
  );
  console.log(`the operator carried out a change ${seconds()} s after the API server was back`);
  // The kubelet finds back to the API server at its own pace, and only then does the change reach the pod.
  await stage.ready("alias/after-outage", 240_000);
  console.log(`the pod ran it after ${seconds()} s`);
  const after = await stage.list("pods", "-n", SYSTEM, "-l", `app.kubernetes.io/name=${OPERATOR}`);
  assert.deepEqual(
    after.map((each) => each.metadata.uid),
    operator.map((each) => each.metadata.uid),
    "the same operator pods",
  );
  await stage.kubectl("delete", "alias/after-outage");
});
