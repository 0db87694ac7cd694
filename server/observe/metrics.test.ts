/** docs/metrics.md and the code name the same metrics, with the same types and labels: checked in both directions. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Registry } from "prom-client";
import { primaryMetrics } from "./aggregate.ts";
import { registry } from "./metrics.ts";

/** `name type label,label` of each row of a table of metrics. */
function documented(page: string): string[] {
  const rows = page.matchAll(
    /^\| `(packetboat_\w+)` \| (counter|gauge|histogram) \| ((?:`\w+`(?:, )?)*) ?\| [^|]{10,} \|$/gm,
  );
  return Array.from(rows, ([, name, type, labels]) =>
    `${name} ${type} ${(labels ?? "").replaceAll("`", "").replaceAll(" ", "")}`.trim(),
  );
}

function declared(from: Registry): string[] {
  return from
    .getMetricsAsArray()
    .filter(({ name }) => name.startsWith("packetboat_"))
    .map((metric) => {
      // The typings leave out what the constructor was given; it is there on every metric class of prom-client.
      const { labelNames } = metric as unknown as { readonly labelNames: readonly string[] };
      return `${metric.name} ${String(metric.type)} ${labelNames.join(",")}`.trim();
    });
}

const page = readFileSync(join(import.meta.dirname, "..", "..", "docs", "metrics.md"), "utf8");

test("docs/metrics.md names every metric of the mail server, and none that is gone", () => {
  const ofServer = documented(page).filter((row) => !row.startsWith("packetboat_operator_"));
  const ofCode = [...declared(registry), ...declared(primaryMetrics().registry)];
  assert.ok(ofCode.length > 20);
  assert.deepEqual(ofServer.toSorted(), ofCode.toSorted());
});

test("no row of docs/metrics.md escapes the comparison", () => {
  const rows = page.split("\n").filter((line) => line.startsWith("| `"));
  assert.equal(documented(page).length, rows.length);
});

test("every metric has a help text that is a sentence", () => {
  for (const { name, help } of registry.getMetricsAsArray()) assert.match(help, /^[A-Z0-9].*\.$/, name);
});
