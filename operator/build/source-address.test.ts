import assert from "node:assert/strict";
import { test } from "node:test";
import { aMailServer } from "../../crds/builders.ts";
import { sourceAddressOf } from "./source-address.ts";
import { conditionsOf } from "./status.ts";

type Spec = NonNullable<NonNullable<Parameters<typeof aMailServer>[0]>["spec"]>;
const mx = { name: "mx", role: "MX", port: 25 } as const;
const proxied = { ...mx, proxyProtocol: { trustedCIDRs: ["10.0.0.0/8"] } };
const cluster = { type: "LoadBalancer", externalTrafficPolicy: "Cluster" } as const;

const cases: readonly (readonly [
  name: string,
  spec: Spec,
  known: readonly string[],
  expected: string,
  told?: RegExp,
])[] = [
  ["a ClusterIP Service", {}, [], "True SourcePreserved"],
  ["the default policy, Local", { service: { type: "LoadBalancer" } }, [], "True SourcePreserved"],
  [
    "NodePort, Local",
    { service: { type: "NodePort" }, networks: { trusted: ["10.0.0.0/8"] } },
    [],
    "True SourcePreserved",
  ],
  [
    "Cluster",
    { service: cluster, listeners: [mx] },
    [],
    "False SourceHidden",
    /address of a node.*externalTrafficPolicy to Local, or proxyProtocol on mx/,
  ],
  ["NodePort, Cluster", { service: { ...cluster, type: "NodePort" } }, [], "False SourceHidden"],
  ["Cluster behind the PROXY protocol", { service: cluster, listeners: [proxied] }, [], "True SourcePreserved"],
  [
    "one of two listeners without it",
    { service: cluster, listeners: [proxied, { ...mx, name: "second", port: 2525 }] },
    [],
    "False SourceHidden",
    /of second /,
  ],
  [
    "nodes are trusted",
    { service: cluster, networks: { trusted: ["192.0.2.0/24", "2001:db8::/32"] } },
    ["192.0.2.17", "10.1.2.3"],
    "False OpenRelayRisk",
    /holds such addresses \(192\.0\.2\.0\/24\): anybody may relay/,
  ],
  [
    "private networks are trusted",
    { service: cluster, networks: { trusted: ["198.51.100.0/24", "10.20.0.0/16"] } },
    ["192.0.2.17"],
    "False OpenRelayRisk",
    /private networks \(10\.20\.0\.0\/16\)/,
  ],
  ["everybody is trusted", { service: cluster, networks: { trusted: ["0.0.0.0/0"] } }, [], "False OpenRelayRisk"],
  ["IPv6", { service: cluster, networks: { trusted: ["fd00::/8"] } }, [], "False OpenRelayRisk"],
  [
    "public networks of others",
    { service: cluster, networks: { trusted: ["198.51.100.0/24"] } },
    ["192.0.2.17"],
    "False SourceHidden",
  ],
  [
    "a listener of filters does not face clients",
    { service: cluster, listeners: [proxied, { name: "filtered", role: "Reinject", port: 10025 }] },
    [],
    "True SourcePreserved",
  ],
];
for (const [name, spec, known, expected, told] of cases)
  test(name, () => {
    const { status, reason, message } = sourceAddressOf(aMailServer({ spec }), known);
    assert.equal(`${status} ${reason}`, expected);
    if (told !== undefined) assert.match(message, told);
    if (status === "False") assert.match(message, /set spec\.service\.externalTrafficPolicy to Local/);
  });

test("a MailServer carries the condition; it flips when the Service is mended, and other objects have none", () => {
  const judged = (
    externalTrafficPolicy: "Cluster" | "Local",
    previous: Parameters<typeof conditionsOf>[0]["previous"],
    nowMs: number,
  ) =>
    conditionsOf({
      generation: 1,
      verdict: { accepted: true, warnings: [] },
      previous,
      desiredHash: "a".repeat(64),
      pods: [],
      sticky: false,
      sourceAddress: sourceAddressOf(aMailServer({ spec: { service: { ...cluster, externalTrafficPolicy } } }), []),
      nowMs,
    });
  const find = (conditions: ReturnType<typeof conditionsOf>) => {
    const found = conditions.find(({ type }) => type === "SourceIPPreserved");
    return `${found?.status} ${found?.reason} ${found?.lastTransitionTime}`;
  };
  const hidden = judged("Cluster", [], 0);
  assert.equal(find(hidden), "False SourceHidden 1970-01-01T00:00:00Z");
  assert.equal(find(judged("Cluster", hidden, 60_000)), "False SourceHidden 1970-01-01T00:00:00Z");
  assert.equal(find(judged("Local", hidden, 60_000)), "True SourcePreserved 1970-01-01T00:01:00Z");
  const other = conditionsOf({
    generation: 1,
    verdict: { accepted: true, warnings: [] },
    previous: [],
    desiredHash: "a".repeat(64),
    pods: [],
    sticky: true,
    nowMs: 0,
  });
  assert.equal(
    other.some(({ type }) => type === "SourceIPPreserved"),
    false,
  );
});
