/** A probe asks a server whether it would take a recipient, and sends it nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { aJob, aLiveConfig, aMessage, aPeer, aScript, delivering, politely, said, to } from "./outbound-fixture.ts";

const config = aLiveConfig();
const asking = (recipient: string): ReturnType<typeof aMessage> =>
  aMessage([recipient], { size: 0, envelope: { sender: "" } });

const pipelining = (verb: "EHLO" | "LHLO"): Record<string, string> => ({ [verb]: "250-peer\r\n250 PIPELINING\r\n" });
for (const kind of ["smtp", "lmtp"] as const)
  for (const isPipelined of [false, true])
    test(`${kind}${isPipelined ? ", pipelined" : ""}: MAIL, RCPT, RSET and no DATA`, async (t) => {
      const verb = kind === "smtp" ? "EHLO" : "LHLO";
      const script = await aScript(
        t,
        "220 hi\r\n",
        politely({ ...(isPipelined ? pipelining(verb) : {}), RCPT: "250 2.1.5 known\r\n" }),
      );
      const deliver = delivering(t);
      const ask = async (): Promise<readonly string[]> =>
        said(await deliver({ ...aJob(config, to(script.port, kind), asking("a@x.test")), probe: true }));
      assert.deepEqual(await ask(), ["delivered 250 2.1.5"]);
      assert.deepEqual(script.lines.slice(1), ["MAIL FROM:<>", "RCPT TO:<a@x.test>", "RSET"]);
      assert.deepEqual(await ask(), ["delivered 250 2.1.5"]);
      assert.equal(script.connections, 1, "the session is kept for the next question");
      assert.ok(!script.lines.includes("DATA"));
    });

for (const isPipelined of [false, true])
  test(`refused${isPipelined ? ", pipelined" : ""}: with the server's reply, and the session goes on`, async (t) => {
    let replies = ["550 5.1.1 unknown\r\n", "451 4.2.0 busy\r\n", "250 2.1.5 known\r\n"];
    const script = await aScript(t, "220 hi\r\n", (line) => {
      if (!line.startsWith("RCPT")) return politely(isPipelined ? pipelining("EHLO") : {})(line);
      const [first, ...rest] = replies;
      replies = rest;
      return first;
    });
    const deliver = delivering(t);
    const ask = async (): Promise<readonly string[]> =>
      said(await deliver({ ...aJob(config, to(script.port), asking("a@x.test")), probe: true }));
    assert.deepEqual(await ask(), ["failed recipient 550 5.1.1"]);
    assert.deepEqual(await ask(), ["failed recipient 451 4.2.0"]);
    assert.deepEqual(await ask(), ["delivered 250 2.1.5"]);
    assert.equal(script.connections, 1);
    assert.ok(!script.lines.includes("DATA"));
  });

test("mail and probes share a session; each stays what it is", async (t) => {
  const peer = await aPeer(t);
  const deliver = delivering(t);
  const probe = { ...aJob(config, to(peer.port), asking("a@x.test")), probe: true };
  assert.deepEqual(said(await deliver(probe)), ["delivered 250"]);
  assert.deepEqual(said(await deliver(aJob(config, to(peer.port), aMessage(["b@x.test"])))), ["delivered 250 2.0.0"]);
  assert.deepEqual(said(await deliver(probe)), ["delivered 250"]);
  assert.deepEqual(
    peer.received.map(({ recipients }) => recipients),
    [["b@x.test"]],
  );
  assert.equal(peer.connections, 1);
});

test("nobody there, or the sender refused: what is known about the host or the message, not about the recipient", async (t) => {
  const deliver = delivering(t);
  const gone = { ...aJob(config, to(1), asking("a@x.test")), probe: true };
  assert.match(said(await deliver(gone))[0] ?? "", /^failed host 4/);
  const script = await aScript(t, "220 hi\r\n", politely({ MAIL: "550 5.7.1 not you\r\n" }));
  const refused = { ...aJob(config, to(script.port), asking("a@x.test")), probe: true };
  assert.deepEqual(said(await deliver(refused)), ["failed message 550 5.7.1"]);
});

test("what is delivered without a server is there", async (t) => {
  const deliver = delivering(t);
  for (const delivery of [{ kind: "maildir", base: "mail" }, { kind: "discard" }, { kind: "hold" }] as const)
    assert.match(
      said(await deliver({ ...aJob(config, { delivery }, asking("a@x.test")), probe: true }))[0] ?? "",
      /^delivered 250/,
    );
});
