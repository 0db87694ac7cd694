import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Condition } from "../kube/types.ts";
import { conditionsOf, type PodReport, sameConditions, type StatusInput } from "./status.ts";
import type { Verdict } from "./verdict.ts";

const H = "a".repeat(64);
const OLD = "b".repeat(64);
const T0 = Date.UTC(2026, 0, 1);
const good: Verdict = { accepted: true, warnings: [] };
const bad: Verdict = {
  accepted: false,
  reason: "Conflict",
  message: "Domain example.org is already taken.",
  warnings: [],
};
const input = (parts: Partial<StatusInput> = {}): StatusInput => ({
  generation: 1,
  verdict: good,
  previous: [],
  desiredHash: H,
  pods: [{ name: "mx-0", hash: H }],
  sticky: true,
  nowMs: T0,
  ...parts,
});
const said = (conditions: readonly Condition[]): Record<string, string> =>
  Object.fromEntries(conditions.map(({ type, status, reason }) => [type, `${status}/${reason}`]));

suite("status", () => {
  const cases: readonly [why: string, parts: Partial<StatusInput>, expected: Record<string, string>][] = [
    [
      "all is well",
      {},
      {
        Accepted: "True/Accepted",
        Programmed: "True/Programmed",
        Ready: "True/Ready",
        Reconciling: "False/Idle",
        Stalled: "False/Idle",
      },
    ],
    [
      "one pod behind",
      {
        pods: [
          { name: "mx-0", hash: H },
          { name: "mx-1", hash: OLD },
        ],
      },
      {
        Accepted: "True/Accepted",
        Programmed: "False/Pending",
        Ready: "False/Pending",
        Reconciling: "True/Pending",
        Stalled: "False/Idle",
      },
    ],
    [
      "no pod",
      { pods: [] },
      {
        Accepted: "True/Accepted",
        Programmed: "False/NoPods",
        Ready: "False/NoPods",
        Reconciling: "True/NoPods",
        Stalled: "False/Idle",
      },
    ],
    [
      "a pod that does not answer",
      { pods: [{ name: "mx-0", error: "connect ECONNREFUSED" }] },
      {
        Accepted: "True/Accepted",
        Programmed: "False/PodsUnreachable",
        Ready: "False/PodsUnreachable",
        Reconciling: "True/PodsUnreachable",
        Stalled: "False/Idle",
      },
    ],
    [
      "a pod that refuses",
      { pods: [{ name: "mx-0", hash: OLD, rejected: "server.json is not JSON" }] },
      {
        Accepted: "True/Accepted",
        Programmed: "False/ConfigRejected",
        Ready: "False/ConfigRejected",
        Reconciling: "False/Idle",
        Stalled: "True/ConfigRejected",
      },
    ],
    [
      "refused",
      { verdict: bad },
      {
        Accepted: "False/Conflict",
        Programmed: "False/NotAccepted",
        Ready: "False/Conflict",
        Reconciling: "False/Idle",
        Stalled: "True/Conflict",
      },
    ],
    [
      "a MailServer with something wrong in it runs",
      { verdict: bad, sticky: false },
      {
        Accepted: "False/Conflict",
        Programmed: "True/Programmed",
        Ready: "False/Conflict",
        Reconciling: "False/Idle",
        Stalled: "True/Conflict",
      },
    ],
    [
      "could not be written",
      { notReady: { reason: "ApplyFailed", message: "quota exceeded", stalled: true } },
      {
        Accepted: "True/Accepted",
        Programmed: "True/Programmed",
        Ready: "False/ApplyFailed",
        Reconciling: "False/Idle",
        Stalled: "True/ApplyFailed",
      },
    ],
  ];
  for (const [why, parts, expected] of cases)
    test(why, () => assert.deepEqual(said(conditionsOf(input(parts))), expected));

  test("times move only when a status flips; an unchanged world writes nothing", () => {
    const first = conditionsOf(input());
    const later = conditionsOf(input({ previous: first, nowMs: T0 + 60_000 }));
    assert.ok(sameConditions(first, later));
    const behind: readonly PodReport[] = [{ name: "mx-0", hash: OLD }];
    const fallen = conditionsOf(input({ previous: first, nowMs: T0 + 60_000, pods: behind, sticky: false }));
    assert.ok(!sameConditions(first, fallen));
    const time = (conditions: readonly Condition[], type: string) =>
      conditions.find((condition) => condition.type === type)?.lastTransitionTime;
    assert.equal(time(fallen, "Accepted"), "2026-01-01T00:00:00Z");
    assert.equal(time(fallen, "Programmed"), "2026-01-01T00:01:00Z");
  });

  test("Programmed of a dependent object stays through somebody else's change, not through its own", () => {
    const first = conditionsOf(input());
    const behind: readonly PodReport[] = [{ name: "mx-0", hash: OLD }];
    assert.ok(sameConditions(first, conditionsOf(input({ previous: first, pods: behind }))));
    assert.equal(
      said(conditionsOf(input({ previous: first, pods: behind, generation: 2 })))["Programmed"],
      "False/Pending",
    );
    assert.equal(
      said(conditionsOf(input({ previous: first, pods: behind, sticky: false })))["Programmed"],
      "False/Pending",
    );
  });

  test("warnings ride on Accepted; conditions of others stay; everything carries the generation", () => {
    const dns: Condition = {
      type: "DNSReady",
      status: "True",
      reason: "Found",
      message: "",
      lastTransitionTime: "2025-01-01T00:00:00Z",
    };
    const conditions = conditionsOf(
      input({ previous: [dns], generation: 7, verdict: { accepted: true, warnings: ["It expires soon."] } }),
    );
    assert.match(conditions[0]?.message ?? "", /Note: It expires soon\./);
    assert.deepEqual(conditions.at(-1), dns);
    for (const condition of conditions.slice(0, 5)) assert.equal(condition.observedGeneration, 7);
  });
});
