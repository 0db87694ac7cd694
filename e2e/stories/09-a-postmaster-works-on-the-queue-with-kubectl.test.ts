/**
 * A postmaster's tools in a cluster: `packetboat` in the pod by kubectl exec, and on the outside over all pods of a MailServer; a read-only root file system
 * and a network that nobody can reach the tools through.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { test } from "node:test";
import { until } from "../peers/ports.ts";
import { object, root, Stage } from "./stage.ts";

const command = resolve(root, "server/cli/packetboat.ts");

/** The command as a person runs it outside, with the kubectl and the cluster of the stage. */
async function outside(stage: Stage, parameters: readonly string[], input = "") {
  const child = spawn(process.execPath, [command, ...parameters], {
    env: { ...process.env, ...stage.cluster.environment },
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (data: Buffer) => (out += data.toString()));
  child.stderr.on("data", (data: Buffer) => (err += data.toString()));
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out, err };
}

const cluster = ["--namespace", "default", "--server", "mx"];
const lines = (text: string) =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { id: string; pod?: string; recipients: { state: string }[] });

test("mail that waits is listed, traced, held, released and deleted: in the pod, and from outside over all pods", async () => {
  const stage = await Stage.set();
  await stage.apply(
    object("MailDomain", "tools", {
      domain: "tools.example",
      serverRef: { name: "mx" },
      class: "Mailbox",
      // Nobody listens there.
      delivery: { lmtp: { host: "127.0.0.1", port: 9 } },
    }) + object("Mailbox", "tools-waiting", { address: "waiting@tools.example", domainRef: { name: "tools" } }),
  );
  await stage.ready("mailbox/tools-waiting");
  const ids: string[] = [];
  for (const subject of ["one", "two", "three"]) {
    await using client = await stage.session();
    const replies = await client.send({
      from: "bob@example.net",
      to: ["waiting@tools.example"],
      content: `Subject: ${subject}\n\nbody of ${subject}\n`,
    });
    ids.push(/queued as ([0-9A-Za-z]+)/.exec(replies.at(-1) ?? "")?.[1] ?? assert.fail(replies.at(-1)));
  }
  const list = async () =>
    lines((await outside(stage, ["queue", "list", "--json", ...cluster, "--domain", "tools.example"])).out);
  await until(
    "three deferred",
    30_000,
    async () => (await list()).filter(({ recipients }) => recipients[0]?.state === "deferred").length === 3,
  );
  assert.deepEqual((await list()).map(({ id }) => id).toSorted(), ids.toSorted());

  // In the pods: each knows its own.
  const pods = (await stage.pods()).map(({ metadata }) => metadata.name);
  const inside = await Promise.all(
    pods.map((pod) =>
      stage.kubectl(
        "exec",
        pod,
        "-c",
        "mta",
        "--",
        "packetboat",
        "queue",
        "list",
        "--json",
        "--domain",
        "tools.example",
      ),
    ),
  );
  assert.deepEqual(inside.flatMap((out) => lines(out).map(({ id }) => id)).toSorted(), ids.toSorted());
  assert.match(
    await stage.kubectl("exec", pods[0] ?? "", "-c", "mta", "--", "packetboat", "verify", "alice@example.org"),
    /^delivery:$/m,
  );

  const [first = "", second = ""] = ids;
  const traced = await outside(stage, ["trace", first, ...cluster, "--log"]);
  console.log(traced.out);
  assert.match(traced.out, /^where: +pod mx-\d+, shard \d+$/m);
  assert.match(traced.out, /^last dialogue:/m);
  assert.match(traced.out, /^life:\n.*accepted from /m);
  assert.match(traced.out, /^log:\n[\s\S]*status=deferred/m);
  assert.match((await outside(stage, ["queue", "cat", second, ...cluster])).out, /body of two/);
  assert.match((await outside(stage, ["queue", "shape", ...cluster])).out, /^tools\.example +3 /m);

  assert.match(
    (await outside(stage, ["queue", "hold", "-", ...cluster], `${first}\n${second}\n`)).out,
    /^2 messages put on hold$/m,
  );
  assert.match((await outside(stage, ["queue", "release", first, ...cluster])).out, /^1 message released$/m);
  const missing = await outside(stage, ["queue", "delete", "0000000000000", ...cluster]);
  assert.equal(missing.code, 1);
  assert.match(
    (await outside(stage, ["queue", "delete", "--domain", "tools.example", ...cluster])).out,
    /^3 messages deleted$/m,
  );
  assert.deepEqual(await list(), []);

  // Over the network nothing can be changed.
  const address = (await stage.pods())[0]?.status?.podIP ?? "";
  const refused = await fetch(`http://${address}:9125/act-on-all`, {
    method: "POST",
    body: "{}",
    signal: AbortSignal.timeout(5000),
  });
  assert.equal(refused.status, 405);
  await stage.kubectl("delete", "mailbox/tools-waiting", "maildomain/tools");
});

test("what cannot be asked is said: no such MailServer, a pod that is not there", async () => {
  const stage = await Stage.set();
  const nobody = await outside(stage, ["queue", "list", "--namespace", "default", "--server", "nobody"]);
  assert.equal(nobody.code, 1);
  assert.match(nobody.err, /statefulsets.* "nobody" not found/);
  const gone = await outside(stage, ["queue", "list", ...cluster, "--pod", "mx-99"]);
  assert.equal(gone.code, 1);
  assert.match(gone.err, /mx-99/);
});
