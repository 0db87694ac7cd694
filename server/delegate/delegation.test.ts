/** What a policy daemon is told, and what its answers, its silence and its death lead to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { PolicyService } from "../config/policy-services.ts";
import { aConfig, capturedLog } from "../listen/inbound-fixture.ts";
import { policyServiceAnswers } from "../observe/metrics.ts";
import type { Verdict } from "../policy/verdict.ts";
import { type PolicyAttributes, requestText } from "./attributes.ts";
import { actionOf } from "./connection.ts";
import { aService, PolicyDaemon } from "./daemon-fixture.ts";
import { Delegation } from "./delegation.ts";

const attributes: PolicyAttributes = {
  protocol_state: "RCPT",
  protocol_name: "ESMTP",
  client_address: "192.0.2.1",
  client_name: "client.example.net",
  client_port: "40000",
  reverse_client_name: "client.example.net",
  server_address: "192.0.2.25",
  server_port: "25",
  helo_name: "client.example.net",
  sender: "bob@example.com",
  recipient: "alice@example.org",
  recipient_count: "0",
  queue_id: "",
  instance: "a1",
  size: "1000",
  etrn_domain: "",
  stress: "",
  sasl_method: "",
  sasl_username: "",
  sasl_sender: "",
  ccert_subject: "",
  ccert_issuer: "",
  ccert_fingerprint: "",
  ccert_pubkey_fingerprint: "",
  encryption_protocol: "TLSv1.3",
  encryption_cipher: "TLS_AES_256_GCM_SHA384",
  encryption_keysize: "256",
  policy_context: "submission",
};

test("the request, octet by octet", () => {
  assert.equal(
    requestText(attributes),
    `request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address=192.0.2.1
client_name=client.example.net
client_port=40000
reverse_client_name=client.example.net
server_address=192.0.2.25
server_port=25
helo_name=client.example.net
sender=bob@example.com
recipient=alice@example.org
recipient_count=0
queue_id=
instance=a1
size=1000
etrn_domain=
stress=
sasl_method=
sasl_username=
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=submission
compatibility_level=3.8
mail_version=3.8.0

`,
  );
});

test("whatever a stranger says, each attribute stays one line and the request ends once", () => {
  const lines = requestText(attributes).split("\n").length;
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 5000 }), fc.string({ unit: "binary" }), (helo_name, sender) => {
      const text = requestText({ ...attributes, helo_name, sender });
      assert.equal(text.split("\n").length, lines);
      assert.equal(text.indexOf("\n\n"), text.length - 2);
      assert.ok(text.length < 20_000);
    }),
    { numRuns: 25 },
  );
});

test("the action of an answer", () => {
  assert.equal(actionOf("action=DUNNO"), "DUNNO");
  assert.equal(actionOf("x=y\naction= 450 4.2.0 Greylisted=yes \naction=OK"), "450 4.2.0 Greylisted=yes");
  assert.equal(actionOf("action="), "");
  assert.equal(actionOf("reaction=OK"), undefined);
  assert.equal(actionOf(""), undefined);
});

function aDelegation(settings: Partial<PolicyService> = {}): {
  readonly ask: (daemon: PolicyDaemon) => Promise<Verdict>;
  readonly lines: readonly Record<string, unknown>[];
  [Symbol.dispose](): void;
} {
  const { log, lines } = capturedLog();
  const delegation = new Delegation(log);
  return {
    lines,
    ask: ({ endpoint }) => delegation.ask(aService({ endpoint, ...settings }), attributes),
    [Symbol.dispose]: () => delegation.close(),
  };
}

const failed = {
  kind: "defer",
  reason: "policy-service-failed",
  reply: { code: 451, enhanced: "4.3.5", text: "Server configuration problem" },
};

test("one connection serves many questions, in pieces or whole", async () => {
  await using daemon = await PolicyDaemon.start((_, number) =>
    number === 2 ? "action=REJECT no\r\n\r\n".replaceAll("\r", "") : "action=DUNNO\n\n",
  );
  using delegation = aDelegation();
  assert.deepEqual(await delegation.ask(daemon), { kind: "pass" });
  assert.equal((await delegation.ask(daemon)).kind, "reject");
  assert.deepEqual(await delegation.ask(daemon), { kind: "pass" });
  assert.equal(daemon.connections, 1);
  assert.equal(daemon.texts[0], requestText(attributes).trimEnd());
});

test("as many connections as allowed; more questions wait for one", { timeout: 10_000 }, async () => {
  await using daemon = await PolicyDaemon.start(() => "action=DUNNO\n\n", "tcp");
  using delegation = aDelegation({ connections: 2 });
  const answers = await Promise.all(Array.from({ length: 50 }, () => delegation.ask(daemon)));
  assert.ok(answers.every(({ kind }) => kind === "pass"));
  assert.equal(daemon.connections, 2);
});

test("a daemon that closes its kept connections costs no try", async () => {
  await using daemon = await PolicyDaemon.start(() => "action=DUNNO\n\n");
  using delegation = aDelegation({ tries: 1 });
  assert.equal((await delegation.ask(daemon)).kind, "pass");
  await daemon.kill();
  await daemon.listen();
  assert.equal((await delegation.ask(daemon)).kind, "pass");
  assert.equal(daemon.connections, 2);
  assert.deepEqual(delegation.lines, []);
});

test("killed between two questions: the default action; back again without a restart of ours", async () => {
  await using daemon = await PolicyDaemon.start(() => "action=DUNNO\n\n", "tcp");
  using delegation = aDelegation({ name: "killed" });
  assert.equal((await delegation.ask(daemon)).kind, "pass");
  await daemon.kill();
  assert.deepEqual(await delegation.ask(daemon), failed);
  assert.deepEqual(await delegation.ask(daemon), failed);
  await daemon.listen();
  assert.equal((await delegation.ask(daemon)).kind, "pass");
  assert.deepEqual(
    delegation.lines.map(({ event, service }) => [event, service]),
    [
      ["policy-service-failed", "killed"],
      ["policy-service-recovered", "killed"],
    ],
  );
  const counted = (await policyServiceAnswers.get()).values.filter(({ labels }) => labels.service === "killed");
  assert.deepEqual(
    counted.map(({ labels, value }) => [labels.result, value]),
    [
      ["answered", 2],
      ["unavailable", 2],
    ],
  );
});

test("killed in the middle of a question: asked once more, then the default action", async () => {
  await using daemon = await PolicyDaemon.start((_, number) => (number === 1 ? null : "action=DUNNO\n\n"));
  using delegation = aDelegation();
  assert.equal((await delegation.ask(daemon)).kind, "pass");
  daemon.answering = () => null;
  assert.deepEqual(await delegation.ask(daemon), failed);
  // On the kept connection, which costs no try, and on two new ones.
  assert.equal(daemon.questions.length, 5);
});

test("silence is waited for no longer than the timeout, a busy daemon neither", { timeout: 10_000 }, async () => {
  await using daemon = await PolicyDaemon.start(() => undefined);
  using delegation = aDelegation({ timeoutMs: 60, tries: 1, connections: 1 });
  const startedMs = performance.now();
  const answers = await Promise.all([delegation.ask(daemon), delegation.ask(daemon)]);
  assert.deepEqual(answers, [failed, failed]);
  assert.ok(performance.now() - startedMs < 2000);
});

for (const [name, answer] of Object.entries({
  "no action": "status=fine\n\n",
  "an empty line": "\n\n",
  "an unknown action": "action=PLEASE\n\n",
  "a filter": "action=FILTER smtp:[127.0.0.1]:10025\n\n",
  "a restriction": "action=reject_unknown_sender_domain\n\n",
  "an endless answer": "x".repeat(20_000),
  html: "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n\n\n",
}))
  test(`${name} is nonsense: the default action`, { timeout: 10_000 }, async () => {
    await using daemon = await PolicyDaemon.start(() => answer);
    using delegation = aDelegation();
    assert.deepEqual(await delegation.ask(daemon), failed);
    assert.equal(daemon.questions.length, 1, "nonsense is not asked for twice");
    assert.equal(delegation.lines[0]?.["event"], "policy-service-failed");
  });

test("octets that nobody asked for end the connection: they are no answer to the next question", async () => {
  await using daemon = await PolicyDaemon.start(
    (_, number) => `action=DUNNO\n\n${number === 1 ? "action=OK\n\n" : ""}`,
  );
  using delegation = aDelegation();
  assert.equal((await delegation.ask(daemon)).kind, "pass");
  assert.equal((await delegation.ask(daemon)).kind, "pass");
  assert.equal(daemon.connections, 2);
});

test("the default action is the administrator's", async () => {
  await using daemon = await PolicyDaemon.start(() => null);
  using open = aDelegation({ defaultAction: "DUNNO" });
  assert.deepEqual(await open.ask(daemon), { kind: "pass" });
});

test("no limits on idling or age: kept connections are closed", async () => {
  await using daemon = await PolicyDaemon.start(() => "action=DUNNO\n\n");
  using delegation = aDelegation({ maxIdleMs: 0 });
  await delegation.ask(daemon);
  await delegation.ask(daemon);
  assert.equal(daemon.connections, 2);
});

test("a changed service is asked as the configuration of the moment says", async () => {
  await using one = await PolicyDaemon.start(() => "action=DUNNO\n\n");
  await using other = await PolicyDaemon.start(() => "action=REJECT\n\n");
  const { log } = capturedLog();
  const delegation = new Delegation(log);
  try {
    const [first, second] = [one, other].map(({ endpoint }) => aService({ endpoint }));
    assert.ok(first !== undefined && second !== undefined);
    assert.equal((await delegation.ask(first, attributes)).kind, "pass");
    delegation.apply(aConfig({}, { policyServices: [second] }));
    assert.equal((await delegation.ask(second, attributes)).kind, "reject");
  } finally {
    delegation.close();
  }
});

test("whatever octets a daemon sends: a verdict, in time", { timeout: 20_000 }, async () => {
  let octets = "";
  await using daemon = await PolicyDaemon.start(() => octets);
  using delegation = aDelegation({ timeoutMs: 20, tries: 1 });
  const piece = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.constantFrom("\n", "\n\n", "action=", "OK", "\r\n", "DUNNO"),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (pieces) => {
      octets = pieces.join("");
      const { kind } = await delegation.ask(daemon);
      assert.ok(octets.includes("action=") || kind === "defer");
    }),
    { numRuns: 25 },
  );
});
