import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { accessCheckNames, checkNames } from "../../crds/restrictions.ts";
import { anAccessRule, aMailServer } from "../../crds/builders.ts";
import type { AccessRuleSpec } from "../../crds/access-rule.ts";
import type { MailServerSpec } from "../../crds/mail-server.ts";
import { accessChecks, noRestrictions, plainChecks, restrictionsSchema } from "../../server/config/restrictions.ts";
import { buildDesired } from "./build.ts";
import { aWorld } from "./sample-world.ts";
import type { AccessRule } from "./world.ts";

function build(restrictions: NonNullable<MailServerSpec["restrictions"]>, accessRules: readonly AccessRule[] = []) {
  const desired = buildDesired(aWorld({ server: aMailServer({ spec: { restrictions } }), objects: accessRules }));
  const verdict = desired.verdicts.get("MailServer/default/mx");
  return {
    built: restrictionsSchema.parse(desired.config.server.restrictions),
    warnings: (verdict?.warnings ?? []).filter((text) => text.includes("restrictions")),
  };
}

suite("build: restrictions", () => {
  test("people and the server know the same names", () => {
    assert.deepEqual([...checkNames], [...plainChecks]);
    assert.deepEqual([...accessCheckNames], [...accessChecks]);
  });

  test("where nothing is written, the access rules are asked", () => {
    assert.deepEqual(build({}).built, noRestrictions);
  });

  const lists: readonly (readonly [string, NonNullable<MailServerSpec["restrictions"]>, object])[] = [
    [
      "a bare list is not for trusted networks and authenticated users, but its access rules are for everybody",
      { helo: ["RejectUnknownHelo"] },
      { helo: ["CheckHeloAccess", "PermitMynetworks", "PermitSASLAuthenticated", "RejectUnknownHelo"] },
    ],
    [
      "a list that says whom it is not for stands as it is written",
      { recipient: ["RejectNonFQDNRecipient", "PermitMynetworks", "RejectUnknownRecipientDomain"] },
      {
        recipient: [
          "CheckRecipientAccess",
          "RejectNonFQDNRecipient",
          "PermitMynetworks",
          "RejectUnknownRecipientDomain",
        ],
      },
    ],
    [
      "access rules are asked where a list names them, and nowhere else",
      { client: ["PermitMynetworks", "CheckClientAccess", "CheckSenderAccess", "RejectUnknownClientHostname"] },
      {
        client: ["PermitMynetworks", "CheckClientAccess", "CheckSenderAccess", "RejectUnknownClientHostname"],
        sender: [],
      },
    ],
    [
      "without exemptions a list counts as it is written",
      { exempt: [], sender: ["RejectUnlistedSender"] },
      { sender: ["CheckSenderAccess", "RejectUnlistedSender"] },
    ],
    ["DATA exempts nobody", { data: ["RejectUnauthPipelining"] }, { data: ["RejectUnauthPipelining"] }],
    ["delayReject", { delayReject: false }, { delayReject: false }],
  ];
  for (const [name, written, expected] of lists)
    test(name, () => assert.deepEqual(build(written).built, { ...noRestrictions, ...expected }));

  test("a table that no rule belongs to is said", () => {
    const sender: MailServerSpec["restrictions"] = { sender: ["CheckSenderAccess insiders"] };
    const rule = anAccessRule({ spec: { scope: "Sender", table: "insiders", match: [{ domain: "example.org" }] } });
    assert.deepEqual(build(sender, [rule]).warnings, []);
    assert.match(build(sender).warnings[0] ?? "", /names neither a table of AccessRules/);
  });
});

suite("build: access rules", () => {
  const built = (spec: Parameters<typeof anAccessRule>[0]) => {
    const desired = buildDesired(aWorld({ objects: [anAccessRule(spec)] }));
    const [verdict] = [...desired.verdicts].filter(([key]) => key.startsWith("AccessRule/")).map(([, value]) => value);
    return { rule: desired.config.server.accessRules[0], verdict };
  };

  const actions: readonly (readonly [AccessRuleSpec["action"], object])[] = [
    [{ permit: {} }, { kind: "Permit" }],
    [
      { reject: { code: 550, enhancedCode: "5.7.0", text: "No" } },
      { kind: "Reject", code: 550, enhanced: "5.7.0", text: "No" },
    ],
    [{ defer: { code: 421 } }, { kind: "Defer", code: 421 }],
    [{ deferIfPermit: { text: "Later" } }, { kind: "DeferIfPermit", text: "Later" }],
    [{ deferIfReject: {} }, { kind: "DeferIfReject" }],
    [{ discard: {} }, { kind: "Discard" }],
    [{ hold: { text: "Look" } }, { kind: "Hold", text: "Look" }],
    [{ redirect: { address: "Boss@EXAMPLE.org" } }, { kind: "Redirect", address: "Boss@example.org" }],
    [{ bcc: { address: "archive@example.org" } }, { kind: "Bcc", address: "archive@example.org" }],
    [{ prepend: { field: "X-Seen: yes" } }, { kind: "Prepend", field: "X-Seen: yes" }],
    [{ warn: {} }, { kind: "Warn" }],
    [{ dunno: {} }, { kind: "Dunno" }],
    [{ checks: ["RejectUnknownHelo", "Reject"] }, { kind: "Checks", checks: ["RejectUnknownHelo", "Reject"] }],
  ];
  for (const [action, expected] of actions)
    test(`action ${Object.keys(action).join()}`, () =>
      assert.deepEqual(built({ spec: { action } }).rule?.action, expected));

  test("filter is refused in words, and the rule is not in force", () => {
    const { rule, verdict } = built({ spec: { action: { filter: {} } } });
    assert.equal(rule, undefined);
    assert.ok(verdict?.accepted === false && verdict.reason === "Unsupported");
    assert.match(verdict.message, /content filters, which this version does not have/);
  });

  test("patterns: RE2 as written, names in lower case; what RE2 cannot run is said", () => {
    const { rule, verdict } = built({
      spec: { match: [{ regexp: "^DSL-[0-9]+" }, { dnsName: "*.Dyn.example.NET" }, { regexp: "(a)\\1" }] },
    });
    assert.deepEqual(rule?.match, [
      { kind: "regexp", value: "^DSL-[0-9]+" },
      { kind: "dnsName", value: "*.dyn.example.net" },
    ]);
    assert.ok(verdict?.accepted === false && /syntax of RE2/.test(verdict.message));
  });

  test("Sender takes a local part of whatever domain, Etrn a domain, both no networks", () => {
    assert.deepEqual(built({ spec: { scope: "Sender", match: [{ exact: "MAILER@" }] } }).rule?.match, [
      { kind: "exact", value: "mailer@" },
    ]);
    assert.deepEqual(built({ spec: { scope: "Etrn", match: [{ exact: "Example.ORG" }] } }).rule?.match, [
      { kind: "exact", value: "example.org" },
    ]);
    assert.equal(built({ spec: { scope: "Etrn", match: [{ cidr: "10.0.0.0/8" }] } }).rule, undefined);
  });
});
