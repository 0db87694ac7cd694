/** What is asked of other servers, how often, and what is remembered of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Verification } from "../config/verification.ts";
import type { LiveConfig } from "../config/schema.ts";
import type { DeliveryJob, DeliveryReport } from "../deliver/deliver.ts";
import { aConfig, aDomain, aMailbox, capturedLog } from "../listen/inbound-fixture.ts";
import type { Reply } from "../reply.ts";
import { resolveRecipient } from "../route/recipient.ts";
import { MemorySharedState, type SharedState } from "../session/shared-state.ts";
import { DOWN_MS } from "./results.ts";
import { Verifier } from "./verifier.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const settings: Verification = {
  sender: "",
  positive: { expireMs: 31 * DAY, refreshMs: 7 * DAY },
  negative: { expireMs: 3 * DAY, refreshMs: 3 * HOUR },
  waitMs: 5000,
  recipientRejectCode: 450,
  senderRejectCode: 450,
};

const config = (verification: Partial<Verification> = {}): LiveConfig =>
  aConfig(
    {
      domains: new Map([
        ["example.net", aDomain({ class: "Relay", recipients: "Verify" })],
        ["example.org", aDomain({ delivery: { kind: "maildir", base: "mail" } })],
      ]),
      addresses: new Map([
        ["alice@example.org", aMailbox()],
        ["list@example.org", { alias: { destinations: ["gone@example.net", "here@example.net"], senders: [] } }],
        ["lost@example.org", { alias: { destinations: ["gone@example.net"], senders: [] } }],
      ]),
    },
    { verification: { ...settings, ...verification } },
  );

const known: Reply = { code: 250, enhanced: "2.1.5", text: "known" };
const unknown: Reply = { code: 550, enhanced: "5.1.1", text: "unknown" };
const down: Reply = { code: 451, enhanced: "4.4.1", text: "no answer" };

type Answering = (
  address: string,
) => Partial<DeliveryReport["outcomes"][number]> | Promise<Partial<DeliveryReport["outcomes"][number]>>;
const says =
  (reply: Reply, scope: "recipient" | "host" | "message" | "destination" = "recipient") =>
  (): Partial<DeliveryReport["outcomes"][number]> =>
    reply.code < 300 ? { kind: "delivered", reply } : { kind: "failed", reply, scope };

/** The other servers, as deliveries see them; what is real about probes is in deliver/ and e2e/. */
class World {
  now = 0;
  readonly jobs: DeliveryJob[] = [];
  answering: Answering = says(known);
  readonly shared: SharedState;
  readonly lines: Record<string, unknown>[];
  readonly verifier: Verifier;

  constructor(verification: Partial<Verification> = {}, shared?: SharedState) {
    this.shared = shared ?? new MemorySharedState(() => this.now);
    const { log, lines } = capturedLog();
    this.lines = lines;
    const live = config(verification);
    this.verifier = new Verifier({
      config: () => live,
      resolve: resolveRecipient,
      shared: this.shared,
      log,
      now: () => this.now,
      deliver: async (job) => {
        this.jobs.push(job);
        const outcome = await this.answering(job.recipients[0]?.address ?? "");
        return { outcomes: [{ recipient: 0, ...outcome }], connectMs: 0, transmitMs: 0 } as DeliveryReport;
      },
    });
  }

  get asked(): readonly string[] {
    return this.jobs.map(({ recipients }) => recipients[0]?.address ?? "");
  }

  async verify(address: string): Promise<string> {
    return (await this.verifier.verify(address)).kind;
  }

  /** What the verifier does behind our back has happened. */
  async settled(): Promise<void> {
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

test("a probe has the configured sender, no content, and goes where mail would go", async () => {
  const world = new World({ sender: "double-bounce@example.org" });
  assert.equal(await world.verify("Bob@Example.NET"), "deliverable");
  const [job] = world.jobs;
  assert.equal(job?.probe, true);
  assert.equal(job.message.envelope.sender, "double-bounce@example.org");
  assert.deepEqual(world.asked, ["Bob@Example.NET"]);
  assert.deepEqual(job.transport.delivery, { kind: "mx", domain: "example.net" });
});

test("an address that exists: believed for 31 days, asked again in the background after 7", async () => {
  const world = new World();
  assert.equal(await world.verify("a@example.net"), "deliverable");
  world.now = 7 * DAY - 1;
  assert.equal(await world.verify("A@EXAMPLE.net"), "deliverable");
  assert.equal(world.jobs.length, 1);
  world.now = 7 * DAY;
  world.answering = says(unknown);
  assert.equal(await world.verify("a@example.net"), "deliverable", "nobody waits for what is only to be refreshed");
  await world.settled();
  assert.equal(world.jobs.length, 2);
  assert.equal(await world.verify("a@example.net"), "undeliverable");
  assert.equal(world.jobs.length, 2);
});

test("an address that does not exist: believed for 3 days, asked again after 3 hours", async () => {
  const world = new World();
  world.answering = says(unknown);
  assert.equal(await world.verify("a@example.net"), "undeliverable");
  world.now = 3 * HOUR - 1;
  assert.equal(await world.verify("a@example.net"), "undeliverable");
  assert.equal(world.jobs.length, 1);
  world.now = 3 * HOUR;
  world.answering = says(known);
  assert.equal(await world.verify("a@example.net"), "undeliverable");
  await world.settled();
  assert.equal(await world.verify("a@example.net"), "deliverable");
});

test("what is too old is not believed, whoever answers", async () => {
  const world = new World();
  await world.verify("a@example.net");
  world.now = 31 * DAY;
  world.answering = says(unknown);
  assert.equal(await world.verify("a@example.net"), "undeliverable");
});

test("a server that is down: unknown, remembered, left alone; back again, asked again", async () => {
  const world = new World();
  world.answering = says(down, "host");
  assert.equal(await world.verify("a@example.net"), "unknown");
  assert.equal(await world.verify("a@example.net"), "unknown");
  assert.equal(await world.verify("b@example.net"), "unknown");
  assert.equal(world.jobs.length, 1, "neither is the address asked again, nor the server about another");
  world.now = DOWN_MS;
  world.answering = says(known);
  assert.equal(await world.verify("a@example.net"), "deliverable");
  assert.equal(await world.verify("b@example.net"), "deliverable");
});

test("what was known outlives a server that goes down", async () => {
  const world = new World();
  await world.verify("a@example.net");
  world.now = 8 * DAY;
  world.answering = says(down, "host");
  assert.equal(await world.verify("a@example.net"), "deliverable");
  await world.settled();
  assert.equal(world.jobs.length, 2);
  assert.equal(await world.verify("a@example.net"), "deliverable");
});

test("only what is said of the recipient or its domain makes it undeliverable", async () => {
  for (const [reply, scope, expected] of [
    [unknown, "recipient", "undeliverable"],
    [{ code: 556, enhanced: "5.1.10", text: "null MX" }, "destination", "undeliverable"],
    [{ code: 550, enhanced: "5.7.1", text: "not your sender" }, "message", "unknown"],
    [{ code: 554, enhanced: "5.7.1", text: "go away" }, "host", "unknown"],
    [{ code: 450, enhanced: "4.2.0", text: "greylisted" }, "recipient", "unknown"],
  ] as const) {
    const world = new World();
    world.answering = says(reply, scope);
    assert.equal(await world.verify("a@example.net"), expected, `${reply.code} ${scope}`);
  }
});

test("all who ask at once share one probe; one destination gets few at once", { timeout: 10_000 }, async () => {
  const world = new World();
  let open = 0;
  let most = 0;
  world.answering = async () => {
    open += 1;
    most = Math.max(most, open);
    await new Promise((resolve) => setImmediate(resolve));
    open -= 1;
    return { kind: "delivered", reply: known };
  };
  const addresses = Array.from({ length: 20 }, (_, number) => `u${number}@example.net`);
  const answers = await Promise.all([...addresses, ...addresses].map((address) => world.verify(address)));
  assert.ok(answers.every((answer) => answer === "deliverable"));
  assert.equal(world.jobs.length, 20);
  assert.equal(most, 2);
});

test("who waits too long comes again and finds the answer; a slow server keeps nobody else waiting", {
  timeout: 10_000,
}, async () => {
  const world = new World({ waitMs: 50 });
  const gate = Promise.withResolvers<void>();
  world.answering = async (address) => {
    if (address.endsWith("@example.net")) await gate.promise;
    return { kind: "delivered", reply: known };
  };
  assert.equal(await world.verify("a@example.net"), "unknown");
  const many = Array.from({ length: 1100 }, (_, number) => world.verify(`u${number}@example.net`));
  await world.settled();
  assert.equal(await world.verify("somebody@elsewhere.example"), "deliverable");
  assert.ok((await Promise.all(many)).every((answer) => answer === "unknown"));
  gate.resolve();
  await world.settled();
  assert.equal(await world.verify("a@example.net"), "deliverable");
  assert.equal(world.asked.filter((address) => address === "a@example.net").length, 1);
  assert.ok(world.asked.length < 100, "most of them were not asked about at all");
});

test("aliases are followed: one destination that exists is enough", async () => {
  const world = new World();
  world.answering = (address) => (address === "here@example.net" ? says(known)() : says(unknown)());
  assert.equal(await world.verify("list@example.org"), "deliverable");
  assert.deepEqual(world.asked, ["gone@example.net", "here@example.net"]);
  assert.equal(await world.verify("lost@example.org"), "undeliverable");
  assert.equal(await world.verify("nobody@example.org"), "undeliverable");
  assert.deepEqual(world.asked.slice(2), ["gone@example.net"], "our own unknown users need no probe");
});

test("a shard that was restarted, or another one, finds what is known", async () => {
  const first = new World();
  first.answering = says(unknown);
  await first.verify("a@example.net");
  const second = new World({}, first.shared);
  assert.equal(await second.verify("a@example.net"), "undeliverable");
  assert.equal(second.jobs.length, 0);
});

test("shared state that is gone, or holds nonsense, costs a probe and nothing else", async () => {
  const broken = new MemorySharedState();
  broken.recall = () => Promise.reject(new Error("gone"));
  broken.remember = () => Promise.reject(new Error("gone"));
  const world = new World({}, broken);
  assert.equal(await world.verify("a@example.net"), "deliverable");
  assert.equal(await world.verify("a@example.net"), "deliverable");
  assert.equal(world.jobs.length, 1);
  const nonsense = new MemorySharedState();
  for (const kind of ["deliverable", "undeliverable", "down"])
    await nonsense.remember(`verify-${kind}:a@example.net`, "{}", HOUR);
  assert.equal(await new World({}, nonsense).verify("a@example.net"), "deliverable");
});
