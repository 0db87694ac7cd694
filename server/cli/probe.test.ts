import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { SMTPServer } from "smtp-server";
import { countDeliveries, main, parseEndpoint, probe, queueIdOf } from "./probe.ts";

const ID = "0Abc123456789";

/** A peer that takes one message and, seen from its admin port, ends it as `fate` says after `polls` looks at the queue. */
async function aServer(
  t: TestContext,
  { fate, polls = 2, refuse = false }: { fate: "delivered" | "failed" | "queued"; polls?: number; refuse?: boolean },
) {
  const seen: { sender: string; recipients: string[]; text: string }[] = [];
  let looks = 0;
  const gone = () => fate !== "queued" && seen.length > 0 && looks > polls;
  const smtp = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    onRcptTo: (_address, _session, done) =>
      done(refuse ? Object.assign(new Error("5.1.1 No such user here"), { responseCode: 550 }) : null),
    onData(stream, session, done) {
      const parts: Buffer[] = [];
      stream.on("data", (part: Buffer) => parts.push(part));
      stream.on("end", () => {
        const { mailFrom, rcptTo } = session.envelope;
        seen.push({
          sender: mailFrom === false ? "" : mailFrom.address,
          recipients: rcptTo.map(({ address }) => address),
          text: Buffer.concat(parts).toString(),
        });
        done(null, `2.0.0 Ok: queued as ${ID}`);
      });
    },
  });
  const admin = createServer((request, response) => {
    if (request.url === `/queue/${ID}`) {
      looks += 1;
      response.writeHead(gone() ? 404 : 200).end("{}");
    } else {
      const count = (result: string) => (gone() && fate === result ? 8 : 7);
      response.end(
        `# TYPE packetboat_deliveries_total counter\n` +
          `packetboat_deliveries_total{transport="lmtp",result="delivered"} ${count("delivered")}\n` +
          `packetboat_deliveries_total{transport="smtp",result="failed"} ${count("failed")}\n`,
      );
    }
  });
  const listening = Promise.withResolvers<void>();
  smtp.listen(0, "127.0.0.1", () => admin.listen(0, "127.0.0.1", listening.resolve));
  await listening.promise;
  t.after(async () => {
    admin.closeAllConnections();
    admin.close();
    const closed = Promise.withResolvers<void>();
    smtp.close(closed.resolve);
    await closed.promise;
  });
  const said: string[] = [];
  const options = {
    server: { host: "127.0.0.1", port: (smtp.server.address() as AddressInfo).port },
    admin: { host: "127.0.0.1", port: (admin.address() as AddressInfo).port },
    from: "",
    to: "alice@example.org",
    timeoutMs: 20_000,
    pollMs: 1,
    say: (line: string) => void said.push(line),
  };
  return { options, seen, said };
}

test("a message that leaves the queue while a delivery is counted is delivered", async (t) => {
  const { options, seen, said } = await aServer(t, { fate: "delivered" });
  assert.equal((await probe(options)).kind, "delivered");
  assert.equal(seen.length, 1);
  assert.equal(seen[0]?.sender, "");
  assert.deepEqual(seen[0]?.recipients, ["alice@example.org"]);
  assert.match(seen[0]?.text ?? "", /^Message-ID: <[0-9a-f-]{36}@probe\.packetboat\.invalid>\r$/m);
  assert.match(said.join("\n"), new RegExp(`queued as ${ID}`));
});

test("a message that bounced is not delivered", async (t) => {
  const { options } = await aServer(t, { fate: "failed" });
  const result = await probe(options);
  assert.deepEqual(result, {
    kind: "not-delivered",
    message: "it left the queue as undeliverable; see the server's log",
  });
});

test("a message still queued at the deadline is not delivered", async (t) => {
  const { options } = await aServer(t, { fate: "queued" });
  const result = await probe({ ...options, timeoutMs: 1 });
  assert.deepEqual(result, {
    kind: "not-delivered",
    message: "not delivered within 0.001 s: it is still in the queue",
  });
});

test("a refused recipient is told in the server's words", async (t) => {
  const { options, seen } = await aServer(t, { fate: "delivered", refuse: true });
  const result = await probe(options);
  assert.equal(result.kind, "not-delivered");
  assert.match(result.kind === "not-delivered" ? result.message : "", /not accepted: .*550 5\.1\.1 No such user here/);
  assert.equal(seen.length, 0);
});

test("an admin port that does not answer is named, and nothing is sent", async (t) => {
  const { options, seen } = await aServer(t, { fate: "delivered" });
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const { port } = closed.address() as AddressInfo;
  await new Promise((resolve) => closed.close(resolve));
  const result = await probe({ ...options, admin: { host: "127.0.0.1", port } });
  assert.match(result.kind === "not-delivered" ? result.message : "", new RegExp(`^admin port 127.0.0.1:${port} `));
  assert.equal(seen.length, 0);
});

test("the command line: exit codes", async (t) => {
  const { options, said } = await aServer(t, { fate: "delivered" });
  const endpoints = ["--server", `127.0.0.1:${options.server.port}`, "--admin", `127.0.0.1:${options.admin.port}`];
  assert.equal(await main([...endpoints, "--to", "alice@example.org"], options.say), 0);
  assert.match(said.at(-1) ?? "", /^delivered after \d+ ms$/);
  for (const args of [[], endpoints, [...endpoints, "--to", "a@b", "--timeout", "soon"], ["--what"]])
    assert.equal(await main(args, options.say), 2, args.join(" "));
});

test("endpoints", () => {
  for (const [text, wanted] of [
    ["mx.mail.svc:25", { host: "mx.mail.svc", port: 25 }],
    ["[::1]:9125", { host: "::1", port: 9125 }],
    ["127.0.0.1:65535", { host: "127.0.0.1", port: 65535 }],
    ["mx", undefined],
    ["mx:0", undefined],
    ["mx:65536", undefined],
    ["::1:25", undefined],
    ["http://mx:25", undefined],
  ] as const)
    assert.deepEqual(parseEndpoint(text), wanted, text);
});

test("deliveries are summed over transports; deferrals and other metrics do not count", () => {
  const page = [
    "# HELP packetboat_deliveries_total x",
    'packetboat_deliveries_total{transport="smtp",result="delivered"} 2',
    'packetboat_deliveries_total{result="delivered",transport="maildir"} 3',
    'packetboat_deliveries_total{transport="smtp",result="deferred"} 50',
    'packetboat_deliveries_total{transport="smtp",result="failed"} 1',
    'packetboat_delivery_seconds_count{transport="smtp"} 900',
  ].join("\n");
  assert.deepEqual(countDeliveries(page), { delivered: 5, failed: 1 });
});

test("the queue id is read from the 250", () => {
  assert.equal(queueIdOf(`250 2.0.0 Ok: queued as ${ID}`), ID);
  assert.equal(queueIdOf("250 2.0.0 Ok"), undefined);
});
