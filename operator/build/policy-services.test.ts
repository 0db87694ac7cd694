import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { aMailServer } from "../../crds/builders.ts";
import type { MailServerSpec } from "../../crds/mail-server.ts";
import { policyServicesSchema } from "../../server/config/policy-services.ts";
import { verificationSchema } from "../../server/config/verification.ts";
import { restrictionsSchema } from "../../server/config/restrictions.ts";
import { buildDesired } from "./build.ts";
import { aWorld } from "./sample-world.ts";

function build(spec: Partial<MailServerSpec>) {
  const desired = buildDesired(aWorld({ server: aMailServer({ spec }) }));
  return { server: desired.config.server, verdict: desired.verdicts.get("MailServer/default/mx") };
}

suite("build: policy services", () => {
  test("every default is written out", () => {
    const { server, verdict } = build({
      policyServices: [{ name: "grey", address: "postgrey.mail.svc:10023", stage: "Recipient" }],
    });
    assert.deepEqual(policyServicesSchema.parse(server.policyServices), [
      {
        name: "grey",
        endpoint: { host: "postgrey.mail.svc", port: 10_023 },
        stage: "Recipient",
        clients: "Untrusted",
        connections: 20,
        timeoutMs: 100_000,
        maxIdleMs: 300_000,
        maxLifetimeMs: 1_000_000,
        tries: 2,
        retryDelayMs: 1000,
        defaultAction: "451 4.3.5 Server configuration problem",
        context: "",
      },
    ]);
    assert.equal(verdict?.accepted, true);
  });

  for (const [address, endpoint] of [
    ["unix:/run/policyd.sock", { path: "/run/policyd.sock" }],
    ["inet:Policyd:7777", { host: "policyd", port: 7777 }],
    ["[2001:db8::1]:10023", { host: "2001:db8::1", port: 10_023 }],
    ["192.0.2.7:1", { host: "192.0.2.7", port: 1 }],
  ] as const)
    test(address, () => {
      const { server } = build({ policyServices: [{ name: "one", address }] });
      assert.deepEqual(server.policyServices[0]?.endpoint, endpoint);
      assert.equal(server.policyServices[0]?.stage, undefined);
    });

  for (const address of ["host:0", "host:65536", "[192.0.2.1]:25", "[::1::2]:25"])
    test(`${address} is said and left out`, () => {
      const { server, verdict } = build({ policyServices: [{ name: "one", address, stage: "Data" }] });
      assert.deepEqual(server.policyServices, []);
      assert.ok(verdict?.accepted === false && verdict.reason === "Invalid");
      assert.match(verdict.message, /policyServices "one" is not an address/);
    });

  test("a list that names a service that there is not is said", () => {
    const restrictions: MailServerSpec["restrictions"] = { recipient: ["CheckPolicyService grey"] };
    const named = build({ restrictions, policyServices: [{ name: "grey", address: "h:1" }] });
    assert.equal(named.verdict?.accepted, true);
    assert.deepEqual(restrictionsSchema.parse(named.server.restrictions).recipient.at(-1), "CheckPolicyService grey");
    const { verdict } = build({ restrictions });
    assert.ok(verdict?.accepted === false);
    assert.match(verdict.message, /names none of spec.policyServices/);
  });
});

suite("build: verification", () => {
  test("Postfix's times by default, and the null sender", () => {
    assert.deepEqual(verificationSchema.parse(build({}).server.verification), {
      sender: "",
      positive: { expireMs: 31 * 86_400_000, refreshMs: 7 * 86_400_000 },
      negative: { expireMs: 3 * 86_400_000, refreshMs: 3 * 3_600_000 },
      waitMs: 6000,
      recipientRejectCode: 450,
      senderRejectCode: 450,
    });
  });

  test("what is written", () => {
    const { server } = build({
      verification: { sender: "double-bounce@Example.org", wait: "0", recipients: "Permanent", senders: "Permanent" },
    });
    const { sender, waitMs, recipientRejectCode, senderRejectCode } = server.verification;
    assert.deepEqual(
      [sender, waitMs, recipientRejectCode, senderRejectCode],
      ["double-bounce@example.org", 0, 550, 550],
    );
  });
});
