/** docs/metrics.md and the operator's code name the same metrics, with the same types and labels: checked in both directions. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createMetrics } from "./kube/metrics.ts";

test("docs/metrics.md names every metric of the operator, and none that is gone", () => {
  const page = readFileSync(join(import.meta.dirname, "..", "docs", "metrics.md"), "utf8");
  const rows = page.matchAll(/^\| `(packetboat_operator_\w+)` \| (\w+) \| ([^|]*)\|/gm);
  const documented = Array.from(
    rows,
    ([, name, type, labels]) => `${name} ${type} ${(labels ?? "").replaceAll(/[` ]/g, "")}`,
  );
  const declared = createMetrics()
    .registry.getMetricsAsArray()
    .filter(({ name }) => name.startsWith("packetboat_"))
    .map((metric) => {
      // The typings leave out what the constructor was given; it is there on every metric class of prom-client.
      const { labelNames } = metric as unknown as { readonly labelNames: readonly string[] };
      return `${metric.name} ${String(metric.type)} ${labelNames.join(",")}`;
    });
  assert.ok(declared.length > 5);
  assert.deepEqual(documented.toSorted(), declared.toSorted());
});
