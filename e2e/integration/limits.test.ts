/** Clients that take without end: one that pipelines and never reads, and many that only drip; what they cost the server and the others. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Limits } from "../../server/config/schema.ts";
import { until } from "../peers/ports.ts";
import { ServerAlone } from "../peers/server.ts";
import { SmtpDialogue } from "../peers/smtp.ts";

async function serverWith(limits: Partial<Limits>): Promise<ServerAlone> {
  const server = await ServerAlone.prepare(1);
  await server.render((sample) => ({
    ...sample,
    server: { ...sample.server, limits: { ...sample.server.limits, ...limits } },
  }));
  server.run();
  await until("the server to be ready", 20_000, async () => (await server.ready()) === "ok");
  return server;
}

const residentMiB = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

/** A connection whose answers nobody reads; `taken` are the octets the server's side has room for. */
async function deafClient(port: number, questions: string) {
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", () => undefined);
  await once(socket, "connect");
  const state = { taken: 0, isClosed: false };
  socket.on("close", () => (state.isClosed = true));
  const piece = 65_536;
  const pump = (from: number): void => {
    if (from >= questions.length) return;
    const part = questions.slice(from, from + piece);
    socket.write(part, (error) => {
      if (error instanceof Error) return;
      state.taken += part.length;
      pump(from + piece);
    });
  };
  pump(0);
  return { state, [Symbol.dispose]: () => void socket.destroy() };
}

const envelope = "EHLO deaf.example\r\nMAIL FROM:<>\r\n";
const recipients = `RCPT TO:<${"nobody".repeat(10)}@${"a-long-label-of-a-domain.".repeat(5)}example.org>\r\n`.repeat(
  100_000,
);

test("100,000 RCPT of a client that never reads: memory stays, others are served", { timeout: 60_000 }, async () => {
  const endless = { softErrors: 1000, hardErrors: 1_000_000, recipientOvershoot: 50_000 };
  await using server = await serverWith(endless);
  const [shard = 0] = server.shards();
  const before = residentMiB(shard);
  using deaf = await deafClient(server.mx, envelope + recipients);
  let peak = before;
  let [taken, stillMs] = [0, 0];
  while (stillMs < 1500 && deaf.state.taken < recipients.length) {
    await sleep(100);
    peak = Math.max(peak, residentMiB(shard));
    stillMs = deaf.state.taken === taken ? stillMs + 100 : 0;
    taken = deaf.state.taken;
  }
  assert.ok(taken < recipients.length, "the server read everything without being read");
  assert.ok(!deaf.state.isClosed);
  assert.ok(peak - before < 64, `${Math.round(peak - before)} MiB more`);
  await using other = await SmtpDialogue.open(server.mx);
  await other.reply();
  for (const line of ["EHLO other.example", "MAIL FROM:<>", "RCPT TO:<alice@example.org>", "DATA"])
    assert.match(await other.command(line), /^[23]5[04]/);
  assert.match(await other.command("Subject: x\r\n\r\nx\r\n."), /^250 /);
});

test("with the default limits the same client is sent away", { timeout: 60_000 }, async () => {
  await using server = await serverWith({});
  using _deaf = await deafClient(server.mx, envelope + recipients);
  const said = (name: string): number => server.log().filter(({ event }) => event === name).length;
  await until("the server to hang up", 30_000, () => said("too-many-errors") > 0);
  // What is still under way is thrown away for some seconds, so that the last reply may arrive; then nothing is left of it.
  await until("the connection to be gone", 30_000, async () =>
    /^packetboat_connections_open\{listener="mx"\} 0$/m.test(await (await server.admin("/metrics")).text()),
  );
  assert.ok(said("rcpt-refused") > 0);
  assert.ok(said("rcpt-refused") <= 20, "recipients were answered after the last error it was allowed");
});
