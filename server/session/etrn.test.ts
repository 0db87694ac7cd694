import assert from "node:assert/strict";
import { test } from "node:test";
import { DomainFlush, type FlushAnswer } from "../admin/domain-flush.ts";
import { aConfig, aDomain, aListener, aServer, capturedLog, play, TestClient } from "../listen/inbound-fixture.ts";

const domains = new Map([
  ["example.org", aDomain()],
  ["relayed.example", aDomain({ class: "Relay", recipients: "Any" })],
  ["a.relayed.example", aDomain({ class: "Relay", recipients: "Any" })],
  ["xn--bcher-kva.example", aDomain({ class: "Relay", recipients: "Any" })],
]);
const config = (etrn: boolean | undefined) =>
  aConfig({ domains }, { listeners: [aListener(etrn === undefined ? {} : { etrn })] });

const answers: Readonly<Record<string, FlushAnswer>> = {
  "relayed.example": { kind: "done", messages: 3 },
  "a.relayed.example": { kind: "done", messages: 2 },
  "xn--bcher-kva.example": { kind: "done", messages: 0 },
};

const dialogues: readonly (readonly [command: string, reply: RegExp])[] = [
  ["ETRN relayed.example", /^253 2\.0\.0 3 pending messages for relayed\.example started$/],
  ["ETRN RELAYED.example.", /^253 /],
  ["ETRN @relayed.example", /^253 2\.0\.0 5 /],
  ["ETRN bücher.example", /^251 2\.0\.0 No messages waiting for xn--bcher-kva\.example$/],
  ["ETRN example.org", /^459 4\.7\.1 /],
  ["ETRN foreign.example", /^459 4\.7\.1 /],
  ["ETRN", /^501 5\.5\.4 Syntax: ETRN domain$/],
  ["ETRN #queue", /^501 /],
  ["ETRN [192.0.2.1]", /^501 /],
  ["ETRN relayed.example other.example", /^501 /],
  ["ETRN <relayed.example>", /^501 /],
];

test("ETRN, where the listener offers it", async () => {
  const asked: string[] = [];
  await using server = await aServer(config(true), {
    flushDomain: (domain) => {
      asked.push(domain);
      return Promise.resolve(answers[domain] ?? { kind: "unable" });
    },
  });
  const client = await TestClient.connect(server.port());
  await client.reply();
  assert.match(await client.say("ETRN relayed.example"), /^503 5\.5\.1 /);
  assert.match(await client.say("EHLO x"), /^250[ -]ETRN$/m);
  for (const [command, reply] of dialogues) {
    client.send(Buffer.from(`${command}\r\n`));
    assert.match(await client.reply(), reply, command);
  }
  assert.deepEqual(asked, [
    "relayed.example",
    "relayed.example",
    "relayed.example",
    "a.relayed.example",
    "xn--bcher-kva.example",
  ]);
  assert.match(await client.say("MAIL FROM:<>"), /^250 /);
  assert.match(await client.say("ETRN relayed.example"), /^503 5\.5\.1 MAIL transaction in progress$/);
});

test("not offered: 502, and not announced", async () => {
  await using server = await aServer(config(undefined));
  const client = await TestClient.connect(server.port());
  await client.reply();
  assert.doesNotMatch(await client.say("EHLO x"), /ETRN/);
  assert.match(await client.say("ETRN relayed.example"), /^502 5\.5\.1 /);
});

test("a flush that takes its time, or cannot be made", async () => {
  let answer: FlushAnswer = { kind: "started" };
  await using server = await aServer(config(true), { flushDomain: () => Promise.resolve(answer) });
  const client = await play(
    server.port(),
    `S: 220 *
     C: HELO x
     S: 250 *
     C: ETRN relayed.example
     S: 252 2.0.0 Pending messages for relayed.example started`,
  );
  answer = { kind: "unable" };
  assert.match(await client.say("ETRN relayed.example"), /^458 4\.3\.0 Unable to queue messages/);
});

test("one walk at a time; who asks for the same joins it; a long line is refused", async () => {
  const begun: string[] = [];
  const gates = new Map<string, PromiseWithResolvers<number>>();
  const flushing = new DomainFlush({
    flush: (domain) => {
      begun.push(domain);
      const gate = Promise.withResolvers<number>();
      gates.set(domain, gate);
      return gate.promise;
    },
    log: capturedLog().log,
    patienceMs: 20,
  });
  const first = flushing.ask("d0");
  assert.deepEqual(await first, { kind: "started" });
  const same = flushing.ask("d0");
  const waiting = Array.from({ length: 19 }, (_, place) => flushing.ask(`d${place + 1}`));
  assert.deepEqual(await flushing.ask("one-too-many"), { kind: "unable" });
  assert.deepEqual(begun, ["d0"]);
  gates.get("d0")?.resolve(7);
  assert.deepEqual(await same, { kind: "done", messages: 7 });
  assert.ok((await Promise.all(waiting)).every(({ kind }) => kind === "started"));
  assert.deepEqual(begun, ["d0", "d1"]);
  // One that fails does not hold up the others.
  gates.get("d1")?.reject(new Error("shard down"));
  while (begun.length < 3) await new Promise(setImmediate);
  assert.deepEqual(begun, ["d0", "d1", "d2"]);
});
