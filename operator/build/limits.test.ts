import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { aMailServer } from "../../crds/builders.ts";
import { renderFiles } from "../../server/config/files.ts";
import { serverSectionSchema } from "../../server/config/schema.ts";
import { buildDesired } from "./build.ts";
import { aCertificate } from "./sample-certificate.ts";
import { aWorld } from "./sample-world.ts";

function build(
  spec: NonNullable<NonNullable<Parameters<typeof aMailServer>[0]>["spec"]>,
  secret?: Readonly<Record<string, string>>,
) {
  const secrets = secret === undefined ? {} : { "default/redis": secret };
  const desired = buildDesired(aWorld({ server: aMailServer({ spec }), secrets }));
  const verdict = desired.verdicts.get("MailServer/default/mx");
  return {
    limits: serverSectionSchema.parse(desired.config.server).limits,
    sharedState: desired.config.secrets.sharedState,
    files: renderFiles(desired.config),
    message: verdict?.accepted === false ? verdict.message : "",
  };
}

suite("build: limits and shared state", () => {
  test("defaults are explicit, and no rate is among them", () => {
    const { limits, message } = build({});
    assert.equal(message, "");
    const { rates, clientPrefix, exemptNetworks, recipientOvershoot, junkCommands, heloTimeoutMs, minDataRate } =
      limits;
    assert.deepEqual(
      { rates, clientPrefix, exemptNetworks, recipientOvershoot, junkCommands, heloTimeoutMs, minDataRate },
      {
        rates: {},
        clientPrefix: { ipv4: 32, ipv6: 64 },
        exemptNetworks: [],
        recipientOvershoot: 1000,
        junkCommands: 100,
        heloTimeoutMs: 300_000,
        minDataRate: 500,
      },
    );
  });

  test("what smtpd_client_*_rate_limit and smtpd_client_event_limit_exceptions say", () => {
    const { limits, message } = build({
      networks: { trusted: ["10.0.0.0/8"] },
      limits: {
        connectionRatePerClient: { count: 30 },
        messageRatePerClient: { count: 100, per: "1h" },
        recipientRatePerClient: { count: 1000, per: "9w" },
        authRatePerClient: { count: 10 },
        newTLSSessionRatePerClient: { count: 20, per: "500ms" },
        exempt: { networks: ["192.0.2.1"] },
      },
    });
    assert.equal(message, "");
    assert.deepEqual(limits.rates, {
      connections: { count: 30, perMs: 60_000 },
      messages: { count: 100, perMs: 3_600_000 },
      // No counter lives longer than a week.
      recipients: { count: 1000, perMs: 604_800_000 },
      auths: { count: 10, perMs: 60_000 },
      tlsSessions: { count: 20, perMs: 500 },
    });
    assert.deepEqual(limits.exemptNetworks, ["10.0.0.0/8", "192.0.2.1/32"]);
  });

  test("trusted networks can be limited too; a network that is none is said", () => {
    const { limits, message } = build({
      networks: { trusted: ["10.0.0.0/8"] },
      limits: { exempt: { trustedNetworks: false, networks: ["10.0.0.0/99"] } },
    });
    assert.deepEqual(limits.exemptNetworks, []);
    assert.match(message, /^"10\.0\.0\.0\/99" in spec\.limits\.exempt\.networks is not a network/);
  });

  const sharedState = { secretName: "redis" };

  test("the Secret of the shared state goes into a secret slice and nowhere else", async () => {
    const { "tls.crt": authority } = await aCertificate("authority.example");
    const secret = { url: "rediss://redis.example:6380/2\n", password: "a-test-password\n", "ca.crt": authority };
    const { sharedState: found, files, message } = build({ sharedState }, secret);
    assert.equal(message, "");
    assert.equal(found?.url, "rediss://redis.example:6380/2");
    assert.equal(found?.password, "a-test-password");
    assert.match(found?.authority ?? "", /BEGIN CERTIFICATE/);
    const holders = [...files].filter(([, text]) => /redis\.example|a-test-password/.test(text)).map(([name]) => name);
    assert.deepEqual(holders, ["secret-00.json"]);
  });

  const bad: readonly (readonly [Readonly<Record<string, string>> | undefined, RegExp])[] = [
    [undefined, /Secret default\/redis does not exist/],
    [{}, /needs the key url/],
    [{ url: "http://user:hidden@redis.example" }, /needs the key url/],
    [{ url: "redis://" }, /needs the key url/],
    [{ url: "redis://x", password: "\uFFFD" }, /that is not text/],
    [{ url: "redis://x", "ca.crt": "nonsense" }, /ca\.crt/],
  ];
  for (const [secret, expected] of bad) {
    test(`refused, and each pod counts for itself: ${JSON.stringify(secret)}`, () => {
      const { sharedState: found, message } = build({ sharedState }, secret);
      assert.equal(found, undefined);
      assert.match(message, expected);
      assert.match(message, /Until then each pod counts for itself\.$/);
      assert.ok(!message.includes("hidden"));
    });
  }
});
