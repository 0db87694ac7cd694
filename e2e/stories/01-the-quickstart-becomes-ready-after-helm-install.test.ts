/** `helm install`, `kubectl apply -f examples/quickstart`, every object Ready; `helm test` delivers; deleting and applying again is no trouble. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../peers/ports.ts";
import { SYSTEM, Stage } from "./stage.ts";

test("every object of the quickstart is Ready, and mail to alice is in her maildir", async () => {
  const stage = await Stage.set();
  const kinds = "mailservers,maildomains,mailboxes,aliases";
  const things = await stage.list(kinds);
  assert.deepEqual([...new Set(things.map((thing) => thing.kind))].sort(), [
    "Alias",
    "MailDomain",
    "MailServer",
    "Mailbox",
  ]);
  for (const thing of things) await stage.ready(`${thing.kind.toLowerCase()}/${thing.metadata.name}`);
  for (const thing of await stage.list(kinds)) {
    const types = thing.status?.conditions?.map((condition) => `${condition.type}=${condition.status}`) ?? [];
    for (const wanted of ["Accepted=True", "Programmed=True", "Ready=True"])
      assert.ok(types.includes(wanted), `${thing.kind} ${thing.metadata.name}: ${types.join(" ")}`);
  }
  console.log(await stage.kubectl("get", kinds, "-o", "wide"));

  await using client = await stage.session();
  const subject = `ready ${Date.now()}`;
  const replies = await client.send({
    from: "bob@example.net",
    to: ["alice@example.org"],
    content: `Subject: ${subject}\n\nhello\n`,
  });
  assert.match(replies.at(-1) ?? "", /^250 2\.0\.0 .*queued as [0-9A-Za-z]+$/);
  assert.match(
    (await client.command("MAIL FROM:<bob@example.net>")) + (await client.command("RCPT TO:<nobody@example.org>")),
    /550 5\.1\.1/,
  );
  const id = /queued as ([0-9A-Za-z]+)/.exec(replies.at(-1) ?? "")?.[1] ?? "";
  await until("the message to be delivered", 20_000, async () => (await stage.admin(`/queue/${id}`)).status === 404);
  const log = await stage.kubectl(
    "logs",
    "-l",
    "app.kubernetes.io/instance=mx,app.kubernetes.io/component=mta",
    "--tail=-1",
  );
  assert.ok(
    log.split("\n").some((line) => line.includes(id) && line.includes('"status":"sent"')),
    "a delivery line with the queue id",
  );
});

test("the pod is locked down: restricted Pod Security, no token, read-only root", async () => {
  const stage = await Stage.set();
  await stage.kubectl("label", "namespace", "default", "--overwrite", "pod-security.kubernetes.io/enforce=restricted");
  const [pod] = await stage.pods();
  await stage.kubectl("delete", "pod", pod?.metadata.name ?? "", "--wait");
  await until(
    "the pod under the restricted profile",
    120_000,
    async () => (await stage.admin("/readyz").catch(() => undefined))?.status === 200,
  );
  const spec = (await stage.pods())[0]?.spec as {
    automountServiceAccountToken?: boolean;
    containers: { securityContext: { readOnlyRootFilesystem: boolean } }[];
    volumes: { name: string }[];
  };
  assert.equal(spec.automountServiceAccountToken, false);
  assert.ok(!spec.volumes.some((volume) => volume.name.startsWith("kube-api-access")));
  assert.ok(spec.containers.every((container) => container.securityContext.readOnlyRootFilesystem));
  await stage.ready("mailserver/mx");
});

test("helm test sends a message and sees it delivered", async () => {
  const stage = await Stage.set();
  const output = await stage.cluster.helm(["test", "packetboat", "-n", SYSTEM, "--timeout", "120s", "--logs"]);
  assert.match(output, /Phase:\s+Succeeded/);
});
