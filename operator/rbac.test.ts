/**
 * The list of permissions against the operator's code: every kind it touches has its rules, and every place that calls the API server is known
 * here, so that a new call cannot be added without a look at rbac.ts. charts/chart.test.ts compares the list with the rendered chart.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { type Resource, resources } from "./kube/types.ts";
import { mailResources, operatorRules } from "./rbac.ts";

const known: readonly Resource[] = Object.values(resources);

test("every rule is about a kind that the operator touches, without wildcards and without repeating another", () => {
  const seen = new Set<string>();
  for (const { scope, apiGroups, resources: plurals, verbs, reason } of operatorRules) {
    assert.match(reason, /^[A-Z].{10,}\.$/);
    for (const group of apiGroups)
      for (const name of plurals) {
        const [plural] = name.split("/");
        const kind = known.find((resource) => resource.group === group && resource.plural === plural);
        assert.ok(kind, `${group}/${name} is not in kube/types.ts`);
        if (!kind.namespaced) assert.equal(scope, "Cluster", `${name} cannot be granted by a Role`);
        for (const verb of verbs) {
          const permission = `${group}/${name} ${verb}`;
          assert.ok(!seen.has(permission), `${permission} twice`);
          seen.add(permission);
        }
      }
  }
});

test("all kinds of mail.packetboat.io are there", () => {
  const plurals = known.filter(({ group }) => group === "mail.packetboat.io").map(({ plural }) => plural);
  assert.deepEqual([...mailResources].toSorted(), plurals.toSorted());
});

test("the API server is called where this table says; a new call needs its permission in rbac.ts, then a word here", () => {
  const calls: Record<string, string[]> = {};
  for (const file of globSync("**/*.ts", { cwd: import.meta.dirname })) {
    if (file.endsWith(".test.ts") || file === "kube/client.ts" || file === "kube/api-server-process.ts") continue;
    const text = readFileSync(`${import.meta.dirname}/${file}`, "utf8");
    const found = text.matchAll(/\bclient\s*\.\s*(get|list|watch|create|replace|patch|delete|raw)\b/g);
    const verbs = [...new Set(Array.from(found, ([, verb]) => verb ?? ""))].toSorted();
    if (verbs.length > 0) calls[file] = verbs;
  }
  assert.deepEqual(calls, {
    "kube/apply.ts": ["delete", "patch"],
    "kube/events.ts": ["create", "patch"],
    "kube/lease.ts": ["create", "get", "replace"],
    "kube/reflector.ts": ["list", "watch"],
    "reconcile/fleet.ts": ["get"],
  });
});
