import assert from "node:assert/strict";
import { test } from "node:test";
import { aConfig, capturedLog } from "../listen/inbound-fixture.ts";
import { ClientRates } from "./client-rates.ts";
import { MemorySharedState } from "./shared-state.ts";

const limits = {
  ...aConfig().server.limits,
  rates: { messages: { count: 2, perMs: 60_000 }, auths: { count: 1, perMs: 60_000 } },
  clientPrefix: { ipv4: 24, ipv6: 48 },
  exemptNetworks: ["192.0.2.64/26"],
};

test("so many in a time, by network, each kind by itself; then again", async () => {
  let now = 0;
  const rates = new ClientRates(new MemorySharedState(() => now), capturedLog().log);
  const asks: readonly (readonly [string, "messages" | "auths" | "recipients", boolean])[] = [
    ["192.0.2.1", "messages", false],
    ["192.0.2.2", "messages", false],
    ["192.0.2.3", "messages", true],
    ["192.0.2.3", "auths", false],
    ["192.0.2.4", "auths", true],
    ["192.0.2.4", "recipients", false],
    ["192.0.3.3", "messages", false],
    // Exempt, although of the same /24.
    ["192.0.2.65", "messages", false],
    ["2001:db8:1:2::1", "messages", false],
    ["2001:db8:1:3::1", "messages", false],
    ["2001:db8:1:4::1", "messages", true],
    ["2001:db8:2::1", "messages", false],
  ];
  for (const [address, name, expected] of asks)
    assert.equal(await rates.exceeds(limits, address, name), expected, `${address} ${name}`);
  now = 60_000;
  assert.equal(await rates.exceeds(limits, "192.0.2.3", "messages"), false);
});

test("without a limit the answer is there at once", () => {
  const rates = new ClientRates(new MemorySharedState(), capturedLog().log);
  assert.equal(rates.exceeds(limits, "192.0.2.1", "connections"), false);
});

test("a counter that fails lets the client through", async () => {
  const broken = new MemorySharedState();
  broken.add = () => Promise.reject(new Error("gone"));
  const { log, lines } = capturedLog();
  assert.equal(await new ClientRates(broken, log).exceeds(limits, "192.0.2.1", "messages"), false);
  assert.deepEqual(
    lines.map(({ event }) => event),
    ["shared-state-unavailable"],
  );
});
